from __future__ import annotations

import dataclasses
import math
import random
import tracemalloc

import numpy as np
import pytest

from kdopt.search.posterior import squash_gain
from kdopt.search.prior import PairResults, load_shipped_prior
from kdopt.search.surrogate import MIN_PRIOR_PAIRS, Surrogate
from tests.search.planted import POINTS, SKILLS, features, gain, planted_prior, result


def new_pair(teacher, student, names=("", ""), results=None):
    return PairResults(*names, features(teacher, student), results or {})


def gains_of(pair):
    return squash_gain([pair.results[point].gain for point in POINTS])


def test_few_pairs_teach_nothing():
    prior = planted_prior()
    few = dataclasses.replace(prior, pairs=prior.pairs[: MIN_PRIOR_PAIRS - 1])
    with pytest.raises(ValueError, match=rf"needs {MIN_PRIOR_PAIRS} pairs, and this one has 11"):
        Surrogate(few)
    enough = Surrogate(dataclasses.replace(prior, pairs=prior.pairs[:MIN_PRIOR_PAIRS]))
    assert np.isfinite(enough.compute_posterior(new_pair(70, 50)).mean).all()


def test_a_pair_like_one_of_the_prior_is_expected_to_be_like_it():
    prior = planted_prior(luck=0.3)
    surrogate = Surrogate(prior)
    average = np.mean([gains_of(pair) for pair in prior.pairs], axis=0)
    off, usual = [], []
    for pair in prior.pairs:
        mean, _ = surrogate.compute_posterior(dataclasses.replace(pair, results={})).gains
        off.append(np.mean((mean - gains_of(pair)) ** 2))
        usual.append(np.mean((average - gains_of(pair)) ** 2))
    assert np.mean(off) < 0.05 * np.mean(usual)


def test_its_own_results_are_not_looked_at():
    prior = planted_prior()
    surrogate = Surrogate(prior)
    pair = prior.pairs[0]
    blind = surrogate.compute_posterior(dataclasses.replace(pair, results={}))
    lying = surrogate.compute_posterior(
        dataclasses.replace(pair, results={p: result(50.0) for p in pair.results})
    )
    assert np.array_equal(blind.mean, lying.mean)
    assert np.array_equal(blind.covariance, lying.covariance)


def test_a_rule_is_followed_where_no_pair_of_the_prior_was():
    surrogate = Surrogate(planted_prior())
    for teacher, student in ((65.0, 52.0), (50.0, 72.0), (78.0, 58.0)):
        posterior = surrogate.compute_posterior(new_pair(teacher, student))
        mean, sd = posterior.gains
        exact = squash_gain([gain(teacher - student, point) for point in POINTS])
        assert np.abs(mean - exact).max() < 1.0
        assert (sd > 0).all()
        best, _ = posterior.find_best_point()
        assert exact.max() - exact[POINTS.index(best)] < 0.5


def test_the_order_of_pairs_does_not_matter():
    prior = planted_prior(bonus=lambda student: 2 * math.sin(3 * student), luck=0.3)
    pair = new_pair(66, 54, ("", "model 2"))
    expected = Surrogate(prior).compute_posterior(pair)
    for seed in range(3):
        pairs = tuple(random.Random(seed).sample(prior.pairs, len(prior.pairs)))
        found = Surrogate(dataclasses.replace(prior, pairs=pairs)).compute_posterior(pair)
        assert found.points == expected.points
        assert found.mean == pytest.approx(expected.mean, abs=1e-6)
        assert found.covariance == pytest.approx(expected.covariance, abs=1e-6)


def test_the_same_prior_gives_the_same_posterior_to_the_last_bit():
    pair = new_pair(66, 54, ("", "model 2"))
    one, other = (Surrogate(planted_prior()).compute_posterior(pair) for _ in range(2))
    assert np.array_equal(one.mean, other.mean)
    assert np.array_equal(one.covariance, other.covariance)


