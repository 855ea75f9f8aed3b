import math
import random

import numpy as np
import pytest
from pandas.testing import assert_frame_equal

from kdopt.analysis.federated import (
    CLASS_COLUMNS,
    CURVE_COLUMNS,
    LEVEL_COLUMNS,
    REDUCTION_COLUMNS,
    TARGET_COLUMNS,
    summarise_reductions,
)
from kdopt.analysis.tables import Tables
from kdopt.campaign.partition_settings import PartitionSettings
from tests.analysis.synthetic import accuracy_of, pretrain_rows
from tests.analysis.synthetic_many import (
    ROUND_BYTES,
    START_BYTES,
    federate_row,
    federate_rows,
    many_campaign,
)

UNIFORM = (PartitionSettings("uniform"),)
SLOW = [10, 20, 30, 40, 50, 60]
FAST = [35, 50, 60, 70, 75, 80]


def pair(campaign, slow=SLOW, fast=FAST, replicate=0, partition="uniform"):
    return [
        federate_row(campaign, partition, "random", slow, replicate),
        federate_row(campaign, partition, "consolidated", fast, replicate),
    ]


def one_target(share, slow=SLOW, fast=FAST, kind="targets"):
    """The line of a single target."""
    other = {"targets": "relative_targets", "relative_targets": "targets"}[kind]
    campaign = many_campaign(
        partitions=UNIFORM, **{f"federate_{kind}": (share,), f"federate_{other}": ()}
    )
    (line,) = Tables(pair(campaign, slow, fast), campaign).rounds_to_target.to_dict("records")
    return line


def test_curves_start_at_round_0():
    campaign = many_campaign(partitions=UNIFORM)
    table = Tables(pair(campaign), campaign).federated_curves
    slow = table[table["initial_model"] == "random"]
    assert slow["round"].tolist() == list(range(6))
    assert slow["test_accuracy"].tolist() == pytest.approx(SLOW)
    assert slow["validation_accuracy"].tolist() == pytest.approx([v + 0.5 for v in SLOW])


def test_levels_are_first_and_last_points_of_the_curves():
    campaign = many_campaign(partitions=UNIFORM)
    rows = pair(campaign) + pair(campaign, [0, 70], [40, 90], 1) + pretrain_rows(campaign)
    (line,) = Tables(rows, campaign).federated_levels.to_dict("records")
    assert line["random_final"] == pytest.approx((60 + 70) / 2)
    assert line["consolidated_final"] == pytest.approx((80 + 90) / 2)
    assert line["kd_alone"] == pytest.approx((35 + 40) / 2)
    assert line["best_participant"] == pytest.approx(100 * accuracy_of(3))
    assert line["round_megabytes"] == ROUND_BYTES / 1e6
    assert line["start_megabytes"] == START_BYTES / 1e6


def test_what_was_not_run_is_not_known():
    campaign = many_campaign(partitions=UNIFORM)
    (line,) = Tables(pair(campaign)[:1], campaign).federated_levels.to_dict("records")
    assert line["random_final"] == pytest.approx(60)
    for key in ("consolidated_final", "kd_alone", "best_participant", "start_megabytes"):
        assert math.isnan(line[key])
    assert Tables(pair(campaign)[:1], campaign).rounds_to_target.empty
    assert Tables(pair(campaign)[1:], campaign).rounds_to_target.empty


def test_rounds_of_hand_made_curves():
    line = one_target(0.5)
    assert (line["rounds_random"], line["rounds_consolidated"], line["rounds"]) == (4, 1, 5)
    assert (line["reduction"], line["bound"]) == (pytest.approx(75), "exact")
    assert line["megabytes_random"] == pytest.approx(4 * 8)
    assert line["megabytes_consolidated"] == pytest.approx(8 + 12)
    assert line["megabytes_reduction"] == pytest.approx(100 * (1 - 20 / 32))
    assert line["target_accuracy"] == pytest.approx(50)


def test_the_initial_model_may_do():
    line = one_target(0.35)
    assert (line["rounds_consolidated"], line["reduction"]) == (0, 100)
    assert line["megabytes_consolidated"] == pytest.approx(12)


