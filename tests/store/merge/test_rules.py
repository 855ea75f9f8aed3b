"""The rules of merging one study, on rows made by hand."""

from __future__ import annotations

import dataclasses
import itertools
import json

import pytest

from kdopt.campaign.stages import plan_studies
from kdopt.store.merge_rules import decide, same_result
from kdopt.store.queries import Row
from tests.conftest import make_campaign, make_outcome

GRID = make_campaign()
TPE = dataclasses.replace(GRID, tune=dataclasses.replace(GRID.tune, sampler="tpe", budget=6))
STATES = ("WAITING", "RUNNING", "FAIL", "COMPLETE")


def plan_of(campaign):
    return next(p for p in plan_studies(campaign) if p.stage == "tune")


def params(temperature, alpha=0.5):
    return {"temperature": temperature, "alpha": alpha, "replicate": 0}


def result(value, **changes):
    return json.dumps(dataclasses.replace(make_outcome(value), **changes).to_json())


def row(number, state, where=None, value=1.0, **more):
    """A row whose cell is the planned one of its number unless another is given."""
    where = plan_of(GRID).cells[number] if where is None else where
    more = {"result": result(value) if state == "COMPLETE" else "", **more}
    return Row(number + 1, number, state, where, **more)


def merge_cells(mine, theirs, same_weights=True, mix=False):
    return decide(plan_of(GRID), mine, theirs, same_weights, mix)


@pytest.mark.parametrize(("mine", "theirs"), list(itertools.product(STATES, STATES)))
def test_the_further_of_two_states_is_kept(mine, theirs):
    found = merge_cells([row(0, mine)], [row(0, theirs)])
    taken = {
        "WAITING": theirs in ("FAIL", "COMPLETE"),
        "RUNNING": theirs == "COMPLETE",
        "FAIL": theirs == "COMPLETE",
        "COMPLETE": False,
    }[mine]
    assert [t.theirs.state for t in found.take] == [theirs] * taken
    assert found.same == (mine == theirs == "COMPLETE")
    assert (found.differences, found.unknown, found.parted) == ((), 0, None)


def test_what_was_queued_again_is_not_failed_again_but_may_succeed():
    mine = [row(0, "FAIL", retried=True), row(1, "WAITING", plan_of(GRID).cells[0], retry_of=1)]
    assert merge_cells(mine, [row(0, "FAIL")]).take == ()
    (take,) = merge_cells(mine, [row(0, "COMPLETE")]).take
    assert take.mine is mine[1]


def test_their_last_try_counts_and_not_the_failure_before_it():
    theirs = [row(0, "FAIL", retried=True), row(1, "COMPLETE", plan_of(GRID).cells[0], retry_of=1)]
    (take,) = merge_cells([row(0, "WAITING")], theirs).take
    assert take.theirs is theirs[1]
    assert merge_cells([row(0, "WAITING")], [*theirs[:1], row(1, "WAITING", retry_of=1)]).take == ()


def test_what_an_older_version_did_not_record_is_no_difference():
    new = json.loads(result(1.0))
    old = {key: value for key, value in new.items() if value not in (None, [])}
    assert {"curve", "line", "line_position"} <= new.keys() - old.keys()
    assert same_result(json.dumps(old), result(1.0))
    # Whether a curve is recorded changes no result; two curves that differ are of two results.
    assert same_result(json.dumps(old), result(1.0, curve=(0.5,)))
    assert not same_result(result(1.0, curve=(0.6,)), result(1.0, curve=(0.5,)))


def test_where_and_how_fast_it_ran_is_no_difference_and_anything_else_is():
    elsewhere = result(1.0, seconds=9.0, device="cuda", precision="bf16", versions={"kdopt": "9"})
    assert same_result(result(1.0), elsewhere)
    for change in (
        {"last_test_accuracy": 0.6},
        {"epochs": 2},
        {"checkpoint": "0" * 64},
        {"forgetting": 0.0},
    ):
        assert not same_result(result(1.0), result(1.0, **change))
    other = dataclasses.replace(make_outcome(1.0).test, accuracy=0.52)
    mine, theirs = row(0, "COMPLETE"), row(0, "COMPLETE", result=result(1.0, test=other))
    (difference,) = merge_cells([mine], [theirs]).differences
    assert difference.number == 0
    assert difference.accuracy_pp == pytest.approx(2.0)


def test_a_cell_that_nobody_asks_for_is_left_out():
    found = merge_cells([row(0, "WAITING")], [row(0, "COMPLETE", params(9.0))])
    assert (found.take, found.unknown) == ((), 1)


def test_other_weights_are_left_out_or_marked():
    mine, theirs = [row(0, "WAITING"), row(1, "WAITING")], [row(0, "COMPLETE"), row(1, "FAIL")]
    left = merge_cells(mine, theirs, same_weights=False)
    assert (left.take, left.other_weights) == ((), 1)
    mixed = merge_cells(mine, theirs, same_weights=False, mix=True)
    assert [t.mixed for t in mixed.take] == [True, True]
    assert mixed.other_weights == 0
    # What came with other weights once stays marked, whoever takes it next.
    passed_on = [row(0, "COMPLETE", mixed=True)]
    assert merge_cells(mine, passed_on).other_weights == 1
    assert [t.mixed for t in merge_cells(mine, passed_on, mix=True).take] == [True]


