"""The file of an SQLite store: a look at it that changes nothing, and whether it is still there."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import sqlalchemy as sa
from sqlalchemy.engine import URL, Engine

from kdopt.errors import StoreError
from kdopt.store.location import label_of


class StoreFile:
    """Which file a store has open.

    A file that is removed or replaced lives on for those who have it open: they would go on
    writing results that nobody else will ever see.

    Args:
        url: Of the store, which is open: to open a file may give it another number, on file
            systems that copy what is written.
    """

    def __init__(self, url: URL) -> None:
        self._path = Path(str(url.database)).absolute()
        self._label = label_of(url)
        self._identity = self._identify()

    def check(self) -> None:
        """See that the file is the same.

        Raises:
            StoreError: It is not there any more, or another one.
        """
        if self._identify() != self._identity:
            raise self._make_error("was replaced by another one")

    def _identify(self) -> tuple[int, int]:
        try:
            found = self._path.stat()
        except OSError as error:
            what = (
                "was removed"
                if isinstance(error, FileNotFoundError)
                else f"is not reached ({error.strerror})"
            )
            raise self._make_error(what) from error
        return found.st_dev, found.st_ino

    def _make_error(self, what: str) -> StoreError:
        return StoreError(
            f"store {self._label}: its file {what} while it was open, so that nothing more can be "
            "recorded in it; put it back, or a copy of 'kdopt backup', and run the same command "
            "again"
        )


@contextlib.contextmanager
def hold_file(path: Path) -> Iterator[None]:
    """Hold a lock file; it is freed by the system if the process dies, and left in place."""
    try:
        import fcntl
    except ModuleNotFoundError:  # Windows: creation is not guarded there
        yield
        return
    try:
        file = path.open("w")
    except OSError as error:
        raise StoreError(
            f"store lock {path}: cannot be written: {error.strerror}; free space, change the "
            "permissions or give another --store"
        ) from error
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def look_at_file(url: URL, look: Callable[[Engine], None]) -> None:
    """Read an SQLite file that may be another program's without changing it in any way.

    Args:
        url: Of the file, which is there.
        look: Reads; it is called again where the first reading met a writer.
    """
    path = Path(str(url.database)).absolute()
    beside = [path.with_name(path.name + suffix) for suffix in ("-wal", "-journal")]
    if not any(file.exists() for file in beside):
        # Even a connection that only reads would leave two files beside one in WAL mode.
        try:
            _look(path, "mode=ro&immutable=1", look)
        except sa.exc.DatabaseError:
            pass  # somebody writes it, perhaps
        else:
            return
    _look(path, "mode=ro", look)


def _look(path: Path, mode: str, look: Callable[[Engine], None]) -> None:
    engine = sa.create_engine(
        "sqlite://",
        creator=lambda: sqlite3.connect(f"file:{quote(str(path))}?{mode}", uri=True, timeout=60),
        poolclass=sa.pool.NullPool,
    )
    try:
        look(engine)
    finally:
        engine.dispose()
