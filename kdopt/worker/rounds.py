"""Which studies may be worked on now: their participants are trained, their round has come."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from kdopt.campaign.studies import StudyPlan
from kdopt.outcome import Outcome
from kdopt.store.rows import StudyState

Trained = Mapping[str, Mapping[int, Outcome]]
"""Pre-training outcomes by partition and participant."""


def startable(
    states: Sequence[StudyState], plans: Mapping[str, StudyPlan], trained: Trained
) -> list[StudyState]:
    """The studies with waiting trials that may be claimed, in the order of ``states``.

    A study waits until its participants are pre-trained, and until every study of its partition
    and stage that has an earlier round is finished. One whose participant will never be trained
    (it failed) holds nobody up.

    Args:
        states: Every study of the campaign.
        plans: Plans by study name; studies that are not among them are left alone.
        trained: What is pre-trained.
    """
    known = [s for s in states if s.text in plans]
    training = {s.name.partition for s in known if s.name.stage == "pretrain" and _unfinished(s)}
    ready = {s.text for s in known if _needs(plans[s.text]) <= _who(trained, s)}
    current: dict[tuple[str, str], int] = {}
    for state in known:
        hopeless = state.text not in ready and state.name.partition not in training
        if _unfinished(state) and not (hopeless and not state.running):
            place, number = (state.name.partition, state.name.stage), plans[state.text].round
            current[place] = min(number, current.get(place, number))
    return [
        s
        for s in known
        if s.waiting
        and s.text in ready
        and plans[s.text].round <= current.get((s.name.partition, s.name.stage), 0)
    ]


def finished_before(
    plan: StudyPlan, states: Sequence[StudyState], plans: Mapping[str, StudyPlan]
) -> list[tuple[StudyState, StudyPlan]]:
    """The finished studies of earlier rounds of a study's partition and stage, with their plans."""
    return [
        (s, plans[s.text])
        for s in states
        if s.text in plans
        and (s.name.partition, s.name.stage) == (plan.partition, plan.stage)
        and plans[s.text].round < plan.round
        and not _unfinished(s)
    ]


def _unfinished(state: StudyState) -> bool:
    return state.waiting + state.running > 0


def _needs(plan: StudyPlan) -> set[int]:
    return set(plan.needs)


def _who(trained: Trained, state: StudyState) -> set[int]:
    return set(trained.get(state.name.partition, {}))
