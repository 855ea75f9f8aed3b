"""The paper's claims C1 to C14, each beside what this campaign measured and a verdict."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from kdopt.analysis.paper.dynamics_claims import (
    accuracy_alone_does_not_decide,
    learning_against_forgetting,
)
from kdopt.analysis.paper.evidence import Claim, Evidence, gather
from kdopt.analysis.paper.many_teacher_claims import (
    a_consolidated_start_saves_rounds,
    where_to_start_and_whom_to_heed,
)
from kdopt.analysis.paper.method_claims import (
    dml_needs_labels,
    larger_sets_transfer_more,
    vanilla_against_dp_kd,
    vanilla_for_strong_teachers,
)
from kdopt.analysis.paper.tuning_claims import (
    cinic_agrees,
    settings_follow_strength,
    specialized_wants_little,
    tuned_beats_all,
    tuning_grows_with_the_gap,
    uniform_has_no_pattern,
)
from kdopt.campaign.settings import Campaign
from kdopt.outcome import TrialRow

CLAIMS: tuple[Callable[[Evidence], Claim], ...] = (
    larger_sets_transfer_more,
    dml_needs_labels,
    vanilla_against_dp_kd,
    vanilla_for_strong_teachers,
    tuned_beats_all,
    tuning_grows_with_the_gap,
    settings_follow_strength,
    specialized_wants_little,
    uniform_has_no_pattern,
    cinic_agrees,
    accuracy_alone_does_not_decide,
    learning_against_forgetting,
    where_to_start_and_whom_to_heed,
    a_consolidated_start_saves_rounds,
)


def claims(rows: Sequence[TrialRow], campaign: Campaign) -> list[Claim]:
    """All claims in order, whatever part of the campaign is complete."""
    return judged(gather(rows, campaign))


def judged(evidence: Evidence) -> list[Claim]:
    """The same from tables that are made already."""
    return [judge(evidence) for judge in CLAIMS]
