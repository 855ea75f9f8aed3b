"""``keep = "best"``: which finished trials have a student that is worth a file."""

from __future__ import annotations

import math

from kdopt.analysis.verdicts import rank_trial
from kdopt.campaign.method_studies import list_searched_methods
from kdopt.campaign.names import study_name
from kdopt.campaign.settings import Campaign
from kdopt.campaign.studies import Params, StudyPlan
from kdopt.outcome import Outcome
from kdopt.store import kept
from kdopt.store.artifacts.artifacts import Artifacts
from kdopt.store.database import Store
from kdopt.store.kept import Kept
from kdopt.trials.context import Context


class StudentKeeper:
    """Writes the students that are the best so far.

    Args:
        store: The store.
        artifacts: Where students go.
    """

    def __init__(self, store: Store, artifacts: Artifacts) -> None:
        self._store, self._artifacts = store, artifacts

    def offer(
        self, context: Context, plan: StudyPlan, number: int, params: Params, outcome: Outcome
    ) -> Kept | None:
        """Write the student of a trial that just ended, if it is the best so far.

        Returns:
            What is to be recorded with the trial's result; whether it is the best still is decided
            there. ``None`` where nothing was written.

        Raises:
            ArtifactError: It cannot be written.
        """
        if context.campaign.keep == "none" or not _is_rival(plan, params, outcome):
            return None
        studies, of = _name_rivals(context.campaign, plan, params)
        rank = rank_trial(context.campaign, params, outcome, plan.method)
        best = kept.read_best(self._store, studies, of)
        if best is not None and best.rank <= rank:
            return None
        model = context.trained.find(outcome)
        if model is None:
            return None  # where memory was too small for a group, its trials shared one model
        # The trial's name is in it, so no two trials ever share a file, and one can be removed.
        student = int(params.get("student", plan.student or 0))
        content = context.pack_trained(model, f"{plan.name} #{number}", outcome, student)
        return Kept(studies, of, self._artifacts.put(content), rank)


def _is_rival(plan: StudyPlan, params: Params, outcome: Outcome) -> bool:
    if plan.stage not in ("control", "tune", "compare") or outcome.validation_gain is None:
        return False
    # Plain distillation at alpha 0 is the control: no teacher has a part in it.
    taught = plan.method is not None or params.get("alpha") != 0
    return taught and math.isfinite(outcome.validation_gain)


def _name_rivals(
    campaign: Campaign, plan: StudyPlan, params: Params
) -> tuple[tuple[str, ...], str]:
    """The studies whose trials a trial competes with, and who competes within them."""
    if plan.stage == "control":
        return (plan.name,), f"s{int(params['student']):02d}"
    pair = plan.teacher, plan.student
    studies = [
        study_name(plan.campaign, plan.partition, stage, *pair) for stage in ("tune", "compare")
    ]
    studies += [
        study_name(plan.campaign, plan.partition, "tune", *pair, method)
        for method in list_searched_methods(campaign)
    ]
    return tuple(studies), "pair"