def test_a_relative_target_is_a_share_of_the_random_runs_end():
    line = one_target(0.5, kind="relative_targets")
    assert line["target_accuracy"] == pytest.approx(30)
    assert (line["rounds_random"], line["rounds_consolidated"]) == (2, 0)


def test_consolidation_that_hurts_has_a_negative_reduction():
    assert one_target(0.5, FAST, SLOW)["reduction"] == pytest.approx(-300)


def test_only_the_random_run_is_censored():
    line = one_target(0.7)
    assert math.isnan(line["rounds_random"]) and line["rounds_consolidated"] == 3
    assert (line["reduction"], line["bound"]) == (pytest.approx(100 * (1 - 3 / 5)), "at least")
    assert line["megabytes_random"] == pytest.approx(5 * 8)
    longer = one_target(0.7, [*SLOW, 65, 70], [*FAST, 80, 80])
    assert longer["bound"] == "exact" and longer["reduction"] >= line["reduction"]


def test_only_the_consolidated_run_is_censored():
    line = one_target(0.6, FAST, [35, 40, 45, 50, 55, 59])
    assert line["rounds_random"] == 2 and math.isnan(line["rounds_consolidated"])
    assert (line["reduction"], line["bound"]) == (pytest.approx(100 * (1 - 5 / 2)), "at most")
    assert line["megabytes_consolidated"] == pytest.approx(5 * 8 + 12)
    longer = one_target(0.6, [*FAST, 80], [35, 40, 45, 50, 55, 59, 60])
    assert longer["bound"] == "exact" and longer["reduction"] <= line["reduction"]


def test_neither_or_a_start_that_is_there_is_unknown():
    neither = one_target(0.9)
    assert neither["bound"] == "unknown" and math.isnan(neither["reduction"])
    assert neither["megabytes_random"] == pytest.approx(5 * 8)
    for fast in (FAST, [1, 2, 3, 4, 5, 6]):
        there = one_target(0.1, fast=fast)
        assert (there["bound"], there["rounds_random"]) == ("unknown", 0)
        assert math.isnan(there["reduction"]) and math.isnan(there["megabytes_reduction"])


@pytest.mark.parametrize("seed", range(20))
def test_the_end_of_the_random_run_is_reached_by_it(seed):
    rng = random.Random(seed)
    ends = [*(rng.uniform(0, 50) for _ in range(4)), rng.uniform(50, 99)]
    line = one_target(1.0, ends, ends, kind="relative_targets")
    assert (line["rounds_random"], line["reduction"]) == (4, 0)


def test_replicates_are_paired_and_keep_their_own_end():
    campaign = many_campaign(partitions=UNIFORM, federate_targets=())
    rows = pair(campaign) + pair(campaign, FAST, FAST, 1) + pair(campaign, replicate=2)[:1]
    table = Tables(rows, campaign).rounds_to_target
    assert table["replicate"].tolist() == [0] * 3 + [1] * 3
    last = table[table["target"] == 1.0]
    assert last["target_accuracy"].tolist() == pytest.approx([60, 80])


def test_targets_stand_in_the_order_of_the_campaign():
    campaign = many_campaign(federate_targets=(0.7, 0.5))
    names = [p.name for p in campaign.partitions]
    rows = [row for name in reversed(names) for row in pair(campaign, partition=name)]
    table = Tables(rows, campaign).rounds_to_target
    assert list(table["partition"].unique()) == names
    assert list(Tables(rows, campaign).federated_levels["partition"]) == names
    assert table["kind"].tolist()[:5] == ["absolute"] * 2 + ["relative"] * 3
    assert table["target"].tolist()[:5] == [0.7, 0.5, 0.9, 0.95, 1.0]


def test_reductions_are_means_over_partitions_not_over_lines():
    two = (PartitionSettings("uniform"), PartitionSettings("specialized"))
    campaign = many_campaign(partitions=two, federate_targets=(0.5,), federate_relative_targets=())
    rows = pair(campaign) + pair(campaign, replicate=1)
    rows += pair(campaign, SLOW, SLOW, partition="specialized")
    one, every = summarise_reductions(Tables(rows, campaign).rounds_to_target).to_dict("records")
    assert one["reduction"] == every["reduction"] == pytest.approx((75 + 0) / 2)
    assert (one["kind"], one["target"], every["kind"]) == ("absolute", 0.5, "all")
    assert math.isnan(every["target"])
    assert (one["partitions"], one["exact"]) == (2, 3)
    assert math.isnan(one["low"])  # so have two


