"""What a worker does next: which studies may start, which one it prefers, and what for."""

from __future__ import annotations

import dataclasses
import random

import pytest

from kdopt.campaign.names import parse_study_name
from kdopt.campaign.partition_settings import PartitionSettings
from kdopt.campaign.spec import parse_spec
from kdopt.campaign.stage_settings import CompareSettings
from kdopt.campaign.stages import plan_studies
from kdopt.store import leases, queries
from kdopt.store.queries import StudyCounts
from kdopt.train.engine import make_engine
from kdopt.worker import scheduling
from kdopt.worker.scheduling import (
    StudyBoard,
    list_finished_before,
    list_startable,
    measure_locality,
    sort_by_preference,
)
from kdopt.worker.worker import run_trials
from tests.conftest import make_campaign, make_outcome
from tests.small_campaigns import FEW_PUBLIC, make_spec, plan_text
from tests.store.test_leases import plan_queue

PEOPLE = 4
BOTH = ("uniform", "specialized")
GRID = make_campaign(
    participants=PEOPLE,
    partitions=tuple(PartitionSettings(name) for name in BOTH),
    stages=("tune", "compare"),
    compare=CompareSettings(("vanilla",), ("student",)),
)
WARM = dataclasses.replace(GRID, tune=dataclasses.replace(GRID.tune, sampler="warm", budget=3))


def plans_of(campaign):
    return {plan.name: plan for plan in plan_studies(campaign)}


PLANS = plans_of(WARM)


class Desk:
    """The studies of a campaign as the store would tell of them."""

    def __init__(self, plans=PLANS):
        self.plans = plans
        self.states = {
            name: StudyCounts(n, parse_study_name(name), name, plan.n_trials, 0, 0, 0)
            for n, (name, plan) in enumerate(plans.items())
        }
        self.trained = {}

    def set(self, names, **counts):
        """Other counts for these studies; what is not named is nought."""
        zero = dict.fromkeys(("waiting", "running", "complete", "failed"), 0)
        for name in names:
            self.states[name] = self.states[name]._replace(**(zero | counts))

    def train(self, *missing):
        """Pre-training has ended, and failed for these (partition, participant)."""
        self.set([n for n, p in self.plans.items() if p.stage == "pretrain"], complete=PEOPLE)
        self.trained = {
            partition: {
                p: make_outcome(0.5) for p in range(PEOPLE) if (partition, p) not in missing
            }
            for partition in BOTH
        }

    def may_start(self):
        found = list_startable(list(self.states.values()), self.plans, self.trained)
        return [state.study for state in found]


def tune(number=None, partition="uniform", plans=PLANS):
    return [
        name
        for name, plan in plans.items()
        if (plan.stage, plan.partition) == ("tune", partition) and number in (None, plan.round)
    ]


def of_stage(names, *stages):
    return [name for name in names if PLANS[name].stage in stages]


@pytest.fixture
def desk():
    made = Desk()
    made.train()
    return made


def test_nothing_but_pretraining_starts_before_the_participants_are_trained():
    found = Desk().may_start()
    assert {PLANS[name].stage for name in found} == {"pretrain"}
    assert len(found) == len(BOTH)


def test_a_pair_starts_as_soon_as_its_own_two_are_trained():
    desk = Desk()
    desk.set(["tiny/uniform/pretrain"], waiting=PEOPLE - 2, complete=2)
    desk.trained = {"uniform": {0: make_outcome(0.5), 1: make_outcome(0.5)}}
    found = desk.may_start()
    assert of_stage(found, "tune") == [name for name in tune(0) if set(PLANS[name].needs) <= {0, 1}]
    # The others of the first round are still to come, so the second has to wait for them.
    assert "tiny/uniform/tune/t00-s01" in tune(2)
    assert "tiny/uniform/tune/t00-s01" not in found


def test_only_the_first_round_starts_and_the_order_is_that_of_the_studies(desk):
    found = desk.may_start()
    assert of_stage(found, "tune") == [*tune(0), *tune(0, "specialized")]
    assert found == [name for name in desk.states if name in set(found)]


@pytest.mark.parametrize("left", [{"waiting": 1}, {"running": 1}])
def test_a_round_waits_for_the_last_trial_of_the_one_before(desk, left):
    first, *others = tune(0)
    desk.set(others, complete=3)
    desk.set([first], complete=2, **left)
    assert of_stage(desk.may_start(), "tune") == [
        *([first] if "waiting" in left else []),
        *tune(0, "specialized"),
    ]
    desk.set([first], complete=2, failed=1)  # a failed trial has ended, too
    assert of_stage(desk.may_start(), "tune") == [*tune(1), *tune(0, "specialized")]


def test_partitions_do_not_wait_for_each_other(desk):
    desk.set([*tune(0), *tune(1)], complete=3)
    assert of_stage(desk.may_start(), "tune") == [*tune(2), *tune(0, "specialized")]


