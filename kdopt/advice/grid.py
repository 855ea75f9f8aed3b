"""Cells of T and alpha as a grid: what neighbours say, and how far one can move from the best."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from kdopt.advice.training_set import Action, Floats

NEIGHBOUR = 0.25
"""What a neighbouring cell's gain counts for in a smoothed one. Gains of one pair are differences
of a few images; neighbours have nearly the same true gain and other noise."""


class Band(NamedTuple):
    """The cells about a best one that do no worse, as far as its pairs can tell.

    Attributes:
        temperature: Least and greatest T at the best alpha.
        alpha: Least and greatest alpha at the best T.
    """

    temperature: tuple[float, float]
    alpha: tuple[float, float]


def smoothed(actions: Sequence[Action], gains: Floats) -> Floats:
    """Gains with every cell drawn towards its (up to four) neighbours on the grid.

    Args:
        actions: What was tried; what is no cell is left as it is.
        gains: (pairs, actions), pp.
    """
    places = _places(actions)
    out = gains.copy()
    for (t, a), index in places.items():
        steps = ((t - 1, a), (t + 1, a), (t, a - 1), (t, a + 1))
        near = [places[step] for step in steps if step in places]
        total = gains[:, index] + NEIGHBOUR * gains[:, near].sum(axis=1)
        out[:, index] = total / (1 + NEIGHBOUR * len(near))
    return out


def band_of(actions: Sequence[Action], gains: Floats, best: int) -> Band:
    """Walk from the best cell along T and along alpha while nothing is lost for sure.

    A cell does no worse when the best one's mean lead over it is within one standard error of
    that lead over the pairs. The two are walked one at a time (a cross, not a box): cells far off
    in both at once were not looked at.

    Args:
        actions: What was tried.
        gains: (pairs, actions), pp.
        best: Index of a cell among the actions.
    """
    places = _places(actions)
    temperatures, alphas = _axes(actions)
    t, a = next(place for place, index in places.items() if index == best)

    def near(place: tuple[int, int]) -> bool:
        if place not in places:
            return False
        lead = gains[:, best] - gains[:, places[place]]
        return bool(lead.mean() <= standard_error(lead))

    low_t = _walk(t, -1, lambda i: near((i, a)))
    high_t = _walk(t, 1, lambda i: near((i, a)))
    low_a = _walk(a, -1, lambda i: near((t, i)))
    high_a = _walk(a, 1, lambda i: near((t, i)))
    return Band((temperatures[low_t], temperatures[high_t]), (alphas[low_a], alphas[high_a]))


def standard_error(values: Floats) -> float:
    """Of the mean of some values; 0 for a single one."""
    if len(values) < 2:
        return 0.0
    return float(values.std(ddof=1)) / math.sqrt(len(values))


def _walk(start: int, step: int, near: Callable[[int], bool]) -> int:
    while near(start + step):
        start += step
    return start


def _axes(actions: Sequence[Action]) -> tuple[list[float], list[float]]:
    temperatures = sorted({a.temperature for a in actions if a.temperature is not None})
    return temperatures, sorted({a.alpha for a in actions if a.alpha is not None})


def _places(actions: Sequence[Action]) -> dict[tuple[int, int], int]:
    """The index of each cell among the actions, by its place on the grid."""
    temperatures, alphas = _axes(actions)
    return {
        (temperatures.index(a.temperature), alphas.index(a.alpha)): i
        for i, a in enumerate(actions)
        if a.temperature is not None and a.alpha is not None
    }
