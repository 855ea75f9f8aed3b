"""How often a 95 % interval holds the truth, when pairs share students and teachers.

    python scripts/coverage_of_intervals.py

A pair's gain is an effect of its student, one of its teacher and one of its own, all normal; the
first two make up the given shares of the variance. Drawn are all pairs of the participants, in
each partition anew. Both means of the ratio are of such gains, the share is that of gains above
0, and the two ranked numbers are correlated. ``docs/judging.md`` quotes the result.
"""

from __future__ import annotations

from itertools import permutations, product

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from kdopt.analysis.stats import (
    Floats,
    average,
    correlate_within,
    estimate_share,
    jackknife,
    transform_fisher,
)

DRAWS, SHARE_DRAWS, RESAMPLES = 4000, 500, 200
VARIANCE_SHARES = ((0.0, 0.0), (0.35, 0.2), (0.65, 0.1), (0.9, 0.0))
"""What goes with the student and what with the teacher, of the variance of a gain."""
PARTICIPANTS = (4, 6, 10)
PARTITIONS = (1, 5)
CORRELATION = 0.5
SETTINGS = tuple(product(PARTITIONS, PARTICIPANTS, VARIANCE_SHARES))


def main() -> None:
    print("partitions  participants  student  teacher  mean   ratio  ranks  share  (bootstrap)")
    for setting in SETTINGS:
        found = measure_coverage(*setting, DRAWS)
        found |= {"share": cover_share(*setting, SHARE_DRAWS), "pairs": cover_pairs(*setting)}
        shown = "  ".join(f"{100 * held:5.1f}" for held in found.values())
        partitions, participants, (student, teacher) = setting
        print(f"{partitions:10}  {participants:12}  {student:7}  {teacher:7}  {shown}")


def measure_coverage(
    partitions: int, participants: int, shares: tuple[float, float], draws: int, seed: int = 0
) -> dict[str, float]:
    """Share of draws whose interval holds the true mean, ratio of means and rank correlation."""
    table = list_pairs(partitions, participants)
    rng = np.random.default_rng(seed)
    gains, others = (draw_gains(rng, table, shares, draws) for _ in range(2))
    above, below = 3 + 0.5 * gains + 0.5 * others, 2 + 0.5 * gains
    related = CORRELATION * gains + np.sqrt(1 - CORRELATION**2) * others
    first, second = (
        pd.DataFrame(x).groupby(table["partition"]).rank().to_numpy() for x in (gains, related)
    )
    places = table["partition"].to_numpy()
    true_ranks = transform_fisher(np.array(6 / np.pi * np.arcsin(CORRELATION / 2)))
    return {
        "mean": _count_held(jackknife(lambda w: average(w, gains), table), 0.0),
        "ratio": _count_held(
            jackknife(lambda w: average(w, above) / average(w, below), table), 1.5
        ),
        "ranks": _count_held(
            jackknife(lambda w: correlate_within(w, first, second, places), table),
            float(true_ranks),
        ),
    }


def cover_share(
    partitions: int, participants: int, shares: tuple[float, float], draws: int, seed: int = 0
) -> float:
    """Share of draws whose interval holds the true share of gains above 0, which is a half."""
    table = list_pairs(partitions, participants)
    gains = draw_gains(np.random.default_rng(seed), table, shares, draws)
    found = [estimate_share(table, pd.Series(column > 0), least_units=2) for column in gains.T]
    return sum(one.low <= 50 <= one.high for one in found) / draws


def cover_pairs(partitions: int, participants: int, shares: tuple[float, float]) -> float:
    """The same for the mean if pairs are resampled as if they were independent."""
    table, rng = list_pairs(partitions, participants), np.random.default_rng(0)
    gains = draw_gains(rng, table, shares, SHARE_DRAWS)
    drawn = rng.integers(0, len(gains), (RESAMPLES, len(gains)))
    low, high = np.quantile(gains[drawn].mean(axis=1), [0.025, 0.975], axis=0)
    return float(np.mean((low <= 0) & (high >= 0)))


def list_pairs(partitions: int, participants: int) -> pd.DataFrame:
    """All pairs of all partitions."""
    pairs = [(p, *pair) for p in range(partitions) for pair in permutations(range(participants), 2)]
    return pd.DataFrame(pairs, columns=["partition", "teacher", "student"])


def draw_gains(
    rng: np.random.Generator, table: pd.DataFrame, shares: tuple[float, float], draws: int
) -> Floats:
    """Gains (pairs, draws) of mean 0 and variance 1."""
    student, teacher = shares
    gains: Floats = np.sqrt(1 - student - teacher) * rng.normal(size=(len(table), draws))
    for key, share in (("student", student), ("teacher", teacher)):
        people = table.groupby(["partition", key]).ngroup().to_numpy()
        gains += np.sqrt(share) * rng.normal(size=(people.max() + 1, draws))[people]
    return gains


def _count_held(found: tuple[Floats, Floats, Floats], truth: float) -> float:
    value, error, freedom = found
    return float(np.mean(np.abs(value - truth) <= stdtrit(freedom, 0.975) * error))


if __name__ == "__main__":
    main()
