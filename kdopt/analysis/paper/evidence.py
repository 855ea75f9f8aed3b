"""What the claims are judged by, made once from the rows, and what is missing to judge them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import pandas as pd

from kdopt.analysis import combined as many
from kdopt.analysis.compare import TUNED, mean_of, method_gains, wide
from kdopt.analysis.federated import class_levels, levels, rounds_to_target
from kdopt.analysis.maps import best_settings
from kdopt.analysis.noise import noise_floor
from kdopt.analysis.paper.contrast import Contrast, Verdict, combined
from kdopt.campaign.names import StageName
from kdopt.campaign.settings import Campaign
from kdopt.campaign.stage_settings import (
    INITIAL_MODELS,
    METHODS,
    STARTS,
    CombineSettings,
    TransferName,
)
from kdopt.outcome import TrialRow

SETS_WITH_LABELS: tuple[TransferName, ...] = ("student", "public_labeled")
SMALL: TransferName = "public_unlabeled_small"
LARGE: TransferName = "public_unlabeled_large"


class Evidence(NamedTuple):
    """The tables of one campaign.

    Attributes:
        campaign: Its settings.
        gains: :func:`kdopt.analysis.compare.method_gains`.
        best: :func:`kdopt.analysis.maps.best_settings`, pairs with a result and a gap only.
        noise: :func:`kdopt.analysis.noise.noise_floor`.
        wide: :func:`kdopt.analysis.compare.wide` of the gains, by measure.
        combined: :func:`kdopt.analysis.combined.combined`.
        effects: :func:`kdopt.analysis.combined.weighting_effects`.
        replicate_effects: :func:`kdopt.analysis.combined.replicate_effects`.
        levels: :func:`kdopt.analysis.federated.levels`.
        class_levels: :func:`kdopt.analysis.federated.class_levels`.
        targets: :func:`kdopt.analysis.federated.rounds_to_target`.
    """

    campaign: Campaign
    gains: pd.DataFrame
    best: pd.DataFrame
    noise: pd.DataFrame
    wide: Mapping[str, pd.DataFrame]
    combined: pd.DataFrame
    effects: pd.DataFrame
    replicate_effects: pd.DataFrame
    levels: pd.DataFrame
    class_levels: pd.DataFrame
    targets: pd.DataFrame

    def on(self, transfer_set: TransferName, value: str = "test_gain") -> pd.DataFrame:
        """One line per pair on one transfer set, one column per method."""
        table = self.wide[value]
        return table[table["transfer_set"] == transfer_set]


class Claim(NamedTuple):
    """One claim of the paper beside what this campaign measured.

    Attributes:
        id: ``C1`` to ``C14``.
        paper: What the paper says.
        contrasts: What was measured for it.
        verdict: By :data:`kdopt.analysis.paper.contrast.RULE`.
        remark: What a reader must know beside the numbers.
        need: What to run to have the missing data; empty when nothing is missing.
    """

    id: str
    paper: str
    contrasts: tuple[Contrast, ...]
    verdict: Verdict
    remark: str
    need: str


def gather(
    rows: Sequence[TrialRow], campaign: Campaign, best: pd.DataFrame | None = None
) -> Evidence:
    """The tables that the claims need.

    Args:
        rows: Trials of a campaign, in any state and order.
        campaign: What was planned.
        best: :func:`kdopt.analysis.maps.best_settings` of the rows, where the caller has it.
    """
    best = best_settings(rows, campaign) if best is None else best
    known = best[best["temperature"].notna() & best["accuracy_gap"].notna()]
    gains = method_gains(rows, campaign, best=best)
    tables = {value: wide(gains, value) for value in ("test_gain", "learning", "forgetting")}
    return Evidence(
        campaign,
        gains,
        known,
        noise_floor(rows),
        tables,
        combined=many.combined(rows, campaign),
        effects=many.weighting_effects(rows, campaign),
        replicate_effects=many.replicate_effects(rows, campaign),
        levels=levels(rows, campaign),
        class_levels=class_levels(rows, campaign),
        targets=rounds_to_target(rows, campaign),
    )


def claim(
    evidence: Evidence,
    number: int,
    paper: str,
    contrasts: Sequence[Contrast],
    *,
    remark: str = "",
    tuned: bool = False,
    compared: bool = True,
    stages: Sequence[StageName] = (),
    partitions: Sequence[str] = (),
    transfer_sets: Sequence[TransferName] = (),
) -> Claim:
    """Put a claim together; the keywords say what it needs of a campaign.

    Args:
        evidence: The tables.
        number: The claim's number.
        paper: What the paper says.
        contrasts: What was measured.
        remark: What to know beside the numbers.
        tuned: It needs the stage ``tune``.
        compared: It needs the stage ``compare``.
        stages: Further stages that it needs.
        partitions: Partitions it is about.
        transfer_sets: Transfer sets it is about.
    """
    absent = any(contrast.n == 0 for contrast in contrasts)
    pairwise: list[tuple[StageName, bool]] = [("tune", tuned), ("compare", compared)]
    needed = [*(name for name, wanted in pairwise if wanted), *stages]
    need = _need(evidence.campaign, needed, partitions, transfer_sets) if absent else ""
    return Claim(f"C{number}", paper, tuple(contrasts), combined(contrasts), remark, need)


def _need(
    campaign: Campaign,
    stages: Sequence[StageName],
    partitions: Sequence[str],
    transfer_sets: Sequence[TransferName],
) -> str:
    """What to add to the spec; what was planned but has no result yet only has to be run."""
    add = [f'"{stage}" to stages' for stage in stages if stage not in campaign.stages]
    listed = {p.name for p in campaign.partitions}
    add += [f'"{name}" to partitions' for name in partitions if name not in listed]
    settings = [line for stage in stages for line in _settings(campaign, stage, transfer_sets)]
    if any(key.endswith("transfer_sets") for key, _, _ in settings):
        add += [
            f"transfer.{name} (with images)"
            for name in transfer_sets
            if name != "student" and not campaign.transfer.size(name)
        ]
    add += [
        f'"{value}" to {key}'
        for key, wanted, listed_values in settings
        for value in wanted
        if value not in listed_values
    ]
    if "federate" in stages and not campaign.federate.relative_targets:
        add.append("shares to federate.relative_targets")
    if add:
        return f"add {', '.join(add)} and run again"
    if not {"tune", "compare"} & set(stages):
        return "run the campaign to its end"
    return "run the campaign to its end; with few participants there may be no such pairs"


def _settings(
    campaign: Campaign, stage: StageName, transfer_sets: Sequence[TransferName]
) -> list[tuple[str, Sequence[str], Sequence[str]]]:
    """Settings of a stage that decide what it runs: key, values needed, values of the campaign."""
    if stage == "compare":
        compare = campaign.compare
        return [
            ("compare.transfer_sets", transfer_sets, compare.transfer_sets),
            ("compare.methods", METHODS, compare.methods),
        ]
    if stage == "combine":
        combine = campaign.combine
        adaptive = any(name != many.EQUAL for name in combine.weightings)
        weightings = (many.EQUAL,) if adaptive else CombineSettings().weightings
        return [
            ("combine.transfer_sets", transfer_sets, combine.transfer_sets),
            ("combine.starts", STARTS, combine.starts),
            ("combine.weightings", weightings, combine.weightings),
        ]
    if stage == "federate":
        return [
            ("federate.initial_models", INITIAL_MODELS, campaign.federate.initial_models),
        ]
    return []


def best_untuned(block: pd.DataFrame) -> str:
    """The method with fixed settings of greatest mean in a table with a column per method."""
    return max(METHODS, key=lambda method: mean_of(block, method))


def complete_block(table: pd.DataFrame) -> pd.DataFrame:
    """The pairs that have every method, tuned included."""
    return table.dropna(subset=[TUNED, *METHODS])
