"""Federated algorithms side by side: hand-made curves, and what the paper's tables leave out."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from pandas.testing import assert_frame_equal

from kdopt.analysis.federated_comparison import (
    ALGORITHM_COLUMNS,
    ALGORITHM_ROUND_COLUMNS,
    DIFFERENCE_COLUMNS,
)
from kdopt.analysis.tables import Tables
from kdopt.campaign.partition_settings import PartitionSettings
from tests.analysis.synthetic_many import ROUND_BYTES, federate_row, many_campaign

SLOW, FAST = [10, 20, 30, 40, 50, 60], [35, 50, 60, 70, 75, 80]
UNIFORM = (PartitionSettings("uniform"),)


def rows_of(campaign, partition="uniform", peer=(25, 40, 55, 65, 66, 67)):
    made = [
        federate_row(campaign, partition, "random", SLOW),
        federate_row(campaign, partition, "consolidated", FAST),
        federate_row(campaign, partition, "random", [x + 5 for x in SLOW], algorithm="feddf"),
        federate_row(campaign, partition, "pretrained", peer, algorithm="fedmd"),
    ]
    logits = dataclasses.replace(made[-1].outcome, round_bytes=1_000_000, start_bytes=0)
    return [*made[:-1], dataclasses.replace(made[-1], outcome=logits)]


def test_every_algorithm_and_start_has_its_accuracies_and_traffic():
    campaign = many_campaign(partitions=UNIFORM)
    table = Tables(rows_of(campaign), campaign).algorithms
    assert table[["algorithm", "initial_model"]].to_numpy().tolist() == [
        ["fedavg", "random"], ["fedavg", "consolidated"],
        ["feddf", "random"], ["fedmd", "pretrained"],
    ]  # fmt: skip
    last = table.iloc[-1]
    assert (last["first_accuracy"], last["final_accuracy"]) == pytest.approx((25, 67))
    assert (last["round_megabytes"], last["start_megabytes"]) == (1, 0)
    assert last["total_megabytes"] == pytest.approx(5)
    assert table["total_megabytes"].iloc[0] == pytest.approx(5 * ROUND_BYTES / 1e6)


def test_rounds_and_traffic_until_a_target_of_each():
    campaign = many_campaign(
        partitions=UNIFORM, federate_targets=(0.5,), federate_relative_targets=(1.0,)
    )
    table = Tables(rows_of(campaign), campaign).algorithm_rounds
    found = table[table["kind"] == "absolute"].set_index(["algorithm", "initial_model"])
    assert found["rounds_to_target"].tolist() == [4, 1, 4, 2]
    assert found.loc["fedmd", "pretrained"]["megabytes_to_target"] == pytest.approx(2)
    relative = table[table["kind"] == "relative"]
    assert relative["target_accuracy"].tolist() == pytest.approx([60] * 4), "FedAvg's end"
    assert relative["rounds_to_target"].tolist() == [5, 2, 5, 3]


def test_a_target_that_is_never_reached_is_unknown_and_so_is_its_traffic():
    campaign = many_campaign(partitions=UNIFORM, federate_targets=(0.7,))
    table = Tables(rows_of(campaign), campaign).algorithm_rounds
    never = table[(table["target"] == 0.7) & (table["algorithm"] == "fedmd")].iloc[0]
    assert math.isnan(never["rounds_to_target"]) and math.isnan(never["megabytes_to_target"])
    assert never["rounds"] == 5


def test_without_averaging_there_are_no_relative_targets_and_no_difference():
    campaign = many_campaign(partitions=UNIFORM)
    tables = Tables(rows_of(campaign)[-1:], campaign)
    assert set(tables.algorithm_rounds["kind"]) == {"absolute"}
    (line,) = tables.algorithm_differences.to_dict("records")
    assert line["final_accuracy"] == pytest.approx(67) and math.isnan(line["difference"])


def test_partitions_are_the_units_of_an_interval():
    campaign = many_campaign()
    ends = [61, 62, 63, 64, 70]
    rows = [
        row
        for part, end in zip(campaign.partitions, ends, strict=True)
        for row in rows_of(campaign, part.name, [10, 20, 30, 40, 50, end])
    ]
    table = Tables(rows, campaign).algorithm_differences.set_index("algorithm")
    line, ahead = table.loc["fedmd"], np.array(ends) - 60
    assert line["difference"] == pytest.approx(ahead.mean()) and line["partitions"] == 5
    # 2.776 is Student's quantile for 4 degrees of freedom.
    half = 2.776 * np.std(ahead, ddof=1) / np.sqrt(5)
    assert line["high"] - line["difference"] == pytest.approx(half, rel=1e-3)
    four = Tables([r for r in rows if r.partition != "uniform"], campaign)
    assert four.algorithm_differences["low"].isna().all()


def test_what_the_paper_claims_is_judged_by_averaging_alone():
    campaign = many_campaign(partitions=UNIFORM)
    some, all_of_them = rows_of(campaign)[:2], rows_of(campaign)
    alone, beside = (Tables(rows, campaign) for rows in (some, all_of_them))
    for name in ("federated_levels", "class_levels", "rounds_to_target", "reductions"):
        assert_frame_equal(getattr(alone, name), getattr(beside, name), check_exact=True)
    curves = beside.federated_curves
    assert set(curves["algorithm"]) == {"fedavg", "feddf", "fedmd"}
    assert_frame_equal(
        curves[curves["algorithm"] == "fedavg"].reset_index(drop=True), alone.federated_curves
    )


def test_nothing_gives_empty_tables():
    tables = Tables([], many_campaign())
    for found, columns in (
        (tables.algorithms, ALGORITHM_COLUMNS),
        (tables.algorithm_rounds, ALGORITHM_ROUND_COLUMNS),
        (tables.algorithm_differences, DIFFERENCE_COLUMNS),
    ):
        assert found.empty and tuple(found.columns) == columns
