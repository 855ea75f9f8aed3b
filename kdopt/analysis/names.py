"""The names of participants in tables, where a campaign gives them names."""

from __future__ import annotations

import pandas as pd

from kdopt.campaign.settings import Campaign

NAMED = ("teacher", "student", "participant")
"""Columns of numbers of participants; ``teacher_name`` comes after ``teacher``."""


def add_names(frame: pd.DataFrame, campaign: Campaign) -> pd.DataFrame:
    """A table with the names of participants after their numbers.

    It stays as it is where the campaign has no names, or the table has them.
    """
    for key in NAMED:
        name = f"{key}_name"
        if campaign.participant and key in frame.columns and name not in frame.columns:
            frame = frame.copy()
            names = [campaign.name_participant(int(number)) for number in frame[key]]
            frame.insert(list(frame.columns).index(key) + 1, name, names)
    return frame


def list_name_columns(frame: pd.DataFrame) -> list[str]:
    """The columns of names that a table of pairs has."""
    return [name for name in ("teacher_name", "student_name") if name in frame.columns]