def study(*steps, rows=6):
    """Rows of an adaptive study: the planned cell, then open ones with these (state, T, value)."""
    lines = [Row(n + 1, n, "WAITING", {} if n else plan_of(TPE).cells[0]) for n in range(rows)]
    for number, (state, *chosen) in enumerate(steps):
        where = params(*chosen[:1]) if number and chosen else lines[number].params
        lines[number] = row(number, state, where, *chosen[1:])
    return lines


def merge_pasts(mine, theirs, same_weights=True, mix=False):
    return decide(plan_of(TPE), mine, theirs, same_weights, mix)


def taken(found):
    return [(t.mine.number, t.theirs.state) for t in found.take]


A, B, C, D = (("COMPLETE", t, t) for t in (1.0, 2.0, 3.0, 4.0))
LOST = ("FAIL", 3.0)


def test_the_longer_past_is_taken_and_a_shorter_one_adds_nothing():
    assert taken(merge_pasts(study(), study(A, B, C))) == [(n, "COMPLETE") for n in (0, 1, 2)]
    assert taken(merge_pasts(study(A), study(A, B, LOST))) == [(1, "COMPLETE"), (2, "FAIL")]
    for mine, theirs in [((A, B, C), (A,)), ((A, B), (A, B)), ((A,), ())]:
        found = merge_pasts(study(*mine), study(*theirs))
        assert (found.take, found.parted, found.same) == ((), None, len(theirs))


def test_pasts_that_part_are_not_mixed():
    found = merge_pasts(study(A, B), study(A, C, D))
    assert (found.take, found.parted, found.same) == ((), 1, 1)
    # The same cells, but another result on the way: what came next was chosen knowing that.
    found = merge_pasts(study(A), study(("COMPLETE", 1.0, 9.0), B))
    assert (found.take, found.parted) == ((), 0)
    found = merge_pasts(study(A, LOST, D), study(A, B, C))
    assert (found.take, found.parted) == ((), 1)


def test_failures_at_the_end_decided_nothing():
    found = merge_pasts(study(A, B, LOST), study(A, B, C, D))
    assert taken(found) == [(2, "COMPLETE"), (3, "COMPLETE")]
    assert [t.mine.state for t in found.take] == ["FAIL", "WAITING"]
    found = merge_pasts(study(A, B, C), study(A, B, LOST))
    assert (found.take, found.parted, found.same) == ((), None, 2)
    assert merge_pasts(study(A, LOST), study(A, LOST)).take == ()


def test_a_retry_stands_where_its_trial_stood():
    theirs = study(A, ("FAIL", 2.0), C, rows=6)
    theirs[1] = dataclasses.replace(theirs[1], retried=True)
    theirs.append(row(6, "COMPLETE", params(2.0), 2.0, retry_of=theirs[1].trial_id))
    found = merge_pasts(study(A), theirs)
    assert [(t.mine.number, t.theirs.number) for t in found.take] == [(1, 6), (2, 2)]
    # And the other way round: our retry row is where their result goes.
    mine = study(A, ("FAIL", 2.0))
    mine[1] = dataclasses.replace(mine[1], retried=True)
    mine.append(row(6, "WAITING", params(2.0), retry_of=mine[1].trial_id))
    assert taken(merge_pasts(mine, study(A, B, C))) == [(6, "COMPLETE"), (2, "COMPLETE")]
    # Should it have failed there, it stays queued here.
    assert taken(merge_pasts(mine, study(A, ("FAIL", 2.0), C))) == [(2, "COMPLETE")]


def test_rows_that_do_not_line_up_are_left_alone():
    """Grown in another order: their cell has another place here, or none."""
    found = merge_pasts(study(rows=2), study(A, B, C))
    assert (found.take, found.parted) == ((), 2)
    mine = study()
    mine[1] = row(1, "RUNNING", params(7.0))
    assert merge_pasts(mine, study(A, B)).parted == 1
    # An open row is no place for a planned cell: that has a row already.
    assert merge_pasts(study()[1:], study(A)).parted == 0
    theirs = study(A, B)
    theirs[1] = row(1, "COMPLETE", plan_of(TPE).cells[0])
    assert merge_pasts(study(A), theirs).parted == 1


def test_a_running_trial_is_part_of_the_past_that_is_taken():
    mine = study(A)
    mine[1] = row(1, "RUNNING", {})
    assert taken(merge_pasts(mine, study(A, B, C))) == [(1, "COMPLETE"), (2, "COMPLETE")]
    mine[1] = row(1, "RUNNING", params(2.0))
    assert taken(merge_pasts(mine, study(A, ("FAIL", 2.0), C))) == [(1, "FAIL"), (2, "COMPLETE")]


def test_a_past_on_other_weights_is_left_out_whole():
    theirs = study(A, B, C)
    assert merge_pasts(study(), theirs, same_weights=False).other_weights == 3
    theirs[1] = dataclasses.replace(theirs[1], mixed=True)
    found = merge_pasts(study(), theirs)
    assert (found.take, found.other_weights) == ((), 3)
    assert [t.mixed for t in merge_pasts(study(), theirs, mix=True).take] == [False, True, False]
