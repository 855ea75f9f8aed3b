"""How much of a mean gain may be the luck of which test images there are.

An interval over participants says how far a conclusion depends on who took part. This is another
error: the same models on other test images of the same kind. All pairs are judged on the same test
images, so averaging over pairs does not average it away.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import pandas as pd

from kdopt.analysis.images_right import compare_on_test, measure_image_error
from kdopt.analysis.results import CampaignResults, list_pairs, read_point
from kdopt.analysis.tuning import select_comparable, split_by_scope
from kdopt.outcome import Outcome, Pair

ListOutcomes = Callable[[Pair], Sequence[Outcome]]


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
            difference = compare_on_test(after(pair), before(pair))
            if difference is None:
                return math.nan
            differences.append(difference)
        return measure_image_error(np.mean(differences, axis=0)) if differences else math.nan

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
