import json
from dataclasses import replace

import pandas as pd
import pytest

from kdopt.analysis.combining import TABLE_II
from kdopt.analysis.federated import PAPER_ROUND_REDUCTION
from kdopt.analysis.tables import Tables
from kdopt.campaign.partition_settings import PartitionSettings
from kdopt.campaign.stage_settings import WEIGHTINGS, CombineSettings, FederateSettings
from kdopt.outcome import RoundScore
from kdopt.report.blocks import ReportData
from kdopt.report.sections.many_teachers import make_many_blocks
from kdopt.report.sections.table_two import make_table_two
from tests.analysis.synthetic import FIVE
from tests.report.many_synthetic import ROUNDS, combine_accuracy, many_campaign, many_rows

TITLES = [
    "All participants in one model",
    "Weighted against equal teachers",
    "Federated averaging after distillation",
    "Rounds to a target accuracy",
    "Rounds saved on average",
]


def parts(campaign, rows=None):
    rows = many_rows(campaign) if rows is None else rows
    blocks = make_many_blocks(ReportData(campaign, rows))
    drawn = {block.figure.id: block.figure for block in blocks if block.figure}
    stages = campaign.stages
    titles = TITLES[:2] * ("combine" in stages) + TITLES[2:] * ("federate" in stages)
    assert [block.title for block in blocks] == titles
    figures = [item.figure for item in drawn.values()]
    json.dumps([figures, [block.tables for block in blocks]], allow_nan=False)
    return blocks, drawn


def column(table, heading):
    place = table.headings.index(heading)
    return [line[place].text for line in table.lines]


def keys(table, heading):
    place = table.headings.index(heading)
    return [line[place].key for line in table.lines]


def test_a_complete_campaign_lacks_nothing():
    blocks, drawn = parts(many_campaign())
    assert [block.missing for block in blocks] == [""] * 5
    assert list(drawn) == ["many-combined", "many-federated"]
    assert all(block.tables for block in blocks)


def test_the_grid_is_laid_out_as_table_ii():
    campaign = many_campaign()
    (block, *_), _ = parts(campaign)
    sets, starts, weightings = block.grids[0].headings
    assert sets == [("Public unlabeled (large)", 6), ("Student data", 4)]
    assert [text for text, _ in starts] == [
        "Worst student", "Best student", "Untrained model", "Worst student", "Best student",
    ]  # fmt: skip
    assert [text for text, _ in weightings] == ["W", "U"] * 5
    assert {sum(span for _, span in row) for row in block.grids[0].headings} == {10}
    assert {len(cells) for _, cells in block.grids[0].lines} == {10}
    for name, (title, cells) in zip(FIVE, block.grids[0].lines, strict=True):
        assert title == name.replace("_", " ").capitalize()
        paper = [
            f"paper {number:.2f}" for key, pair in TABLE_II.items() if key[0] == name
            for number in pair
        ]  # fmt: skip
        assert [cell.below for cell in cells] == paper
        cell = {"start": "best", "weighting": "equal", "replicate": 0}
        assert cells[3].text == f"{100 * combine_accuracy(campaign, name, cell):.2f}"


def test_the_better_of_weighted_and_equal_is_marked_and_ties_are_not():
    campaign = many_campaign()
    (block, *_), _ = parts(campaign)
    for title, cells in block.grids[0].lines:
        weighted = title in ("Label chunks", "Label dirichlet")
        assert [cell.marked for cell in cells] == [weighted, not weighted] * 5
    table = Tables(many_rows(campaign), campaign).combined
    lines = make_table_two(table.assign(accuracy=50.0)).lines
    assert not any(entry.best for line in lines.values() for entry in line)


def test_several_formulas_are_named_and_the_best_are_marked():
    campaign = many_campaign(combine=CombineSettings(weightings=WEIGHTINGS))
    (block, effects, *_), _ = parts(campaign)
    heads = [text for grid in block.grids for text, _ in grid.headings[2]]
    formulas = [
        *("W: better share", "W: excess share", "W: student share", "W: share"),
        "W: normalized share",
    ]
    assert heads == [*formulas, "U"] * 5
    marked = [cell.marked for cell in block.grids[0].lines[-1][1][:6]]
    assert marked == [True] * 5 + [False]
    assert len(effects.tables[0].lines) == 5
    # Too wide for one table: one per transfer set, with one caption below the last.
    assert [grid.headings[0] for grid in block.grids] == [
        [("Public unlabeled (large)", 18)],
        [("Student data", 12)],
    ]
    assert [bool(grid.caption) for grid in block.grids] == [False, True]


def test_a_cell_that_is_not_there_yet_leaves_its_neighbours_in_place():
    campaign = many_campaign()
    rows = [
        r
        for r in many_rows(campaign)
        if not (r.partition == "specialized" and r.params.get("weighting") == "better_share")
    ]
    (block, *_), _ = parts(campaign, rows)
    cells = dict(block.grids[0].lines)["Specialized"]
    assert [cell.text == "-" for cell in cells] == [True, False] * 5
    assert not any(cell.marked for cell in cells)


def test_spread_is_shown_with_replicates_only():
    for replicates, there in ((1, False), (3, True)):
        (block, weights, *_), _ = parts(many_campaign(replicates=replicates))
        texts = [cell.text for _, cells in block.grids[0].lines for cell in cells]
        assert all((" \N{PLUS-MINUS SIGN} 0.40" in text) == there for text in texts)
        assert ("standard deviation" in block.grids[0].caption) == there
        assert ("Every cell ran once" in weights.note) != there