def test_five_partitions_have_an_interval():
    campaign = many_campaign(federate_targets=(0.5,), federate_relative_targets=())
    slow = {"uniform", "specialized"}
    rows = []
    for part in campaign.partitions:
        curves = (SLOW, SLOW) if part.name in slow else ()
        rows += pair(campaign, *curves, partition=part.name)
    one = summarise_reductions(Tables(rows, campaign).rounds_to_target).iloc[0]
    assert one["reduction"] == pytest.approx(3 * 75 / 5)
    # 2.776 is Student's quantile for 4 degrees of freedom.
    error = np.std([75, 75, 75, 0, 0], ddof=1) / np.sqrt(5)
    assert one["high"] - one["reduction"] == pytest.approx(2.776 * error, rel=1e-3)


def test_reductions_count_bounds_and_leave_out_the_unknown():
    campaign = many_campaign(
        partitions=UNIFORM,
        federate_targets=(0.1, 0.5, 0.7, 0.9),
        federate_relative_targets=(0.5, 1.0),
    )
    table = Tables(pair(campaign), campaign).rounds_to_target
    found = summarise_reductions(table)
    assert found["kind"].tolist() == ["absolute"] * 4 + ["relative"] * 3 + ["all"]
    assert found["label"].is_unique
    every = found.iloc[-1]
    assert [every[k] for k in ("exact", "at_least", "at_most", "unknown")] == [3, 1, 0, 2]
    known = table["reduction"].dropna()
    assert every["reduction"] == pytest.approx(known.mean())
    assert math.isnan(every["low"])  # one partition has no interval
    unknown = found.iloc[0]
    assert (unknown["partitions"], unknown["unknown"]) == (0, 1)
    assert math.isnan(unknown["reduction"])


def test_classes_are_set_side_by_side_and_their_mean_is_the_difference():
    campaign = many_campaign(partitions=UNIFORM)
    table = Tables(pair(campaign), campaign).class_levels
    assert table["class"].tolist() == list(range(5))
    ahead = table["random_final"] - table["kd_alone"]
    (line,) = Tables(pair(campaign), campaign).federated_levels.to_dict("records")
    assert ahead.mean() == pytest.approx(line["random_final"] - line["kd_alone"])


def test_classes_without_test_images_are_left_out():
    campaign = many_campaign(partitions=UNIFORM)
    rows = [
        federate_row(campaign, "uniform", name, SLOW, 0, ((0.2, None, 0.4), (0.6, None, 1.0)))
        for name in ("random", "consolidated")
    ]
    table = Tables(rows, campaign).class_levels
    assert table["class"].tolist() == [0, 2]
    assert table["random_final"].tolist() == pytest.approx([60, 100])
    assert table["kd_alone"].tolist() == pytest.approx([20, 40])


def test_order_of_rows_changes_nothing():
    campaign = many_campaign(replicates=3)
    rng = random.Random(0)
    rows = federate_rows(campaign, lambda *_: sorted(rng.uniform(5, 95) for _ in range(11)))
    rows += pretrain_rows(campaign)
    shuffled = random.Random(3).sample(rows, len(rows))
    first, second = Tables(shuffled, campaign), Tables(rows, campaign)
    for name in (
        "federated_curves",
        "federated_levels",
        "class_levels",
        "rounds_to_target",
        "reductions",
    ):
        assert_frame_equal(getattr(first, name), getattr(second, name), check_exact=True)


def test_nothing_gives_empty_tables():
    campaign = many_campaign()
    for rows in ([], pretrain_rows(campaign)):
        tables = Tables(rows, campaign)
        for found, columns in (
            (tables.federated_curves, CURVE_COLUMNS),
            (tables.federated_levels, LEVEL_COLUMNS),
            (tables.class_levels, CLASS_COLUMNS),
            (tables.rounds_to_target, TARGET_COLUMNS),
            (tables.reductions, REDUCTION_COLUMNS),
        ):
            assert found.empty and tuple(found.columns) == columns
