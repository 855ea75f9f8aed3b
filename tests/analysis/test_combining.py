import math
import random
from dataclasses import replace

import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from kdopt.analysis.combining import (
    AGREEMENT_COLUMNS,
    COMBINED_COLUMNS,
    EFFECT_COLUMNS,
    REPLICATE_EFFECT_COLUMNS,
    TABLE_II,
    TABLE_II_COLUMNS,
    rate_formulas,
)
from kdopt.analysis.tables import Tables
from kdopt.campaign.partition_settings import PartitionSettings
from kdopt.campaign.settings import TransferSettings
from kdopt.campaign.stage_settings import WEIGHTINGS
from tests.analysis.synthetic import FIVE, accuracy_of
from tests.analysis.synthetic_many import combine_row, combine_rows, many_campaign, paper_accuracy

PUBLIC = "public_unlabeled_large"
UNIFORM = (PartitionSettings("uniform"),)


def test_table_two_is_whole_and_says_what_the_paper_says_of_it():
    assert set(TABLE_II) == {(name, *column) for name in FIVE for column in TABLE_II_COLUMNS}
    for name in FIVE:
        best = TABLE_II[name, PUBLIC, "best"]
        for start in ("worst", "untrained"):
            other = TABLE_II[name, PUBLIC, start]
            assert best.weighted > other.weighted and best.unweighted > other.unweighted
    helps = [k[0] for k, v in TABLE_II.items() if v.weighted > v.unweighted]
    assert helps.count("label_dirichlet") == 5 and helps.count("quantity_skew") == 4
    assert "uniform" not in helps and "specialized" not in helps


def test_the_papers_own_table_comes_back():
    campaign = many_campaign(replicates=2)
    table = Tables(combine_rows(campaign), campaign).combined
    assert len(table) == 50 and (table["replicates"] == 2).all()
    assert table["accuracy"].tolist() == pytest.approx(table["paper_accuracy"].tolist())
    assert table["accuracy_sd"].tolist() == pytest.approx([0.0] * 50)
    # Validation is half a point above test in these rows.
    assert (table["validation_accuracy"] - table["accuracy"]).tolist() == pytest.approx([0.5] * 50)


def test_lines_stand_in_the_order_of_table_two():
    campaign = many_campaign(
        transfer=TransferSettings(50, 500, 50),
        combine_transfer_sets=(
            "student",
            "public_labeled",
            "public_unlabeled_large",
            "public_unlabeled_small",
        ),
        combine_weightings=("share", "better_share", "equal"),
    )
    rows = combine_rows(campaign, lambda *_: 50.0)
    rows += combine_rows(
        replace(campaign, partitions=(PartitionSettings("another"),)), lambda *_: 9
    )
    table = Tables(rows, campaign).combined
    assert list(table["partition"].unique()) == [*FIVE, "another"]
    here = table[table["partition"] == "uniform"]
    assert list(here["transfer_set"].unique()) == [
        "public_unlabeled_large",
        "student",
        "public_unlabeled_small",
        "public_labeled",
    ]
    assert here["start"].tolist()[:9:3] == ["worst", "best", "untrained"]
    assert here["weighting"].tolist()[:3] == ["equal", "better_share", "share"]
    assert here["paper_accuracy"].notna().sum() == 5 * 3
    assert table.loc[table["partition"] == "another", "paper_accuracy"].isna().all()


def test_replicates_are_averaged_and_their_spread_is_kept():
    campaign = many_campaign(partitions=UNIFORM)
    way = (PUBLIC, "best", "equal")
    rows = [combine_row(campaign, "uniform", way, 70 + 2 * r, r, r) for r in range(3)]
    line = Tables(rows, campaign).combined.iloc[0]
    assert (line["accuracy"], line["accuracy_sd"]) == pytest.approx((72, 2))
    assert line["gain"] == pytest.approx(72 - 100 * accuracy_of(3))
    assert (line["participant"], line["replicates"]) == (3, 3)
    one = Tables(rows[:1], campaign).combined.iloc[0]
    assert math.isnan(one["accuracy_sd"]) and one["replicates"] == 1


def test_an_untrained_student_has_no_gain_and_no_number():
    campaign = many_campaign(partitions=UNIFORM)
    rows = [combine_row(campaign, "uniform", (PUBLIC, "untrained", "equal"), 60.0)]
    line = Tables(rows, campaign).combined.iloc[0]
    assert math.isnan(line["gain"]) and line["participant"] == -1


def test_effects_pair_what_has_the_same_replicate():
    campaign = many_campaign(partitions=UNIFORM)
    equal, adaptive = (PUBLIC, "best", "equal"), (PUBLIC, "best", "share")
    rows = [
        combine_row(campaign, "uniform", equal, 70.0, 0, 0),
        combine_row(campaign, "uniform", equal, 90.0, 1, 1),
        combine_row(campaign, "uniform", adaptive, 71.0, 0, 2),
        combine_row(campaign, "uniform", adaptive, 10.0, 2, 3),
        combine_row(campaign, "uniform", adaptive, None, 1, 4),
        combine_row(campaign, "uniform", ("student", "best", "share"), 70.0, 0, 5),
    ]
    (line,) = Tables(rows, campaign).weighting_effects.to_dict("records")
    assert (line["weighting"], line["replicates"]) == ("share", 1)
    assert line["effect"] == pytest.approx(1.0)
    assert line["paper_effect"] == pytest.approx(72.35 - 73.43)
    assert Tables(rows, campaign).replicate_effects["replicate"].tolist() == [0]