def test_effects_stand_beside_the_paper_s():
    campaign = many_campaign()
    (_, block, *_), _ = parts(campaign)
    _, effects = block.tables
    found = zip(
        column(effects, "Partition"),
        column(effects, "Weighted minus unweighted (pp)"),
        column(effects, "The paper's (pp)"),
        strict=True,
    )
    for partition, effect, _ in found:
        assert effect == ("2.00" if "Label" in partition else "-1.00")
    theirs = {round(pair.weighted - pair.unweighted, 2) for pair in TABLE_II.values()}
    assert set(map(float, column(effects, "The paper's (pp)"))) == theirs


def test_a_partition_that_the_paper_lacks_has_no_number_of_the_paper():
    campaign = many_campaign(partitions=(PartitionSettings("uniform"),))
    rows = [replace(r, partition="other") for r in many_rows(campaign)]
    (block, effects, *_), _ = parts(campaign, rows)
    assert {cell.below for _, cells in block.grids[0].lines for cell in cells} == {""}
    assert "paper" not in block.grids[0].caption
    assert set(column(effects.tables[1], "The paper's (pp)")) == {""}


def test_censored_rounds_are_bounds_and_sort_after_those_that_are_known():
    blocks, _ = parts(many_campaign(partitions=(PartitionSettings("uniform"),)))
    (table,) = blocks[3].tables
    lines = dict(zip(column(table, "Target"), table.lines, strict=True))
    # Random weights end at 72 %, consolidated ones at 82 %.
    place = {heading: number for number, heading in enumerate(table.headings)}

    def shown(target, heading):
        return lines[target][place[heading]].text

    random, after = "Rounds from random weights", "Rounds after KD"
    rounds, megabytes = "Reduction of rounds (%)", "Reduction of MB (%)"
    assert shown("75 %", random) == f"> {ROUNDS}"
    assert shown("75 %", rounds).startswith("at least ")
    assert shown("75 %", megabytes).startswith("at least ")
    assert shown("75 %", "MB from random weights") == "> 20.00"
    assert shown("95 %", random) == shown("95 %", after) == f"> {ROUNDS}"
    assert shown("95 %", rounds) == shown("95 %", megabytes) == "unknown"
    assert shown("100 % of FedAvg's final", random) == str(ROUNDS)
    assert float(shown("100 % of FedAvg's final", rounds)) > 0
    known = [key for text, key in zip(column(table, random), keys(table, random), strict=True)
             if not text.startswith(">")]  # fmt: skip
    censored = [key for key in keys(table, random) if key not in known]
    assert censored and min(censored) > max(known)


def test_a_consolidated_run_that_never_arrives_is_said_to_save_at_most():
    campaign = many_campaign(partitions=(PartitionSettings("uniform"),))
    flat = tuple(RoundScore(0.2, 0.2) for _ in range(ROUNDS + 1))
    rows = [
        replace(row, outcome=replace(row.outcome, rounds=flat))
        if row.params.get("initial_model") == "consolidated"
        else row
        for row in many_rows(campaign)
    ]
    blocks, _ = parts(campaign, rows)
    (table,) = blocks[3].tables
    texts = dict(
        zip(column(table, "Target"), column(table, "Reduction of rounds (%)"), strict=True)
    )
    assert texts["50 %"].startswith("at most -")
    assert texts["100 % of FedAvg's final"] == "at most 0.00"


def test_traffic_after_kd_counts_kd():
    campaign = many_campaign(partitions=(PartitionSettings("uniform"),))
    blocks, _ = parts(campaign)
    (table,) = blocks[3].tables
    rounds = pd.Series(keys(table, "Rounds after KD")[:2])
    assert keys(table, "MB after KD, and of KD")[:2] == pytest.approx(list(3 + 2 * rounds))


def test_the_paper_s_reduction_is_named_with_what_it_is_of():
    blocks, _ = parts(many_campaign())
    assert f"{PAPER_ROUND_REDUCTION:g} %, on CIFAR-10" in blocks[4].note
    assert column(blocks[4].tables[0], "Targets")[-1] == "all targets"


@pytest.mark.parametrize("stages", [("combine",), ("federate",), ("combine", "federate")])
def test_what_is_missing_is_said_with_what_to_run(stages):
    campaign = many_campaign(stages=stages)
    rows = many_rows(campaign)
    for some in (rows, rows[:20], [], rows[1::3]):
        parts(campaign, some)
    blocks, _ = parts(campaign)
    assert {block.missing for block in blocks} == {""}
    blocks, drawn = parts(campaign, [])
    assert drawn == {}
    assert [block.missing for block in blocks] == [
        f'No data yet: no trial of stage "{stage}" is complete.'
        for stage, n in (("combine", 2), ("federate", 3))
        if stage in stages
        for _ in range(n)
    ]


def test_campaigns_that_can_never_have_the_numbers_say_which_setting_to_change():
    alone = FederateSettings(rounds=ROUNDS, initial_models=("consolidated",))
    blocks, _ = parts(many_campaign(federate=alone))
    assert "federate.initial_models" in blocks[3].missing == blocks[4].missing
    aimless = FederateSettings(rounds=ROUNDS, targets=(), relative_targets=())
    blocks, _ = parts(many_campaign(federate=aimless))
    assert "federate.targets" in blocks[3].missing
    blocks, _ = parts(many_campaign(combine=CombineSettings(weightings=("equal",))))
    assert "combine.weightings" in blocks[1].missing
    assert [text for text, _ in blocks[0].grids[0].headings[2]] == ["U"] * 5