def test_other_stages_are_not_held_back_and_hold_nobody_back(desk):
    compare = of_stage(PLANS, "compare")
    assert of_stage(desk.may_start(), "compare") == compare
    desk.set([*tune(0), *tune(0, "specialized")], complete=3)
    assert of_stage(desk.may_start(), "compare") == compare
    assert of_stage(desk.may_start(), "tune") == [*tune(1), *tune(1, "specialized")]


def test_who_failed_to_pretrain_holds_nobody_up(desk):
    desk.train(("uniform", 2))
    hopeless = [name for name in tune() if 2 in PLANS[name].needs]
    assert hopeless
    for number in range(PEOPLE - 1):
        round_ = [name for name in tune(number) if name not in hopeless]
        assert [n for n in desk.may_start() if n in tune()] == round_
        desk.set(round_, complete=3)
    assert not [n for n in desk.may_start() if n in tune()]
    # Nobody else has lost anything.
    assert of_stage(desk.may_start(), "tune") == tune(0, "specialized")


def test_who_is_still_in_training_does(desk):
    """What is not trained yet may be any minute, and its round comes first."""
    desk.train(("uniform", 2))
    desk.set(["tiny/uniform/pretrain"], complete=PEOPLE - 1, running=1)
    desk.set([name for name in tune(0) if 2 not in PLANS[name].needs], complete=3)
    assert not [name for name in desk.may_start() if name in tune()]


def test_studies_that_nobody_planned_are_left_alone(desk):
    name = "tiny/uniform/tune/t07-s08"
    desk.states[name] = StudyCounts(999, parse_study_name(name), name, 5, 0, 0, 0)
    assert name not in desk.may_start()
    desk.set(tune(0), complete=3)
    assert of_stage(desk.may_start(), "tune") == [*tune(1), *tune(0, "specialized")]


def test_without_rounds_every_pair_may_start_at_once():
    plans = plans_of(GRID)
    desk = Desk(plans)
    desk.train()
    assert [n for n in desk.may_start() if plans[n].stage == "tune"] == [
        *tune(plans=plans),
        *tune(None, "specialized", plans),
    ]


def test_more_budget_takes_the_rounds_from_the_start(desk):
    desk.set(tune(), complete=3)
    assert not [name for name in desk.may_start() if name in tune()]
    desk.set(tune(), complete=3, waiting=2)
    assert [name for name in desk.may_start() if name in tune()] == tune(0)


@pytest.mark.parametrize("seed", range(5))
def test_workers_of_any_speed_keep_to_the_rounds_and_finish(seed):
    """Trials are taken and ended in any order: what a pair finds finished is always the same."""
    chance = random.Random(seed)
    lost = ("uniform", 1)
    desk = Desk()
    desk.train(lost)
    running, begun = [], {}
    while True:
        ready = desk.may_start()
        if ready and (not running or chance.random() < 0.6):
            name = chance.choice(ready)
            state = desk.states[name]
            desk.states[name] = state._replace(waiting=state.waiting - 1, running=state.running + 1)
            before = list_finished_before(PLANS[name], list(desk.states.values()), PLANS)
            found = sorted(plan.name for _, plan in before)
            assert begun.setdefault(name, found) == found
            running.append(name)
        elif running:
            name = running.pop(chance.randrange(len(running)))
            state = desk.states[name]
            desk.states[name] = state._replace(
                running=state.running - 1, complete=state.complete + 1
            )
        else:
            break
    for name, plan in PLANS.items():
        hopeless = plan.partition == lost[0] and lost[1] in plan.needs
        assert (desk.states[name].waiting > 0) == hopeless
        if plan.stage == "tune" and not hopeless:
            assert begun[name] == sorted(
                other
                for number in range(plan.round)
                for other in tune(number, plan.partition)
                if not (plan.partition == lost[0] and lost[1] in PLANS[other].needs)
            )


def test_a_pair_learns_from_earlier_rounds_of_its_own_partition_and_stage_only(desk):
    for number in range(PEOPLE - 1):
        desk.set(tune(number), complete=3)
    desk.set(tune(0, "specialized"), complete=3)
    desk.set(of_stage(PLANS, "compare"), complete=1)
    last = PLANS[tune(2)[0]]
    found = list_finished_before(last, list(desk.states.values()), PLANS)
    assert [plan.name for _, plan in found] == [n for n in PLANS if n in tune(0) + tune(1)]
    assert all(desk.states[plan.name] == state for state, plan in found)
    assert list_finished_before(PLANS[tune(0)[0]], list(desk.states.values()), PLANS) == []


SPEC = make_spec(
    participants=4,
    partitions=["uniform", "quantity_skew"],
    stages=["tune", "compare"],
    control=False,
    transfer=FEW_PUBLIC,
    tune={"temperatures": [1, 4], "alphas": [0.1, 0.5]},
    compare={"methods": ["vanilla"], "transfer_sets": ["student", "public_labeled"]},
)
PAIRS = 2 * 4 * 3


@pytest.fixture(scope="module")
def plans():
    text = SPEC.replace('"compare"]', '"compare", "federate"]')
    return {plan.name: plan for plan in plan_studies(parse_spec(text).campaign)}


