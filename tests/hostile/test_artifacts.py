"""Artifacts with the right hash and the wrong content are refused, and no trial fails by them."""

from __future__ import annotations

import dataclasses
import json
import logging

import numpy as np
import pytest
import safetensors.numpy
import safetensors.torch
import torch

from kdopt.campaign.stage_settings import FederateSettings
from kdopt.campaign.stages import plan_studies
from kdopt.data.datasets import read_dataset
from kdopt.data.splits import make_splits, pack_splits, parse_splits
from kdopt.errors import ArtifactError
from kdopt.search.prior import Prior, load_shipped_prior
from kdopt.store.raw_rows import read_raw_trials
from kdopt.train.models import make_model
from kdopt.train.weights import parse_weights
from kdopt.trials.federate import run_federate
from kdopt.trials.interfaces import NoJournal
from tests.conftest import make_campaign
from tests.trials.test_context import new_context, without_time

MODEL = make_model("cnn", (1, 8, 8), 10)
LABELS = np.arange(200) % 10
ONE = make_campaign(participants=4)
LOCAL = dataclasses.replace(ONE, data=dataclasses.replace(ONE.data, validation="local"))
JUNK = {
    "nothing": b"",
    "text": b"hello",
    "JSON": b"{}",
    "zeros": bytes(64),
    "a huge header": (2**60).to_bytes(8, "little") + b"{}",
}


def change_weights(change):
    state = {k: v.clone() for k, v in MODEL.state_dict().items()}
    change(state)
    return safetensors.torch.save(state)


def set_value(key, index, value):
    return lambda state: state[key].view(-1).__setitem__(index, value)


WRONG_WEIGHTS = {
    "NaN": (set_value("0.weight", 3, float("nan")), "'0.weight' holds numbers that are not finite"),
    "an infinite statistic": (
        set_value("1.running_mean", 0, float("inf")),
        "'1.running_mean' holds numbers that are not finite",
    ),
    "a negative variance": (set_value("1.running_var", 0, -1.0), "variances below 0"),
    "a tensor less": (lambda s: s.pop("0.weight"), "it has no '0.weight'"),
    "a tensor more": (lambda s: s.update(x=torch.zeros(1)), "it has 'x', which the model has not"),
    "other classes": (
        lambda s: s.update({"13.weight": torch.zeros(7, 64), "13.bias": torch.zeros(7)}),
        "'13.weight' is 7x64, the model's is 10x64",
    ),
    "int8": (
        lambda s: s.update({"0.weight": s["0.weight"].to(torch.int8)}),
        "'0.weight' is torch.int8, the model's is torch.float32",
    ),
    "half precision": (lambda s: s.update({"0.weight": s["0.weight"].half()}), "torch.float16"),
    "empty": (lambda s: s.clear(), "it has no "),
}


@pytest.mark.parametrize("case", WRONG_WEIGHTS)
def test_weights_that_a_model_cannot_have_are_refused(case):
    change, reason = WRONG_WEIGHTS[case]
    with pytest.raises(ArtifactError) as found:
        parse_weights(change_weights(change), MODEL.state_dict())
    assert reason in str(found.value)


def change_splits(campaign, change):
    arrays = pack_splits(make_splits(campaign, "uniform", LABELS, 10))
    change(arrays)
    return safetensors.numpy.save(arrays)


def set_position(key, value):
    return lambda arrays: arrays[key].__setitem__(0, value)


WRONG_SPLITS = {
    "a negative position": (ONE, set_position("train.00", -1), "positions run from -1"),
    "a position beyond": (ONE, set_position("validation", 200), "to 200, the images from 0 to 199"),
    "an image twice": (
        ONE,
        lambda a: a.update({"train.01": a["train.00"].copy()}),
        "an image is in two places",
    ),
    "validation on training images": (
        ONE,
        lambda a: a.update(validation=a["train.03"][:5].copy()),
        "an image is in two places",
    ),
    "too few participants": (ONE, lambda a: a.pop("train.03"), "splits of 3 participants"),
    "too many participants": (
        ONE,
        lambda a: a.update({"train.04": np.array([0])}),
        "splits of 5 participants",
    ),
    "a gap": (ONE, lambda a: a.pop("train.01"), "'train.01' is missing"),
    "a share without images": (
        ONE,
        lambda a: a.update({"train.00": np.empty(0, np.int64)}),
        "has no images",
    ),
    "no validation images": (
        ONE,
        lambda a: a.update(validation=np.empty(0, np.int64)),
        "has no images",
    ),
    "int8": (
        ONE,
        lambda a: a.update({"train.00": a["train.00"].astype(np.int8)}),
        "train.00 is int8",
    ),
    "numbers": (
        ONE,
        lambda a: a.update({"train.00": a["train.00"].astype(float)}),
        "train.00 is float64",
    ),
    "a table": (ONE, lambda a: a.update({"train.00": a["train.00"][None]}), "expected int64 (n,)"),
    "another way to validate": (
        ONE,
        lambda a: a.update(pack_splits(make_splits(LOCAL, "uniform", LABELS, 10))),
        "their validation sets are not global",
    ),
    "a union of other images": (
        LOCAL,
        lambda a: a.update(validation=a["validation"][1:].copy()),
        "not what the participants hold out",
    ),
}


@pytest.mark.parametrize("case", WRONG_SPLITS)
def test_splits_that_a_campaign_cannot_have_are_refused(case):
    campaign, change, reason = WRONG_SPLITS[case]
    with pytest.raises(ArtifactError) as found:
        parse_splits(change_splits(campaign, change), campaign, len(LABELS))
    assert reason in str(found.value)


