"""How much of a mean gain may be the luck of which test images there are.

An interval over participants says how far a conclusion depends on who took part. This is another
error: the same models on other test images of the same kind. All pairs are judged on the same test
images, so averaging over pairs does not average it away.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from kdopt.analysis.results import CampaignResults, list_pairs, read_point
from kdopt.analysis.tuning import select_comparable, split_by_scope
from kdopt.analysis.verdicts import unpack_right
from kdopt.outcome import Outcome, Pair

NORMAL_95 = 1.96
"""Half the width of a 95 % interval in standard errors, for means over hundreds of images."""

ByImage = npt.NDArray[np.float64]
ListOutcomes = Callable[[Pair], Sequence[Outcome]]


class ImageLead(NamedTuple):
    """How far one model leads another on the same test images, pp.

    Attributes:
        mean: The difference of their accuracies.
        error: Half the width of its 95 % interval over other test images of the same kind.
    """

    mean: float
    error: float


def measure_lead(after: Sequence[Outcome], before: Sequence[Outcome]) -> ImageLead | None:
    """How far models lead others on test, replicates averaged; ``None`` if it is not known."""
    rates = [_average_rights(outcomes) for outcomes in (after, before)]
    if rates[0] is None or rates[1] is None:
        return None
    differences: ByImage = rates[0] - rates[1]
    return ImageLead(100 * float(np.mean(differences)), _measure_spread(differences))


class SamplingErrors:
    """Errors of mean gains from the draw of the test images, for one campaign.

    Args:
        results: The campaign's trials.
        best: Its best settings, with the selected point of every pair.
    """

    def __init__(self, results: CampaignResults, best: pd.DataFrame) -> None:
        self._results = results
        points = zip(best["temperature"], best["alpha"], strict=True)
        self._points = dict(zip(list_pairs(best), points, strict=True))
        vanilla = results.campaign.tune.vanilla_point
        untouched, tuned, control = self._list_untouched, self._list_tuned, self._list_control
        self._contrasts: dict[str, tuple[ListOutcomes, ListOutcomes]] = {
            "vanilla_gain": (lambda pair: self._list_point(pair, vanilla), untouched),
            "control_gain": (control, untouched),
            "test_gain": (tuned, untouched),
            "net_gain": (tuned, control),
            "tuning_effect": (tuned, lambda pair: self._list_point(pair, vanilla)),
        }

    def measure_errors(self, summary: pd.DataFrame, best: pd.DataFrame) -> list[float]:
        """The error of every line of the headline measures.

        Args:
            summary: From :func:`kdopt.analysis.tuning.summarise_gains`.
            best: The best settings that it was made from.
        """
        pairs = {scope: list_pairs(select_comparable(part)) for scope, part in split_by_scope(best)}
        lines = zip(summary["partition"], summary["measure"], strict=True)
        return [self.measure_error(str(measure), pairs[str(scope)]) for scope, measure in lines]

    def measure_error(self, measure: str, pairs: Iterable[Pair]) -> float:
        """Half the width (pp) of the 95 % interval of a mean gain over other test images.

        Args:
            measure: A headline measure; NaN for those that are no mean of accuracies.
            pairs: Those of the mean; NaN if any has no record of single test images.
        """
        if measure not in self._contrasts:
            return math.nan
        after, before = self._contrasts[measure]
        differences = []
        for pair in pairs:
            rates = [_average_rights(listing(pair)) for listing in (after, before)]
            if rates[0] is None or rates[1] is None:
                return math.nan
            differences.append(rates[0] - rates[1])
        if not differences:
            return math.nan
        return _measure_spread(np.mean(differences, axis=0))

    def _list_untouched(self, pair: Pair) -> Sequence[Outcome]:
        found = self._results.pretrained.get((pair.partition, pair.student))
        return [] if found is None else [found]

    def _list_control(self, pair: Pair) -> Sequence[Outcome]:
        return self._results.list_control_outcomes(pair, "student")

    def _list_tuned(self, pair: Pair) -> Sequence[Outcome]:
        return self._list_point(pair, self._points.get(pair))

    def _list_point(self, pair: Pair, point: tuple[float, float] | None) -> Sequence[Outcome]:
        rows = self._results.candidates.get(pair, [])
        return [
            row.outcome
            for row in rows
            if row.state == "COMPLETE" and row.outcome is not None and read_point(row) == point
        ]


def _measure_spread(by_image: ByImage) -> float:
    """Half the width (pp) of the 95 % interval of a mean of differences by image."""
    return 100 * NORMAL_95 * float(np.std(by_image, ddof=1)) / math.sqrt(len(by_image))


def _average_rights(outcomes: Sequence[Outcome]) -> ByImage | None:
    """By test image, in which share of the replicates it was right; ``None`` if unknown."""
    if not outcomes or any(outcome.test.right is None for outcome in outcomes):
        return None
    mean: ByImage = np.mean([unpack_right(outcome.test) for outcome in outcomes], axis=0)
    return mean
