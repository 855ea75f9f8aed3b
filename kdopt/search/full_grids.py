"""Pairs whose whole grid was measured, and which of them a search knows beforehand."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from kdopt.analysis.best_settings import find_best_point
from kdopt.analysis.results import CampaignResults, GainName, GainPair, PointMean
from kdopt.campaign.settings import Campaign
from kdopt.campaign.stages import round_of_pair
from kdopt.outcome import Pair, TrialRow
from kdopt.search.prior import PairResults, Point, collect_pair_results, list_grid_points


class FullGrid(NamedTuple):
    """A pair whose whole grid was measured.

    Attributes:
        campaign: What was planned.
        pair: Which of its pairs.
        known: Its features, and the result of every point.
        cells: The gains of every point.
        control: What the student gains without the teacher; NaN where that was not run.
    """

    campaign: Campaign
    pair: Pair
    known: PairResults
    cells: Mapping[Point, PointMean]
    control: GainPair

    @property
    def place(self) -> tuple[str, str]:
        """Campaign and partition."""
        return self.campaign.name, self.pair.partition

    @property
    def round(self) -> int:
        """In which round of its partition a campaign tunes it."""
        return round_of_pair(self.campaign, self.pair.teacher, self.pair.student)

    def compute_kept_gain(self, tried: Iterable[Point]) -> float:
        """Test gain of the best of these points, the control and the untouched student."""
        kept, bound = self.find_fallback()
        gain = get_selection_gain(self.campaign)
        best = find_best_point([self.cells[point] for point in tried], gain, self.campaign.tune)
        return best.test_gain if best is not None and getattr(best, gain) > bound else kept

    def find_fallback(self) -> tuple[float, float]:
        """Gains on test and on the selection set of the student if no point is used."""
        control = self.control
        chosen = control.test if self.campaign.select_on == "test" else control.validation
        # A control that was not run has no gain, and is never chosen.
        return (control.test, chosen) if chosen > 0 else (0.0, 0.0)

    def count_epochs(self, trials: int) -> float:
        """Most epochs of training that so many trials take, with the pair's part of the control.

        The control is one trial per student, whoever its teachers are.
        """
        teachers = sum(student == self.pair.student for _, student in self.campaign.pairs)
        control = 0.0 if math.isnan(self.control.validation) else 1 / max(1, teachers)
        return self.campaign.distill.epochs * self.campaign.replicates * (trials + control)


UNKNOWN: Mapping[str, Callable[[FullGrid], tuple[object, ...]]] = {
    "data set": lambda grid: (grid.campaign.data.name,),
    "partition": lambda grid: (grid.campaign.get_family(grid.pair.partition),),
    "participant": lambda grid: (*grid.place, grid.pair.student),
    "student": lambda grid: (*grid.place, grid.pair.student),
    "pair": lambda grid: (*grid.place, *grid.pair),
}
"""What a search may not know, the hardest first, and which pairs are unknown together. A kind of
partition is unknown in all its draws and on all data sets. A *participant* is unknown as a teacher,
too; a *student* may be known as one."""


def collect_full_grids(rows: Sequence[TrialRow], campaign: Campaign) -> list[FullGrid]:
    """The pairs whose every point is complete and whose participants are known, in fixed order."""
    points = list_grid_points(campaign)
    results = CampaignResults(rows, campaign)
    found = []
    for pair, known in collect_pair_results(rows).items():
        cells = {(c.temperature, c.alpha): c for c in results.points.get(pair, ())}
        if all(point in cells and point in known.results for point in points):
            own = {point: cells[point] for point in points}
            found.append(FullGrid(campaign, pair, known, own, results.measure_control(pair)))
    return found


def leave_out(
    grids: Sequence[FullGrid], unknown: str
) -> Iterator[tuple[list[FullGrid], list[FullGrid]]]:
    """The pairs that are unknown together, and those that are known then, in fixed order.

    Every pair is unknown once. ``unknown`` is a key of :data:`UNKNOWN`.
    """
    find_group = UNKNOWN[unknown]
    groups: dict[tuple[object, ...], list[FullGrid]] = {}
    for grid in grids:
        groups.setdefault(find_group(grid), []).append(grid)
    for key, group in groups.items():
        known = [grid for grid in grids if find_group(grid) != key]
        if unknown == "participant":
            first = group[0]
            known = [
                g for g in known if (*g.place, g.pair.teacher) != (*first.place, first.pair.student)
            ]
        yield group, known


def get_selection_gain(campaign: Campaign) -> GainName:
    """By which gain a campaign chooses."""
    return "test_gain" if campaign.select_on == "test" else "validation_gain"
