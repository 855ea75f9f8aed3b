"""Rows of studies as the database has them, and what kdopt writes with a study."""

from __future__ import annotations

from collections import defaultdict
from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kdopt.campaign.studies import StudyPlan
from kdopt.store.attributes import (
    CAMPAIGN_KEY,
    METRIC_NAMES_KEY,
    PARTITION_KEY,
    PLANNED_AS_KEY,
    STAGE_KEY,
    STUDENT_KEY,
    TEACHER_KEY,
)
from kdopt.store.scope import UNDER_CAMPAIGN, select_names, under_campaign


class RawStudy(NamedTuple):
    """One row of ``studies`` with what belongs to it.

    Attributes:
        name: Its name.
        directions: Objective and direction of its values.
        attributes: JSON texts of its user attributes.
        metric_names: JSON text of what its values are called.
    """

    name: str
    directions: list[tuple[object, object]]
    attributes: dict[str, object]
    metric_names: object


def select_raw_studies(connection: Connection, campaign: str) -> list[RawStudy]:
    """All studies under a campaign's prefix but summaries, in order of their ids."""
    of = under_campaign(campaign)
    directions: dict[int, list[tuple[object, object]]] = defaultdict(list)
    sql = (
        "SELECT d.study_id, d.objective, d.direction FROM study_directions d "
        f"JOIN studies s ON s.study_id = d.study_id WHERE {UNDER_CAMPAIGN}"
    )
    for study_id, objective, direction in connection.execute(sa.text(sql), of):
        directions[study_id].append((objective, direction))
    user = _select_attributes(connection, "study_user_attributes", of)
    system = _select_attributes(connection, "study_system_attributes", of)
    return [
        RawStudy(name, directions[i], user[i], system[i].get(METRIC_NAMES_KEY))
        for i, name in select_names(connection, campaign)
    ]


def describe_study(plan: StudyPlan, planned_as: str | None) -> dict[str, object]:
    """The user attributes of a planned study; without a hash where older versions planned."""
    found: dict[str, object] = {
        CAMPAIGN_KEY: plan.campaign,
        PARTITION_KEY: plan.partition,
        STAGE_KEY: plan.stage,
        # A study that has no pair has neither key.
        TEACHER_KEY: plan.teacher,
        STUDENT_KEY: plan.student,
        PLANNED_AS_KEY: planned_as,
    }
    return {key: value for key, value in found.items() if value is not None}


def _select_attributes(
    connection: Connection, table: str, of: dict[str, object]
) -> dict[int, dict[str, object]]:
    sql = (
        f"SELECT a.study_id, a.key, a.value_json FROM {table} a "
        f"JOIN studies s ON s.study_id = a.study_id WHERE {UNDER_CAMPAIGN}"
    )
    found: dict[int, dict[str, object]] = defaultdict(dict)
    for study_id, key, text in connection.execute(sa.text(sql), of):
        found[study_id][key] = text
    return found
