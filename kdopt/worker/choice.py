"""Which study a worker looks into next, so that what it keeps in memory is used again.

The order has no part in any result: seeds come from names, and samplers see a study's trials one
at a time.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping

from kdopt.campaign.studies import StudyPlan
from kdopt.store.rows import StudyState
from kdopt.trials.registry import RUNNERS


def in_order(
    ready: Iterable[StudyState], plans: Mapping[str, StudyPlan], last: StudyPlan | None
) -> list[StudyState]:
    """The studies that are ready, the one to try first at the front.

    1. Long trials (federated averaging) before all else: one that starts last would leave every
       other worker idle.
    2. Locality: the study of the last trial, then those of its partition with the same student
       (its images) and the same teacher (its weights, and its logits on public sets), one of
       them, or neither.
    3. Priority: pre-training, which others wait for; then the studies on which fewest work.

    Equals are drawn at random, which spreads the workers.

    Args:
        ready: Studies with waiting trials that may start.
        plans: Plans by study name.
        last: Where this worker took its last trial; ``None`` at its start.
    """

    def rank(state: StudyState) -> tuple[bool, int, bool, int, float]:
        plan = plans[state.text]
        return (
            RUNNERS[plan.stage].long_run is None,
            -locality(plan, last),
            plan.stage != "pretrain",
            state.running,
            random.random(),  # noqa: S311
        )

    return sorted(ready, key=rank)


def locality(plan: StudyPlan, last: StudyPlan | None) -> int:
    """How much of what the last trial left in memory a study can use, from 0 to 5."""
    if last is None or plan.partition != last.partition:
        return 0
    if plan.name == last.name:
        return 5
    same_student = plan.student is not None and plan.student == last.student
    same_teacher = plan.teacher is not None and plan.teacher == last.teacher
    # A student's images are needed in every trial; a teacher's logits on them differ by student.
    return 1 + 2 * same_student + same_teacher
