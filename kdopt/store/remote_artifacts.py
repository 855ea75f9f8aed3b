"""Artifacts in an object store, or wherever else fsspec can write.

S3 and GCS put atomically: an object appears whole or not at all, and a reader sees the old or the
new one. Elsewhere content is written under a temporary name and then moved. Credentials are the
drivers' business: they read them from the environment, and no URL or message here has any.
"""

from __future__ import annotations

import base64
import contextlib
import errno
import hashlib
import logging
import uuid
from collections.abc import Callable
from typing import Any, TypeVar

import tenacity

from kdopt.errors import ArtifactError, LostArtifactError
from kdopt.shown import hide_secrets
from kdopt.store.location import credentials_of

REMOTE_RETRY_S = 60.0
"""How long a call goes on through faults of the network. The last attempt may end later: by up to
half a minute with gcsfs, which tries again by itself."""

S3_ANSWER_S = 20.0
"""How long an endpoint may say nothing."""

logger = logging.getLogger(__name__)
T = TypeVar("T")

_PUTS_ARE_ATOMIC = {"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "memory"}
_EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gcs", "gcs": "gcs"}

# One request reads an object, and our own retries are the only ones: nested in botocore's they
# would take many times as long as they say.
_S3_OPTIONS: dict[str, object] = {
    "max_concurrency": 1,
    "config_kwargs": {
        "retries": {"total_max_attempts": 1},
        "connect_timeout": S3_ANSWER_S,
        "read_timeout": S3_ANSWER_S,
    },
}


class RemoteFiles:
    """Named content below a URL.

    Safe to use from several processes at once; in a process, from one thread.

    Args:
        url: As :func:`kdopt.store.location.parse_place` returns it.

    Raises:
        ArtifactError: There is no driver for the protocol.
    """

    def __init__(self, url: str) -> None:
        self.root = url
        self._protocol = url.partition("://")[0]
        self._files, self._base = self._open_place(url)

    def place(self, name: str) -> str:
        """The URL of one content, as messages show it."""
        return hide_secrets(f"{self.root}/{name}")

    def read(self, name: str) -> bytes:
        """The content of that name, read once.

        Raises:
            ArtifactError: It is missing or cannot be read.
        """
        try:
            return self._retry_call(lambda: bytes(self._files.cat_file(self._join_path(name))))
        except FileNotFoundError as error:
            raise LostArtifactError(
                f"artifact {self.place(name)}: missing ({_describe_error(error)}); "
                "check that --artifacts is where the campaign was planned, "
                "bring the object back, or start the campaign "
                "under a new name"
            ) from error
        except Exception as error:
            raise self._make_read_error(name, error) from error

    def exists(self, name: str) -> bool:
        """Whether there is content of that name.

        Raises:
            ArtifactError: The store does not tell.
        """
        try:
            self._retry_call(lambda: self._files.info(self._join_path(name)))
        except FileNotFoundError:
            return False
        except Exception as error:
            raise self._make_read_error(name, error) from error
        return True

    def write(self, name: str, content: bytes) -> None:
        """Make the content appear under that name, whole or not at all.

        Raises:
            ArtifactError: It cannot be written.
        """

        def attempt() -> None:
            # Within each attempt: the answer to the one before may have been lost on the way.
            if not self._holds_content(name, content):
                self._upload_file(self._join_path(name), content)

        try:
            self._retry_call(attempt)
        except FileNotFoundError as error:
            raise ArtifactError(
                f"artifacts {hide_secrets(self.root)}: cannot be written: no such bucket or folder "
                f"({_describe_error(error)}); make it or give another --artifacts"
            ) from error
        except Exception as error:
            raise ArtifactError(
                f"artifacts {hide_secrets(self.root)}: cannot be written: "
                f"{_describe_error(error)}; {self._advise_fix(error)} and run the same command "
                "again; nothing recorded is lost"
            ) from error

    def remove(self, name: str) -> None:
        """Remove a content; one that stays behind does no harm, so this never fails."""
        try:
            self._files.rm_file(self._join_path(name))
        except FileNotFoundError:
            pass
        except Exception as error:
            logger.warning("artifact %s: not removed: %s", self.place(name), _describe_error(error))

    def _open_place(self, url: str) -> tuple[Any, str]:
        import fsspec  # type: ignore[import-untyped]

        options = _S3_OPTIONS if self._protocol in ("s3", "s3a") else {}
        if _EXTRAS.get(self._protocol) == "gcs":
            # It logs a traceback for each fault that is tried again or becomes a message here.
            logging.getLogger("gcsfs").setLevel(logging.CRITICAL)
        try:
            # No caches: other processes write there too, and what a listing said may be over.
            if options:
                options = {**options, "session": _make_s3_session()}
            files, base = fsspec.url_to_fs(
                url, use_listings_cache=False, skip_instance_cache=True, **options
            )
        except ImportError as error:
            extra = _EXTRAS.get(self._protocol)
            fix = f"pip install 'kdopt[{extra}]'" if extra else _describe_error(error)
            raise ArtifactError(
                f"artifacts {hide_secrets(url)}: no driver for '{self._protocol}' is installed; "
                f"{fix}"
            ) from error
        except Exception as error:
            # Drivers may connect, and read their settings, as soon as they are made.
            raise ArtifactError(
                f"artifacts {hide_secrets(url)}: cannot be opened: {_describe_error(error)}; "
                "give a folder, s3://BUCKET/PREFIX, gs://BUCKET/PREFIX or another URL that "
                "fsspec can write"
            ) from error
        if options:
            files.retries = 1  # s3fs would make each call five times
        return files, str(base).rstrip("/")

    def _join_path(self, name: str) -> str:
        return f"{self._base}/{name}"

    def _holds_content(self, name: str, content: bytes) -> bool:
        """Whether the content is there already, so that it need not travel again.

        S3 and GCS keep the MD5 of what was put, which tells an altered object without reading it.
        S3 has none for objects of many parts (over 100 MB), where the size must do: whoever reads
        it checks the sha256 anyway. With keys of one's own (SSE-KMS) S3 shows another value, and
        the object is put again, which changes nothing. Other stores are read, like a folder.
        """
        path = self._join_path(name)
        try:
            found = self._files.info(path)
        except (FileNotFoundError, PermissionError):
            # S3 answers 'forbidden' for a missing object to those who may not list.
            return False
        if found["size"] != len(content):
            return False
        md5 = hashlib.md5(content, usedforsecurity=False).digest()
        if found.get("md5Hash"):
            return bool(found["md5Hash"] == base64.b64encode(md5).decode())
        if found.get("ETag") and self._protocol in ("s3", "s3a"):
            etag = str(found["ETag"]).strip('"')
            return "-" in etag or etag == md5.hex()
        return bool(self._files.cat_file(path) == content)

    def _upload_file(self, path: str, content: bytes) -> None:
        if self._protocol in _PUTS_ARE_ATOMIC:
            self._files.pipe_file(path, content)
            return
        folder, _, name = path.rpartition("/")
        temporary = f"{folder}/.{name}.{uuid.uuid4().hex}.tmp"
        self._files.makedirs(folder, exist_ok=True)
        try:
            self._files.pipe_file(temporary, content)
            self._files.mv(temporary, path)
        except BaseException:
            with contextlib.suppress(Exception):
                self._files.rm_file(temporary)
            raise

    def _retry_call(self, call: Callable[[], T]) -> T:
        """Call again and again while the network or the server is at fault."""

        def log_retry(state: tenacity.RetryCallState) -> None:
            error = state.outcome.exception() if state.outcome else None
            if isinstance(error, Exception):
                logger.warning(
                    "artifacts %s: %s; trying again",
                    hide_secrets(self.root),
                    _describe_error(error),
                )

        retrying = tenacity.Retrying(
            # A deadline, not a number of tries: what the campaign can wait is a time.
            stop=tenacity.stop_before_delay(REMOTE_RETRY_S),
            # Jitter keeps many workers from coming back in the same instant.
            wait=tenacity.wait_exponential(multiplier=0.2, max=5.0)
            + tenacity.wait_random(0.0, 0.2),
            retry=tenacity.retry_if_exception(_can_pass),
            before_sleep=log_retry,
            reraise=True,
        )
        return retrying(call)

    def _make_read_error(self, name: str, error: Exception) -> ArtifactError:
        return ArtifactError(
            f"artifact {self.place(name)}: cannot be read: {_describe_error(error)}; "
            f"{self._advise_fix(error)}"
        )

    def _advise_fix(self, error: Exception) -> str:
        if type(error).__name__ in _NO_CREDENTIALS:
            return credentials_of(self._protocol)
        if _is_denied(error):
            return f"allow these credentials to, or use others: {credentials_of(self._protocol)}"
        if _is_final(error):
            return "fix that or give another --artifacts"
        return f"it did not pass within {REMOTE_RETRY_S:.0f} s: check the network and the endpoint"


def _make_s3_session() -> Any:
    """A session whose uploads do not ask first whether they may begin.

    The driver would wait for that answer without any limit, and some endpoints give none.
    """
    import aiobotocore.session  # type: ignore[import-untyped]
    from botocore.handlers import add_expect_header  # type: ignore[import-untyped]

    session = aiobotocore.session.get_session()
    session.unregister("before-call.s3", add_expect_header)
    return session


_NO_CREDENTIALS = {
    "NoCredentialsError",
    "PartialCredentialsError",
    "CredentialRetrievalError",
    "DefaultCredentialsError",
}
_FINAL_NAMES = {"ParamValidationError", "ProfileNotFound", "InvalidRegionError"}
_FINAL_NUMBERS = {
    errno.EINVAL,
    errno.EPERM,
    errno.ENOSYS,
    errno.ENOSPC,
    errno.EMSGSIZE,
    errno.ENAMETOOLONG,
    getattr(errno, "EREMCHG", errno.EINVAL),  # how s3fs says that a bucket is in another region
}


def _is_denied(error: Exception) -> bool:
    """Whether it is about credentials. Drivers agree on no type, so some go by name or text."""
    return (
        isinstance(error, PermissionError)
        or type(error).__name__ in _NO_CREDENTIALS
        or getattr(error, "code", None) in (401, 403)
        or str(error).startswith("Forbidden")
    )


def _can_pass(error: BaseException) -> bool:
    """Whether to try again; what stops the process (Ctrl-C, a signal) is never held up."""
    return isinstance(error, Exception) and not _is_final(error)


def _is_final(error: Exception) -> bool:
    """Whether waiting cannot help; what is not known here is tried again."""
    if isinstance(error, OSError) and error.errno in _FINAL_NUMBERS:
        return True
    return _is_denied(error) or (
        isinstance(
            error,
            FileNotFoundError
            | FileExistsError
            | IsADirectoryError
            | NotADirectoryError
            | NotImplementedError
            | ValueError
            | TypeError
            | AttributeError,
        )
        or type(error).__name__ in _FINAL_NAMES
    )


def _describe_error(error: Exception) -> str:
    """A driver's message: in one line and without secrets."""
    text = " ".join(str(error).split()) or type(error).__name__
    return hide_secrets(text.rstrip("."))
