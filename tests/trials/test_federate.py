"""Federated averaging as trials: the curve, what it starts from, and going on after a loss."""

from __future__ import annotations

import dataclasses
import json

import pytest
import safetensors.torch
import torch

from kdopt.campaign.partition_settings import PartitionSettings
from kdopt.campaign.settings import TransferSettings
from kdopt.campaign.stage_settings import CombineSettings, FederateSettings
from kdopt.campaign.stages import plan_studies
from kdopt.train.federated import count_state_bytes
from kdopt.train.fit import DivergedError
from kdopt.trials.combine import choose_student, run_combine
from kdopt.trials.federate import run_federate
from kdopt.trials.interfaces import NoJournal
from tests.conftest import drop_record, make_campaign
from tests.trials.test_context import new_context, without_time

FEDERATE = FederateSettings(rounds=6, local_epochs=1, save_every=2, learning_rate=0.05)
CAMPAIGN = make_campaign(
    model="cnn",
    participants=3,
    partitions=(PartitionSettings("label_dirichlet", concentration=(0.5, 2.0)),),
    stages=("combine", "federate"),
    transfer=TransferSettings(60, 200, 60),
    combine=CombineSettings(weightings=("equal", "better_share")),
    federate=FEDERATE,
)
PARTITION = CAMPAIGN.partitions[0].name


class Killed(BaseException):
    """Stands for the end of a worker."""


class Memory(NoJournal):
    """A journal that remembers, and may end the run when a round is reported."""

    def __init__(self, state=None, killed_at=None):
        self.state, self.killed_at = state, killed_at
        self.curve, self.steps = {}, []

    def saved(self):
        return self.state

    def save(self, step, state):
        self.state = state
        self.steps.append(step)

    def report(self, values):
        self.curve |= values
        if self.killed_at in values:
            raise Killed


def the_plan(campaign=CAMPAIGN, stage="federate"):
    return next(p for p in plan_studies(campaign) if p.stage == stage)


def run(context, trained, initial="random", replicate=0, journal=None):
    params = {"initial_model": initial, "replicate": replicate}
    outcome = run_federate(context, the_plan(), params, trained, journal or Memory())
    return without_time(outcome)


def test_one_study_per_partition_with_a_trial_per_initial_model_and_replicate():
    plan = the_plan(dataclasses.replace(CAMPAIGN, replicates=2))
    assert [tuple(c.values()) for c in plan.cells] == [
        ("random", 0),
        ("consolidated", 0),
        ("random", 1),
        ("consolidated", 1),
    ]
    assert plan.needs == (0, 1, 2)
    alone = dataclasses.replace(FEDERATE, initial_models=("random",))
    assert the_plan(dataclasses.replace(CAMPAIGN, federate=alone)).needs == ()


def test_the_curve_has_the_initial_model_and_every_round(context, trained):
    journal = Memory()
    outcome = run(context, trained, journal=journal)
    assert len(outcome.rounds) == 1 + 6
    assert outcome.rounds[0].test_accuracy == outcome.test_before.accuracy
    assert outcome.rounds[-1] == (outcome.validation.accuracy, outcome.test.accuracy)
    assert outcome.value == outcome.validation.accuracy
    assert journal.curve == {i: s.validation_accuracy for i, s in enumerate(outcome.rounds)}
    assert outcome.rounds[-1].test_accuracy > outcome.rounds[0].test_accuracy
    assert journal.steps == [2, 4]  # the last round is the outcome itself


def test_the_final_model_is_kept(context, trained):
    outcome = run(context, trained)
    model = context.load_model(outcome)
    assert context.score_model(model, context.get_validation(PARTITION))[1] == outcome.test


@pytest.mark.parametrize("initial", ["random", "consolidated"])
@pytest.mark.parametrize("killed_at", [0, 1, 2, 5])
def test_going_on_from_a_saved_state_is_bit_identical(
    dataset, folder, context, trained, initial, killed_at
):
    unbroken = run(context, trained, initial)
    lost = Memory(killed_at=killed_at)
    with pytest.raises(Killed):
        run(new_context(CAMPAIGN, dataset, folder), trained, initial, journal=lost)
    successor = Memory(state=lost.state)
    resumed = run(new_context(CAMPAIGN, dataset, folder), trained, initial, journal=successor)
    assert resumed == unbroken  # checkpoint hash, curve and scores
    assert successor.curve == {i: s.validation_accuracy for i, s in enumerate(unbroken.rounds)}
    saved = [s for s in (2, 4) if s > (lost.steps[-1] if lost.steps else 0)]
    assert successor.steps == saved  # nothing before the saved round was computed again


