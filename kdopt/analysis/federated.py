"""Federated averaging from random and from consolidated weights: accuracy by round, rounds saved.

Paper, section V-B. The targets that the paper measured rounds against are lost; the reductions
here are 1 - R_consolidated / R_random for targets that the campaign names.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import pandas as pd

from kdopt.analysis.results import CampaignResults, order_partitions, read_number
from kdopt.analysis.stats import compute_mean, compute_sd, estimate_independent
from kdopt.campaign.federated_algorithms import CONSOLIDATED, INITIAL_MODELS, RANDOM
from kdopt.outcome import Outcome

PAPER_ROUND_REDUCTION = 60.6
"""Percent fewer communication rounds to a target accuracy, on average (abstract of version 2)."""

ReductionBound = Literal["exact", "at least", "at most", "unknown"]
REDUCTION_BOUNDS: tuple[ReductionBound, ...] = ("exact", "at least", "at most", "unknown")

CURVE_COLUMNS = (
    "partition", "algorithm", "initial_model", "replicate", "round", "validation_accuracy",
    "test_accuracy",
)  # fmt: skip
LEVEL_COLUMNS = (
    "partition", "random_final", "random_final_sd", "consolidated_final", "consolidated_final_sd",
    "kd_alone", "kd_alone_sd", "best_participant", "round_megabytes", "start_megabytes",
)  # fmt: skip
CLASS_COLUMNS = ("partition", "class", "random_final", "kd_alone")
TARGET_COLUMNS = (
    "partition", "replicate", "kind", "target", "target_accuracy", "rounds_random",
    "rounds_consolidated", "rounds", "reduction", "bound", "megabytes_random",
    "megabytes_consolidated", "megabytes_reduction",
)  # fmt: skip
REDUCTION_COLUMNS = (
    "kind", "target", "label", "reduction", "low", "high", "partitions", "exact", "at_least",
    "at_most", "unknown", "megabytes_reduction", "megabytes_low", "megabytes_high",
)  # fmt: skip
OF_WHAT = {
    "absolute": "of the test images",
    "relative": "of the final accuracy from random weights",
}
MEGABYTE = 1e6
# A relative target of 1 is a product of floats and must be reached by the last round.
TOLERANCE = 1e-9


class StartComparison(NamedTuple):
    """One replicate from both initial models."""

    partition: str
    replicate: int
    random: Outcome
    consolidated: Outcome


def tabulate_curves(results: CampaignResults) -> pd.DataFrame:
    """Accuracies (percent) after every round of every algorithm, what it starts from at round 0.

    They are the global model's, or the mean of the participants' models.
    """
    lines = [
        (
            run.partition,
            run.algorithm,
            run.params["initial_model"],
            run.replicate,
            number,
            100 * score.validation_accuracy,
            100 * score.test_accuracy,
        )
        for run in results.algorithm_runs
        for number, score in enumerate(run.outcome.rounds)
    ]
    table = pd.DataFrame(lines, columns=list(CURVE_COLUMNS))
    return table.sort_values(
        ["partition", "algorithm", "initial_model", "replicate", "round"], ignore_index=True
    )


def tabulate_levels(results: CampaignResults) -> pd.DataFrame:
    """Test accuracies (percent) to compare, and traffic (1e6 bytes), per partition with a result.

    ``random_final`` and ``consolidated_final`` are FedAvg's after the last round, ``kd_alone`` is
    the consolidated model's before the first; ``best_participant`` is that of the participant of
    greatest *validation* accuracy. ``round_megabytes`` is the traffic of one round,
    ``start_megabytes`` that of consolidation. Means over replicates, NaN where unknown; ``..._sd``
    is the sample standard deviation over replicates, NaN for fewer than two.
    """
    runs = results.federate_runs
    best = _find_best_participants(results)
    lines = []
    for partition in order_partitions((run.partition for run in runs), results.campaign):
        here = [run for run in runs if run.partition == partition]
        random, consolidated = (
            [run.outcome for run in here if run.params["initial_model"] == name]
            for name in INITIAL_MODELS
        )
        lines.append(
            (
                partition,
                *_describe_accuracies(random, -1),
                *_describe_accuracies(consolidated, -1),
                *_describe_accuracies(consolidated, 0),
                best.get(partition, math.nan),
                compute_mean(read_number(run.outcome.round_bytes) / MEGABYTE for run in here),
                compute_mean(read_number(o.start_bytes) / MEGABYTE for o in consolidated),
            )
        )
    return pd.DataFrame(lines, columns=list(LEVEL_COLUMNS))


def tabulate_class_levels(results: CampaignResults) -> pd.DataFrame:
    """``random_final`` and ``kd_alone`` of :func:`tabulate_levels`, in percent per class.

    Means over the replicates that have both; a class that has no test image is left out. On a
    test set with equally many images of every class, the mean over classes is the accuracy.
    """
    comparisons = _list_comparisons(results)
    lines = []
    for partition in dict.fromkeys(c.partition for c in comparisons):
        here = [
            (c.random.test.per_class, c.consolidated.test_before.per_class)
            for c in comparisons
            if c.partition == partition and c.consolidated.test_before is not None
        ]
        for number in range(min((len(scores) for pair in here for scores in pair), default=0)):
            random, alone = (
                compute_mean(100 * read_number(pair[side][number]) for pair in here)
                for side in (0, 1)
            )
            if not math.isnan(random + alone):
                lines.append((partition, number, random, alone))
    return pd.DataFrame(lines, columns=list(CLASS_COLUMNS))


def count_rounds_to_target(results: CampaignResults) -> pd.DataFrame:
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
    settings = results.campaign.federate
    lines = []
    for comparison in _list_comparisons(results):
        final = comparison.random.rounds[-1].test_accuracy
        targets = [("absolute", share, share) for share in settings.targets]
        targets += [("relative", share, share * final) for share in settings.relative_targets]
        for kind, share, accuracy in targets:
            lines.append(
                {
                    "partition": comparison.partition,
                    "replicate": comparison.replicate,
                    "kind": kind,
                    "target": share,
                    "target_accuracy": 100 * accuracy,
                    **_measure_savings(comparison, accuracy),
                }
            )
    return pd.DataFrame(lines, columns=list(TARGET_COLUMNS))


def summarise_reductions(table: pd.DataFrame) -> pd.DataFrame:
    """Mean reductions (percent): per kind and target, over all relative targets, and over all.

    First the mean within a partition over replicates and targets, then over partitions; ``low``
    and ``high`` bound its 95 % interval over the ``partitions``, ``megabytes_low`` and
    ``megabytes_high`` that of ``megabytes_reduction``. Censored reductions
    enter at their bound: those that are at least so great make the mean conservative, those that
    are at most so great make it optimistic. Unknown ones are left out. ``exact``, ``at_least``,
    ``at_most`` and ``unknown`` count reductions. Lines over several targets have ``target`` NaN.

    Args:
        table: From :func:`count_rounds_to_target`.
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
        (kind, target, label, *_average_reductions(group)) for kind, target, label, group in groups
    ]
    return pd.DataFrame(lines, columns=list(REDUCTION_COLUMNS))


