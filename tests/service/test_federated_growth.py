"""A campaign that ran grows by other federated algorithms, one of different models runs through."""

from __future__ import annotations

import pytest

from kdopt.service.doctor import check_campaign
from kdopt.service.rerun import verify_trials
from kdopt.store import queries
from tests.small_campaigns import make_spec, run_campaign

ALONE = make_spec(
    name="grown",
    participants=3,
    partitions=["label_dirichlet"],
    stages=["federate"],
    data={"train_size": 400, "validation_fraction": None},
    transfer={
        "public_unlabeled_small": 40,
        "public_unlabeled_large": 0,
        "public_labeled": 0,
    },
    tune=None,
    federate={"rounds": 1, "local_epochs": 1, "public_set": "public_unlabeled_small"},
)
FIRST = 'algorithms = ["feddf"]\ninitial_models = ["random"]\n'
ALL = 'algorithms = ["fedavg", "feddf", "fedmd", "def_kt"]\n'
DIFFERENT = 'algorithms = ["fedmd", "def_kt"]\nown_starts = ["random", "pretrained"]\n'


def read_all(made):
    rows = queries.read_trials(made.store, "grown")
    return {(row.study, row.number): row for row in rows}


def check(made, n):
    rows = list(read_all(made).values())
    assert {row.state for row in rows} == {"COMPLETE"} and len(rows) == n
    assert check_campaign(made.store, made.artifacts, "grown").problems == ()
    assert all(t.equal for t in verify_trials(made.store, made.artifacts, "grown", trials=50))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("grown")


def test_algorithms_are_added_and_no_result_changes(folder):
    first = run_campaign(ALONE + FIRST, folder)
    before = read_all(first)
    check(first, 3 + 1)
    grown = run_campaign(ALONE + ALL, folder)
    after = read_all(grown)
    assert {key: after[key] for key in before} == before
    # FedAvg and FedDF from both starts, the others from trained models.
    check(grown, 3 + 2 + 2 + 1 + 1)
    assert {row.algorithm for row in after.values()} == {None, "fedavg", "feddf", "fedmd", "def_kt"}


def test_different_models_are_federated_from_file_to_records(tmp_path):
    text = ALONE.replace('model = "mlp"', 'model = ["mlp", "cnn"]')
    made = run_campaign(text + DIFFERENT, tmp_path)
    check(made, 3 + 2 + 2)