def test_seconds_add_up_over_lost_workers(context, trained):
    params = {"initial_model": "random", "replicate": 0}
    lost = Memory(killed_at=5)
    with pytest.raises(Killed):
        run_federate(context, the_plan(), params, trained, lost)
    record = safetensors.torch.load(lost.state)["so_far"]
    before = json.loads(bytes(record.tolist()))["seconds"]
    outcome = run_federate(context, the_plan(), params, trained, Memory(state=lost.state))
    assert outcome.seconds > before > 0


def test_how_often_a_state_is_saved_changes_nothing(dataset, folder, context, trained):
    rarely = dataclasses.replace(CAMPAIGN, federate=dataclasses.replace(FEDERATE, save_every=100))
    journal = Memory()
    assert run(new_context(rarely, dataset, folder), trained, journal=journal) == run(
        context, trained
    )
    assert journal.steps == []


def test_the_consolidated_start_is_what_the_combine_stage_makes(context, trained):
    outcome = run(context, trained, "consolidated")
    params = {
        "start": FEDERATE.start,
        "transfer_set": FEDERATE.transfer_set,
        "weighting": FEDERATE.weighting,
        "replicate": 0,
    }
    combined = run_combine(context, the_plan(stage="combine"), params, trained)
    assert outcome.participant == combined.participant == choose_student("best", trained)
    assert outcome.test_before == drop_record(combined.test)
    assert outcome.validation_before == drop_record(combined.validation)


def test_replicates_differ_and_random_starts_need_no_participant(context, trained):
    assert run(context, {}) == run(context, trained)
    assert run(context, trained, replicate=1).rounds != run(context, trained).rounds


def test_bytes_are_the_models_that_travel(context, trained):
    weight = count_state_bytes(context.load_model(trained[0]))
    random, consolidated = (run(context, trained, i) for i in ("random", "consolidated"))
    assert random.round_bytes == consolidated.round_bytes == 2 * 3 * weight
    assert random.start_bytes == 0
    # Two teachers up and down to the student, and the result up.
    assert consolidated.start_bytes == 5 * weight


def test_on_a_public_set_logits_travel_where_they_weigh_less(dataset, folder, trained):
    weight = None
    for start, transfers in (("best", 4), ("untrained", 3)):
        settings = dataclasses.replace(
            FEDERATE, rounds=1, start=start, transfer_set="public_unlabeled_large"
        )
        campaign = dataclasses.replace(CAMPAIGN, federate=settings)
        context = new_context(campaign, dataset, folder)
        weight = count_state_bytes(context.load_model(trained[0]))
        logits = 200 * 10 * 4
        assert logits < weight
        outcome = run(context, trained, "consolidated")
        result = weight if start == "best" else 0
        assert outcome.start_bytes == transfers * logits + result


def test_a_state_names_its_trial(context, trained):
    """So that no two trials share one, and removing one's last state never takes another's."""
    states = []
    for initial in ("random", "consolidated"):
        journal = Memory()
        run(context, trained, initial, journal=journal)
        states.append(journal.state)
    assert b"consolidated" not in states[0]
    assert states[0] != states[1]


def test_dropout_draws_the_same_numbers_in_a_fresh_worker(dataset, folder, context, trained):
    """The workbench is made inside a seeded block the first time, outside it later."""
    fresh = new_context(CAMPAIGN, dataset, folder)
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    fresh.load_model(trained[0])
    fresh.load_peer(trained[1])
    assert torch.equal(torch.rand(2), expected)


def test_a_divergence_says_in_which_round_and_where(dataset, folder):
    wild = dataclasses.replace(CAMPAIGN, federate=dataclasses.replace(FEDERATE, learning_rate=1e30))
    with pytest.raises(DivergedError, match="round 1, participant 0: the training loss became"):
        run(new_context(wild, dataset, folder), {})
