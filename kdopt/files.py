"""Files beside those of others: opened without waiting, read no further than is sane, and written
without following a link that somebody put in the way.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
from io import BufferedReader, BufferedWriter
from pathlib import Path

_LINK = "it is a link, and its other end may be somebody's file"
_KINDS = (
    (stat.S_ISDIR, "it is a folder"),
    (stat.S_ISFIFO, "it is a pipe, write its content to a file first"),
    (stat.S_ISCHR, "it is a device"),
    (stat.S_ISBLK, "it is a device"),
    (stat.S_ISSOCK, "it is a socket"),
)
_OTHER_MARKS = (
    (b"\xff\xfe\x00\x00", "UTF-32"),
    (b"\x00\x00\xfe\xff", "UTF-32"),
    (b"\xff\xfe", "UTF-16"),
    (b"\xfe\xff", "UTF-16"),
    (b"\x1f\x8b", "gzip"),
    (b"PK\x03\x04", "a zip file"),
)


def open_input(path: Path) -> BufferedReader:
    """Open an ordinary file to read it.

    A pipe that nobody writes into would be waited for without end, and a device such as
    ``/dev/zero`` never ends, so both are refused.

    Raises:
        OSError: It cannot be opened, or is no ordinary file.
    """
    try:
        check_ordinary(path)  # opening some devices does something
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
        # By what the system says first: to read so much takes as much memory.
        too_large = os.fstat(file.fileno()).st_size > limit
        content = b"" if too_large else file.read(limit + 1)
    if too_large or len(content) > limit:
        raise OSError(errno.EFBIG, f"more than {limit:,} bytes, which is too large", str(path))
    return content


def find_folder_fault(folder: Path) -> str | None:
    """What keeps files from being made in a folder that need not be there yet; ``None``: nothing.

    The nearest folder that is there must be one that this user may write into.
    """
    nearest = next(place for place in (folder, *folder.parents) if os.path.lexists(place))
    if not nearest.is_dir():
        return f"{nearest}: is no folder"
    if not os.access(nearest, os.W_OK | os.X_OK):
        return f"{nearest}: you may not write into this folder"
    return None


def read_end(path: Path, limit: int, begin: int = 0) -> str:
    """The last ``limit`` bytes of an ordinary file after its first ``begin``, as text.

    Raises:
        OSError: It cannot be read, or is no ordinary file.
    """
    with open_input(path) as file:
        file.seek(max(begin, os.fstat(file.fileno()).st_size - limit))
        return file.read(limit).decode(errors="replace")


def find_tight_limit(number: int | None = None) -> str | None:
    """What to do about this shell's limits on files, where one of them may be why a call failed.

    Args:
        number: Of the system's error, if it is known: SQLite does not say why it could not open
            or write a file.
    """
    if number in (errno.EMFILE, errno.ENFILE) or (number is None and not _can_open_more()):
        return "let a program open more files (ulimit -n 1024) and run the same command again"
    if number not in (None, errno.EFBIG):
        return None
    with contextlib.suppress(ImportError):  # Windows has no such limits
        import resource

        if resource.getrlimit(resource.RLIMIT_FSIZE)[0] != resource.RLIM_INFINITY:
            return (
                "let a program write larger files (ulimit -f unlimited) or free space, and run the "
                "same command again; nothing recorded is lost"
            )
    return None


def _can_open_more() -> bool:
    handles = []
    try:
        # More than SQLite needs for a store, which has given back those that it had.
        for _ in range(10):
            handles.append(os.open(os.devnull, os.O_RDONLY))
    except OSError as error:
        return error.errno not in (errno.EMFILE, errno.ENFILE)
    finally:
        for handle in handles:
            os.close(handle)
    return True


def open_log(path: Path) -> BufferedWriter:
    """Open a file to append to it; it is made if there is none.

    In a folder that others may write, a link of that name, symbolic or hard, would have the lines
    written into any file that its maker chose.

    Raises:
        OSError: It cannot be opened, is no ordinary file, or is a link.
    """
    if path.is_symlink():
        raise OSError(errno.EINVAL, _LINK, str(path))
    if path.exists():
        check_ordinary(path)
    # Once more by the system: another process may have put something there meanwhile.
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
    flags |= getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    handle = os.open(path, flags, 0o666)
    file = os.fdopen(handle, "ab")
    try:
        found = os.fstat(handle)
        _check_kind(path, found.st_mode)
        if found.st_nlink > 1:
            raise OSError(errno.EINVAL, _LINK, str(path))
    except OSError:
        file.close()
        raise
    return file


def write_whole(path: Path, content: bytes) -> None:
    """Write a file, and make its folder; an older one is replaced in one step, and so is a link.

    Raises:
        OSError: It cannot be written; the older file is as it was then.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Renaming replaces the old file in one step: a crash leaves either, whole.
    temporary = name_temporary(path)
    try:
        with temporary.open("xb") as file:
            file.write(content)
        temporary.replace(path)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def name_temporary(path: Path) -> Path:
    """A file beside another that nobody has, to write what is to replace it."""
    return path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")


def is_safetensors(content: bytes) -> bool:
    """Whether a file's content begins as safetensors do.

    Its first eight bytes are the length of its header, which may look like the begin of a pickle;
    the header is a table of JSON.
    """
    return content[8:9] == b"{"


def read_text(path: Path, limit: int) -> str:
    """The text of an ordinary UTF-8 file of at most ``limit`` bytes; a mark at its begin is none.

    Raises:
        OSError: See :func:`read_input`.
        ValueError: It is not UTF-8; the message says what it is instead, and what to do.
    """
    content = read_input(path, limit)
    other = next((name for mark, name in _OTHER_MARKS if content.startswith(mark)), None)
    if other is None and b"\0" in content:
        other = "UTF-16 or no text at all (it has zero bytes)"
    if other is not None:
        raise ValueError(f"it is {other}; save it as UTF-8")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        byte = content[error.start : error.start + 1]
        letter = byte.decode("cp1252", "replace")
        raise ValueError(
            f"line {line} is not UTF-8 (byte 0x{byte.hex()}, which is '{letter}' in Latin-1 or "
            "Windows-1252); save it as UTF-8"
        ) from error


def check_ordinary(path: Path) -> None:
    """Refuse what is no ordinary file, without opening it.

    Raises:
        OSError: It is something else, or not there.
    """
    try:
        _check_kind(path, path.stat().st_mode)
    except ValueError as error:  # a zero byte in the path
        raise OSError(errno.EINVAL, str(error), str(path)) from error


def _check_kind(path: Path, mode: int) -> None:
    if stat.S_ISREG(mode):
        return
    reason = next((text for is_kind, text in _KINDS if is_kind(mode)), "it is no ordinary file")
    raise OSError(errno.EINVAL, reason, str(path))
