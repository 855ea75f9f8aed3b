"""The paper's claims C1 to C14 beside what a campaign measured, and C10 across campaigns.

C10 asks whether what tuning finds on one data set is found on another. The paper compares its Figs.
3 and 4 by eye. Here the contrasts of C5 to C7 are judged in each campaign alone, and then set
beside each other. The same is done for any two campaigns, whatever differs between them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import pandas as pd

from kdopt.analysis.agreement import ComparedCampaign, list_setting_differences
from kdopt.analysis.paper.judging import (
    Claim,
    Contrast,
    Verdict,
    combine_verdicts,
    list_families,
    make_empty_contrast,
)
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
    CINIC_AGREES,
    judge_cinic_agrees,
    judge_settings_follow_strength,
    judge_specialized_wants_little,
    judge_tuned_beats_all,
    judge_tuning_grows_with_gap,
    judge_tuning_pattern,
    judge_uniform_has_no_pattern,
)
from kdopt.analysis.stats import TIE_DECIMALS
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


AGREEMENT_RULE = (
    "Each contrast of the claims C5 to C7 is judged in each campaign alone. Two campaigns agree in "
    "a contrast that is supported in both or contradicted in both, and disagree in one that is "
    "supported in the one and contradicted in the other; all else is undecided. That they agree is "
    "supported if they do in all contrasts, contradicted if they disagree in any, and undecided "
    "otherwise. The verdict is about the shape of the results, not about single pairs."
)

CHUNKS = "label_chunks"

SETTINGS_NAMED = 3

SIDES = ("value", "low", "high", "n", "verdict")

PATTERN_COLUMNS = (
    "first", "second", "contrast", "unit", "claimed", *(f"first_{key}" for key in SIDES),
    *(f"second_{key}" for key in SIDES), "same_side", "agreement",
)  # fmt: skip


def judge_claims(tables: Tables) -> list[Claim]:
    """All claims in order, whatever part of the campaign is complete."""
    return [judge(tables) for judge in CLAIMS]


class PatternAgreement(NamedTuple):
    """Whether two campaigns agree in what tuning finds.

    Attributes:
        statement: What is judged: C10 itself, or the same of other data or settings.
        verdict: On the statement, by :data:`AGREEMENT_RULE`.
        lines: A line per contrast.
    """

    statement: str
    verdict: Verdict
    lines: pd.DataFrame


def compare_patterns(first: ComparedCampaign, second: ComparedCampaign) -> PatternAgreement | None:
    """Judge whether two campaigns agree; ``None`` where they share no way of partitioning.

    CINIC-10 and CIFAR-10 are compared on Random Chunks, as in the paper, all else on every shared
    way of partitioning.
    """
    campaigns = [campaign.tables.campaign for campaign in (first, second)]
    families = [f for f in list_families(campaigns[0]) if f in list_families(campaigns[1])]
    if _is_c10(first, second) and CHUNKS in families:
        families = [CHUNKS]
    lines: list[dict[str, object]] = []
    verdicts: list[Contrast] = []
    for family in families:
        claims = [judge_tuning_pattern(campaign.tables, family) for campaign in (first, second)]
        for label, one, other in _match_contrasts(family, *claims):
            agreement = _judge_agreement(one, other)
            lines.append(_make_line(first, second, label, one, other, agreement))
            verdicts.append(one._replace(verdict=agreement))
    if not lines:
        return None
    table = pd.DataFrame(lines, columns=list(PATTERN_COLUMNS))
    return PatternAgreement(_state_claim(first, second), combine_verdicts(verdicts), table)


def _is_c10(first: ComparedCampaign, second: ComparedCampaign) -> bool:
    names = {campaign.tables.campaign.data.name for campaign in (first, second)}
    return names == {"cinic10", "cifar10"}


def _state_claim(first: ComparedCampaign, second: ComparedCampaign) -> str:
    if _is_c10(first, second):
        return f"C10: {CINIC_AGREES}"
    names = [campaign.tables.campaign.data.name for campaign in (first, second)]
    if names[0] != names[1]:
        return f"{first.label} ({names[0]}) agrees with {second.label} ({names[1]})."
    known = set(first.settings) & set(second.settings)
    # Fingerprints follow from settings, and versions are no choice: these are keys with a space.
    differing = [
        line
        for line in list_setting_differences([first, second]).itertuples(index=False)
        if " " not in line[0] and line[0] in known
    ]
    if not differing:
        return f"{first.label} agrees with {second.label}, of the same settings."
    named = [
        f"{campaign.label} ("
        + ", ".join(f"{line[0]} = {line[place]}" for line in differing[:SETTINGS_NAMED])
        + (", ..." if len(differing) > SETTINGS_NAMED else "")
        + ")"
        for place, campaign in enumerate((first, second), start=1)
    ]
    return f"{named[0]} agrees with {named[1]}."


def _match_contrasts(
    family: str, first: Claim, second: Claim
) -> list[tuple[str, Contrast, Contrast]]:
    """The contrasts of two campaigns side by side, with a label for both.

    The first are those with the hardest rival, which need not be the same method in both.
    """
    matched = [
        (f"{family}: tuned - greatest of the others", first.contrasts[0], second.contrasts[0])
    ]
    sides = [{c.label: c for c in claim.contrasts[1:]} for claim in (first, second)]
    for label in dict.fromkeys(label for side in sides for label in side):
        known = next(side[label] for side in sides if label in side)
        absent = make_empty_contrast(label, known.lower, known.upper, known.unit)
        named = label if label.startswith(family) else f"{family}, {label}"
        one, other = (side.get(label, absent._replace(verdict="no data")) for side in sides)
        matched.append((named, one, other))
    return matched


def _judge_agreement(one: Contrast, other: Contrast) -> Verdict:
    if "no data" in (one.verdict, other.verdict):
        return "no data"
    if "undecided" in (one.verdict, other.verdict):
        return "undecided"
    return "supported" if one.verdict == other.verdict else "contradicted"


def _make_line(
    first: ComparedCampaign,
    second: ComparedCampaign,
    label: str,
    one: Contrast,
    other: Contrast,
    agreement: Verdict,
) -> dict[str, object]:
    line: dict[str, object] = {
        "first": first.label,
        "second": second.label,
        "contrast": label,
        "unit": one.unit,
        "claimed": one.claimed,
        "same_side": "",
        "agreement": agreement,
    }
    for side, contrast in (("first", one), ("second", other)):
        line |= {f"{side}_{key}": getattr(contrast, key) for key in SIDES}
    if agreement != "no data":
        line["same_side"] = "yes" if _lies_inside(one) == _lies_inside(other) else "no"
    return line


def _lies_inside(contrast: Contrast) -> bool:
    value = round(contrast.value, TIE_DECIMALS)
    return not math.isnan(value) and contrast.lower < value < contrast.upper
