import math

import pandas as pd

from kdopt.analysis.distributions import compute_box, compute_ecdf


def test_the_ecdf_rises_from_one_pair_to_all():
    data = compute_ecdf(pd.Series([3.0, 1.0, math.nan, 2.0, 1.0]))
    assert data.values == [1.0, 1.0, 2.0, 3.0]
    assert data.shares == [0.25, 0.5, 0.75, 1.0]
    assert compute_ecdf(pd.Series([], dtype=float)) == ([], [])


def test_a_box_of_known_numbers():
    found = compute_box(pd.Series(range(101), dtype=float))
    assert found == (5.0, 25.0, 50.0, 75.0, 95.0)
