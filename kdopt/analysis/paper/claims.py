"""The paper's claims C1 to C14, each beside what this campaign measured and a verdict."""

from __future__ import annotations

from collections.abc import Callable

from kdopt.analysis.paper.judging import Claim
from kdopt.analysis.paper.many_teacher_claims import (
    judge_consolidated_start,
    judge_start_and_weights,
)
from kdopt.analysis.paper.method_claims import (
    judge_accuracy_does_not_decide,
    judge_dml_needs_labels,
    judge_larger_sets_transfer_more,
    judge_learning_against_forgetting,
    judge_vanilla_against_dp_kd,
    judge_vanilla_for_strong_teachers,
)
from kdopt.analysis.paper.tuning_claims import (
    judge_cinic_agrees,
    judge_settings_follow_strength,
    judge_specialized_wants_little,
    judge_tuned_beats_all,
    judge_tuning_grows_with_gap,
    judge_uniform_has_no_pattern,
)
from kdopt.analysis.tables import Tables

# In the paper's order: a claim's number is its position, counted from 1.
CLAIMS: tuple[Callable[[Tables], Claim], ...] = (
    judge_larger_sets_transfer_more,
    judge_dml_needs_labels,
    judge_vanilla_against_dp_kd,
    judge_vanilla_for_strong_teachers,
    judge_tuned_beats_all,
    judge_tuning_grows_with_gap,
    judge_settings_follow_strength,
    judge_specialized_wants_little,
    judge_uniform_has_no_pattern,
    judge_cinic_agrees,
    judge_accuracy_does_not_decide,
    judge_learning_against_forgetting,
    judge_start_and_weights,
    judge_consolidated_start,
)


def judge_claims(tables: Tables) -> list[Claim]:
    """All claims in order, whatever part of the campaign is complete."""
    return [judge(tables) for judge in CLAIMS]
