"""The file of an SQLite store: a look at it that changes nothing, and whether it is still there."""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import sqlalchemy as sa
from sqlalchemy.engine import URL, Engine

from kdopt.errors import StoreError
from kdopt.files import check_ordinary, find_tight_limit, open_input
from kdopt.store.forks import use_connection
from kdopt.store.location import label_of
from kdopt.store.locks import LOCK_WAIT_S

_BESIDE = ("-journal", "-wal", "-shm")
"""What SQLite keeps beside a file."""

_JOURNAL_BEGINS = (bytes.fromhex("d9d505f920a163d7"), b"\0")
"""How a rollback journal begins, and one that undoes nothing (SQLite, Database File Format, 3)."""

_UNCHANGED = "mode=ro&immutable=1"
"""How SQLite opens a file without locks, and without files beside it."""


class StoreFile:
    """Which file a store has open.

    A file that is removed or replaced lives on for those who have it open: they would go on
    writing results that nobody else will ever see. One that another store was copied over is the
    same file still, and is told by the number that every store has.

    Args:
        url: Of the store, which is open: to open a file may give it another number, on file
            systems that copy what is written.
        number: Of the store, 0 for one of an older version, which has none.
    """

    def __init__(self, url: URL, number: int) -> None:
        self._path = Path(str(url.database)).absolute()
        self._label = label_of(url)
        self._identity = self._identify_file()
        self._number = number
        # A new store's number is in the journal at first, and the file says 0.
        self._numbers = {number, 0}

    def check(self) -> None:
        """See that the file is the same, and has the content of the same store.

        Raises:
            StoreError: It is not there any more, or another one.
        """
        if self._identify_file() != self._identity:
            raise self._make_error("was replaced by another one")
        try:
            number = read_store_number(self._path)
        except sqlite3.Error as error:
            if error.sqlite_errorname.startswith("SQLITE_CANTOPEN"):
                raise StoreError(f"store {self._label}: {_explain_unopened(error)}") from error
            raise self._make_error(f"was written over ({error})") from error
        if number is not None and number not in self._numbers:
            raise self._make_error("was written over with another store")
        if number == self._number:
            self._numbers = {number}

    def _identify_file(self) -> tuple[int, int]:
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


def read_store_number(path: Path) -> int | None:
    """The number in an SQLite file by which kdopt tells stores apart, without what is in journals.

    ``None`` where a journal is just being moved into the file, which is not whole without it.

    By SQLite, and not by reading the file: a process that closes a file it has opened gives up all
    its locks on it. SQLite's own connections would go on without theirs, and the next process to
    close the store would take the journal away from under them.

    Raises:
        sqlite3.Error: It is no SQLite file.
    """
    with contextlib.closing(_connect_file(path, _UNCHANGED)) as connection:
        try:
            return int(connection.execute("PRAGMA user_version").fetchone()[0])
        except sqlite3.DatabaseError as error:
            if error.sqlite_errorname.startswith("SQLITE_CORRUPT"):
                return None
            raise