def students_matter():
    """A prior in which pairs look alike and all depends on who the student is."""
    bonus = (-6.0, 4.0, 0.0, 6.0, -3.0, 2.0, -1.0)
    skills = [60 + 0.1 * i for i in range(len(bonus))]
    return planted_prior(skills, lambda student: bonus[student], luck=0.3)


def moved(surrogate, others, names=("", "new")):
    """By how much results of others raise what is expected of a pair, on average."""
    pair = new_pair(60.3, 60.3, names)
    return float(
        np.mean(
            surrogate.compute_posterior(pair, others).gains[0]
            - surrogate.compute_posterior(pair).gains[0]
        )
    )


def test_results_of_others_move_the_posterior_of_a_pair_with_their_student():
    surrogate = Surrogate(students_matter())
    before = surrogate.compute_posterior(new_pair(60.3, 60.3)).gains[0]
    by = {}
    for rise in (-4.0, 4.0):
        results = {
            point: result(float(before[POINTS.index(point)]) + rise) for point in POINTS[::3]
        }
        same = new_pair(60.2, 60.3, ("somebody", "new"), results)
        other = new_pair(60.2, 60.3, ("somebody", "another"), results)
        by[rise] = moved(surrogate, [same]), moved(surrogate, [other])
    (down, down_other), (up, up_other) = by[-4.0], by[4.0]
    assert up > 1 and down < -0.5
    assert up > up_other + 0.5 and down < down_other - 0.3


def test_results_of_others_narrow_the_posterior_and_no_results_change_nothing():
    surrogate = Surrogate(students_matter())
    pair = new_pair(60.3, 60.3, ("", "new"))
    alone = surrogate.compute_posterior(pair)
    results = {POINTS[0]: result(1.0), POINTS[7]: result(2.0)}
    sd = surrogate.compute_posterior(pair, [new_pair(60.2, 60.3, ("x", "new"), results)]).gains[1]
    assert (sd <= alone.gains[1] + 1e-9).all()
    assert sd.mean() < alone.gains[1].mean()
    silent = [
        new_pair(60.2, 60.3, ("x", "new")),
        new_pair(60.2, 60.3, ("y", "new"), {(3.3, 0.33): result(9.0)}),
    ]
    found = surrogate.compute_posterior(pair, silent)
    assert found.mean == pytest.approx(alone.mean, abs=1e-9)
    assert found.covariance == pytest.approx(alone.covariance, abs=1e-9)


def test_others_may_come_in_any_order():
    surrogate = Surrogate(students_matter())
    pair = new_pair(60.3, 60.3, ("", "new"))
    others = [
        new_pair(60 + i / 9, 60.3, (f"t{i}", "new"), {p: result(i - 2.0) for p in POINTS[i::4]})
        for i in range(4)
    ]
    assert surrogate.compute_posterior(pair, others[::-1]).mean == pytest.approx(
        surrogate.compute_posterior(pair, others).mean, abs=1e-6
    )


def test_of_too_many_others_those_most_similar_are_used(monkeypatch):
    surrogate = Surrogate(students_matter())
    pair = new_pair(60.3, 60.3, ("", "new"))
    results = {p: result(5.0) for p in POINTS[:6]}
    alike = [new_pair(60.2, 60.3, (f"a{i}", "new"), results) for i in range(3)]
    unlike = [new_pair(90.0, 20.0, (f"b{i}", f"c{i}"), results) for i in range(4)]
    mixed = [unlike[0], alike[0], *unlike[1:3], *alike[1:], unlike[3]]
    everything = surrogate.compute_posterior(pair, mixed)
    monkeypatch.setattr("kdopt.search.surrogate.MAX_OTHER_RESULTS", 7 * 6)
    assert np.array_equal(surrogate.compute_posterior(pair, mixed).mean, everything.mean)
    # Results between the points say nothing, and take no room.
    more = [dataclasses.replace(o, results={**o.results, (1.1, 0.11): result(3.0)}) for o in mixed]
    assert np.array_equal(surrogate.compute_posterior(pair, more).mean, everything.mean)
    # Room for three pairs, and for some of a fourth.
    monkeypatch.setattr("kdopt.search.surrogate.MAX_OTHER_RESULTS", 3 * 6 + 5)
    some = surrogate.compute_posterior(pair, mixed)
    assert np.array_equal(some.mean, surrogate.compute_posterior(pair, alike).mean)
    assert not np.array_equal(some.mean, everything.mean)


