"""Whether studies say what they are, as kdopt wrote it when it planned them."""

from __future__ import annotations

import json
from collections.abc import Iterator

from kdopt.campaign.studies import StudyPlan
from kdopt.shown import format_count
from kdopt.store.attributes import (
    METRIC_NAMES_KEY,
    PLANNED_AS_KEY,
    VERDICT_KEY,
    VERSIONS_KEY,
)
from kdopt.store.raw_rows import RawStudy, describe_study
from kdopt.store.reading import UnreadableError, parse_json
from kdopt.worker.versions import is_list_of_versions


def check_study(study: RawStudy, plan: StudyPlan, planned_as: str | None) -> Iterator[str]:
    """What of a planned study's row is not as kdopt writes it, a line each."""
    if study.directions != [(0, "MAXIMIZE")]:
        yield f"{plan.name}: its directions are {study.directions}, not to maximize one value"
    wanted = describe_study(plan, planned_as)
    for key, value in wanted.items():
        if key not in study.attributes:
            yield f"{plan.name}: {key} is missing, it was planned with {value!r}"
            continue
        try:
            has = parse_json(study.attributes[key])
        except UnreadableError as error:
            yield f"{plan.name}: {key}: {error}"
            continue
        if has != value or type(has) is not type(value):
            yield f"{plan.name}: {key} is {has!r}, it was planned with {value!r}"
    if study.metric_names != f'["{plan.objective}"]':
        yield f"{plan.name}: {METRIC_NAMES_KEY} is {study.metric_names}, not {plan.objective}"
    if VERDICT_KEY in study.attributes and not _is_text(study.attributes[VERDICT_KEY]):
        yield f"{plan.name}: {VERDICT_KEY} is no text; 'kdopt report' writes it again"


def check_own_study(study: RawStudy, planned_as: str | None) -> Iterator[str]:
    """The campaign's own study has its record, and what that was planned as."""
    again = "'kdopt plan SPEC' and 'kdopt doctor --repair' write it again"
    if study.trials:
        yield (
            f"{study.name}: {format_count(study.trials, 'trial')} of another program; kdopt puts "
            "none there"
        )
    has = study.attributes.get(PLANNED_AS_KEY)
    if has is not None and planned_as is None:
        yield f"{study.name}: kdopt's own copy of its record was deleted; {again}"
    elif planned_as is not None and has != json.dumps(planned_as):
        yield f"{study.name}: {PLANNED_AS_KEY} is {has}, it was planned as {planned_as!r}; {again}"
    if VERSIONS_KEY in study.attributes and not is_list_of_versions(study.attributes[VERSIONS_KEY]):
        cure = "remove it, and the next worker writes it again"
        yield f"{study.name}: {VERSIONS_KEY} cannot be read; {cure}"


def _is_text(stored: object) -> bool:
    try:
        return isinstance(parse_json(stored), str)
    except UnreadableError:
        return False