def check_sqlite_file(url: URL, create: bool) -> None:
    """Refuse a file that cannot be a store, before SQLite touches it; make its folder if asked.

    Raises:
        StoreError: It is missing, a folder, not SQLite, or may not be written.
    """
    path = Path(str(url.database))
    if path.is_dir():
        raise StoreError(f"store {path}: this is a folder; give the path of a file")
    if path.exists():
        # Opening a file in WAL mode needs to write beside it, even to read.
        if not os.access(path, os.R_OK | os.W_OK) or not os.access(path.parent, os.W_OK):
            raise StoreError(
                f"store {path}: no permission to read and write it and its folder, which SQLite "
                "needs also to read; change the permissions, or give another --store or a copy"
            )
        real = path.resolve()  # where SQLite keeps the others, also if the path is a link
        for file in (path, *(real.with_name(real.name + suffix) for suffix in _BESIDE)):
            try:
                if file == path or os.path.lexists(file):
                    check_ordinary(file)  # SQLite would wait for a pipe
                if file != path and file.is_symlink():
                    raise OSError(errno.EINVAL, "it is a link, and SQLite would write through it")
            except OSError as error:
                about = "" if file == path else f"{file.name} beside it: "
                raise StoreError(
                    f"store {path}: {about}{error.strerror}; give another --store"
                ) from error
        _check_journal(path, real.with_name(f"{real.name}-journal"))
        try:
            read_store_number(path)
        except sqlite3.Error as error:
            if error.sqlite_errorname.startswith("SQLITE_CANTOPEN"):
                raise StoreError(f"store {path}: {_explain_unopened(error)}") from error
            raise StoreError(
                f"store {path}: this file is not a kdopt store (not SQLite: {error}); give another "
                "--store"
            ) from error
        return
    if not create:
        raise StoreError(
            f"store {path}: there is none; run 'kdopt plan SPEC' or 'kdopt run SPEC' first"
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(
            f"store {path}: its folder cannot be made: {error.strerror}; give another --store"
        ) from error
    if not os.access(path.parent, os.W_OK):
        raise StoreError(
            f"store {path}: no permission to write in {path.parent}; "
            "change the permissions or give another --store"
        )


def _explain_unopened(error: sqlite3.Error) -> str:
    fix = find_tight_limit() or "change its permissions or give another --store"
    return f"{error}; {fix}"


def _check_journal(path: Path, journal: Path) -> None:
    """Refuse a file that is called like a store's journal and is none: SQLite would remove it."""
    try:
        with open_input(journal) as file:
            begin = file.read(8)
    except FileNotFoundError:
        return
    except OSError as error:
        raise StoreError(
            f"store {path}: {journal.name} beside it: {error.strerror}; it may hold a change that "
            "was cut off: change its permissions"
        ) from error
    if begin and not begin.startswith(_JOURNAL_BEGINS):
        raise StoreError(
            f"store {path}: {journal.name} beside it is no journal of SQLite, which would take it "
            "for one and remove it; move it away and run the same command again"
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
        # Not emptied, and no link followed: a file of that name may be somebody's. A pipe is not
        # waited for.
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)
        file = os.fdopen(handle)
    except OSError as error:
        fix = "free space, change the permissions or give another --store"
        raise StoreError(
            f"store lock {path}: cannot be written: {error.strerror}; "
            f"{find_tight_limit(error.errno) or fix}"
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
    path = Path(str(url.database)).resolve()
    beside = [path.with_name(path.name + suffix) for suffix in ("-wal", "-journal")]
    if not any(file.exists() for file in beside):
        # Even a connection that only reads would leave two files beside one in WAL mode.
        try:
            _look_into(path, _UNCHANGED, look)
        except sa.exc.DatabaseError:
            pass  # somebody writes it, perhaps
        else:
            return
    try:
        _look_into(path, "mode=ro", look)
    except sa.exc.OperationalError as error:
        if getattr(error.orig, "sqlite_errorname", "") != "SQLITE_READONLY_ROLLBACK":
            raise
    else:
        return
    # A writer was killed. If the file is a store, SQLite undoes the change as it is opened.
    try:
        _look_into(path, _UNCHANGED, look)
    except sa.exc.DatabaseError as error:
        raise StoreError(
            f"store {path}: a program was stopped while it wrote this file, and its change must be "
            "undone before the file can be read; open it once with that program, or with "
            f"sqlite3 {path} 'SELECT 1 FROM sqlite_master'"
        ) from error


def _look_into(path: Path, mode: str, look: Callable[[Engine], None]) -> None:
    engine = sa.create_engine(
        "sqlite://",
        creator=lambda: _connect_file(path, mode),
        poolclass=sa.pool.NullPool,
    )
    try:
        with use_connection():
            look(engine)
    finally:
        engine.dispose()


def _connect_file(path: Path, mode: str) -> sqlite3.Connection:
    return sqlite3.connect(f"file:{quote(str(path))}?{mode}", uri=True, timeout=LOCK_WAIT_S)
