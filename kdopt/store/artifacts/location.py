"""Where artifacts are: a folder or a URL, checked before it is used, and shown without secrets."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote

from kdopt.errors import ArtifactError
from kdopt.files import find_folder_fault
from kdopt.shown import hide_secrets, looks_like_url

BUCKETS = {"s3", "s3a", "gs", "gcs"}
"""Protocols whose URLs start with a bucket instead of a host."""

_WAYS = "give a folder, s3://BUCKET/PREFIX or gs://BUCKET/PREFIX"


def parse_place(place: str | Path) -> Path | str:
    """A folder as an absolute path, anything else as a URL without a slash at its end.

    Raises:
        ArtifactError: The URL is malformed, or carries a secret or a query.
    """
    if isinstance(place, Path):
        return place.absolute()
    if "://" not in place:
        return _parse_folder(place)
    shown = hide_secrets(place)
    protocol, _, rest = place.partition("://")
    protocol = protocol.lower()
    if "::" in place or not re.fullmatch(r"[a-z][a-z0-9+.-]*", protocol):
        raise ArtifactError(f"artifacts {shown}: not a plain URL; {_WAYS}")
    host = rest.partition("/")[0]
    if ":" in rest.rpartition("@")[0] or ("@" in host and protocol in BUCKETS):
        raise ArtifactError(
            f"artifacts {shown}: credentials do not belong in the URL, which logs and "
            f"process titles show; take them out and {credentials_of(protocol)}"
        )
    if "?" in rest or "#" in rest:
        raise ArtifactError(
            f"artifacts {shown}: a URL of artifacts has no query and no fragment; {_WAYS}"
        )
    if protocol == "file":
        if host not in ("", "localhost"):
            raise ArtifactError(
                f"artifacts {shown}: '{host}' would be a machine; write file:///PATH"
            )
        return _parse_folder(unquote(rest.removeprefix("localhost")))
    if not host and protocol in BUCKETS:
        raise ArtifactError(f"artifacts {shown}: names no bucket; {_WAYS}")
    return f"{protocol}://{rest.rstrip('/')}"


def _parse_folder(text: str) -> Path:
    if not text.strip() or looks_like_url(text):
        # Not shown: what was meant as a URL may hold a password.
        raise ArtifactError(f"the place of the artifacts cannot be read; {_WAYS}")
    try:
        return Path(text).expanduser().absolute()
    except RuntimeError as error:
        raise ArtifactError(f"artifacts {text}: {error}; write the whole path") from error


def check_folder(folder: Path) -> None:
    """Refuse a folder in which nothing can be written, without making it.

    Raises:
        ArtifactError: It, or the folder that it would be made in, is none or may not be written.
    """
    if fault := find_folder_fault(folder):
        raise ArtifactError(f"artifacts {fault}; give another --artifacts")


def credentials_of(protocol: str) -> str:
    """What to do about credentials, as the end of a message."""
    if protocol in ("s3", "s3a"):
        return (
            "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE "
            "(and AWS_ENDPOINT_URL for a store that is not Amazon's)"
        )
    if protocol in ("gs", "gcs"):
        return "set GOOGLE_APPLICATION_CREDENTIALS or log in with gcloud"
    return f"set them where the {protocol} driver of fsspec reads them"
