"""Many teachers, one student: who starts, who teaches, and what is trained."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch.nn import functional

from kdopt.campaign.partition_settings import PartitionSettings
from kdopt.campaign.settings import NO_PUBLIC_SETS, TransferSettings
from kdopt.campaign.stage_settings import WEIGHTINGS, CombineSettings
from kdopt.campaign.stages import Combination, plan_studies
from kdopt.train.engine import make_engine, seeded
from kdopt.train.fit import fit
from kdopt.train.losses import kl_divergence
from kdopt.trials import combine
from kdopt.trials.combine import choose_student, list_teachers, run_combine
from kdopt.trials.pretrain import run_pretrain
from kdopt.trials.tune import run_tune
from tests.conftest import drop_record, make_campaign, make_outcome
from tests.trials.test_context import new_context, without_time

ENGINE = make_engine("fp32", "cpu")
CAMPAIGN = make_campaign(
    model="mlp",
    participants=3,
    partitions=(PartitionSettings("label_dirichlet", concentration=(0.5, 2.0)),),
    stages=("combine",),
    transfer=TransferSettings(60, 200, 60),
    combine=CombineSettings(weightings=WEIGHTINGS),
)
PARTITION = CAMPAIGN.partitions[0].name
LARGE = "public_unlabeled_large"


def the_plan(campaign=CAMPAIGN):
    return next(p for p in plan_studies(campaign) if p.stage == "combine")


def params(start="best", transfer_set="student", weighting="equal", replicate=0):
    values = (start, transfer_set, weighting, replicate)
    return dict(zip(the_plan().space, values, strict=True))


def run(context, trained, **changes):
    return without_time(run_combine(context, the_plan(), params(**changes), trained))


def test_the_grid_is_that_of_table_two():
    campaign = dataclasses.replace(CAMPAIGN, combine=CombineSettings(), replicates=2)
    plan = the_plan(campaign)
    assert len(plan.cells) == 10 * 2  # five columns, weighted and not
    columns = {(c["transfer_set"], c["start"]) for c in plan.cells}
    assert columns == {
        (LARGE, "worst"),
        (LARGE, "best"),
        (LARGE, "untrained"),
        ("student", "worst"),
        ("student", "best"),
    }
    assert plan.needs == (0, 1, 2)


def test_sets_without_images_are_left_out():
    own = dataclasses.replace(CAMPAIGN, transfer=NO_PUBLIC_SETS)
    assert {c["transfer_set"] for c in the_plan(own).cells} == {"student"}
    assert not [p for p in plan_studies(make_campaign()) if p.stage == "combine"]


def test_worst_and_best_are_by_validation_and_ties_go_to_the_first():
    inputs = {i: make_outcome(0.0) for i in range(4)}
    for i, accuracy in enumerate((0.5, 0.7, 0.7, 0.5)):
        scores = dataclasses.replace(inputs[i].validation, accuracy=accuracy)
        misleading = dataclasses.replace(scores, accuracy=1 - accuracy)
        inputs[i] = dataclasses.replace(inputs[i], validation=scores, test=misleading)
    assert choose_student("best", inputs) == 1
    assert choose_student("worst", inputs) == 0
    assert choose_student("untrained", inputs) is None
    # One without images can only teach.
    assert choose_student("best", inputs, [0, 2, 3]) != 1
    assert list_teachers(Combination("best", "student", "equal"), inputs, 1) == [0, 2, 3]
    # On a public set the student's own copy joins, as the last; random weights have no copy.
    assert list_teachers(Combination("best", LARGE, "equal"), inputs, 1) == [0, 2, 3, 1]
    assert list_teachers(Combination("untrained", LARGE, "equal"), inputs, None) == [0, 1, 2, 3]


def test_every_cell_runs_and_keeps_its_model(context, trained):
    losses = {}
    for planned in the_plan().cells:
        outcome = run_combine(context, the_plan(), planned, trained)
        student = choose_student(planned["start"], trained)
        assert outcome.participant == student
        assert outcome.value == outcome.validation.accuracy
        assert outcome.test_before == (
            None if student is None else drop_record(trained[student].test)
        )
        model = context.load_model(outcome)
        validation = context.get_validation(PARTITION)
        assert context.score_model(model, validation)[0].accuracy == outcome.validation.accuracy
        losses[tuple(planned.values())[:3]] = outcome.test.loss
    columns = {key[:2] for key in losses}
    assert len({losses[*column, "equal"] for column in columns}) == 5
    assert all(losses[*column, "equal"] != losses[*column, "share"] for column in columns)
    # Nothing is asked of an untrained student, so that all adaptive formulas agree.
    untrained = {v for k, v in losses.items() if k[0] == "untrained" and k[2] != "equal"}
    assert len(untrained) == 1


def test_equal_weights_on_the_students_data_are_the_formula_written_out(context, trained):
    """(1 - alpha) CE + alpha T^2 mean over teachers of KL, trained by the same loop."""
    student = choose_student("best", trained)
    images = context.get_share(PARTITION, student)
    others = [i for i in range(3) if i != student]
    logits = [context.get_logits(trained[i], PARTITION, student) for i in others]

    def loss(index, z):
        soft = sum(kl_divergence(t[index], z, 1.0) for t in logits) / len(logits)
        return 0.5 * functional.cross_entropy(z, images.labels[index]) + 0.5 * soft

    seed = combine.seed_for(CAMPAIGN.seed, PARTITION, "distill", student, 0)
    validation = context.get_validation(PARTITION)
    with seeded(seed, ENGINE.device) as generator:
        model = context.load_model(trained[student])
        fit(
            model,
            images,
            loss,
            CAMPAIGN.distill,
            ENGINE,
            generator,
            lambda m: context.measure_validation(m, validation, "accuracy"),
        )
    expected = context.score_model(model, validation)[1]
    found = run(context, trained).test
    assert found.accuracy == expected.accuracy
    assert found.loss == pytest.approx(expected.loss, rel=1e-4)


def test_two_participants_combine_as_a_pair_is_distilled(dataset, tmp_path):
    """With one teacher of weight 1 the stage does what vanilla distillation does."""
    campaign = dataclasses.replace(
        CAMPAIGN,
        participants=2,
        partitions=(PartitionSettings("uniform"),),
        stages=("tune", "combine"),
    )
    context = new_context(campaign, dataset, tmp_path)
    plans = plan_studies(campaign)
    trained = {i: run_pretrain(context, plans[0], {"participant": i}, {}) for i in range(2)}
    student = choose_student("best", trained)
    pair = next(p for p in plans if p.stage == "tune" and p.student == student)
    vanilla = {"temperature": 1.0, "alpha": 0.5, "replicate": 0}
    distilled = run_tune(context, pair, vanilla, trained)
    combined = run_combine(context, the_plan(campaign), params(), trained)
    assert combined.test.accuracy == distilled.test.accuracy
    assert combined.test.loss == pytest.approx(distilled.test.loss, rel=1e-5)


def test_labels_of_unlabeled_sets_are_never_used(dataset, folder, trained):
    context = new_context(CAMPAIGN, dataset, folder)
    before = run(context, trained, transfer_set=LARGE, weighting="better_share")
    images = context.get_transfer_set(PARTITION, 0, LARGE)
    images.labels.copy_(torch.randint(0, 10, images.labels.shape))
    assert run(context, trained, transfer_set=LARGE, weighting="better_share") == before


def test_weights_come_from_validation_and_never_from_test(context, trained):
    blind = {
        i: dataclasses.replace(
            o, test=dataclasses.replace(o.test, accuracy=0.0, per_class=(0.0,) * 10)
        )
        for i, o in trained.items()
    }
    found = run(context, blind, weighting="better_share")
    expected = run(context, trained, weighting="better_share")
    assert found.test == expected.test


def test_weighing_images_differs_from_weighing_classes(dataset, folder, context, trained):
    campaign = dataclasses.replace(
        CAMPAIGN, combine=dataclasses.replace(CAMPAIGN.combine, weight_terms="image")
    )
    other = new_context(campaign, dataset, folder)
    for transfer_set in ("student", LARGE):
        choices = {"transfer_set": transfer_set, "weighting": "share"}
        assert (
            run(other, trained, **choices).test.loss != run(context, trained, **choices).test.loss
        )
        same = {"transfer_set": transfer_set, "weighting": "equal"}
        assert run(other, trained, **same) == run(context, trained, **same)


def test_ways_share_their_batches_and_replicates_do_not(dataset, folder, trained):
    """With no weight on the teachers every weighting trains the same."""
    campaign = dataclasses.replace(
        CAMPAIGN, tune=dataclasses.replace(CAMPAIGN.tune, vanilla_alpha=0.0)
    )
    context = new_context(campaign, dataset, folder)
    losses = [
        run(context, trained, weighting=w, replicate=r).test.loss
        for w, r in (("equal", 0), ("share", 0), ("equal", 1))
    ]
    assert losses[0] == losses[1] != losses[2]


def test_the_same_in_a_used_and_in_a_fresh_worker(dataset, folder, context, trained):
    for start in ("worst", "untrained"):
        choices = {"start": start, "transfer_set": LARGE, "weighting": "excess_share"}
        fresh = new_context(CAMPAIGN, dataset, folder)
        assert run(fresh, trained, **choices) == run(context, trained, **choices)
