"""Which lines of a table of pairs go together: what a jackknife leaves out.

Most tables of a report are about the same pairs, so what does not depend on their numbers is kept
until other pairs are asked about.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

_Floats = npt.NDArray[np.float64]
_Booleans = npt.NDArray[np.bool_]

ENDS = ("teacher", "student")


@dataclass(frozen=True, eq=False)
class Stratum:
    """The participants of one partition, and the couples that they form.

    A couple stands for all lines of the same two participants, whichever of them taught; where
    students are the units, for all lines of one student.

    Attributes:
        lines: (lines,), true for those of this partition.
        participants: (participants, lines), true where a participant took part.
        couples: (couples, lines), true for a couple's lines.
    """

    lines: _Booleans
    participants: _Booleans
    couples: _Booleans

    @property
    def units(self) -> int:
        """Participants, or couples where these are fewer."""
        return min(len(self.participants), len(self.couples))

    @property
    def hangs_on_one(self) -> bool:
        """Whether a participant took part in every line, so that nothing is left without it."""
        return bool(self.participants[:, self.lines].all(axis=1).any())

    @functools.cached_property
    def left(self) -> _Floats:
        """Shares of the partition that remain without a participant, or a couple: (units, 1)."""
        left: _Floats = 1 - self._left_out.sum(axis=1, keepdims=True) / self.lines.sum()
        return left

    @property
    def weights(self) -> _Floats:
        """What lines weigh without each participant, then each couple: (units, lines)."""
        return np.where(self.lines, ~self._left_out / self.left, 1.0)

    @functools.cached_property
    def shares(self) -> _Floats:
        """The same as shares of their sum; kept, as nearly every statistic is a mean."""
        weights = self.weights
        return share_out(weights)

    @functools.cached_property
    def belongs(self) -> _Floats:
        """1 where a participant is one of a couple: (participants, couples)."""
        # As floats: numpy multiplies booleans one by one.
        lines = self.participants.astype(float) @ self.couples.T.astype(float)
        belongs: _Floats = (lines > 0).astype(float)
        return belongs

    @property
    def scale(self) -> float:
        """What the squared moves of n values without one of them each are multiplied by."""
        return (len(self.participants) - 1) / len(self.participants)

    @functools.cached_property
    def counted(self) -> float:
        """What couples of error 1 and no effect of participants would give, instead of their n."""
        n_people, n_couples = len(self.participants), len(self.couples)
        centred = np.eye(n_couples) - (1 - self.left[n_people:])
        squares = sum_squares(self.belongs @ centred / self.left[:n_people])
        return self.scale * float(squares.sum())

    @property
    def _left_out(self) -> _Booleans:
        return np.concatenate([self.participants, self.couples])


def share_out(weights: _Floats) -> _Floats:
    """Each line of weights (replicates, lines) over its sum."""
    # Nothing is left where a participant took part in every line: such a mean is unknown.
    with np.errstate(invalid="ignore", divide="ignore"):
        shares: _Floats = weights / weights.sum(axis=1, keepdims=True)
    return shares


def sum_squares(values: _Floats) -> _Floats:
    """By column."""
    squares: _Floats = np.square(values).sum(axis=0)
    return squares


def split_strata(table: pd.DataFrame) -> tuple[Stratum, ...]:
    """One per partition; those that hang on one participant are joined, if need be with all.

    Args:
        table: Who taught whom, see :func:`kdopt.analysis.stats.estimate`; not empty.
    """
    places = pd.factorize(table["partition"])[0]
    names = np.concatenate([table[key if key in table else "student"] for key in ENDS])
    people = pd.factorize(names)[0].reshape(2, -1)
    ends = np.sort(places * (people.max() + 1) + people, axis=0)
    return _find_strata(places.tobytes(), ends.tobytes(), places.dtype.str)


@functools.lru_cache(maxsize=1)  # one table's may take a hundred MiB
def _find_strata(place_bytes: bytes, end_bytes: bytes, dtype: str) -> tuple[Stratum, ...]:
    places = np.frombuffer(place_bytes, dtype)
    ends = np.frombuffer(end_bytes, dtype).reshape(2, -1)
    strata = [_make_stratum(places == place, ends) for place in range(places.max() + 1)]
    if hanging := [s for s in strata if s.hangs_on_one]:
        joined = _make_stratum(np.any([s.lines for s in hanging], axis=0), ends)
        if joined.hangs_on_one:
            joined, strata = _make_stratum(np.ones(len(places), dtype=bool), ends), []
        strata = [s for s in strata if not s.hangs_on_one] + [joined]
    return tuple(s for s in strata if not s.hangs_on_one)


def _make_stratum(lines: _Booleans, ends: npt.NDArray[np.intp]) -> Stratum:
    participants = np.array([(ends == one).any(axis=0) for one in np.unique(ends[:, lines])])
    couples = np.unique(ends[:, lines], axis=1).T
    return Stratum(
        lines, participants, np.array([(couple == ends.T).all(axis=1) for couple in couples])
    )
