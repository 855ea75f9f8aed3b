"""Pre-trained models that another campaign of the store has already."""

from __future__ import annotations

import dataclasses

import pytest

from kdopt.campaign.compatibility import describe_pretraining
from kdopt.outcome import WHERE_IT_RAN
from kdopt.store.artifacts import Artifacts
from kdopt.store.queries import read_trials
from kdopt.train.engine import make_engine
from kdopt.worker.worker import run_trials
from tests.conftest import make_campaign, make_record
from tests.small_campaigns import make_spec, plan_text


def run(folder, name, pretrain=1, distill=1):
    """Run a campaign to its end; its trials, and those of pre-training by participant."""
    text = make_spec(
        name=name,
        control=False,
        data={"train_size": 400, "test_size": 100},
        pretrain={"epochs": pretrain},
        distill={"epochs": distill},
    )
    store, artifacts, _ = plan_text(text, folder)
    engine = make_engine("fp32", "cpu", deterministic=True)
    assert run_trials(store, artifacts, name, engine).failed == 0
    rows = read_trials(store, name)
    store.close()
    return rows, {r.params["participant"]: r.outcome for r in rows if r.stage == "pretrain"}


def what_came_out(outcome):
    return {k: v for k, v in outcome.to_json().items() if k not in WHERE_IT_RAN}


def test_a_changed_budget_of_distillation_keeps_the_models_and_all_results(tmp_path):
    together, alone = tmp_path / "together", tmp_path / "alone"
    _, first = run(together, "first")
    rows, second = run(together, "second", distill=2)
    for participant, outcome in second.items():
        assert outcome.taken_from.startswith("first/uniform/pretrain #")
        assert what_came_out(outcome) == what_came_out(first[participant])
    # Bit for bit what it is without the other campaign, in every stage.
    trained, own = run(alone, "second", distill=2)
    assert all(outcome.taken_from is None for outcome in own.values())
    assert [what_came_out(row.outcome) for row in rows] == [
        what_came_out(row.outcome) for row in trained
    ]
    # A third names the trial that was trained, not the one that took it.
    _, third = run(together, "third", distill=3)
    assert {o.taken_from for o in third.values()} == {o.taken_from for o in second.values()}


def test_other_pre_training_is_run(tmp_path):
    run(tmp_path, "first")
    _, other = run(tmp_path, "other", pretrain=2)
    assert all(o.taken_from is None and o.epochs == 2 for o in other.values())


def test_weights_that_are_gone_are_trained_again(tmp_path):
    _, first = run(tmp_path, "first")
    artifacts = Artifacts(tmp_path / "artifacts")
    artifacts.discard(first[0].checkpoint)
    _, second = run(tmp_path, "second", distill=2)
    assert [second[i].taken_from is None for i in (0, 1)] == [True, False]
    assert second[0].checkpoint == first[0].checkpoint


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({"name": "other"}, True),
        ({"stages": ("tune", "compare"), "control": True, "replicates": 3}, True),
        ({"seed": 1}, False),
        ({"model": "cnn"}, False),
        ({"initial_weights": "shared"}, False),
        ({"precision": "bf16"}, False),
        ({"deterministic": False}, False),
        ({"data": dataclasses.replace(make_campaign().data, root="/elsewhere")}, True),
        ({"data": dataclasses.replace(make_campaign().data, validation="local")}, False),
        ({"data": dataclasses.replace(make_campaign().data, augment=("crop_flip",))}, False),
    ],
)
def test_only_what_pre_training_depends_on_counts(change, same):
    one, other = (make_record(make_campaign(**c)) for c in ({}, change))
    described = [describe_pretraining(record, "uniform") for record in (one, other)]
    assert (described[0] == described[1]) == same
    for record in (
        dataclasses.replace(one, data_sha256="2" * 64),
        dataclasses.replace(one, splits={"uniform": "3" * 64}),
    ):
        assert describe_pretraining(record, "uniform") != described[0]
