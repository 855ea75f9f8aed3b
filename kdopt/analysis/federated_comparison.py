"""Federated algorithms and what they start from, side by side: accuracy, rounds and traffic.

Accuracies are the global model's where there is one, and the mean of the participants' models
otherwise. Claims of the paper are judged by federated averaging alone
(``kdopt.analysis.federated``).
"""

from __future__ import annotations

import math

import pandas as pd

from kdopt.analysis.federated import MEGABYTE, count_megabytes, find_first_round
from kdopt.analysis.partition_runs import PartitionRun
from kdopt.analysis.results import CampaignResults, order_partitions, read_number
from kdopt.analysis.stats import compute_mean, compute_sd, estimate_independent
from kdopt.campaign.federated_algorithms import (
    ALGORITHM_FACTS,
    FEDAVG,
    INITIAL_MODELS,
    OWN_STARTS,
    RANDOM,
)

ALGORITHM_COLUMNS = (
    "partition", "algorithm", "initial_model", "replicates", "first_accuracy", "final_accuracy",
    "final_accuracy_sd", "round_megabytes", "start_megabytes", "total_megabytes",
)  # fmt: skip
ALGORITHM_ROUND_COLUMNS = (
    "partition", "algorithm", "initial_model", "replicate", "kind", "target", "target_accuracy",
    "rounds_to_target", "rounds", "megabytes_to_target",
)  # fmt: skip
DIFFERENCE_COLUMNS = (
    "algorithm", "initial_model", "final_accuracy", "difference", "low", "high", "partitions",
    "round_megabytes",
)  # fmt: skip


def tabulate_algorithms(results: CampaignResults) -> pd.DataFrame:
    """Test accuracies (percent) and traffic (1e6 bytes) per partition, algorithm and start.

    ``first_accuracy`` is that of the start, ``final_accuracy`` that after the last round, both
    means over ``replicates``; ``total_megabytes`` is all that was sent until then, making the
    start included.
    """
    lines = []
    for partition, algorithm, start in _list_ways(results):
        outcomes = [
            run.outcome
            for run in results.algorithm_runs
            if _name_way(run) == (partition, algorithm, start)
        ]
        first, last = (
            [100 * o.rounds[number].test_accuracy for o in outcomes] for number in (0, -1)
        )
        lines.append(
            (
                *(partition, algorithm, start, len(outcomes)),
                *(compute_mean(first), compute_mean(last), compute_sd(last)),
                compute_mean(read_number(o.round_bytes) / MEGABYTE for o in outcomes),
                compute_mean(read_number(o.start_bytes) / MEGABYTE for o in outcomes),
                compute_mean(count_megabytes(o, len(o.rounds) - 1) for o in outcomes),
            )
        )
    return pd.DataFrame(lines, columns=list(ALGORITHM_COLUMNS))


def count_algorithm_rounds(results: CampaignResults) -> pd.DataFrame:
    """First rounds whose test accuracy reaches each target, and traffic (1e6 bytes) until then.

    Targets are those of :func:`kdopt.analysis.federated.count_rounds_to_target`; relative ones are
    left out for replicates without a complete run of federated averaging from random weights.
    ``rounds_to_target`` and ``megabytes_to_target`` are NaN where none of the ``rounds`` that were
    run reaches it.
    """
    settings = results.campaign.federate
    finals = {
        (run.partition, run.replicate): run.outcome.rounds[-1].test_accuracy
        for run in results.federate_runs
        if run.params["initial_model"] == RANDOM
    }
    lines = []
    for way in _list_ways(results):
        runs = [run for run in results.algorithm_runs if _name_way(run) == way]
        for run in sorted(runs, key=lambda run: run.replicate):
            targets = [("absolute", share, share) for share in settings.targets]
            final = finals.get((run.partition, run.replicate))
            if final is not None:
                targets += [("relative", s, s * final) for s in settings.relative_targets]
            for kind, share, accuracy in targets:
                reached = find_first_round(run.outcome, accuracy)
                lines.append(
                    (
                        *(*way, run.replicate, kind, share, 100 * accuracy),
                        *(reached, len(run.outcome.rounds) - 1),
                        count_megabytes(run.outcome, reached),
                    )
                )
    return pd.DataFrame(lines, columns=list(ALGORITHM_ROUND_COLUMNS))


def compare_with_averaging(table: pd.DataFrame) -> pd.DataFrame:
    """Every algorithm and start against federated averaging from random weights.

    ``difference`` is the mean over partitions of the final test accuracy minus that of federated
    averaging from random weights there, in pp; ``low`` and ``high`` bound its 95 % interval over
    the ``partitions``, which are the independent units. NaN where that was not run.

    Args:
        table: From :func:`tabulate_algorithms`.
    """
    reference = {
        line["partition"]: line["final_accuracy"]
        for line in table.to_dict("records")
        if (line["algorithm"], line["initial_model"]) == (FEDAVG, RANDOM)
    }
    lines = []
    for (algorithm, start), here in table.groupby(["algorithm", "initial_model"], sort=False):
        differences = [
            line["final_accuracy"] - reference[line["partition"]]
            for line in here.to_dict("records")
            if line["partition"] in reference
        ]
        estimate = estimate_independent(differences)
        itself = (algorithm, start) == (FEDAVG, RANDOM)
        lines.append(
            (
                *(algorithm, start, compute_mean(here["final_accuracy"])),
                *((math.nan,) * 3 if itself else estimate[:3]),
                len(here),
                compute_mean(here["round_megabytes"]),
            )
        )
    return pd.DataFrame(lines, columns=list(DIFFERENCE_COLUMNS))


def _name_way(run: PartitionRun) -> tuple[str, str, str]:
    return run.partition, str(run.algorithm), str(run.params["initial_model"])


def _list_ways(results: CampaignResults) -> list[tuple[str, str, str]]:
    """Partitions, algorithms and starts with a result, each in its usual order."""
    found = set(map(_name_way, results.algorithm_runs))
    partitions = order_partitions((way[0] for way in found), results.campaign)
    algorithms, starts = list(ALGORITHM_FACTS), [*INITIAL_MODELS, *OWN_STARTS]
    return sorted(
        found,
        key=lambda way: (
            partitions.index(way[0]),
            algorithms.index(way[1]),  # type: ignore[arg-type]
            starts.index(way[2]),  # type: ignore[arg-type]
        ),
    )
