"""``keep = "best"``: which finished trials have a student that is worth a file."""

from __future__ import annotations

from kdopt.analysis.verdicts import is_rival, name_rivals, rank_trial
from kdopt.campaign.studies import StudyPlan
from kdopt.outcome import Outcome
from kdopt.store import kept
from kdopt.store.artifacts import Artifacts
from kdopt.store.database import Store
from kdopt.store.kept import Kept
from kdopt.store.leases import Lease
from kdopt.trials.context import Context


def keep_if_best(
    store: Store,
    artifacts: Artifacts,
    context: Context,
    plan: StudyPlan,
    claim: Lease,
    outcome: Outcome,
) -> Kept | None:
    """Write the student of a trial that just ended, if it is the best so far.

    Args:
        store: The store.
        artifacts: Where students go.
        context: Has the student's model.
        plan: The trial's study.
        claim: The trial.
        outcome: Its result, which is not recorded yet.

    Returns:
        What is to be recorded with the trial's result; whether it is the best still is decided
        there. ``None`` where nothing was written.

    Raises:
        ArtifactError: It cannot be written.
    """
    params = claim.params
    if context.campaign.keep == "none" or not is_rival(plan, params, outcome):
        return None
    studies, of = name_rivals(context.campaign, plan, params)
    rank = rank_trial(context.campaign, params, outcome, plan.method)
    best = kept.read_best(store, studies, of)
    if best is not None and best.rank <= rank:
        return None
    model = context.trained.find(outcome)
    if model is None:
        return None  # where memory was too small for a group, its trials shared one model
    # The trial's name is in it, so no two trials ever share a file, and one can be removed.
    student = int(params.get("student", plan.student or 0))
    content = context.pack_trained(model, f"{plan.name} #{claim.number}", outcome, student)
    return Kept(studies, of, artifacts.put(content), rank)
