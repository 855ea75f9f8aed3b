"""The best student of each pair, kept while trials finish (``keep = "best"``).

A student is an artifact, written before the transaction that records its trial's result. That
transaction also decides whether it is better than the one kept so far. So a worker that is killed
leaves a file too many at worst, and never a row whose file is missing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kdopt.campaign.fields import SHA256_RULE
from kdopt.campaign.plain import load_json
from kdopt.store.attributes import KEPT_KEY, write_trial_attributes
from kdopt.store.database import Store
from kdopt.store.statements import bind_lists

_BEST = bind_lists(
    "SELECT x.trial_id, x.value_json FROM trial_user_attributes x "
    "JOIN trials t ON t.trial_id = x.trial_id JOIN studies s ON s.study_id = t.study_id "
    f"WHERE s.study_name IN :studies AND x.key = '{KEPT_KEY}' ORDER BY x.trial_id",
    "studies",
)
# In order of their ids, as merges lock them.
_LOCK = "SELECT study_id FROM studies WHERE study_name IN :studies ORDER BY study_id"
_ALL = f"SELECT value_json FROM trial_user_attributes WHERE key = '{KEPT_KEY}'"
_ONE = sa.text(
    "SELECT x.value_json FROM trial_user_attributes x JOIN trials t ON t.trial_id = x.trial_id "
    "JOIN studies s ON s.study_id = t.study_id "
    f"WHERE s.study_name = :study AND t.number = :number AND x.key = '{KEPT_KEY}'"
)


class Kept(NamedTuple):
    """A trial's student.

    Attributes:
        studies: Those whose trials compete with it.
        of: Who competes within them: a pair, or a student without a teacher.
        sha256: The artifact with its weights.
        rank: The least is the best.
    """

    studies: tuple[str, ...]
    of: str
    sha256: str
    rank: tuple[float, ...]


def read_best(store: Store, studies: tuple[str, ...], of: str) -> Kept | None:
    """The best student that is kept; another may be when the answer is read."""
    found = store.run_read(lambda connection: list(_select_kept(connection, studies, of)))
    return min((kept for _, kept in found), key=lambda kept: kept.rank, default=None)


def find_kept(store: Store, study: str, number: int) -> str | None:
    """The sha256 of the student that is kept of one trial."""
    text = store.run_read(
        lambda connection: connection.execute(_ONE, {"study": study, "number": number}).scalar()
    )
    kept = parse_kept(text, (study,))
    return None if kept is None else kept.sha256


def list_kept(store: Store) -> list[str]:
    """The sha256 of every student that is kept of any campaign."""
    rows = store.select_rows(_ALL)
    return [kept.sha256 for (text,) in rows if (kept := parse_kept(text, ())) is not None]


def lock_kept(store: Store, connection: Connection, student: Kept) -> None:
    """Keep others from deciding about the same students until the end of the transaction."""
    if store.row_lock:
        lock = bind_lists(f"{_LOCK} {store.row_lock}", "studies")
        connection.execute(lock, {"studies": list(student.studies)})


def keep_better(connection: Connection, trial_id: int, student: Kept) -> list[str]:
    """Keep a student if it is better than what is kept; of equals the earlier one stays.

    Returns:
        The sha256 of each that nothing refers to any more: those kept before, or this one.
    """
    before = list(_select_kept(connection, student.studies, student.of))
    if any(kept.rank <= student.rank for _, kept in before):
        return [student.sha256]
    connection.execute(
        bind_lists(
            f"DELETE FROM trial_user_attributes WHERE key = '{KEPT_KEY}' AND trial_id IN :trials",
            "trials",
        ),
        {"trials": [trial for trial, _ in before]},
    )
    value = {"of": student.of, "sha256": student.sha256, "rank": student.rank}
    write_trial_attributes(connection, trial_id, {KEPT_KEY: value})
    return [kept.sha256 for _, kept in before]


def _select_kept(
    connection: Connection, studies: tuple[str, ...], of: str
) -> Iterator[tuple[int, Kept]]:
    for trial_id, text in connection.execute(_BEST, {"studies": list(studies)}):
        kept = parse_kept(text, studies)
        if kept is not None and kept.of == of:
            yield trial_id, kept


def parse_kept(text: object, studies: tuple[str, ...]) -> Kept | None:
    """What a trial's attribute says; ``None`` for what kdopt did not write."""
    try:
        value = load_json(text)
        kept = Kept(studies, value["of"], value["sha256"], tuple(map(float, value["rank"])))
    except (ValueError, TypeError, KeyError):
        return None
    fine = isinstance(kept.of, str) and bool(kept.rank) and not any(map(math.isnan, kept.rank))
    return (
        kept if fine and isinstance(kept.sha256, str) and SHA256_RULE.holds(kept.sha256) else None
    )
