"""Pairs whose whole grid was measured: what they keep, what a trial costs, who is left out."""

from __future__ import annotations

import dataclasses
import math

import pytest

from kdopt.analysis.results import GainPair, PointMean
from kdopt.campaign.partition_settings import PartitionSettings
from kdopt.outcome import Pair
from kdopt.search.full_grids import UNKNOWN, FullGrid, collect_full_grids, leave_out
from kdopt.search.prior import PairResults, PointResult
from tests.analysis.synthetic import make_campaign, make_rows

CAMPAIGN = make_campaign(
    participants=4,
    partitions=(PartitionSettings("uniform"), PartitionSettings("label_dirichlet")),
)
NO_CONTROL = GainPair(math.nan, math.nan)


def toy_grid(number, gains, control=NO_CONTROL, campaign=CAMPAIGN):
    """A pair by the validation gain of each point; test is the same less 1."""
    points = [(float(i + 1), 0.5) for i in range(len(gains))]
    return FullGrid(
        campaign,
        Pair("uniform", number, 0),
        PairResults(
            "", "", (), {p: PointResult(g, 0, 0, 0) for p, g in zip(points, gains, strict=True)}
        ),
        {p: PointMean(*p, g, g - 1, 1) for p, g in zip(points, gains, strict=True)},
        control,
    )


def test_a_pair_is_left_with_the_best_on_validation_under_the_guard():
    grid = toy_grid(0, [2.0, 3.0, -1.0])
    assert grid.compute_kept_gain([(1.0, 0.5), (3.0, 0.5)]) == 1.0
    assert grid.compute_kept_gain(grid.cells) == 2.0
    assert grid.compute_kept_gain([(3.0, 0.5)]) == 0.0
    assert grid.compute_kept_gain([]) == 0.0
    # Where the campaign selects on test, a rise on validation is no rise.
    on_test = dataclasses.replace(CAMPAIGN, select_on="test")
    small = toy_grid(0, [0.5])
    assert small.compute_kept_gain(small.cells) == -0.5
    assert small._replace(campaign=on_test).compute_kept_gain(small.cells) == 0.0


def test_the_control_is_left_with_where_no_tried_point_beats_it():
    """Trained on without a teacher, the student gains 2.5 pp on validation, 0.25 on test."""
    grid = toy_grid(0, [2.0, 3.0], GainPair(2.5, 0.25))
    assert grid.compute_kept_gain([]) == 0.25
    assert grid.compute_kept_gain([(1.0, 0.5)]) == 0.25
    assert grid.compute_kept_gain(grid.cells) == 2.0
    # A control that loses is no better than the untouched student.
    assert toy_grid(0, [-1.0], GainPair(-0.5, 3.0)).compute_kept_gain([]) == 0.0


def make_kinds():
    """Two data sets, each with two kinds of partition and two draws of one of them."""
    partitions = [PartitionSettings(name) for name in ("uniform", "label_dirichlet")]
    second = PartitionSettings("uniform-2", family="uniform")
    one = make_campaign(participants=3, partitions=(*partitions, second))
    other = dataclasses.replace(
        one, name="other", data=dataclasses.replace(one.data, name="fashion_mnist")
    )
    return [g for c in (one, other) for g in collect_full_grids(make_rows(c), c)]


KINDS = {
    "data set": (18, lambda a, b: a.campaign.name != b.campaign.name),
    "partition": (24, lambda a, b: a.pair.partition[:3] != b.pair.partition[:3]),
    "participant": (2, lambda a, b: a.place != b.place or a.pair.student not in b.pair[1:]),
    "student": (2, lambda a, b: a.place != b.place or a.pair.student != b.pair.student),
    "pair": (1, lambda a, b: a.place != b.place or a.pair != b.pair),
}


@pytest.mark.parametrize("unknown", UNKNOWN)
def test_what_is_unknown_is_not_among_what_is_known(unknown):
    """Draws are left out with their partition, on all data sets; a participant also as teacher."""
    grids = make_kinds()
    assert len(grids) == 36
    size, known_to = KINDS[unknown]
    groups = list(leave_out(grids, unknown))
    searched = [id(g) for group, _ in groups for g in group]
    assert sorted(searched) == sorted(map(id, grids))
    assert max(len(group) for group, _ in groups) == size
    for group, known in groups:
        for searched_for in group:
            expected = [id(g) for g in grids if known_to(searched_for, g)]
            assert [id(g) for g in known] == expected


def test_a_pair_pays_its_share_of_its_students_control():
    grid = make_kinds()[0]
    each = grid.campaign.distill.epochs * grid.campaign.replicates
    assert grid.count_epochs(2) == 2.0 * each
    # A half: each student has two teachers.
    assert grid._replace(control=GainPair(1.0, 1.0)).count_epochs(2) == 2.5 * each
