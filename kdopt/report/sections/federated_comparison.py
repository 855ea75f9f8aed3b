"""Federated algorithms and starts side by side, where a campaign runs more than averaging."""

from __future__ import annotations

import math

import pandas as pd

from kdopt.analysis.tables import Tables
from kdopt.campaign.federated_algorithms import ALGORITHM_FACTS, FEDAVG
from kdopt.report.blocks import Block, SortCell, Table, explain_missing_stage, make_tables
from kdopt.report.columns import Column, Columns, IntervalColumn
from kdopt.report.format import (
    format_algorithm,
    format_frame,
    format_points,
    format_words,
    make_sort_key,
    title_partitions,
)
from kdopt.shown import format_setting


def has_other_algorithms(tables: Tables) -> bool:
    """Whether any other algorithm than federated averaging has a result."""
    return bool((tables.algorithms["algorithm"] != FEDAVG).any())


def make_algorithm_blocks(tables: Tables) -> list[Block]:
    """All algorithms and starts: accuracy, rounds, traffic; nothing where there is only FedAvg."""
    campaign = tables.campaign
    if set(campaign.federate.algorithms) == {FEDAVG} and not has_other_algorithms(tables):
        return []
    missing = "" if len(tables.algorithms) else explain_missing_stage(campaign, "federate")
    per_round = Column("round_megabytes", "Traffic per round (MB)", _format_traffic)
    levels: Columns = [
        *("partition", "algorithm", "initial_model", "first_accuracy", "final_accuracy"),
        *_name_spread(tables.algorithms),
        per_round,
        Column("start_megabytes", "Traffic of making the start (MB)", _format_traffic),
        Column("total_megabytes", "Traffic in all (MB)", _format_traffic),
    ]
    differences: Columns = [
        *("algorithm", "initial_model"),
        Column("final_accuracy", "After the last round, mean (%)"),
        IntervalColumn(Column("difference", "Minus FedAvg from random weights (pp)")),
        *("partitions", per_round),
    ]
    rounds = _make_rounds_table(tables.algorithm_rounds)
    return [
        Block(
            "Federated algorithms side by side",
            _describe_algorithms(tables),
            tables=[
                *make_tables("Accuracy on test, and traffic", levels, tables.algorithms),
                *make_tables("Over partitions", differences, tables.algorithm_differences),
                *rounds,
            ],
            missing=missing,
        )
    ]


def _format_traffic(megabytes: float) -> str:
    # Logits weigh so little that two decimals would round most of it away.
    return "" if math.isnan(megabytes) else f"{megabytes:.3g}"


def _name_spread(table: pd.DataFrame) -> list[Column]:
    spread = Column("final_accuracy_sd", "sd over replicates (pp)")
    return [spread] if table["final_accuracy_sd"].notna().any() else []


def _describe_algorithms(tables: Tables) -> str:
    settings = tables.campaign.federate
    sent = "; ".join(
        f"{ALGORITHM_FACTS[name].label}: {ALGORITHM_FACTS[name].sends}"
        for name in settings.algorithms
    )
    sentences = [f"What travels in a round: {sent}. Every transfer counts once."]
    if set(settings.algorithms) - set(settings.averaging):
        sentences.append(
            "Where participants have models of their own, accuracies are the mean of these models' "
            "on the same images. Pre-trained models start ahead of random weights, and what their "
            "own training took is in no round."
        )
    if FEDAVG in settings.algorithms:
        sentences.append(
            "Relative targets are shares of the final accuracy of FedAvg from random weights."
        )
    sentences.append(
        "Partitions are the independent units of an interval; fewer than five have none. The "
        "claims of the paper are judged by FedAvg alone."
    )
    return " ".join(sentences)


def _make_rounds_table(rounds: pd.DataFrame) -> list[Table]:
    headings = [
        *("Partition", "Target", "Test accuracy to reach (%)", "Algorithm", "Starts from"),
        *("Replicate", "Rounds", "MB until then"),
    ]
    lines = []
    titles = title_partitions(rounds["partition"])
    for line in rounds.to_dict("records"):
        target = f"{format_setting(100 * line['target'])} %"
        if line["kind"] == "relative":
            target += " of FedAvg's final"
        accuracy, reached = line["target_accuracy"], line["rounds_to_target"]
        never = math.isnan(reached)
        lines.append(
            [
                SortCell(titles[str(line["partition"])], str(line["partition"])),
                SortCell(target, make_sort_key(accuracy)),
                SortCell(format_points(accuracy), make_sort_key(accuracy)),
                SortCell(format_algorithm(line["algorithm"]), str(line["algorithm"])),
                SortCell(format_words(line["initial_model"]), str(line["initial_model"])),
                SortCell(str(line["replicate"]), int(line["replicate"])),
                SortCell(f"> {line['rounds']}", line["rounds"] + 1e-6)
                if never
                else SortCell(format_setting(reached), reached),
                SortCell("", "")
                if never
                else SortCell(
                    _format_traffic(line["megabytes_to_target"]), line["megabytes_to_target"]
                ),
            ]
        )
    title = "Rounds and traffic to every target, by algorithm"
    return [Table(title, headings, lines)] if lines else []


def format_algorithm_files(tables: Tables) -> dict[str, str]:
    """The tables as CSV by file name; traffic is exact."""
    if not has_other_algorithms(tables):
        return {}
    traffic = {"round_megabytes", "start_megabytes", "total_megabytes", "megabytes_to_target"}
    counts = {"target", "rounds_to_target", "rounds"}
    return {
        "algorithms.csv": format_frame(tables.algorithms, traffic),
        "algorithm_rounds.csv": format_frame(tables.algorithm_rounds, traffic | counts),
    }
