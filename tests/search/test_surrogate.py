from __future__ import annotations

import dataclasses
import math
import random
import tracemalloc

import numpy as np
import pytest

from kdopt.search.prior import KnownPair, shipped
from kdopt.search.scale import squash
from kdopt.search.surrogate import MIN_PAIRS, Surfaces
from tests.search.planted import POINTS, SKILLS, features, gain, planted_prior, result


def new_pair(teacher, student, names=("", ""), results=None):
    return KnownPair(*names, features(teacher, student), results or {})


def gains_of(pair):
    return squash([pair.results[point].gain for point in POINTS])


def test_few_pairs_teach_nothing():
    prior = planted_prior()
    few = dataclasses.replace(prior, pairs=prior.pairs[: MIN_PAIRS - 1])
    with pytest.raises(ValueError, match=rf"11 pairs teach nothing; {MIN_PAIRS} are needed"):
        Surfaces(few)
    enough = Surfaces(dataclasses.replace(prior, pairs=prior.pairs[:MIN_PAIRS]))
    assert np.isfinite(enough.belief(new_pair(70, 50)).mean).all()


def test_a_pair_like_one_of_the_prior_is_believed_to_be_like_it():
    prior = planted_prior(luck=0.3)
    surfaces = Surfaces(prior)
    average = np.mean([gains_of(pair) for pair in prior.pairs], axis=0)
    off, usual = [], []
    for pair in prior.pairs:
        mean, _ = surfaces.belief(dataclasses.replace(pair, results={})).gains
        off.append(np.mean((mean - gains_of(pair)) ** 2))
        usual.append(np.mean((average - gains_of(pair)) ** 2))
    assert np.mean(off) < 0.05 * np.mean(usual)


def test_its_own_results_are_not_looked_at():
    prior = planted_prior()
    surfaces = Surfaces(prior)
    pair = prior.pairs[0]
    blind = surfaces.belief(dataclasses.replace(pair, results={}))
    lying = surfaces.belief(
        dataclasses.replace(pair, results={p: result(50.0) for p in pair.results})
    )
    assert np.array_equal(blind.mean, lying.mean)
    assert np.array_equal(blind.covariance, lying.covariance)


def test_a_rule_is_followed_where_no_pair_of_the_prior_was():
    surfaces = Surfaces(planted_prior())
    for teacher, student in ((65.0, 52.0), (50.0, 72.0), (78.0, 58.0)):
        belief = surfaces.belief(new_pair(teacher, student))
        mean, sd = belief.gains
        exact = squash([gain(teacher - student, point) for point in POINTS])
        assert np.abs(mean - exact).max() < 1.0
        assert (sd > 0).all()
        best, _ = belief.best_point()
        assert exact.max() - exact[POINTS.index(best)] < 0.5


def test_the_order_of_pairs_does_not_matter():
    prior = planted_prior(bonus=lambda student: 2 * math.sin(3 * student), luck=0.3)
    pair = new_pair(66, 54, ("", "model 2"))
    expected = Surfaces(prior).belief(pair)
    for seed in range(3):
        pairs = tuple(random.Random(seed).sample(prior.pairs, len(prior.pairs)))
        found = Surfaces(dataclasses.replace(prior, pairs=pairs)).belief(pair)
        assert found.points == expected.points
        assert found.mean == pytest.approx(expected.mean, abs=1e-6)
        assert found.covariance == pytest.approx(expected.covariance, abs=1e-6)


def test_the_same_prior_gives_the_same_belief_to_the_last_bit():
    pair = new_pair(66, 54, ("", "model 2"))
    one, other = (Surfaces(planted_prior()).belief(pair) for _ in range(2))
    assert np.array_equal(one.mean, other.mean)
    assert np.array_equal(one.covariance, other.covariance)