def _average_reductions(
    table: pd.DataFrame,
) -> tuple[float, float, float, int, int, int, int, int, float, float, float]:
    """The columns of :func:`summarise_reductions` from ``reduction`` on."""
    rounds, megabytes = (
        [
            value
            for _, part in table.groupby("partition")
            if not math.isnan(value := compute_mean(part[key]))
        ]
        for key in ("reduction", "megabytes_reduction")
    )
    fewer_rounds, fewer_bytes = estimate_independent(rounds), estimate_independent(megabytes)
    exact, at_least, at_most, unknown = (
        int((table["bound"] == bound).sum()) for bound in REDUCTION_BOUNDS
    )
    return (*fewer_rounds[:4], exact, at_least, at_most, unknown, *fewer_bytes[:3])


def _measure_savings(comparison: StartComparison, accuracy: float) -> dict[str, float | str]:
    """The columns of :func:`count_rounds_to_target` from ``rounds_random`` on.

    Args:
        comparison: Both runs of a replicate.
        accuracy: The target, in [0, 1].
    """
    outcomes = (comparison.random, comparison.consolidated)
    run = len(comparison.random.rounds) - 1
    random, consolidated = (find_first_round(outcome, accuracy) for outcome in outcomes)
    bound = _bound_reduction(random, consolidated)
    # A censored run enters with all rounds run, so the reduction is a bound and not a value.
    counted = [run if math.isnan(r) else r for r in (random, consolidated)]
    sent = [count_megabytes(o, r) for o, r in zip(outcomes, counted, strict=True)]
    return {
        "rounds_random": random,
        "rounds_consolidated": consolidated,
        "rounds": run,
        "reduction": _compute_reduction(counted, bound),
        "bound": bound,
        "megabytes_random": sent[0],
        "megabytes_consolidated": sent[1],
        "megabytes_reduction": _compute_reduction(sent, bound),
    }


