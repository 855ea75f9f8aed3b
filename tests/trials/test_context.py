"""What a worker keeps between trials must change nothing but the time they take."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from kdopt.campaign.partition_settings import PartitionSettings
from kdopt.campaign.settings import TrainSettings
from kdopt.campaign.stages import plan_studies
from kdopt.data.datasets import read_dataset
from kdopt.service.planner import draw_splits
from kdopt.store.artifacts import Artifacts
from kdopt.train.engine import make_engine
from kdopt.train.evaluation import predict_logits
from kdopt.trials.context import Context
from kdopt.trials.pretrain import run_pretrain
from kdopt.trials.tune import run_tune
from tests.conftest import drop_record, make_campaign, make_record

ENGINE = make_engine("fp32", "cpu")
CAMPAIGN = make_campaign(
    model="cnn",
    participants=3,
    partitions=(PartitionSettings("quantity_skew", concentration=(5.0,)),),
    pretrain=TrainSettings(
        epochs=4, patience=2, learning_rate=1e-3, weight_decay=1e-4, batch_size=32
    ),
)
PARTITION = CAMPAIGN.partitions[0].name


@pytest.fixture(scope="module")
def dataset():
    return read_dataset(CAMPAIGN.data, CAMPAIGN.seed)


def new_context(campaign, dataset, folder):
    artifacts = Artifacts(folder)
    splits = {n: artifacts.put(c) for n, c in draw_splits(campaign, dataset).items()}
    record = dataclasses.replace(make_record(campaign), splits=splits)
    return Context(record, dataset, artifacts, ENGINE)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("artifacts")


@pytest.fixture(scope="module")
def trained(dataset, folder):
    """The pre-trained participants."""
    context = new_context(CAMPAIGN, dataset, folder)
    plan = plan_studies(CAMPAIGN)[0]
    return {i: run_pretrain(context, plan, {"participant": i}, {}) for i in range(3)}


def pair(teacher, student, campaign=CAMPAIGN):
    return next(p for p in plan_studies(campaign) if (p.teacher, p.student) == (teacher, student))


def params(temperature=2.0, alpha=0.5, replicate=0):
    return {"temperature": temperature, "alpha": alpha, "replicate": replicate}


def without_time(outcome):
    return dataclasses.replace(outcome, seconds=0.0)


def distil(context, trained, teacher, student, **changes):
    return without_time(run_tune(context, pair(teacher, student), params(**changes), trained))


def test_a_trial_is_the_same_in_a_used_and_in_a_fresh_worker(dataset, folder, trained):
    used = new_context(CAMPAIGN, dataset, folder)
    for teacher, student in CAMPAIGN.pairs:  # fills and overflows the caches
        last = distil(used, trained, teacher, student, temperature=4.0, alpha=0.9)
    again = distil(used, trained, 2, 1, temperature=4.0, alpha=0.9)
    fresh = distil(
        new_context(CAMPAIGN, dataset, folder), trained, 2, 1, temperature=4.0, alpha=0.9
    )
    assert last == again == fresh


def test_pretraining_is_the_same_again_and_differs_between_participants(dataset, trained, tmp_path):
    context = new_context(CAMPAIGN, dataset, tmp_path)
    plan = plan_studies(CAMPAIGN)[0]
    again = run_pretrain(context, plan, {"participant": 1}, {})
    assert without_time(again) == without_time(trained[1])
    assert len({o.checkpoint for o in trained.values()}) == 3


def test_a_saved_model_scores_what_its_outcome_says(dataset, folder, trained):
    context = new_context(CAMPAIGN, dataset, folder)
    validation = context.get_validation(PARTITION)
    for outcome in trained.values():
        model = context.load_model(outcome)
        accuracy = context.measure_validation(model, validation, "accuracy")
        assert accuracy == outcome.validation.accuracy
        loss = context.measure_validation(model, validation, "loss")
        assert loss == pytest.approx(-outcome.validation.loss)
        logits = predict_logits(model, context.test, ENGINE)
        right = (logits.argmax(1) == context.test.labels).double().mean()
        assert float(right) == pytest.approx(outcome.test.accuracy)


def test_cached_logits_are_the_teachers_and_training_leaves_them_alone(dataset, folder, trained):
    context = new_context(CAMPAIGN, dataset, folder)
    cached = context.get_logits(trained[0], PARTITION, 1)
    before = cached.clone()
    distil(context, trained, 0, 1)
    assert context.get_logits(trained[0], PARTITION, 1) is cached
    assert torch.equal(cached, before)
    direct = predict_logits(context.load_model(trained[0]), context.get_share(PARTITION, 1), ENGINE)
    assert torch.equal(cached, direct)


def test_alpha_decides_how_much_the_teacher_counts(dataset, folder, trained):
    context = new_context(CAMPAIGN, dataset, folder)
    # Without weight on the teacher it does not matter who the teacher is, nor the temperature.
    alone = [
        distil(context, trained, teacher, 1, temperature=t, alpha=0.0)
        for teacher in (0, 2)
        for t in (1.0, 5.0)
    ]
    assert alone[0] == alone[1] == alone[2] == alone[3]
    guided = [distil(context, trained, teacher, 1, alpha=0.9).test.loss for teacher in (0, 2)]
    assert guided[0] != guided[1]


def test_cells_of_a_student_share_their_batches_and_replicates_do_not(dataset, folder, trained):
    context = new_context(CAMPAIGN, dataset, folder)
    losses = [distil(context, trained, 0, 1, alpha=0.0, replicate=r).test.loss for r in (0, 0, 1)]
    assert losses[0] == losses[1] != losses[2]


def test_gains_are_measured_from_the_untouched_student(dataset, folder, trained):
    context = new_context(CAMPAIGN, dataset, folder)
    outcome = distil(context, trained, 0, 1)
    assert outcome.validation_before == drop_record(trained[1].validation)
    assert outcome.test_before == drop_record(trained[1].test)
    expected = 100 * (outcome.validation.accuracy - trained[1].validation.accuracy)
    assert outcome.value == outcome.validation_gain == expected
    on_test = dataclasses.replace(CAMPAIGN, select_on="test")
    other = without_time(
        run_tune(new_context(on_test, dataset, folder), pair(0, 1, on_test), params(), trained)
    )
    assert other.value == other.test_gain == outcome.test_gain


def test_the_best_epoch_is_kept_and_the_last_recorded(dataset, folder, trained):
    patient = dataclasses.replace(
        CAMPAIGN,
        distill=TrainSettings(
            epochs=6, patience=6, learning_rate=3e-2, weight_decay=0.0, batch_size=32
        ),
    )
    context = new_context(patient, dataset, folder)
    outcome = run_tune(context, pair(0, 1, patient), params(), trained)
    assert outcome.best_epoch <= outcome.epochs == 6
    assert outcome.validation.accuracy >= outcome.last_validation_accuracy


def test_participants_start_from_weights_of_their_own_or_from_the_same(dataset, tmp_path):
    shared = dataclasses.replace(CAMPAIGN, initial_weights="shared")
    context = new_context(shared, dataset, tmp_path)
    first, second = (context.new_model_of_all(PARTITION).state_dict() for _ in range(2))
    assert all(torch.equal(first[key], second[key]) for key in first)
    other = context.new_model_of_all("uniform-2").state_dict()
    assert not all(torch.equal(first[key], other[key]) for key in first)
    plan = plan_studies(shared)[0]
    trained = [run_pretrain(context, plan, {"participant": i}, {}) for i in range(2)]
    own = [run_pretrain(new_context(CAMPAIGN, dataset, tmp_path), plan, {"participant": 0}, {})]
    assert trained[0].test.loss != own[0].test.loss