def test_the_memory_of_a_posterior_has_a_bound():
    """Thousands of results of others, as in the last round of 30 participants."""
    surrogate = Surrogate(students_matter())
    results = {p: result(1.0) for p in POINTS[:8]}
    others = [
        new_pair(60.0 + i / 99, 60.3, (f"t{i % 30}", f"s{i // 30}"), results) for i in range(840)
    ]
    tracemalloc.start()
    surrogate.compute_posterior(new_pair(60.3, 60.3, ("t1", "s2")), others)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # Of 6,720 results, all against all would be 5.8 GB.
    assert peak < 400e6


def test_those_without_a_name_are_like_no_other():
    """Weights that nobody named are not the same weights."""
    surrogate = Surrogate(students_matter())
    results = {point: result(8.0) for point in POINTS[::3]}
    nameless = moved(surrogate, [new_pair(60.2, 60.3, ("", ""), results)], ("", ""))
    strangers = moved(surrogate, [new_pair(60.2, 60.3, ("a", "b"), results)], ("c", "d"))
    assert nameless == pytest.approx(strangers)


def test_features_that_are_not_known_are_taken_as_usual():
    prior = planted_prior()
    first, *rest = prior.pairs
    blank = dataclasses.replace(first, features=(math.nan,) * len(first.features))
    surrogate = Surrogate(dataclasses.replace(prior, pairs=(blank, *rest)))
    posterior = surrogate.compute_posterior(
        dataclasses.replace(blank, teacher="", student="", results={})
    )
    assert np.isfinite(posterior.mean).all() and np.isfinite(posterior.covariance).all()
    usual = tuple(np.mean([pair.features for pair in rest], axis=0))
    same = surrogate.compute_posterior(PairResults("", "", usual, {}))
    assert posterior.mean == pytest.approx(same.mean, abs=1e-6)


@pytest.mark.parametrize("what", ["results", "features"])
def test_a_prior_without_variety_teaches_all_the_same(what):
    prior = planted_prior(luck=0.0)
    alike = {"results": prior.pairs[0].results, "features": prior.pairs[0].features}[what]
    pairs = tuple(dataclasses.replace(pair, **{what: alike}) for pair in prior.pairs)
    posterior = Surrogate(dataclasses.replace(prior, pairs=pairs)).compute_posterior(
        new_pair(60, 50)
    )
    assert np.isfinite(posterior.mean).all() and np.isfinite(posterior.covariance).all()
    point = posterior.choose_next_point([], 0.0)
    assert point in POINTS
    if what == "results":
        assert posterior.gains[0] == pytest.approx(gains_of(prior.pairs[0]), abs=1e-6)


def test_what_comes_with_kdopt_tells_its_pairs_apart():
    """Of pairs that it was learnt from, so this asks for sense and not for foresight."""
    prior = load_shipped_prior()
    surrogate = Surrogate(prior)
    some = prior.pairs[::10]
    expected = [
        surrogate.compute_posterior(dataclasses.replace(pair, results={})).find_best_point()[1]
        for pair in some
    ]
    true = [max(r.gain for r in pair.results.values()) for pair in some]
    assert np.corrcoef(expected, true)[0, 1] > 0.8


def test_posteriors_are_gaussians():
    prior = planted_prior(bonus=lambda student: SKILLS[student] / 30)
    surrogate = Surrogate(prior)
    others = [dataclasses.replace(pair, results=dict(list(pair.results.items())[:3]))
              for pair in prior.pairs[:4]]  # fmt: skip
    for found in (
        surrogate.compute_posterior(new_pair(60, 50)),
        surrogate.compute_posterior(new_pair(60, 50), others),
    ):
        assert found.covariance == pytest.approx(found.covariance.T, abs=1e-9)
        assert np.linalg.eigvalsh((found.covariance + found.covariance.T) / 2).min() > -1e-6
