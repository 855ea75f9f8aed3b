"""Two stores of one campaign become one table: on both databases, in either direction."""

from __future__ import annotations

import dataclasses
import random

import pytest

from kdopt.store import queries
from kdopt.store.index_studies import write_index_studies
from kdopt.store.merge import Differing, merge_campaign
from kdopt.store.planning import requeue_failed_trials
from tests.conftest import optuna_study
from tests.store.merge.sites import (
    GRID,
    KINDS,
    PAIR,
    claim_all,
    end,
    everything,
    key,
    merged_twice,
    only,
    plan,
    sound,
    states,
    table,
    truth,
    url_of,
    work,
)
from tests.store.test_index_studies import SUMMARY, contents

RANK = ("WAITING", "FAIL", "COMPLETE")


@pytest.mark.parametrize("seed", range(3))
def test_any_two_stores_give_one_table_from_either_side(places, kind, seed):
    """Every cell ends in either store by chance; what comes out is the further of the two."""
    chance = random.Random(seed)
    endings = {}

    def choose(number):
        def of(study, params):
            if "pretrain" in study:
                return "COMPLETE"
            where = (number, study, key(params))
            return endings.setdefault(where, chance.choice(RANK))

        return of

    def site(number, of_kind):
        made = places.new(of_kind)
        plan(made, GRID)
        work(made, choose(number))
        return made

    other_kind = chance.choice(KINDS)
    pairs = [(site(0, kind), site(1, other_kind)), (site(1, kind), site(0, other_kind))]
    outcomes = []
    for target, other in pairs:
        before = table(other)
        merged_twice(target, other)
        assert table(other) == before
        sound(target)
        outcomes.append(table(target))
    first, second = outcomes
    # A failure in both keeps its reason, which is the same here.
    assert first == second
    for (study, params), (state, _, result) in first.items():
        if "pretrain" not in study:
            assert state == max((endings[n, study, params] for n in (0, 1)), key=RANK.index)
        if state == "COMPLETE":
            assert result == dataclasses.replace(
                truth(pairs[0][0], study, dict(params)), seconds=0.0
            )


def test_an_empty_store_becomes_a_copy(here, there):
    plan(there, GRID)
    work(there, lambda study, params: "FAIL" if params.get("alpha") == 0.9 else "COMPLETE")
    done = merged_twice(here, there)
    assert table(here) == table(there)
    assert queries.read_record(here.store, "tiny") == queries.read_record(there.store, "tiny")
    assert (done.new_studies, done.new_trials) == (4, 11)
    assert (done.results, done.failures, done.artifacts) == (7, 4, 4)
    assert sound(here).artifacts == 4


def test_all_that_a_trial_recorded_comes_along(here, across):
    for site in (here, across):
        plan(site, GRID)
    work(across, everything)
    merge_campaign(here, across, "tiny")
    url = url_of(here)
    for name in (PAIR, "tiny/uniform/federate"):
        with optuna_study(url, name) as mine, optuna_study(url_of(across), name) as theirs:
            for one, other in zip(mine.trials, theirs.trials, strict=True):
                assert one.state.name == "COMPLETE"
                for what in (
                    "number", "value", "params", "distributions", "user_attrs",
                    "intermediate_values", "datetime_start", "datetime_complete",
                ):  # fmt: skip
                    assert getattr(one, what) == getattr(other, what), what
    assert len(one.intermediate_values) == 4


def test_results_that_differ_are_measured_and_ours_stay(here, there):
    for site, salt in ((here, ""), (there, "another processor")):
        plan(site, GRID)
        work(site, lambda study, _: "COMPLETE" if "pretrain" not in study else "FAIL", salt)
    before = table(here)
    done = merged_twice(here, there)
    assert table(here) == before
    assert (done.results, done.same, len(done.differing)) == (0, 0, 9)
    theirs = table(there)
    for study, number, size in done.differing:
        params = next(
            r.params
            for r in queries.read_trials(here.store, "tiny")
            if (r.study, r.number) == (study, number)
        )
        mine, other = (t[study, key(params)][2].test.accuracy for t in (before, theirs))
        assert size == pytest.approx(100 * abs(mine - other))
    assert isinstance(done.differing[0], Differing)


