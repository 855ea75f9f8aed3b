"""Copy a store while it is in use: the database first, then the artifacts that it refers to.

Artifacts are named by their content and never change, so a copy of them that is made after the
copy of the database holds everything that the database knows of. The copy is a store itself: open
it with ``--store FOLDER/kdopt.db``.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import sqlalchemy as sa

from kdopt.errors import LostArtifactError, StoreError
from kdopt.shown import format_count
from kdopt.store import queries
from kdopt.store.artifacts import Artifacts
from kdopt.store.attributes import OUTCOME_KEY
from kdopt.store.database import Store, check_versions, open_store
from kdopt.store.file import check_sqlite_file, look_at_file
from kdopt.store.forks import use_connection
from kdopt.store.kept import list_kept
from kdopt.store.location import parse_location
from kdopt.store.raw_rows import read_raw_trials

DATABASE = "kdopt.db"
ARTIFACTS = "artifacts"


class BackedUp(NamedTuple):
    """What a backup holds.

    Attributes:
        database: The copy of the database.
        campaigns: Campaigns in it.
        artifacts: Artifacts that they refer to.
        copied: How many of these were not in the folder already.
    """

    database: Path
    campaigns: int
    artifacts: int
    copied: int


def back_up_store(store: Store, shelf: Artifacts, folder: Path) -> BackedUp:
    """Copy an SQLite store into a folder; doing it again brings the copy up to date.

    Raises:
        StoreError: The store is no SQLite file, or the folder is its own, cannot be written or
            holds anything but an earlier copy.
        ArtifactError: An artifact is missing or altered; the database has been copied by then.
    """
    if store.dialect != "sqlite":
        raise StoreError(
            f"store {store.label}: only SQLite files are copied here; back a Postgres database up "
            "with pg_dump, and the artifacts with the means of their storage"
        )
    source, target = Path(str(store.url.database)), folder / DATABASE
    if os.path.lexists(target):
        _check_earlier_copy(store, source, target)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _copy_database(source, target)
    except OSError as error:
        raise StoreError(
            f"backup {folder}: cannot be written: {error.strerror}; free space, change the "
            "permissions or give another folder"
        ) from error
    # What the copy refers to, not what the store has come to refer to meanwhile.
    copy = open_store(str(target))
    try:
        names = queries.list_campaigns(copy)
        needed = {sha256 for name in names for sha256 in _list_needed(copy, name)}
        kept = list_kept(copy)
    finally:
        copy.close()
    there = Artifacts(folder / ARTIFACTS)
    missing = [sha256 for sha256 in sorted(needed) if not there.has(sha256)]
    for sha256 in missing:
        there.put(shelf.get(sha256))
    for sha256 in sorted(kept):
        # A better one may have replaced it meanwhile; it can be trained again.
        with contextlib.suppress(LostArtifactError):
            there.put(shelf.get(sha256))
    return BackedUp(target, len(names), len(needed), len(missing))


def _check_earlier_copy(store: Store, source: Path, target: Path) -> None:
    """Refuse to replace what is not an earlier copy of this very store.

    Raises:
        StoreError: It is something else, or has results that the store has not.
    """
    if target.exists() and target.samefile(source):
        raise StoreError(f"store {source}: this is the store itself; give another folder")
    url = parse_location(str(target))
    try:
        if not target.is_file() or target.is_symlink():
            raise StoreError("not a plain file")
        check_sqlite_file(url, create=False)
        look_at_file(url, lambda engine: _compare_contents(store, Store(url, engine)))
    except (StoreError, sa.exc.DatabaseError) as error:
        reason = str(error).removeprefix(f"store {target}: ").partition(";")[0]
        if isinstance(error, sa.exc.DatabaseError):
            reason = f"not a whole store ({error.orig})"
        raise StoreError(
            f"backup {target}: this is not an earlier copy of store {source}: {reason}; it is left "
            "as it is: move it away, or give another folder"
        ) from error


def _compare_contents(store: Store, copy: Store) -> None:
    check_versions(copy)
    theirs, ours = _describe_content(copy), _describe_content(store)
    # Stores of older versions have no number.
    if theirs.number != ours.number and theirs.number and ours.number:
        raise StoreError("it is of another store")
    if studies := theirs.studies - ours.studies:
        raise StoreError(f"it has the study '{min(name for _, name in studies)}', which this lacks")
    if results := theirs.results - ours.results:
        raise StoreError(f"it has {format_count(len(results), 'result')} that this lacks")


class _Content(NamedTuple):
    """What tells a store from others: its number, its studies, and when each result was made."""

    number: int
    studies: set[tuple[int, str]]
    results: set[tuple[int, str]]


def _describe_content(store: Store) -> _Content:
    ((number,),) = store.select_rows("PRAGMA user_version")
    studies = store.select_rows("SELECT study_id, study_name FROM studies")
    results = store.select_rows(
        "SELECT t.trial_id, t.datetime_complete FROM trials t JOIN trial_user_attributes x "
        f"ON x.trial_id = t.trial_id AND x.key = '{OUTCOME_KEY}' WHERE t.state = 'COMPLETE'"
    )
    return _Content(
        int(number),
        {(i, str(name)) for i, name in studies},
        {(i, str(ended)) for i, ended in results},
    )


def _copy_database(source: Path, target: Path) -> None:
    """SQLite's online backup, under another name until it is whole."""
    temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex}.part")
    try:
        with (
            use_connection(),
            contextlib.closing(sqlite3.connect(source, timeout=60)) as read,
            contextlib.closing(sqlite3.connect(temporary)) as write,
        ):
            read.backup(write)
        # Left of an earlier copy that was opened, and no part of this one.
        for suffix in ("-wal", "-shm"):
            Path(f"{target}{suffix}").unlink(missing_ok=True)
        shutil.move(temporary, target)
    except sqlite3.Error as error:
        raise StoreError(
            f"backup {target}: {error}; free space or give another folder, and run it again"
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def _list_needed(store: Store, campaign: str) -> Iterable[str]:
    yield from queries.read_record(store, campaign).artifacts
    yield from (t.checkpoint for t in read_raw_trials(store, campaign) if t.checkpoint)
