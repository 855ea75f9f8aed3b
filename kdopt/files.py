"""Files that others hand over: opened without waiting, and read no further than is sane."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

_KINDS = (
    (stat.S_ISDIR, "it is a folder"),
    (stat.S_ISFIFO, "it is a pipe, write its content to a file first"),
    (stat.S_ISCHR, "it is a device"),
    (stat.S_ISBLK, "it is a device"),
    (stat.S_ISSOCK, "it is a socket"),
)


def open_input(path: Path) -> BinaryIO:
    """Open an ordinary file to read it.

    A pipe that nobody writes into would be waited for without end, and a device such as
    ``/dev/zero`` never ends, so both are refused.

    Raises:
        OSError: It cannot be opened, or is no ordinary file.
    """
    try:
        _check_kind(path, path.stat().st_mode)  # opening some devices does something
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    except ValueError as error:  # a zero byte in the path
        raise OSError(errno.EINVAL, str(error), str(path)) from error
    file = os.fdopen(handle, "rb")
    try:
        # Once more: another process may have put a pipe there meanwhile.
        _check_kind(path, os.fstat(handle).st_mode)
    except OSError:
        file.close()
        raise
    return file


def read_input(path: Path, limit: int) -> bytes:
    """The whole content of an ordinary file of at most ``limit`` bytes.

    Raises:
        OSError: It cannot be read, is no ordinary file, or is larger.
    """
    with open_input(path) as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise OSError(errno.EFBIG, f"more than {limit:,} bytes, which is too large", str(path))
    return content


def _check_kind(path: Path, mode: int) -> None:
    if stat.S_ISREG(mode):
        return
    reason = next((text for is_kind, text in _KINDS if is_kind(mode)), "it is no ordinary file")
    raise OSError(errno.EINVAL, reason, str(path))
