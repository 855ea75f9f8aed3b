"""Trials that run at once are the trials that run alone."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from kdopt.campaign.settings import TrainSettings
from kdopt.campaign.stages import plan_studies
from kdopt.data.datasets import read_dataset
from kdopt.outcome import Outcome
from kdopt.service.planner import draw_splits
from kdopt.store.artifacts import Artifacts
from kdopt.train.engine import make_engine
from kdopt.train.fit import DivergedError
from kdopt.train.models import draws_random_numbers, make_model
from kdopt.trials import tune
from kdopt.trials.context import Context
from kdopt.trials.pretrain import run_pretrain
from kdopt.trials.runners import RUNNERS
from kdopt.trials.tune import run_tune, run_tune_together
from tests.conftest import make_campaign, make_record

ENGINE = make_engine("fp32", "cpu")
CELLS = [
    {"temperature": t, "alpha": a, "replicate": r}
    for t, a, r in ((1.0, 0.1, 0), (4.0, 0.9, 1), (2.0, 0.5, 0))
]


def settings(**changes):
    return TrainSettings(**{"epochs": 3, "patience": 0, **changes})


@pytest.fixture(scope="module")
def dataset():
    return read_dataset(make_campaign().data, 0)


@pytest.fixture
def begin(dataset, tmp_path):
    """A context with both participants pre-trained, and the study of a pair."""

    def make(**changes):
        campaign = make_campaign(model="cnn", **changes)
        artifacts = Artifacts(tmp_path / "artifacts")
        splits = {n: artifacts.put(c) for n, c in draw_splits(campaign, dataset).items()}
        record = dataclasses.replace(make_record(campaign), splits=splits)
        context = Context(record, dataset, artifacts, ENGINE)
        plans = plan_studies(campaign)
        inputs = {i: run_pretrain(context, plans[0], {"participant": i}, {}) for i in range(2)}
        plan = next(p for p in plans if (p.stage, p.teacher, p.student) == ("tune", 0, 1))
        return context, plan, inputs

    return make


def without_time(outcome):
    return dataclasses.replace(outcome, seconds=0.0)


@pytest.mark.parametrize("patience", [0, 1])
def test_every_outcome_is_that_of_the_trial_alone(begin, patience):
    """With patience some stop before others, and keep the weights that they had then."""
    context, plan, inputs = begin(distill=settings(epochs=6, patience=patience))
    alone = [run_tune(context, plan, params, inputs) for params in CELLS]
    together = run_tune_together(context, plan, CELLS, inputs)
    assert [without_time(o) for o in together] == [without_time(o) for o in alone]
    assert len({o.validation.loss for o in alone}) == 3
    if patience:
        assert len({o.epochs for o in alone}) > 1


def test_one_that_diverges_leaves_the_others_alone(begin, monkeypatch):
    context, plan, inputs = begin(distill=settings())
    bad = {"temperature": float("nan"), "alpha": 0.5, "replicate": 0}
    first, failed, last = run_tune_together(context, plan, [CELLS[0], bad, CELLS[2]], inputs)
    assert isinstance(failed, DivergedError) and "epoch 1" in str(failed)
    for found, params in ((first, CELLS[0]), (last, CELLS[2])):
        assert without_time(found) == without_time(run_tune(context, plan, params, inputs))


def test_a_group_that_lacks_a_few_is_filled_up_and_gives_no_more_than_was_asked(begin, monkeypatch):
    context, plan, inputs = begin(distill=settings())
    context.together = 5
    trained = []
    whole = context.train_models

    def train_models(models, *rest):
        trained.append(len(models))
        return whole(models, *rest)

    monkeypatch.setattr(context, "train_models", train_models)
    assert len(run_tune_together(context, plan, CELLS, inputs)) == 3
    assert len(run_tune_together(context, plan, CELLS[:1], inputs)) == 1
    assert trained == [5, 1]


def test_another_teacher_leaves_nothing_behind(begin):
    """The losses of a student are the same objects for all of its teachers."""
    context, plan, inputs = begin(distill=settings())
    before = run_tune_together(context, plan, CELLS, inputs)
    other = {0: dataclasses.replace(inputs[1]), 1: inputs[1]}
    changed = run_tune_together(context, plan, CELLS, other)
    again = run_tune_together(context, plan, CELLS, inputs)
    assert [without_time(o) for o in again] == [without_time(o) for o in before]
    assert changed[1].validation.loss != before[1].validation.loss


def test_where_memory_is_too_small_trials_run_one_by_one(begin, monkeypatch, caplog):
    context, plan, inputs = begin(distill=settings())
    context.together = 3
    expected = [without_time(run_tune(context, plan, params, inputs)) for params in CELLS]

    def run(context, plan, cells, inputs):
        if len(cells) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return tune.run_tune_together(context, plan, cells, inputs)

    runner = dataclasses.replace(RUNNERS["tune"], run_together=run)
    found = runner.compute_together(context, plan, CELLS, inputs)
    assert [without_time(o) for o in found if isinstance(o, Outcome)] == expected
    assert context.together == 1
    assert "no memory for 3 trials at once" in caplog.text


def test_on_a_cpu_trials_run_one_by_one(begin):
    assert begin()[0].together == 1


@pytest.mark.parametrize(
    ("name", "draws"), [("cnn", False), ("mlp", False), ("resnet18", False), ("mobilenet_v2", True)]
)
def test_models_with_dropout_are_told_from_others(name, draws):
    model = ENGINE.move(make_model(name, (3, 32, 32), 10))
    before = torch.get_rng_state()
    assert draws_random_numbers(model, (3, 32, 32), ENGINE) is draws
    assert torch.equal(torch.get_rng_state(), before)
