"""The state that a long trial saved, as its row keeps it."""

from __future__ import annotations

import json
from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kdopt.store.statements import write_attributes

STATE_KEY = "kd:state"
"""User attribute of a running trial: the last state it saved."""


class SavedState(NamedTuple):
    """Where a long trial can be gone on with.

    Attributes:
        step: How far it is.
        sha256: The artifact that holds the state.
        attempt: The run that saved it.
    """

    step: int
    sha256: str
    attempt: int


def read(connection: Connection, trial_id: int) -> SavedState | None:
    """The last state of a trial, if it saved any."""
    text = connection.execute(
        sa.text(
            "SELECT value_json FROM trial_user_attributes WHERE trial_id = :trial AND key = :key"
        ),
        {"trial": trial_id, "key": STATE_KEY},
    ).scalar()
    return None if text is None else SavedState(**json.loads(text))


def write(connection: Connection, trial_id: int, state: SavedState) -> None:
    """Replace a trial's state."""
    drop(connection, trial_id)
    write_attributes(connection, trial_id, {STATE_KEY: state._asdict()})


def drop(connection: Connection, trial_id: int) -> None:
    """Forget a trial's state; its artifact is the caller's to remove."""
    connection.execute(
        sa.text("DELETE FROM trial_user_attributes WHERE trial_id = :trial AND key = :key"),
        {"trial": trial_id, "key": STATE_KEY},
    )