def students_matter():
    """A prior in which pairs look alike and all depends on who the student is."""
    bonus = (-6.0, 4.0, 0.0, 6.0, -3.0, 2.0, -1.0)
    skills = [60 + 0.1 * i for i in range(len(bonus))]
    return planted_prior(skills, lambda student: bonus[student], luck=0.3)


def moved(surfaces, others, names=("", "new")):
    """By how much results of others raise what is expected of a pair, on average."""
    pair = new_pair(60.3, 60.3, names)
    return float(np.mean(surfaces.belief(pair, others).gains[0] - surfaces.belief(pair).gains[0]))


def test_results_of_others_move_what_is_believed_of_a_pair_with_their_student():
    surfaces = Surfaces(students_matter())
    before = surfaces.belief(new_pair(60.3, 60.3)).gains[0]
    by = {}
    for rise in (-4.0, 4.0):
        results = {
            point: result(float(before[POINTS.index(point)]) + rise) for point in POINTS[::3]
        }
        same = new_pair(60.2, 60.3, ("somebody", "new"), results)
        other = new_pair(60.2, 60.3, ("somebody", "another"), results)
        by[rise] = moved(surfaces, [same]), moved(surfaces, [other])
    (down, down_other), (up, up_other) = by[-4.0], by[4.0]
    assert up > 1 and down < -0.5
    assert up > up_other + 0.5 and down < down_other - 0.3


def test_results_of_others_narrow_what_is_believed_and_no_results_change_nothing():
    surfaces = Surfaces(students_matter())
    pair = new_pair(60.3, 60.3, ("", "new"))
    alone = surfaces.belief(pair)
    results = {POINTS[0]: result(1.0), POINTS[7]: result(2.0)}
    sd = surfaces.belief(pair, [new_pair(60.2, 60.3, ("x", "new"), results)]).gains[1]
    assert (sd <= alone.gains[1] + 1e-9).all()
    assert sd.mean() < alone.gains[1].mean()
    silent = [
        new_pair(60.2, 60.3, ("x", "new")),
        new_pair(60.2, 60.3, ("y", "new"), {(3.3, 0.33): result(9.0)}),
    ]
    found = surfaces.belief(pair, silent)
    assert found.mean == pytest.approx(alone.mean, abs=1e-9)
    assert found.covariance == pytest.approx(alone.covariance, abs=1e-9)


def test_others_may_come_in_any_order():
    surfaces = Surfaces(students_matter())
    pair = new_pair(60.3, 60.3, ("", "new"))
    others = [
        new_pair(60 + i / 9, 60.3, (f"t{i}", "new"), {p: result(i - 2.0) for p in POINTS[i::4]})
        for i in range(4)
    ]
    assert surfaces.belief(pair, others[::-1]).mean == pytest.approx(
        surfaces.belief(pair, others).mean, abs=1e-6
    )


def test_of_too_many_others_those_most_alike_are_heeded(monkeypatch):
    surfaces = Surfaces(students_matter())
    pair = new_pair(60.3, 60.3, ("", "new"))
    results = {p: result(5.0) for p in POINTS[:6]}
    alike = [new_pair(60.2, 60.3, (f"a{i}", "new"), results) for i in range(3)]
    unlike = [new_pair(90.0, 20.0, (f"b{i}", f"c{i}"), results) for i in range(4)]
    mixed = [unlike[0], alike[0], *unlike[1:3], *alike[1:], unlike[3]]
    everything = surfaces.belief(pair, mixed)
    monkeypatch.setattr("kdopt.search.surrogate.MOST_RESULTS", 7 * 6)
    assert np.array_equal(surfaces.belief(pair, mixed).mean, everything.mean)
    # Results between the points say nothing, and take no room.
    more = [dataclasses.replace(o, results={**o.results, (1.1, 0.11): result(3.0)}) for o in mixed]
    assert np.array_equal(surfaces.belief(pair, more).mean, everything.mean)
    # Room for three pairs, and for some of a fourth.
    monkeypatch.setattr("kdopt.search.surrogate.MOST_RESULTS", 3 * 6 + 5)
    some = surfaces.belief(pair, mixed)
    assert np.array_equal(some.mean, surfaces.belief(pair, alike).mean)
    assert not np.array_equal(some.mean, everything.mean)


