"""FedDF, FedMD and Def-KT as trials: what they start from, keep and send, and going on."""

from __future__ import annotations

import dataclasses
import statistics

import pytest
import safetensors.torch

from kdopt.campaign.federated_algorithms import FedDfSettings
from kdopt.campaign.settings import TransferSettings
from kdopt.campaign.stage_settings import FederateSettings
from kdopt.campaign.stages import plan_studies
from kdopt.data.datasets import read_dataset
from kdopt.outcome import Scores
from kdopt.train.federated import count_state_bytes
from kdopt.train.fit import DivergedError
from kdopt.trials.federate import run_federate
from kdopt.trials.federations import average_scores
from kdopt.trials.pretrain import run_pretrain
from tests.conftest import make_campaign
from tests.trials.test_context import new_context, without_time
from tests.trials.test_federate import Killed, Memory

PUBLIC = 60
FEDERATE = FederateSettings(
    rounds=3,
    local_epochs=1,
    save_every=1,
    learning_rate=0.05,
    algorithms=("fedavg", "feddf", "fedmd", "def_kt"),
    own_starts=("pretrained", "random"),
    public_set="public_unlabeled_small",
    feddf=FedDfSettings(epochs=1),
)
CAMPAIGN = make_campaign(
    participants=3,
    stages=("federate",),
    transfer=TransferSettings(PUBLIC, PUBLIC, 0),
    federate=FEDERATE,
)
MIXED = dataclasses.replace(
    CAMPAIGN,
    model="cnn",
    models=("cnn", "mlp"),
    federate=dataclasses.replace(FEDERATE, algorithms=("fedmd", "def_kt"), rounds=2),
)
WAYS = [
    *(("feddf", "random"), ("fedmd", "pretrained"), ("fedmd", "random")),
    *(("def_kt", "pretrained"), ("def_kt", "random")),
]


class Bench:
    """A campaign's context and pre-trained participants."""

    def __init__(self, campaign, folder):
        self.campaign, self.folder = campaign, folder
        self.dataset = read_dataset(campaign.data, campaign.seed)
        self.plans = plan_studies(campaign)
        self.context = self.fresh()
        pretrain = self.plans[0]
        self.trained = {
            i: run_pretrain(self.context, pretrain, {"participant": i}, {}) for i in range(3)
        }

    def fresh(self):
        return new_context(self.campaign, self.dataset, self.folder)

    def run(self, algorithm, start, context=None, journal=None):
        plan = next(p for p in self.plans if p.algorithm == algorithm)
        params = {"initial_model": start, "replicate": 0}
        journal = journal or Memory()
        found = run_federate(context or self.context, plan, params, self.trained, journal)
        return without_time(found)

    def weigh(self, participant):
        return count_state_bytes(self.context.load_model(self.trained[participant]))


@pytest.fixture(scope="module")
def alike(tmp_path_factory):
    return Bench(CAMPAIGN, tmp_path_factory.mktemp("alike"))


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    return Bench(MIXED, tmp_path_factory.mktemp("mixed"))


@pytest.fixture(scope="module")
def results(alike):
    return {way: alike.run(*way) for way in [("fedavg", "random"), *WAYS]}


def test_every_algorithm_learns_and_no_two_give_the_same(results):
    for way, outcome in results.items():
        assert len(outcome.rounds) == 1 + 3, way
        assert outcome.rounds[-1] == (outcome.validation.accuracy, outcome.test.accuracy), way
        assert outcome.rounds[-1].test_accuracy > outcome.rounds[0].test_accuracy, way
    assert len({outcome.checkpoint for outcome in results.values()}) == len(results)


@pytest.mark.parametrize("way", WAYS)
def test_a_killed_trial_goes_on_bit_for_bit_in_a_fresh_worker(alike, results, way):
    lost = Memory(killed_at=2)
    with pytest.raises(Killed):
        alike.run(*way, context=alike.fresh(), journal=lost)
    assert lost.steps == [1]
    successor = Memory(state=lost.state)
    assert alike.run(*way, context=alike.fresh(), journal=successor) == results[way]
    assert successor.steps == [2], "round 1 was not run again"


