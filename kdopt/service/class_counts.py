"""How many images of each class a set has, told from the accuracies of all models on it.

A store has no labels. But an accuracy on ``n`` images is a whole number of n-ths, and what all
records have in common are the classes of their sets.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping

from kdopt.outcome import Outcome, Scores
from kdopt.service.record_checks import is_whole
from kdopt.shown import format_count

_ENOUGH = 8
"""Different scores of a set from which its classes are told."""
_READ = 64
"""Different scores that are looked at."""
_FAULTY = 0.1
"""The share of them that may be wrong."""

_SetKey = tuple[str, int]


class ClassCounts:
    """The classes of a campaign's sets.

    Args:
        outcomes: All results of a campaign.
        one_validation: Whether all participants are judged on the same validation set.
    """

    def __init__(self, outcomes: Iterable[Outcome] = (), one_validation: bool = True) -> None:
        self._names = ("validation", "test") if one_validation else ("test",)
        different: dict[_SetKey, dict[Scores, None]] = defaultdict(dict)
        for outcome in outcomes:
            for name in self._names:
                scores = getattr(outcome, name)
                if scores.images and len(different[name, scores.images]) < _READ:
                    different[name, scores.images][scores] = None
        self._counts: Mapping[_SetKey, tuple[int, ...] | None] = {
            key: _count_classes(key[1], list(found)) for key, found in different.items()
        }

    def check(self, key: str, scores: Scores) -> Iterator[str]:
        """What of some scores cannot be on their set, a line each.

        Args:
            key: What a record calls them, such as ``test_before``.
            scores: They.
        """
        counts = self._counts.get((key.removesuffix("_before"), scores.images or 0))
        if counts is None or len(counts) != len(scores.per_class):
            return
        right = 0.0
        for number, (accuracy, n) in enumerate(zip(scores.per_class, counts, strict=True)):
            if accuracy is None or not is_whole(accuracy * n):
                yield (
                    f"{key}: an accuracy of {accuracy} in class {number}, of "
                    f"{format_count(n, 'image')}"
                )
                return
            right += accuracy * n
        if abs(right - scores.accuracy * sum(counts)) > 1e-6 * sum(counts):
            yield f"{key}: an accuracy of {scores.accuracy}, which is not that of its classes"


def _count_classes(images: int, found: list[Scores]) -> tuple[int, ...] | None:
    """Images of each class; ``None`` if the scores do not tell."""
    n_classes = len(found[0].per_class)
    if len(found) < _ENOUGH or not n_classes:
        return None
    counts = []
    for number in range(n_classes):
        shares = [s.per_class[number] for s in found if number < len(s.per_class)]
        n = _find_denominator([share for share in shares if share is not None], images)
        if n is None:
            return None
        counts.append(n)
    return tuple(counts) if sum(counts) == images else None


def _find_denominator(shares: list[float], most: int) -> int | None:
    """The least whole number of which nearly all shares are whole parts."""
    spare = int(_FAULTY * len(shares))
    for n in range(1, most + 1):
        faults = 0
        for share in shares:
            faults += not is_whole(share * n)
            if faults > spare:
                break
        else:
            return n
    return None