def find_first_round(outcome: Outcome, accuracy: float) -> float:
    """The first round whose test accuracy reaches a share in [0, 1]; NaN where none does."""
    reached = (
        float(number)
        for number, score in enumerate(outcome.rounds)
        if score.test_accuracy >= accuracy - TOLERANCE
    )
    return next(reached, math.nan)


def _bound_reduction(random: float, consolidated: float) -> ReductionBound:
    if random == 0 or (math.isnan(random) and math.isnan(consolidated)):
        return "unknown"
    if math.isnan(random):
        return "at least"
    return "at most" if math.isnan(consolidated) else "exact"


def _compute_reduction(spent: Sequence[float], bound: ReductionBound) -> float:
    """Percent that the second run spends less than the first."""
    random, consolidated = spent
    return math.nan if bound == "unknown" else 100 * (1 - consolidated / random)


def count_megabytes(outcome: Outcome, rounds: float) -> float:
    """Traffic up to a round in 1e6 bytes, that of making the start included."""
    total = read_number(outcome.start_bytes) + rounds * read_number(outcome.round_bytes)
    return total / MEGABYTE


def _describe_accuracies(outcomes: Sequence[Outcome], number: int) -> tuple[float, float]:
    """Mean and spread over replicates of the test accuracy (percent) after a round."""
    values = [100 * outcome.rounds[number].test_accuracy for outcome in outcomes]
    return compute_mean(values), compute_sd(values)


def _list_comparisons(results: CampaignResults) -> list[StartComparison]:
    """Replicates with both initial models, by partition in the campaign's order."""
    found = {
        (run.partition, run.replicate, run.params["initial_model"]): run.outcome
        for run in results.federate_runs
    }
    pairs = [
        StartComparison(partition, replicate, random, found[partition, replicate, CONSOLIDATED])
        for (partition, replicate, initial), random in found.items()
        if initial == RANDOM and (partition, replicate, CONSOLIDATED) in found
    ]
    order = order_partitions((pair.partition for pair in pairs), results.campaign)
    return sorted(pairs, key=lambda pair: (order.index(pair.partition), pair.replicate))


def _find_best_participants(results: CampaignResults) -> dict[str, float]:
    """Test accuracy (percent) of each partition's best participant on validation."""
    frame = results.participants
    # Chosen on validation: the best on test would be flattered by its own noise.
    best = frame.loc[frame.groupby("partition")["validation_accuracy"].idxmax()]
    return {
        str(name): 100 * float(accuracy)
        for name, accuracy in zip(best["partition"], best["test_accuracy"], strict=True)
    }