def test_too_few_public_images_are_refused():
    transfer = dataclasses.replace(ONE.transfer, public_labeled=30)
    content = change_splits(ONE, lambda arrays: None)
    with pytest.raises(ArtifactError, match="0 public images, the campaign has 30"):
        parse_splits(content, dataclasses.replace(ONE, transfer=transfer), len(LABELS))


def test_what_kdopt_wrote_is_read_again():
    for campaign in (ONE, LOCAL):
        splits = parse_splits(change_splits(campaign, lambda a: None), campaign, len(LABELS))
        assert sum(map(len, splits.train)) + len(splits.validation) == len(LABELS)
    content = change_weights(lambda state: None)
    assert parse_weights(content, MODEL.state_dict()).keys() == MODEL.state_dict().keys()
    prior = load_shipped_prior()
    assert Prior.from_bytes(prior.to_bytes()).to_bytes() == prior.to_bytes()


def change_prior(change):
    record = json.loads(load_shipped_prior().to_bytes())
    change(record)
    return json.dumps(record).encode()


WRONG_PRIORS = {
    "a list": lambda: b"[]",
    "nested": lambda: b"[" * 100_000,
    "no pairs": lambda: change_prior(lambda r: r.update(pairs=[])),
    "a text for a gain": lambda: change_prior(
        lambda r: r["pairs"][0]["results"][0].__setitem__(0, "3")
    ),
    "NaN": lambda: change_prior(lambda r: r["pairs"][0]["results"][0].__setitem__(0, float("nan"))),
    "a result less": lambda: change_prior(lambda r: r["pairs"][0]["results"].pop()),
    "a feature less": lambda: change_prior(lambda r: r["pairs"][0]["features"].pop()),
    "a text for a point": lambda: change_prior(lambda r: r["points"].__setitem__(0, "x")),
}


@pytest.mark.parametrize("case", WRONG_PRIORS)
def test_priors_that_are_none_are_refused(case):
    with pytest.raises(ArtifactError, match="prior"):
        Prior.from_bytes(WRONG_PRIORS[case]())


@pytest.mark.parametrize("case", JUNK)
def test_junk_is_no_artifact_of_any_kind(case):
    for parse in (
        lambda content: parse_weights(content, MODEL.state_dict()),
        lambda content: parse_splits(content, ONE, len(LABELS)),
        Prior.from_bytes,
    ):
        with pytest.raises(ArtifactError):
            parse(JUNK[case])


def test_a_worker_stops_at_a_wrong_checkpoint_and_no_trial_fails(world):
    before = world.states
    first = next(t for t in read_raw_trials(world.store, "tiny") if t.checkpoint)
    state = safetensors.torch.load(world.artifacts.get(first.checkpoint))
    next(iter(state.values())).view(-1)[0] = float("nan")
    wrong = world.artifacts.put(safetensors.torch.save(state))
    world.change_outcome(first.trial_id, lambda record: record.update(checkpoint=wrong))
    with pytest.raises(ArtifactError) as found:
        world.run()
    assert wrong[:12] in str(found.value) and str(world.folder) in str(found.value)
    assert "not finite" in str(found.value)
    assert world.states == before and not before["FAIL"] and before["WAITING"]


def test_a_worker_stops_at_wrong_splits_and_no_trial_fails(world):
    before = world.states
    wrong = world.artifacts.put(b"hello")
    world.change_record({"splits": {"uniform": wrong}})
    with pytest.raises(ArtifactError, match=f"splits of uniform, sha256 {wrong[:12]}"):
        world.run()
    assert world.states == before


class Remembered(NoJournal):
    """A journal that has one saved state."""

    def __init__(self, state):
        self.state, self.curve, self.kept = state, [], []

    def saved(self):
        return self.state

    def save(self, step, state):
        self.kept.append(state)

    def report(self, values):
        self.curve += values


def test_a_saved_state_that_cannot_be_the_trials_is_started_over(tmp_path, caplog):
    campaign = make_campaign(
        stages=("federate",),
        federate=FederateSettings(
            initial_models=("random",), rounds=2, local_epochs=1, save_every=1
        ),
    )
    context = new_context(campaign, read_dataset(campaign.data, campaign.seed), tmp_path)
    plan = next(p for p in plan_studies(campaign) if p.stage == "federate")
    params = {"initial_model": "random", "replicate": 0}

    def run(state, params=params):
        journal = Remembered(state)
        return without_time(run_federate(context, plan, params, {}, journal)), journal

    expected, journal = run(None)
    (good,) = journal.kept
    resumed, journal = run(good)
    assert resumed == expected and not journal.kept, "it went on after round 1"
    tensors = safetensors.torch.load(good)
    record = json.loads(bytes(tensors["so_far"].tolist()))

    def change(record=record, **others):
        text = torch.frombuffer(bytearray(json.dumps(record).encode()), dtype=torch.uint8)
        return safetensors.torch.save({**tensors, "so_far": text, **others})

    name = next(key for key in tensors if key.startswith("model."))
    wrong = {
        **JUNK,
        "no record": safetensors.torch.save({k: v for k, v in tensors.items() if k == name}),
        "texts": change({**record, "rounds": [["a", "b"]]}),
        "NaN": change({**record, "rounds": [[float("nan"), 0.1]]}),
        "too many rounds": change({**record, "rounds": record["rounds"] * 9}),
        "another study": change({**record, "study": "other/uniform/federate"}),
        "another cell": change({**record, "cell": {**params, "replicate": 1}}),
        "NaN weights": change(**{name: tensors[name] * float("nan")}),
        "other shapes": change(**{name: tensors[name][:1].contiguous()}),
    }
    for case, state in wrong.items():
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            found, _ = run(state)
        assert found == expected, case
        assert "starts again from the beginning" in caplog.text, case
