"""Where a store and its artifacts are: paths or URLs, checked before use, shown without secrets."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote

import sqlalchemy as sa
from sqlalchemy.engine import URL, make_url

from kdopt.errors import ArtifactError, StoreError
from kdopt.files import find_folder_fault
from kdopt.shown import HIDDEN, hide_secrets, list_secrets, looks_like_url


def parse_location(location: str) -> URL:
    """A path or URL as an SQLAlchemy URL.

    Raises:
        StoreError: The URL is malformed or of a database that kdopt does not support. What cannot
            be taken apart is not shown: it may hold a password.
    """
    if "://" not in location:
        if looks_like_url(location) or not location.strip():
            raise StoreError(_URL_FIX)
        try:
            path = Path(location).expanduser()
            str(path.absolute()).encode("utf-8")
        except UnicodeEncodeError as error:
            # SQLite takes UTF-8 only, and so do the URLs that workers are told.
            raise StoreError(
                f"store {location}: the name of the file or of a folder above it is not UTF-8; "
                "rename it or give another --store"
            ) from error
        except RuntimeError as error:
            raise StoreError(f"store {location}: {error}; write the whole path") from error
        return URL.create("sqlite", database=str(path))
    try:
        url = make_url(location)
        backend = url.get_backend_name()
    except (sa.exc.ArgumentError, ValueError) as error:
        raise StoreError(_URL_FIX) from error
    if backend not in ("sqlite", "postgresql"):
        raise StoreError(f"store URL: '{backend}' is not supported; use sqlite or postgresql")
    if backend == "postgresql":
        if "@" in f"{url.host}{url.database}":
            raise StoreError(
                "the store's URL has an '@' too many; in a user or a password write it as %40 "
                "(and '/' as %2F, ':' as %3A)"
            )
        # SQLAlchemy reads 5_432 and Arabic digits as Python does.
        if url.port is not None and not (
            0 < url.port < 65_536 and re.search(rf":{url.port}(/|$)", location)
        ):
            raise StoreError(
                f"the store's URL has no port that can be: '{url.port}' must be from 1 to 65535, "
                "in the digits 0 to 9, such as 5432"
            )
    elif url.host or url.username or url.password:
        raise StoreError(f"an SQLite store is a file without user or host; {_URL_FIX}")
    elif url.query:
        raise StoreError(
            f"store {label_of(url)}: an SQLite store takes no options after a '?', as kdopt sets "
            "them itself; leave them out"
        )
    elif url.database in (None, "", ":memory:"):
        raise StoreError("a store in memory is gone with its process; give --store a file")
    return url


_SECRET = re.compile("pass|pwd|key|token|secret", re.IGNORECASE)
"""In the name of an option of a URL: what it is set to is secret."""

_URL_FIX = (
    "the store's URL cannot be read; give a path, sqlite:///PATH or "
    "postgresql+psycopg://USER:PASSWORD@HOST/DATABASE"
)


def folder_beside(store: URL, name: str) -> Path:
    """A folder beside an SQLite file; in ``storage/`` for a database server."""
    if store.get_backend_name() == "sqlite":
        return Path(str(store.database)).absolute().parent / name
    return Path("storage").absolute() / name


def label_of(url: URL) -> str:
    """A URL as it may be shown: scheme, host, port and database, and nothing that may be secret."""
    if url.get_backend_name() == "sqlite":
        return str(url.database)
    # A name that is the password too would be shown as that.
    secrets = _list_passwords(url)
    host, database = (HIDDEN if name in secrets else name for name in (url.host, url.database))
    shown = URL.create(url.drivername, host=host, port=url.port, database=database)
    return shown.render_as_string().replace("%2A", "*")


def _list_passwords(url: URL) -> set[str]:
    """The passwords of a URL: before its '@', and after its '?'."""
    options = [v for k, values in url.normalized_query.items() if _SECRET.search(k) for v in values]
    return {text for text in (url.password, *options) if text}


def explain_driver_error(url: URL, error: object) -> str:
    """What a driver says, in one line and without the secrets of the URL it was given."""
    if url.get_backend_name() == "sqlite":
        return " ".join(str(error).split())
    rendered = url.render_as_string(hide_password=False)
    passwords = _list_passwords(url)
    known = {url.host, url.database, url.drivername} - passwords
    secrets = {*list_secrets(rendered), *passwords, *filter(None, [url.username])} - known
    return hide_secrets(" ".join(str(error).split()), secrets)


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