def states(plans, running=0):
    return [
        StudyCounts(n, parse_study_name(name), name, 10 - running, running, 0, 0)
        for n, name in enumerate(plans)
    ]


def test_long_trials_come_first_and_pretraining_before_what_waits_for_it(plans):
    found = [plans[s.study].stage for s in sort_by_preference(states(plans), plans, None)]
    assert found[:2] == ["federate", "federate"]
    assert found[2:4] == ["pretrain", "pretrain"]
    assert set(found[4:]) == {"tune", "compare"}


def test_the_control_comes_before_the_pairs_that_are_held_against_it():
    plans = plans_of(dataclasses.replace(GRID, control=True))
    last = next(p for p in plans.values() if p.stage == "tune")
    found = [plans[s.study] for s in sort_by_preference(states(plans), plans, last)]
    assert [p.stage for p in found[:3]] == ["control", "control", "tune"]
    assert found[0].partition == last.partition and found[2] == last


def test_next_is_what_shares_most_with_the_last_trial(plans):
    last = next(p for p in plans.values() if p.stage == "tune" and p.partition == "uniform")
    found = [
        plans[s.study]
        for s in sort_by_preference(states(plans), plans, last)
        if plans[s.study].stage in ("tune", "compare")
    ]
    assert found[0] == last
    assert (found[1].stage, found[1].teacher, found[1].student) == (
        "compare",
        last.teacher,
        last.student,
    )
    shared = [
        (p.partition == last.partition, p.student == last.student, p.teacher == last.teacher)
        for p in found
    ]
    inside = [s for s in shared if s[0]]
    assert shared[: len(inside)] == inside == sorted(inside, reverse=True)
    assert all(measure_locality(p, last) == 0 for p in found[len(inside) :])


def test_among_equals_the_study_with_fewest_workers_is_first(plans):
    busy, free = states(plans, running=1), states(plans)
    mixed = [*busy[:-1], free[-1]]
    tail = [
        s
        for s in sort_by_preference(mixed, plans, None)
        if plans[s.study].stage == plans[free[-1].study].stage
    ]
    assert tail[0] == free[-1]


def run(folder, monkeypatch=None):
    store, artifacts, _ = plan_text(SPEC, folder)
    summary = run_trials(store, artifacts, "tiny", make_engine("fp32", "cpu"))
    store.close()
    return summary


def test_a_worker_computes_a_teachers_logits_once_per_set(tmp_path):
    uses = run(tmp_path).caches
    # Tuning asks for the teacher's logits, comparing for the student's too. A teacher is computed
    # once per pair on the student's images, a model once on its own, and once on the public set,
    # whoever the student is.
    logits = uses["logits"]
    assert logits.asked == PAIRS * (4 + 2 * 2)
    assert logits.asked - logits.hits == PAIRS + 2 * 4 + 2 * 4
    # Images: once per participant for pre-training, and then once per student at most whenever
    # the order comes back to it; never once per trial.
    images = uses["images"]
    assert images.asked - images.hits <= 2 * 4 + PAIRS


def test_without_the_order_the_memory_is_used_less(tmp_path, monkeypatch):
    draw = random.Random(0)
    with_order = run(tmp_path / "a").caches
    monkeypatch.setattr(
        scheduling,
        "sort_by_preference",
        lambda ready, plans, last: draw.sample(list(ready), len(ready)),
    )
    without = run(tmp_path / "b").caches
    assert without["images"].hits < with_order["images"].hits


def finish(store, claim):
    leases.finish_trial(store, claim, make_outcome(1.0))


def lose(store, claim):
    leases.requeue_lost_trials(store, lambda worker: True)


CHANGES = {
    "claimed": lambda store, claim: None,
    "finished": finish,
    "given back": leases.release_trial,
    "lost": lose,
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_look_reads_what_changed(store, change):
    study = plan_queue(store, 3)
    board = StudyBoard(store, "tiny")
    assert board.look() == queries.read_study_counts(store, "tiny") and board.whole
    CHANGES[change](store, leases.claim_trial(store, study, "me", 60))
    assert board.look() == queries.read_study_counts(store, "tiny")
    assert not board.whole
    assert board.is_running == (change == "claimed")


def test_what_failed_has_ended(store):
    """A look cannot tell it from what is complete until it reads all."""
    study = plan_queue(store, 2)
    board = StudyBoard(store, "tiny")
    board.look()
    leases.fail_trial(store, leases.claim_trial(store, study, "me", 60), "nan")
    (state,) = board.look()
    assert (state.waiting, state.complete + state.failed, state.total) == (1, 1, 2)
    assert board.look(whole=True) == queries.read_study_counts(store, "tiny")


def test_new_trials_are_seen_at_once_and_other_changes_in_the_end(store, monkeypatch):
    plan_queue(store, 2)
    board = StudyBoard(store, "tiny")
    board.look()
    plan_queue(store, 4)
    assert board.look()[0].total == 4 and board.whole
    board.look()
    assert not board.whole
    monkeypatch.setattr(scheduling.time, "monotonic", lambda: 1e9)
    board.look()
    assert board.whole
