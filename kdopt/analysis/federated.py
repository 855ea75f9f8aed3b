"""Federated averaging from random and from consolidated weights: accuracy by round, rounds saved.

Paper, section V-B. The targets that the paper measured rounds against are lost; the reductions
here are 1 - R_consolidated / R_random for targets that the campaign names.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd

from kdopt.analysis.cells import spread
from kdopt.analysis.frame import number_or_nan, participants_frame
from kdopt.analysis.runs import Run, mean, partitions_in_order, runs
from kdopt.analysis.summary import RESAMPLES, bootstrap_interval
from kdopt.campaign.names import seed_for
from kdopt.campaign.settings import Campaign
from kdopt.campaign.stage_settings import CONSOLIDATED, INITIAL_MODELS, RANDOM
from kdopt.outcome import Outcome, TrialRow

Bound = Literal["exact", "at least", "at most", "unknown"]
BOUNDS: tuple[Bound, ...] = ("exact", "at least", "at most", "unknown")

CURVE_COLUMNS = (
    "partition",
    "initial_model",
    "replicate",
    "round",
    "validation_accuracy",
    "test_accuracy",
)
LEVEL_COLUMNS = (
    "partition",
    "random_final",
    "random_final_sd",
    "consolidated_final",
    "consolidated_final_sd",
    "kd_alone",
    "kd_alone_sd",
    "best_participant",
    "round_megabytes",
    "start_megabytes",
)
CLASS_COLUMNS = ("partition", "class", "random_final", "kd_alone")
TARGET_COLUMNS = (
    "partition",
    "replicate",
    "kind",
    "target",
    "target_accuracy",
    "rounds_random",
    "rounds_consolidated",
    "rounds",
    "reduction",
    "bound",
    "megabytes_random",
    "megabytes_consolidated",
    "megabytes_reduction",
)
REDUCTION_COLUMNS = (
    "kind",
    "target",
    "label",
    "reduction",
    "low",
    "high",
    "partitions",
    "exact",
    "at_least",
    "at_most",
    "unknown",
    "megabytes_reduction",
    "megabytes_low",
    "megabytes_high",
)
OF_WHAT = {
    "absolute": "of the test images",
    "relative": "of the final accuracy from random weights",
}
MEGABYTE = 1e6
# A relative target of 1 is a product of floats and must be reached by the last round.
TOLERANCE = 1e-9


class Both(NamedTuple):
    """One replicate from both initial models."""

    partition: str
    replicate: int
    random: Outcome
    consolidated: Outcome


def curves(rows: Sequence[TrialRow]) -> pd.DataFrame:
    """Accuracies (percent) of the global model after every round, the initial model at round 0.

    Args:
        rows: Trials of a campaign, in any state and order; only complete ones of the stage
            ``federate`` count.
    """
    lines = [
        (
            run.partition,
            run.params["initial_model"],
            run.replicate,
            number,
            100 * score.validation_accuracy,
            100 * score.test_accuracy,
        )
        for run in _runs(rows)
        for number, score in enumerate(run.outcome.rounds)
    ]
    table = pd.DataFrame(lines, columns=list(CURVE_COLUMNS))
    return table.sort_values(
        ["partition", "initial_model", "replicate", "round"], ignore_index=True
    )


def levels(rows: Sequence[TrialRow], campaign: Campaign) -> pd.DataFrame:
    """Test accuracies (percent) to compare, and traffic (1e6 bytes), per partition with a result.

    ``random_final`` and ``consolidated_final`` are FedAvg's after the last round, ``kd_alone`` is
    the consolidated model's before the first; ``best_participant`` is that of the participant of
    greatest *validation* accuracy. ``round_megabytes`` is the traffic of one round,
    ``start_megabytes`` that of consolidation. Means over replicates, NaN where unknown; ``..._sd``
    is the sample standard deviation over replicates, NaN for fewer than two.
    """
    found = _runs(rows)
    best = _best_participants(rows)
    lines = []
    for partition in partitions_in_order((run.partition for run in found), campaign):
        here = [run for run in found if run.partition == partition]
        random, consolidated = (
            [run.outcome for run in here if run.params["initial_model"] == name]
            for name in INITIAL_MODELS
        )
        lines.append(
            (
                partition,
                *_mean_and_sd([100 * o.rounds[-1].test_accuracy for o in random]),
                *_mean_and_sd([100 * o.rounds[-1].test_accuracy for o in consolidated]),
                *_mean_and_sd([100 * o.rounds[0].test_accuracy for o in consolidated]),
                best.get(partition, math.nan),
                mean(number_or_nan(run.outcome.round_bytes) / MEGABYTE for run in here),
                mean(number_or_nan(o.start_bytes) / MEGABYTE for o in consolidated),
            )
        )
    return pd.DataFrame(lines, columns=list(LEVEL_COLUMNS))


def _mean_and_sd(values: Sequence[float]) -> tuple[float, float]:
    return mean(values), spread(values)


def class_levels(rows: Sequence[TrialRow], campaign: Campaign) -> pd.DataFrame:
    """``random_final`` and ``kd_alone`` of :func:`levels`, in percent per class.

    Means over the replicates that have both; a class that has no test image is left out. On a
    test set with equally many images of every class, the mean over classes is the accuracy.
    """
    pairs = _both(rows, campaign)
    lines = []
    for partition in dict.fromkeys(both.partition for both in pairs):
        here = [
            (both.random.test.per_class, both.consolidated.test_before.per_class)
            for both in pairs
            if both.partition == partition and both.consolidated.test_before is not None
        ]
        for number in range(min((len(scores) for pair in here for scores in pair), default=0)):
            random, alone = (
                mean(100 * number_or_nan(pair[side][number]) for pair in here) for side in (0, 1)
            )
            if not math.isnan(random + alone):
                lines.append((partition, number, random, alone))
    return pd.DataFrame(lines, columns=list(CLASS_COLUMNS))


def rounds_to_target(rows: Sequence[TrialRow], campaign: Campaign) -> pd.DataFrame:
    """First rounds whose test accuracy reaches each target, for replicates with both starts.

    ``target`` is a share: of all test images (kind ``absolute``), or of the final accuracy of the
    replicate's run from random weights (``relative``); ``target_accuracy`` is percent either way.
    ``rounds_random`` and ``rounds_consolidated`` are NaN when the target was never reached in the
    ``rounds`` that were run; a run counts as reaching it at round 0 if its initial model does.

    ``reduction`` is 100 (1 - consolidated / random). A run that never reaches the target is
    censored: it enters with all rounds run, fewer than it needs. So with the random run censored
    the true reduction is ``at least`` this one, with the consolidated run censored ``at most``
    (which may be negative). It is ``unknown`` (NaN) when neither reaches the target, or when
    random weights reach it without a round.

    ``megabytes_...`` are the traffic up to that round in 1e6 bytes, of consolidation too, and
    ``megabytes_reduction`` compares these, under the same bound.
    """
    settings = campaign.federate
    lines = []
    for both in _both(rows, campaign):
        final = both.random.rounds[-1].test_accuracy
        targets = [("absolute", share, share) for share in settings.targets]
        targets += [("relative", share, share * final) for share in settings.relative_targets]
        for kind, share, accuracy in targets:
            lines.append(
                {
                    "partition": both.partition,
                    "replicate": both.replicate,
                    "kind": kind,
                    "target": share,
                    "target_accuracy": 100 * accuracy,
                    **_saved(both, accuracy),
                }
            )
    return pd.DataFrame(lines, columns=list(TARGET_COLUMNS))


def reductions(table: pd.DataFrame, campaign: Campaign) -> pd.DataFrame:
    """Mean reductions (percent): per kind and target, over all relative targets, and over all.

    First the mean within a partition over replicates and targets, then over partitions; ``low``
    and ``high`` bound its 95 % bootstrap interval over the ``partitions``, ``megabytes_low`` and
    ``megabytes_high`` that of ``megabytes_reduction``. Censored reductions
    enter at their bound: those that are at least so great make the mean conservative, those that
    are at most so great make it optimistic. Unknown ones are left out. ``exact``, ``at_least``,
    ``at_most`` and ``unknown`` count reductions. Lines over several targets have ``target`` NaN.

    Args:
        table: From :func:`rounds_to_target`.
        campaign: Its seed seeds the bootstrap.
    """
    if table.empty:
        return pd.DataFrame(columns=list(REDUCTION_COLUMNS))
    groups = []
    for (kind, share), group in table.groupby(["kind", "target"], sort=False):
        target = float(str(share))
        groups.append((str(kind), target, f"{100 * target:g} % {OF_WHAT[str(kind)]}", group))
    relative = table[table["kind"] == "relative"]
    if len(relative):
        groups.append(("relative", math.nan, "all relative targets", relative))
    groups.append(("all", math.nan, "all targets", table))
    lines = [
        (kind, target, label, *_summed_up(group, campaign, (kind, str(target))))
        for kind, target, label, group in groups
    ]
    return pd.DataFrame(lines, columns=list(REDUCTION_COLUMNS))


def _summed_up(
    group: pd.DataFrame, campaign: Campaign, name: tuple[str, str]
) -> tuple[float, float, float, int, int, int, int, int, float, float, float]:
    """The columns of :func:`reductions` from ``reduction`` on."""
    rounds, megabytes = (
        [
            value
            for _, part in group.groupby("partition")
            if not math.isnan(value := mean(part[key]))
        ]
        for key in ("reduction", "megabytes_reduction")
    )
    generator = np.random.default_rng(seed_for(campaign.seed, "rounds", *name))
    low, high = bootstrap_interval(np.array(rounds, dtype=np.float64), generator, RESAMPLES)
    exact, at_least, at_most, unknown = (int((group["bound"] == b).sum()) for b in BOUNDS)
    counts = (len(rounds), exact, at_least, at_most, unknown)
    ends = bootstrap_interval(np.array(megabytes, dtype=np.float64), generator, RESAMPLES)
    return (mean(rounds), low, high, *counts, mean(megabytes), *ends)


def _saved(both: Both, accuracy: float) -> dict[str, float | str]:
    """The columns of :func:`rounds_to_target` from ``rounds_random`` on; accuracy in [0, 1]."""
    run = len(both.random.rounds) - 1
    random, consolidated = (_first(outcome, accuracy) for outcome in both[2:])
    bound = _bound(random, consolidated)
    counted = [run if math.isnan(r) else r for r in (random, consolidated)]
    sent = [_megabytes(o, r) for o, r in zip(both[2:], counted, strict=True)]
    return {
        "rounds_random": random,
        "rounds_consolidated": consolidated,
        "rounds": run,
        "reduction": _reduction(counted, bound),
        "bound": bound,
        "megabytes_random": sent[0],
        "megabytes_consolidated": sent[1],
        "megabytes_reduction": _reduction(sent, bound),
    }


def _first(outcome: Outcome, accuracy: float) -> float:
    reached = (
        float(number)
        for number, score in enumerate(outcome.rounds)
        if score.test_accuracy >= accuracy - TOLERANCE
    )
    return next(reached, math.nan)


def _bound(random: float, consolidated: float) -> Bound:
    if random == 0 or (math.isnan(random) and math.isnan(consolidated)):
        return "unknown"
    if math.isnan(random):
        return "at least"
    return "at most" if math.isnan(consolidated) else "exact"


def _reduction(spent: Sequence[float], bound: Bound) -> float:
    """Percent that the second run spends less than the first."""
    random, consolidated = spent
    return math.nan if bound == "unknown" else 100 * (1 - consolidated / random)


def _megabytes(outcome: Outcome, rounds: float) -> float:
    total = number_or_nan(outcome.start_bytes) + rounds * number_or_nan(outcome.round_bytes)
    return total / MEGABYTE


def _runs(rows: Sequence[TrialRow]) -> list[Run]:
    return [run for run in runs(rows, "federate") if run.outcome.rounds]


def _both(rows: Sequence[TrialRow], campaign: Campaign) -> list[Both]:
    """Replicates with both initial models, by partition in the campaign's order."""
    found = {
        (run.partition, run.replicate, run.params["initial_model"]): run.outcome
        for run in _runs(rows)
    }
    pairs = [
        Both(partition, replicate, random, found[partition, replicate, CONSOLIDATED])
        for (partition, replicate, initial), random in found.items()
        if initial == RANDOM and (partition, replicate, CONSOLIDATED) in found
    ]
    order = partitions_in_order((both.partition for both in pairs), campaign)
    return sorted(pairs, key=lambda both: (order.index(both.partition), both.replicate))


def _best_participants(rows: Sequence[TrialRow]) -> dict[str, float]:
    """Test accuracy (percent) of each partition's best participant on validation."""
    frame = participants_frame(rows)
    best = frame.loc[frame.groupby("partition")["validation_accuracy"].idxmax()]
    return {
        str(name): 100 * float(accuracy)
        for name, accuracy in zip(best["partition"], best["test_accuracy"], strict=True)
    }
