"""Trials that workers gave back unfinished, because they were told to stop before an end.

One that is given back again and again, as each worker's time is shorter than the trial's, would
never end, and nothing would say why. So it is counted, in an attribute of the trial, until the
trial gets further.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kdopt.campaign.plain import load_json
from kdopt.store.attributes import GIVEN_BACK_KEY, write_trial_attributes
from kdopt.store.database import Store
from kdopt.store.scope import TRIALS, UNDER_CAMPAIGN, under_campaign


class GivenBack(NamedTuple):
    """Trials of a campaign that are still to do and were given back without getting further.

    Attributes:
        trials: How many.
        times: How often, all of them together.
        longest_s: Seconds that a worker spent on one of them at most.
    """

    trials: int
    times: int
    longest_s: float


def count_giving_back(store: Store, connection: Connection, trial_id: int) -> None:
    """Count that a running trial is given back unfinished."""
    sql = sa.text(
        f"""
        SELECT {store.age("t.datetime_start")} AS seconds, {store.now} AS now, x.value_json AS text
        FROM trials t LEFT JOIN trial_user_attributes x
          ON x.trial_id = t.trial_id AND x.key = '{GIVEN_BACK_KEY}'
        WHERE t.trial_id = :trial
        """
    )
    row = connection.execute(sql, {"trial": trial_id}).one()
    times, longest_s, _ = _parse_note(row.text)
    count = {
        "times": times + 1,
        "longest_s": round(max(longest_s, float(row.seconds or 0.0)), 1),
        "at": float(row.now),
    }
    write_trial_attributes(connection, trial_id, {GIVEN_BACK_KEY: count})


def forget_giving_back(connection: Connection, trial_id: int) -> None:
    """Count from 0 again: the trial got further, or ended."""
    connection.execute(
        sa.text(
            f"DELETE FROM trial_user_attributes WHERE trial_id = :trial "
            f"AND key = '{GIVEN_BACK_KEY}'"
        ),
        {"trial": trial_id},
    )


def read_given_back(store: Store, campaign: str) -> GivenBack | None:
    """What was given back of a campaign and is still to do; ``None`` when nothing was."""
    rows = store.select_rows(
        f"""
        SELECT x.value_json FROM {TRIALS}
        JOIN trial_user_attributes x ON x.trial_id = t.trial_id AND x.key = '{GIVEN_BACK_KEY}'
        WHERE t.state IN ('WAITING', 'RUNNING') AND {UNDER_CAMPAIGN}
        """,
        under_campaign(campaign),
    )
    counts = [_parse_note(text) for (text,) in rows]
    if not counts:
        return None
    return GivenBack(
        len(counts),
        sum(times for times, _, _ in counts),
        max(longest_s for _, longest_s, _ in counts),
    )


def is_note_of_giving_back(text: object) -> bool:
    """Whether kdopt can have written this of a trial that was given back."""
    times, longest_s, at = _parse_note(text)
    return times > 0 and longest_s >= 0 and at > 0


def _parse_note(text: object) -> tuple[int, float, float]:
    """Times, longest run and the last time; zeros for what kdopt did not write."""
    try:
        found = load_json(text or "{}")
        times, longest_s, at = int(found["times"]), float(found["longest_s"]), float(found["at"])
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return 0, 0.0, 0.0
    if not math.isfinite(longest_s) or not math.isfinite(at):
        return 0, 0.0, 0.0
    return times, longest_s, at
