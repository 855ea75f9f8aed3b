"""Feature vectors and token ids go through every stage, the report and the way home."""

import json
from contextlib import closing

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from kdopt.campaign.spec import parse_spec
from kdopt.cli.app import app
from kdopt.data.datasets import load_dataset
from kdopt.errors import KdoptError
from kdopt.service.planner import check_training
from kdopt.train.students import read_student
from tests.small_campaigns import make_spec, run_campaign

STAGES = {
    "name": "other",
    "stages": ["tune", "compare", "combine", "federate"],
    "pretrain": {"epochs": 3},
    "compare": {"methods": ["vanilla"], "transfer_sets": ["student", "public_unlabeled_small"]},
    "combine": {
        "starts": ["best"],
        "transfer_sets": ["public_unlabeled_small"],
        "weightings": ["equal"],
    },
    "federate": {"rounds": 1, "local_epochs": 1},
}
N = 360
PUBLIC = {"public_unlabeled_small": 20, "public_unlabeled_large": 0, "public_labeled": 0}
KINDS = {"vectors": ("mlp", {}), "tokens": ("text_cnn", {"padding": 0})}


@pytest.fixture(scope="module", params=KINDS)
def other(request, tmp_path_factory):
    """A campaign of each kind that has run, with the file of its data."""
    folder = tmp_path_factory.mktemp(request.param)
    rng, labels = np.random.default_rng(0), np.arange(N) % 3
    if request.param == "vectors":
        items = rng.normal(size=(N, 5)) + 2 * np.eye(3, 5)[labels]
    else:
        items = rng.integers(4, 30, (N, 6))
        items[np.arange(N), rng.integers(0, 6, N)] = 1 + labels  # one word tells the class
    public, rest = slice(0, 30), slice(30, N)
    np.savez(folder / "public.npz", **{request.param: items[public]})
    np.savez(folder / "all.npz", **{request.param: items[rest], "labels": labels[rest]})
    model, data = KINDS[request.param]
    files = {"name": "arrays", "root": str(folder / "all.npz"), "validation_fraction": None}
    transfer = {**PUBLIC, "public_data": str(folder / "public.npz")}
    text = make_spec(**STAGES, model=model, data={**files, **data}, transfer=transfer)
    with closing(run_campaign(text, folder).store):
        yield folder, text, request.param


def invoke(*words):
    result = CliRunner().invoke(app, list(map(str, words)))
    assert result.exit_code == 0, result.output
    return result.output


def test_every_stage_runs_and_the_report_shows_them(other, monkeypatch):
    folder, _, _ = other
    monkeypatch.chdir(folder)
    status = json.loads(invoke("status", "--json", "--store", "kdopt.db"))
    assert "other" in json.dumps(status)
    invoke("report", "other", "--store", "kdopt.db", "--out", "report")
    page = (folder / "report" / "report.html").read_text("utf-8")
    assert "other" in page and "not yet" not in page.lower()


def test_a_student_is_the_one_on_record_and_takes_what_it_was_trained_on(other, monkeypatch):
    folder, text, kind = other
    monkeypatch.chdir(folder)
    invoke("distill", "uniform/t00-s01", "--trial", "0", "--store", "kdopt.db", "--force")
    student = read_student(folder / "student.safetensors")
    data = load_dataset(parse_spec(text).campaign)
    right = student.predict(data.test_images).numpy() == data.test_labels
    assert right.mean() == student.facts.test_accuracy > 0.5
    card = (folder / "student.md").read_text("utf-8")
    wanted = {"vectors": "float32 (n, 5)", "tokens": "int64 (n, 6), ids below 30"}[kind]
    assert wanted in card and "pixel" not in card
    with pytest.raises(KdoptError, match=rf"this student takes {wanted.split(' ')[0]} \(n, "):
        student.predict(torch.zeros(2, 1, 8, 8, dtype=torch.uint8))


def test_a_model_of_images_is_refused_before_planning(other):
    _, text, kind = other
    spec = parse_spec(text.replace(f'model = "{KINDS[kind][0]}"', 'model = "cnn"'))
    with pytest.raises(KdoptError, match="model 'cnn': it takes images, and the data are"):
        check_training(spec.campaign, load_dataset(spec.campaign))
