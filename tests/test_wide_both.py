"""Both batch-norm statistics on the grids of many partitions, and what is said of them."""

from __future__ import annotations

import numpy as np
import pytest

from kdopt.analysis.stats import estimate_independent
from kdopt.campaign.spec import parse_spec
from kdopt.campaign.starter import write_starter
from kdopt.errors import KdoptError
from scripts import wide_both, wide_grids, wide_prior
from scripts.line_grids import LineGrid
from scripts.wide_bench import DATA


@pytest.fixture(scope="module")
def wide():
    return wide_grids.read_wide_pairs()


@pytest.fixture(scope="module")
def pairs(wide):
    return wide_both.read_both_pairs(wide)


def test_the_campaigns_differ_from_the_wide_ones_in_the_statistics_alone():
    for campaign in wide_grids.CAMPAIGNS:
        running = parse_spec(wide_grids.format_spec(campaign)).campaign
        both = parse_spec(wide_grids.format_spec(campaign, "both")).campaign
        assert (running.batch_norm, both.batch_norm) == ("running", "both")
        assert running.student_line == both.student_line


def test_a_pair_is_read_as_it_was_packed(pairs):
    pair = pairs[0]
    record = wide_both.pack_pair(pair.wide, LineGrid(pair.both, pair.wide.plain))
    assert wide_both.unpack_pair(pair.wide, record) == pair.both


def test_grids_of_other_trained_students_are_refused(pairs):
    """What both statistics add is of the same trained students, or of nothing."""
    pair = pairs[0]
    cells = pair.wide.plain.cells
    point = next(iter(cells))
    changed = cells | {point: cells[point]._replace(test_gain=cells[point].test_gain + 0.1)}
    other = pair.wide.plain._replace(cells=changed)
    with pytest.raises(KdoptError, match=r"T = .*, alpha = .* run both on the same machine"):
        wide_both.pack_pair(pair.wide, LineGrid(pair.both, other))


def test_another_control_is_refused(pairs):
    pair = pairs[0]
    control = pair.wide.plain.control
    other = pair.wide.plain._replace(control=control._replace(test=control.test + 0.1))
    with pytest.raises(KdoptError, match=r"the control of .* run both on the same machine"):
        wide_both.pack_pair(pair.wide, LineGrid(pair.both, other))


def test_no_student_is_worse_on_validation_with_both_than_with_interpolated_ones_alone(pairs):
    for pair in pairs:
        for point, result in pair.both.known.results.items():
            assert result.gain >= pair.wide.line.known.results[point].gain
        assert pair.both.control.validation >= pair.wide.line.control.validation


def test_the_starter_has_both_as_they_were_measured_to_pay(pairs):
    more: dict[tuple[str, str], list[float]] = {}
    for pair in pairs:
        gains = [grid.compute_kept_gain(grid.cells) for grid in (pair.wide.line, pair.both)]
        more.setdefault(pair.both.place, []).append(gains[1] - gains[0])
    assert estimate_independent(float(np.mean(of)) for of in more.values()).low > 0
    assert parse_spec(write_starter("mine", "mine.toml")).campaign.batch_norm == "both"


def test_the_page_says_what_the_grids_say(wide, pairs):
    page = wide_prior.PAGE.read_text("utf-8")
    running, both = wide_both.make_statistics_benches(pairs, wide)
    assert wide_both.format_head(both) in page
    assert wide_both.format_promises(running, both) in page
    for name, gains in wide_both.list_ends(running, both).items():
        for row in wide_both.compare_gains(name, running, *gains, *running.judge.split()):
            assert wide_prior.format_rows([row]) in page
    assert f"in percent as above: {wide_both.format_ends(both)}\n" in page
    # One line of those that take long.
    before, after = (bench.replay("both", DATA)[2] for bench in (running, both))
    (row,) = wide_both.compare_gains(f"2 trials, {DATA} not known", running, before, after)
    assert wide_prior.format_rows([row]) in page
