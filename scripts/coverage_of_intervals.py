"""How often a 95 % interval over pairs holds the truth, when pairs share students and teachers.

    python scripts/coverage_of_intervals.py

Each pair's gain is drawn as an effect of its student, one of its teacher and one of its own, all
normal; the true mean is 0. The page `docs/judging.md` quotes the result.
"""

from __future__ import annotations

import numpy as np

DRAWS, RESAMPLES = 2000, 500


def main() -> None:
    generator = np.random.default_rng(0)
    print(f"{'participants':>12}  {'sd of student, teacher, pair':<28}  holds the truth")
    for participants in (4, 6, 10):
        for sds in ((0, 0, 1), (1, 0.5, 1), (2, 1, 1)):
            share = coverage(generator, participants, sds)
            print(f"{participants:>12}  {', '.join(map(str, sds)):<28}  {100 * share:.0f} %")


def coverage(generator: np.random.Generator, participants: int, sds: tuple[float, ...]) -> float:
    """Share of draws in which the bootstrap interval over pairs holds 0."""
    student_sd, teacher_sd, pair_sd = sds
    pairs = [(t, s) for t in range(participants) for s in range(participants) if t != s]
    teachers, students = np.array(pairs).T
    held = 0
    for _ in range(DRAWS):
        gains = (
            student_sd * generator.normal(size=participants)[students]
            + teacher_sd * generator.normal(size=participants)[teachers]
            + pair_sd * generator.normal(size=len(pairs))
        )
        means = gains[generator.integers(0, len(gains), (RESAMPLES, len(gains)))].mean(axis=1)
        low, high = np.quantile(means, [0.025, 0.975])
        held += low <= 0 <= high
    return held / DRAWS


if __name__ == "__main__":
    main()
