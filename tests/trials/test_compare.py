from __future__ import annotations

import dataclasses

import pytest
import torch

from kdopt.campaign.partition_settings import PartitionSettings
from kdopt.campaign.settings import NO_PUBLIC_SETS, TransferSettings
from kdopt.campaign.spec import parse_spec
from kdopt.campaign.stage_settings import CompareSettings
from kdopt.campaign.stages import plan_studies
from kdopt.train.engine import make_engine, seeded
from kdopt.train.fit import fit
from kdopt.train.methods.base import MethodInputs
from kdopt.train.methods.dml import DML
from kdopt.train.models import ModelPair
from kdopt.trials.compare import run_compare
from kdopt.trials.tune import run_tune
from tests.conftest import drop_record, make_campaign
from tests.trials.test_context import without_time

ENGINE = make_engine("fp32", "cpu")
CAMPAIGN = make_campaign(
    model="mlp",
    participants=2,
    partitions=(PartitionSettings("quantity_skew", concentration=(5.0,)),),
    stages=("tune", "compare"),
    transfer=TransferSettings(60, 200, 60),
)
PARTITION = CAMPAIGN.partitions[0].name


def plans(stage, campaign=CAMPAIGN):
    return [p for p in plan_studies(campaign) if p.stage == stage]


def params(method, transfer_set="student", replicate=0):
    return {"method": method, "transfer_set": transfer_set, "replicate": replicate}


def test_the_papers_comparison_is_5400_runs():
    campaign = parse_spec('name = "paper"\n[data]\nname = "cifar10"').campaign
    studies = plans("compare", campaign)
    assert len(studies) == 450
    assert sum(p.n_trials for p in studies) == 5_400


def test_sets_without_images_and_campaigns_without_the_stage_plan_nothing():
    only_own = dataclasses.replace(CAMPAIGN, transfer=NO_PUBLIC_SETS)
    assert [p.n_trials for p in plans("compare", only_own)] == [3, 3]
    some = CompareSettings(methods=("dml",), transfer_sets=("student", "public_labeled"))
    assert [p.n_trials for p in plans("compare", dataclasses.replace(CAMPAIGN, compare=some))] == [
        2,
        2,
    ]
    assert plans("compare", dataclasses.replace(CAMPAIGN, stages=("tune",))) == []
    assert plans("tune", dataclasses.replace(CAMPAIGN, stages=("compare",))) == []


def test_every_planned_cell_runs_and_starts_from_the_untouched_student(context, trained):
    plan = plans("compare")[0]
    assert plan.n_trials == 12
    found = {}
    for planned in plan.cells:
        outcome = run_compare(context, plan, planned, trained)
        assert outcome.test_before == drop_record(trained[plan.student].test)
        assert outcome.value == outcome.validation_gain
        found[planned["method"], planned["transfer_set"]] = outcome.test.loss
    assert len(set(found.values())) == 12


def test_vanilla_on_the_students_data_is_the_vanilla_cell_of_tuning(context, trained):
    by_compare = run_compare(context, plans("compare")[0], params("vanilla"), trained)
    vanilla = {"temperature": 1.0, "alpha": 0.5, "replicate": 0}
    by_tune = run_tune(context, plans("tune")[0], vanilla, trained)
    assert without_time(by_compare) == without_time(by_tune)


@pytest.mark.parametrize(
    ("method", "key", "value"),
    [("dml", "dml_temperature", 4.0), ("dp_kd", "dp_kd_temperature", 4.0),
     ("dp_kd", "dp_kd_label_weight", 0.5)],
)  # fmt: skip
def test_temperatures_and_weights_of_untuned_methods_are_trained_with(
    method, key, value, context, trained, monkeypatch
):
    plan = plans("compare")[0]
    before = run_compare(context, plan, params(method), trained)
    compare = dataclasses.replace(CAMPAIGN.compare, **{key: value})
    monkeypatch.setattr(context, "campaign", dataclasses.replace(CAMPAIGN, compare=compare))
    assert run_compare(context, plan, params(method), trained).test.loss != before.test.loss
    vanilla = run_compare(context, plan, params("vanilla"), trained)
    monkeypatch.undo()
    assert without_time(run_compare(context, plan, params("vanilla"), trained)) == without_time(
        vanilla
    )


def test_labels_of_unlabeled_sets_have_no_part_in_any_result(context, trained, monkeypatch):
    plan = plans("compare")[0]
    names = ("public_unlabeled_small", "public_unlabeled_large")
    before = [
        run_compare(context, plan, params(m, n), trained)
        for m in CAMPAIGN.compare.methods
        for n in names
    ]
    original = context.get_transfer_set

    def relabeled(*place):
        images = original(*place)
        changed = images.take(torch.arange(len(images)))
        changed.labels = (changed.labels + 1) % 10
        return changed

    monkeypatch.setattr(context, "get_transfer_set", relabeled)
    after = [
        run_compare(context, plan, params(m, n), trained)
        for m in CAMPAIGN.compare.methods
        for n in names
    ]
    assert list(map(without_time, before)) == list(map(without_time, after))


def test_dml_of_two_equal_models_with_equal_batches_stays_equal(context, trained):
    images = context.get_share(PARTITION, 1)
    with seeded(0, ENGINE.device) as generator:
        both = ModelPair(context.load_model(trained[0]), context.load_peer(trained[0]))
        material = MethodInputs(images.labels, torch.empty(0), torch.empty(0), public=False)
        loss = DML.loss(material)
        fit(both, images, loss, CAMPAIGN.distill, ENGINE, generator, lambda model: 0.0)
    student, peer = both.student.state_dict(), both.peer.state_dict()
    for key in student:
        assert torch.equal(student[key], peer[key])