def test_results_on_other_weights_are_left_out_unless_asked_for(places, here, there):
    """Pre-trained on another processor: another teacher, so no result of the same grid."""
    for site, salt in ((here, ""), (there, "another processor")):
        plan(site, GRID)
        work(site, only("pretrain"), salt)
    work(there, only("tune", "federate"))
    work(here, only("t01-s00"))
    before = table(here)
    done = merged_twice(here, there)
    assert (done.results, done.other_weights, done.same) == (1, 4, 4)
    # Federated averaging from random weights rests on no pre-training.
    changed = {place for place, line in table(here).items() if line != before[place]}
    assert {study for study, _ in changed} == {"tiny/uniform/federate"}
    mixed = merged_twice(here, there, mix=True)
    assert (mixed.results, mixed.mixed, mixed.other_weights) == (4, 4, 0)
    assert set(states(here).values()) == {"COMPLETE"}
    sound(here)
    # The mark goes with them: for a third store they are no results of these weights either.
    third = places.new("sqlite")
    done = merged_twice(third, here)
    assert (done.other_weights, done.mixed) == (4, 0)
    assert Differing(PAIR, 0, 0.0) not in done.differing


def test_published_summaries_stay_where_they_are(here, there):
    for site in (here, there):
        plan(site, GRID)
    work(there, everything)
    write_index_studies(there.store, [SUMMARY])
    write_index_studies(here.store, [SUMMARY._replace(note="ours")])
    before = contents(here.store, indexes=True)["study_system_attributes"]
    merged_twice(here, there)
    assert contents(here.store, indexes=True)["study_system_attributes"] == before
    assert len(contents(here.store)["trials"]) == 2 + 2 * 4 + 1


def test_other_campaigns_are_left_alone(here, there):
    for site in (here, there):
        plan(site, dataclasses.replace(GRID, name="tiny2"))
        plan(site, GRID)
    work(there, everything)
    study = next(s for s in queries.read_study_counts(there.store, "tiny2"))
    for claim in claim_all(there, study.study_id):
        end(there, claim, study.study, "COMPLETE")
    before = table(here, "tiny2")
    merged_twice(here, there)
    assert table(here, "tiny2") == before


def test_a_failed_cell_gets_its_result_in_a_row_of_its_own(here, there):
    for site in (here, there):
        plan(site, GRID)
        work(site, only("pretrain"))
    work(here, lambda *_: "FAIL")
    work(there, everything)
    done = merged_twice(here, there)
    assert (done.results, done.after_failures) == (9, 9)
    assert table(here) == table(there)
    assert sound(here).retried == 9
    with optuna_study(url_of(here), PAIR) as study:
        found = [(t.state.name, t.number) for t in study.trials]
    assert found == [("FAIL", n) for n in range(4)] + [("COMPLETE", n) for n in range(4, 8)]


def test_retries_on_either_side_are_one_cell_each(here, there):
    """Failed there, tried again there, and done; here failed and queued again."""
    for site in (here, there):
        plan(site, GRID)
        work(site, only("pretrain"))
    for site in (here, there):
        work(site, lambda study, _: "FAIL" if study == PAIR else "WAITING")
        requeue_failed_trials(site.store, "tiny")
    merged_twice(here, there)
    assert set(states(here).values()) == {"COMPLETE", "WAITING"}
    work(there, lambda _, params: "COMPLETE" if params.get("alpha") == 0.5 else "FAIL")
    done = merged_twice(here, there)
    # Their second failures are no news for what is queued again here.
    found = {params["alpha"]: state for (s, c), state in states(here).items() if s == PAIR
             for params in [dict(c)]}  # fmt: skip
    assert found == {0.5: "COMPLETE", 0.9: "WAITING"}
    assert done.after_failures == 0
    assert sound(here).retried == 4
    merged_twice(there, here)
    assert sound(there).duplicates == 0