def test_the_memory_of_a_belief_has_a_bound():
    """Thousands of results of others, as in the last round of 30 participants."""
    surfaces = Surfaces(students_matter())
    results = {p: result(1.0) for p in POINTS[:8]}
    others = [
        new_pair(60.0 + i / 99, 60.3, (f"t{i % 30}", f"s{i // 30}"), results) for i in range(840)
    ]
    tracemalloc.start()
    surfaces.belief(new_pair(60.3, 60.3, ("t1", "s2")), others)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # Of 6,720 results, all against all would be 5.8 GB.
    assert peak < 400e6


def test_those_without_a_name_are_like_no_other():
    """Weights that nobody named are not the same weights."""
    surfaces = Surfaces(students_matter())
    results = {point: result(8.0) for point in POINTS[::3]}
    nameless = moved(surfaces, [new_pair(60.2, 60.3, ("", ""), results)], ("", ""))
    strangers = moved(surfaces, [new_pair(60.2, 60.3, ("a", "b"), results)], ("c", "d"))
    assert nameless == pytest.approx(strangers)


def test_features_that_are_not_known_are_taken_as_usual():
    prior = planted_prior()
    first, *rest = prior.pairs
    blank = dataclasses.replace(first, features=(math.nan,) * len(first.features))
    surfaces = Surfaces(dataclasses.replace(prior, pairs=(blank, *rest)))
    belief = surfaces.belief(dataclasses.replace(blank, teacher="", student="", results={}))
    assert np.isfinite(belief.mean).all() and np.isfinite(belief.covariance).all()
    usual = tuple(np.mean([pair.features for pair in rest], axis=0))
    same = surfaces.belief(KnownPair("", "", usual, {}))
    assert belief.mean == pytest.approx(same.mean, abs=1e-6)


@pytest.mark.parametrize("what", ["results", "features"])
def test_a_prior_without_variety_teaches_all_the_same(what):
    prior = planted_prior(luck=0.0)
    alike = {"results": prior.pairs[0].results, "features": prior.pairs[0].features}[what]
    pairs = tuple(dataclasses.replace(pair, **{what: alike}) for pair in prior.pairs)
    belief = Surfaces(dataclasses.replace(prior, pairs=pairs)).belief(new_pair(60, 50))
    assert np.isfinite(belief.mean).all() and np.isfinite(belief.covariance).all()
    point = belief.next_point([], 0.0)
    assert point in POINTS
    if what == "results":
        assert belief.gains[0] == pytest.approx(gains_of(prior.pairs[0]), abs=1e-6)


def test_what_comes_with_kdopt_tells_its_pairs_apart():
    """Of pairs that it was learnt from, so this asks for sense and not for foresight."""
    prior = shipped()
    surfaces = Surfaces(prior)
    some = prior.pairs[::10]
    believed = [
        surfaces.belief(dataclasses.replace(pair, results={})).best_point()[1] for pair in some
    ]
    true = [max(r.gain for r in pair.results.values()) for pair in some]
    assert np.corrcoef(believed, true)[0, 1] > 0.8


def test_beliefs_are_gaussians():
    prior = planted_prior(bonus=lambda student: SKILLS[student] / 30)
    surfaces = Surfaces(prior)
    others = [dataclasses.replace(pair, results=dict(list(pair.results.items())[:3]))
              for pair in prior.pairs[:4]]  # fmt: skip
    for found in (surfaces.belief(new_pair(60, 50)), surfaces.belief(new_pair(60, 50), others)):
        assert found.covariance == pytest.approx(found.covariance.T, abs=1e-9)
        assert np.linalg.eigvalsh((found.covariance + found.covariance.T) / 2).min() > -1e-6