def test_a_state_of_another_trial_is_started_over(alike, results, caplog):
    states = {}
    for way in (("fedmd", "pretrained"), ("def_kt", "pretrained")):
        journal = Memory()
        alike.run(*way, journal=journal)
        states[way] = journal.state
    tensors = safetensors.torch.load(states["fedmd", "pretrained"])
    less = {key: value for key, value in tensors.items() if not key.startswith("model-002.")}
    more = {**tensors, "model-003.x": tensors["so_far"].clone()}
    for state in (states["def_kt", "pretrained"], *map(safetensors.torch.save, (less, more))):
        caplog.clear()
        again = alike.run("fedmd", "pretrained", journal=Memory(state=state))
        assert again == results["fedmd", "pretrained"]
        assert "starts again from the beginning" in caplog.text


def test_bytes_of_a_round_are_what_travels(alike, results):
    weight = alike.weigh(0)
    found = {way: (o.round_bytes, o.start_bytes) for way, o in results.items()}
    for name in ("fedavg", "feddf"):
        assert found[name, "random"] == (2 * 3 * weight, 0)  # down and up
    logits = PUBLIC * 10 * 4
    assert found["fedmd", "pretrained"] == (2 * 3 * logits, 0)  # up, and their mean down
    assert found["def_kt", "pretrained"] == (weight, 0)  # of three participants one pair


def test_own_models_start_where_pre_training_ended(alike, results):
    wanted = statistics.fmean(o.test.accuracy for o in alike.trained.values())
    for name in ("fedmd", "def_kt"):
        assert results[name, "pretrained"].rounds[0].test_accuracy == pytest.approx(wanted)
        assert results[name, "random"].rounds[0].test_accuracy < wanted


def test_feddf_starts_from_the_very_model_of_averaging(results):
    assert results["feddf", "random"].rounds[0] == results["fedavg", "random"].rounds[0]


def test_one_file_keeps_everybodys_model_and_they_score_what_is_recorded(alike, results):
    outcome = results["fedmd", "pretrained"]
    content = alike.context._artifacts.read(outcome.checkpoint, "models", bytes)
    tensors, accuracies = safetensors.torch.load(content), []
    for participant in range(3):
        prefix = f"model-{participant:03d}."
        state = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
        model = alike.context.load_state(state, participant)
        validation = alike.context.get_validation("uniform")
        accuracies.append(alike.context.score_model(model, validation)[1].accuracy)
    assert statistics.fmean(accuracies) == pytest.approx(outcome.test.accuracy)


def test_different_models_stay_what_they_are(mixed):
    for name in ("fedmd", "def_kt"):
        outcome = mixed.run(name, "pretrained")
        content = mixed.context._artifacts.read(outcome.checkpoint, "models", bytes)
        tensors = safetensors.torch.load(content)
        for participant in range(3):
            keys = mixed.context.get_weights(participant).keys()
            found = {k[10:] for k in tensors if k.startswith(f"model-{participant:03d}.")}
            assert found == keys, (name, participant)
        if name == "fedmd":
            assert outcome.round_bytes == 2 * 3 * PUBLIC * 10 * 4
        else:
            cnn, mlp = mixed.weigh(0), mixed.weigh(1)
            # One pair in each of two rounds; who sends is drawn.
            assert outcome.round_bytes in {cnn, mlp, round((cnn + mlp) / 2)}


@pytest.mark.parametrize(
    ("epochs", "said"), [(2, "server: the training"), (1, "the model's logits")]
)
def test_a_divergence_says_in_which_round_and_where(alike, epochs, said):
    wild = dataclasses.replace(FEDERATE, feddf=FedDfSettings(epochs=epochs, learning_rate=1e30))
    campaign = dataclasses.replace(CAMPAIGN, federate=wild)
    context = new_context(campaign, alike.dataset, alike.folder)
    with pytest.raises(DivergedError, match=f"round 1, {said}"):
        alike.run("feddf", "random", context=context)


def test_scores_of_several_models_are_their_mean():
    one, other = Scores(0.5, (0.25, None, 1.0), 1.0, 4, "8A=="), Scores(1.0, (0.75, None, 0.0), 2.0)
    assert average_scores([one, other]) == Scores(0.75, (0.5, None, 0.5), 1.5)
    assert average_scores([one]) == dataclasses.replace(one, images=None, right=None)
