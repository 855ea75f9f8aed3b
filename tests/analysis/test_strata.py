import numpy as np
import pandas as pd
import pytest

from kdopt.analysis.stats import average, estimate, estimate_mean
from kdopt.analysis.strata import split_strata
from scripts.coverage_of_intervals import list_pairs


def test_a_mean_from_what_is_kept_has_the_bits_of_one_from_weights():
    table = list_pairs(3, 6)
    for seed in range(3):
        values = pd.Series(np.random.default_rng(seed).normal(size=len(table)))
        kept = estimate_mean(table, values)
        plain = estimate(lambda weights: average(weights, values.to_numpy()), table)  # noqa: B023
        assert kept[1:] == plain[1:]
        assert kept.mean == pytest.approx(plain.mean, rel=1e-15)


def test_the_same_pairs_are_split_once_and_others_anew():
    table = list_pairs(2, 5)
    renamed = table.assign(partition="mine/" + table["partition"].astype(str))
    assert split_strata(renamed) is split_strata(table)
    one = split_strata(table[table["partition"] == table["partition"][0]])
    assert len(one) == 1 and len(split_strata(table)) == 2


def test_what_is_left_out_weighs_nothing_and_the_partition_keeps_its_weight():
    for stratum in split_strata(list_pairs(2, 5)):
        weights = stratum.weights
        assert (weights[: len(stratum.participants)][stratum.participants] == 0).all()
        assert weights.sum(axis=1) == pytest.approx(len(stratum.lines))
        assert stratum.shares.sum(axis=1) == pytest.approx(1)
        assert stratum.belongs.sum(axis=0).tolist() == [2] * len(stratum.couples)
