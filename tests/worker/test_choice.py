"""Where a worker looks next, and that its memory is used for it."""

from __future__ import annotations

import random

import pytest

from kdopt.campaign.names import parse_study_name
from kdopt.campaign.spec import parse_spec
from kdopt.campaign.stages import plan_studies
from kdopt.data.datasets import load_dataset
from kdopt.service.planner import draw_splits, plan_campaign
from kdopt.store.artifacts.artifacts import Artifacts
from kdopt.store.database import open_store
from kdopt.store.rows import StudyState
from kdopt.train.engine import make_engine
from kdopt.worker import worker as worker_module
from kdopt.worker.choice import in_order, locality
from kdopt.worker.worker import work

SPEC = """
name = "tiny"
participants = 4
model = "mlp"
partitions = ["uniform", "quantity_skew"]
precision = "fp32"
stages = ["tune", "compare"]
[data]
name = "digits"
validation_fraction = 0.2
[transfer]
public_unlabeled_small = 32
public_unlabeled_large = 64
public_labeled = 32
[pretrain]
epochs = 1
patience = 0
[distill]
epochs = 1
patience = 0
[tune]
temperatures = [1, 4]
alphas = [0.1, 0.5]
[compare]
methods = ["vanilla"]
transfer_sets = ["student", "public_labeled"]
"""
PAIRS = 2 * 4 * 3


@pytest.fixture(scope="module")
def plans():
    text = SPEC.replace('"compare"]', '"compare", "federate"]')
    return {plan.name: plan for plan in plan_studies(parse_spec(text).campaign)}


def states(plans, running=0):
    return [
        StudyState(n, parse_study_name(name), name, 10 - running, running, 0, 0)
        for n, name in enumerate(plans)
    ]


def test_long_trials_come_first_and_pretraining_before_what_waits_for_it(plans):
    found = [plans[s.text].stage for s in in_order(states(plans), plans, None)]
    assert found[:2] == ["federate", "federate"]
    assert found[2:4] == ["pretrain", "pretrain"]
    assert set(found[4:]) == {"tune", "compare"}


def test_next_is_what_shares_most_with_the_last_trial(plans):
    last = next(p for p in plans.values() if p.stage == "tune" and p.partition == "uniform")
    found = [
        plans[s.text]
        for s in in_order(states(plans), plans, last)
        if plans[s.text].stage in ("tune", "compare")
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
    assert all(locality(p, last) == 0 for p in found[len(inside) :])


def test_among_equals_the_study_with_fewest_workers_is_first(plans):
    busy, free = states(plans, running=1), states(plans)
    mixed = [*busy[:-1], free[-1]]
    tail = [
        s for s in in_order(mixed, plans, None) if plans[s.text].stage == plans[free[-1].text].stage
    ]
    assert tail[0] == free[-1]


def run(folder, monkeypatch=None):
    spec = parse_spec(SPEC)
    dataset = load_dataset(spec.campaign)
    store = open_store(str(folder / "kdopt.db"), create=True)
    artifacts = Artifacts(folder / "artifacts")
    plan_campaign(spec, dataset, draw_splits(spec.campaign, dataset), store, artifacts)
    summary = work(store, artifacts, "tiny", make_engine("fp32", "cpu"))
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
        worker_module,
        "in_order",
        lambda ready, plans, last: draw.sample(list(ready), len(ready)),
    )
    without = run(tmp_path / "b").caches
    assert without["images"].hits < with_order["images"].hits