def test_the_mean_over_replicates_is_the_mean_of_their_effects():
    campaign = many_campaign(replicates=3)

    def noisy(partition, transfer_set, start, weighting, replicate):
        shift = 0.3 * replicate if weighting == "equal" else 0.7 * replicate
        return paper_accuracy(partition, transfer_set, start, weighting, replicate) + shift

    rows = combine_rows(campaign, noisy)
    effects = Tables(rows, campaign).weighting_effects
    assert (effects["replicates"] == 3).all()
    assert effects["effect"].tolist() == pytest.approx((effects["paper_effect"] + 0.4).tolist())
    assert len(Tables(rows, campaign).replicate_effects) == 3 * len(effects) == 3 * 25


def test_the_papers_signs_agree_with_themselves():
    campaign = many_campaign()
    (line,) = rate_formulas(Tables(combine_rows(campaign), campaign).weighting_effects).to_dict(
        "records"
    )
    assert line["weighting"] == "better_share"
    # Five columns, less that of the untrained model, in which no formulas differ.
    assert (line["cells"], line["same_sign"]) == (20, 20)
    assert line["constant"] == 11  # so many of the paper's effects are negative
    assert (line["partitions"], line["partitions_same_sign"]) == (5, 5)
    assert line["correlation"] == pytest.approx(1.0)


TRAINED = [column for column in TABLE_II_COLUMNS if column[1] != "untrained"]


def effects_of(**weightings):
    """Effects of formulas on the columns of one partition that tell formulas apart, paper's 1..."""
    lines = [
        ("uniform", *column, name, value, 1, paper)
        for name, values in weightings.items()
        for column, value, paper in zip(TRAINED, values, range(1, 6), strict=False)
    ]
    return pd.DataFrame(lines, columns=list(EFFECT_COLUMNS))


def test_formulas_stand_by_correlation_then_by_signs():
    found = rate_formulas(
        effects_of(
            share=(4, 3, 2, 1),
            better_share=(1, 2, 3, -4),
            student_share=(1, 2, 3, 4),
            excess_share=(-4, -3, -2, -1),
        )
    )
    assert found["weighting"].tolist() == ["student_share", "excess_share", "better_share", "share"]
    assert found["same_sign"].tolist() == [4, 0, 3, 4]
    assert (found["constant"] == 4).all()  # the paper's effects are all positive here
    assert found["correlation"].tolist()[::3] == pytest.approx([1, -1])
    assert found["partitions_same_sign"].tolist() == [1, 0, 1, 1]


def test_no_effect_and_float_noise_have_no_sign():
    (line,) = rate_formulas(effects_of(share=(0.0, 1e-12, 1e-6, -1))).to_dict("records")
    assert line["same_sign"] == 1


def test_two_cells_have_no_correlation_and_cells_off_the_table_do_not_count():
    effects = effects_of(share=(1, 2), better_share=(1, 2, 3))
    off = effects.assign(partition="another", paper_effect=math.nan, effect=-9.0)
    found = rate_formulas(pd.concat([effects, off])).set_index("weighting")
    assert found["cells"].to_dict() == {"share": 2, "better_share": 3}
    assert math.isnan(found.loc["share", "correlation"])
    assert found.loc["better_share", "correlation"] == pytest.approx(1.0)
    assert (found["partitions"] == 1).all()
    (none,) = rate_formulas(off[off["weighting"] == "share"]).to_dict("records")
    assert (none["cells"], none["same_sign"], none["partitions"]) == (0, 0, 0)
    assert math.isnan(none["mean_effect"])


def test_order_of_rows_changes_nothing():
    campaign = many_campaign(replicates=3, combine_weightings=WEIGHTINGS)
    rng = random.Random(0)
    rows = combine_rows(campaign, lambda *_: rng.uniform(20, 90))
    shuffled = random.Random(3).sample(rows, len(rows))
    first, second = Tables(shuffled, campaign), Tables(rows, campaign)
    for name in ("combined", "replicate_effects", "weighting_effects", "weighting_agreement"):
        assert_frame_equal(getattr(first, name), getattr(second, name), check_exact=True)


def test_a_cell_that_was_run_twice_counts_once():
    campaign = many_campaign(partitions=UNIFORM)
    way = (PUBLIC, "best", "equal")
    rows = [combine_row(campaign, "uniform", way, 60.0 + n, 0, n) for n in (1, 0)]
    line = Tables(rows, campaign).combined.iloc[0]
    assert (line["accuracy"], line["replicates"]) == (pytest.approx(60.0), 1)


def test_nothing_gives_empty_tables():
    campaign = many_campaign()
    waiting = combine_row(campaign, "uniform", (PUBLIC, "best", "equal"), None)
    for rows in ([], [waiting]):
        tables = Tables(rows, campaign)
        for found, columns in (
            (tables.combined, COMBINED_COLUMNS),
            (tables.weighting_effects, EFFECT_COLUMNS),
            (tables.replicate_effects, REPLICATE_EFFECT_COLUMNS),
            (tables.weighting_agreement, AGREEMENT_COLUMNS),
        ):
            assert found.empty
            assert tuple(found.columns) == columns
