"""A teacher that answered elsewhere teaches as the model does whose answers they are."""

from __future__ import annotations

import json
import math
from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

from kdopt.analysis.results import CampaignResults
from kdopt.campaign.plugin_methods import PluginMethod, PluginParam
from kdopt.campaign.record import CampaignRecord
from kdopt.campaign.spec import parse_spec
from kdopt.campaign.stages import plan_studies
from kdopt.cli.app import app
from kdopt.data.datasets import load_dataset
from kdopt.data.given_logits import pack_logits
from kdopt.errors import DataError, KdoptError, StoreError
from kdopt.features.measuring import measure_partition
from kdopt.outcome import Outcome, TrialRow
from kdopt.plugins.declare import Declared
from kdopt.service.planner import (
    check_training,
    describe_given_logits,
    draw_splits,
    plan_campaign,
    read_given_logits,
)
from kdopt.store.artifacts import Artifacts
from kdopt.store.database import open_store
from kdopt.train.engine import make_engine
from kdopt.train.evaluation import predict_logits
from kdopt.trials.context import Context
from kdopt.trials.pretrain import run_pretrain
from kdopt.trials.tune import run_tune
from tests.small_campaigns import make_spec
from tests.trials.test_own_participants import NAMES, write_images

SPEC = make_spec(
    name="given",
    participants=None,
    model=None,
    partitions=["own"],
    data={
        "name": "folder",
        "root": "{root}/shared",
        "image_size": 8,
        "validation_fraction": 0.3,
    },
    tune={"sampler": "tpe", "budget": 2, "temperatures": None, "alphas": None},
    participant=[
        {"name": "paris", "model": "cnn", "data": "{root}/paris"},
        {"name": "rome", "model": "cnn", "data": "{root}/rome"},
        {"name": "big", "logits": "{root}/{file}"},
    ],
)
CELL = {"temperature": 2.0, "alpha": 0.5, "replicate": 0}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("given")
    rng = np.random.default_rng(0)
    for folder, n in {"shared/train": 60, "shared/test": 30, "paris": 40, "rome": 20}.items():
        labels = np.arange(n) % 3
        images = rng.integers(0, 60, (n, 8, 8)).astype(np.uint8)
        images[np.arange(n), labels] += 150  # a bright row tells the class
        write_images(root / folder, images, labels)
    return root


@pytest.fixture(scope="module")
def asked(root):
    """What `kdopt images` wrote, and the answers of a teacher that sees which row is bright."""
    (root / "given.toml").write_text(SPEC.format(root=root, file="all.npz"))
    done = CliRunner().invoke(
        app, ["images", str(root / "given.toml"), "--output", str(root / "images.npz")]
    )
    assert done.exit_code == 0, done.output
    with np.load(root / "images.npz", allow_pickle=False) as file:
        keys, images, needed = file["keys"], file["images"], file["needed"]
    # Classes are in the order of the folders' names: one, two, zero.
    order = [NAMES.index(name) for name in sorted(NAMES[:3])]
    logits = images[:, 0].mean(axis=2)[:, order] / 30
    np.savez(root / "all.npz", keys=keys, logits=logits)
    np.savez(root / "needed.npz", keys=keys[needed], logits=logits[needed])
    return keys, images, needed


def make_context(root, file, folder):
    spec = parse_spec(SPEC.format(root=root, file=file))
    campaign, artifacts = spec.campaign, Artifacts(folder)
    dataset = load_dataset(campaign)
    splits = draw_splits(campaign, dataset)
    given = read_given_logits(campaign, dataset, splits)
    put = {name: artifacts.put(content) for name, content in splits.items()}
    weights = {name: artifacts.put(pack_logits(logits)) for name, logits in given.items()}
    record = CampaignRecord(campaign, spec.settings, dataset.sha256(), put, None, weights)
    notes = list(describe_given_logits(campaign, dataset, splits, given))
    return Context(record, dataset, artifacts, make_engine("fp32", "cpu")), notes


@pytest.fixture(scope="module")
def plans(root, asked):
    campaign = parse_spec(SPEC.format(root=root, file="all.npz")).campaign
    return {(p.stage, p.teacher, p.student): p for p in plan_studies(campaign)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("artifacts")


@pytest.fixture(scope="module")
def trained(root, asked, plans, folder):
    context, notes = make_context(root, "all.npz", folder)
    plan = plans["pretrain", None, None]
    return (
        context,
        notes,
        {i: run_pretrain(context, plan, {"participant": i}, {}) for i in range(3)},
    )


def test_each_image_is_asked_for_once_and_without_its_label(asked):
    keys, images, needed = asked
    # 18 of the 60 shared training images are for validation.
    assert len(set(keys)) == len(keys) == 40 + 20 + 18 + 30
    assert images.shape == (len(keys), 1, 8, 8) and images.dtype == np.uint8
    assert needed.sum() == 60 and not needed[60:].any()


def test_images_go_to_a_folder_with_an_index_too_and_over_nothing(root, asked, tmp_path):
    keys, _, needed = asked
    args = ["images", str(root / "given.toml"), "--output", str(tmp_path / "asked")]
    assert CliRunner().invoke(app, args).exit_code == 0
    lines = (tmp_path / "asked" / "index.csv").read_text().splitlines()
    assert lines[0] == "key,file,needed" and lines[1] == f"{keys[0]},{keys[0]}.png,true"
    assert len(lines) == len(keys) + 1 == len(list((tmp_path / "asked").iterdir()))
    assert sum(line.endswith("true") for line in lines) == needed.sum()
    again = CliRunner().invoke(app, args)
    assert isinstance(again.exception, DataError)
    assert "it is there already; give another name" in str(again.exception)


def test_it_is_scored_from_its_answers(trained):
    context, notes, pretrained = trained
    assert pretrained[2].test.accuracy == pretrained[2].validation.accuracy == 1.0
    assert pretrained[2].epochs == 0 and not notes
    assert pretrained[2].checkpoint == context.find_given_weights(2)
    assert pretrained[0].epochs == 1


def test_it_teaches_as_the_model_whose_logits_they_are(root, trained, plans, folder):
    """Rome's own model teaches Paris the same by itself and through a file of its logits."""
    context, _, pretrained = trained
    keys = dict(np.load(root / "images.npz"))
    by_key = {}
    for who in (0, 1):
        images = context.get_share("own", who)
        found = predict_logits(context.load_model(pretrained[1]), images, context.engine)
        share = context.get_splits("own").train[who]
        pixels = context._dataset.train_images[share]
        by_key |= {pixel.tobytes(): row for pixel, row in zip(pixels, found.numpy(), strict=True)}
    rows = [by_key[image.tobytes()] for image in keys["images"][keys["needed"]]]
    np.savez(root / "rome.npz", keys=keys["keys"][keys["needed"]], logits=np.array(rows))
    other, _ = make_context(root, "rome.npz", folder)
    plan = plans["pretrain", None, None]
    inputs = {**pretrained, 2: run_pretrain(other, plan, {"participant": 2}, {})}
    direct = run_tune(context, plans["tune", 1, 0], CELL, pretrained)
    given = run_tune(other, plans["tune", 2, 0], CELL, inputs)
    assert given.test == direct.test and given.validation == direct.validation


def test_what_its_logits_do_not_cover_is_left_out(root, asked, plans, trained, folder):
    context, notes = make_context(root, "needed.npz", folder)
    assert [note.split(":")[0] for note in notes] == ["participant 'big'"] * 2
    assert "lack 18 of the 18 validation images, so its accuracy on validation" in notes[0]
    plan = plans["pretrain", None, None]
    outcome = run_pretrain(context, plan, {"participant": 2}, {})
    kept = Outcome.from_text(json.dumps(outcome.to_json()))
    assert math.isnan(kept.validation.known_accuracy) and math.isnan(kept.test.known_accuracy)
    row = TrialRow(
        plan.name, "own", "pretrain", None, None, 2, "COMPLETE", {"participant": 2}, kept
    )
    results = CampaignResults([row], context.campaign)
    assert results.participants[["validation_accuracy", "test_accuracy"]].isna().all(axis=None)
    gap = results.describe_gap(results.pairs[-1])
    assert gap["teacher_kind"] == "unknown"
    inputs = {**trained[2], 2: outcome}
    assert math.isfinite(run_tune(context, plans["tune", 2, 1], CELL, inputs).test_gain)
    measured = measure_partition(context, "own", inputs)
    assert measured.get_logit_features("student", 2, 0) is not None


def test_images_that_it_must_answer_are_asked_for_by_number(root, asked, folder):
    keys, _, needed = asked
    np.savez(root / "few.npz", keys=keys[needed][5:], logits=np.zeros((55, 3)))
    with pytest.raises(DataError, match="it lacks 5 of the 60 images that students"):
        make_context(root, "few.npz", folder)
    warm = SPEC.replace('sampler = "tpe"', 'sampler = "warm"').format(root=root, file="needed.npz")
    campaign = parse_spec(warm).campaign
    dataset = load_dataset(campaign)
    with pytest.raises(DataError, match="lack 18 of the 18 validation images, and sampler 'warm'"):
        read_given_logits(campaign, dataset, draw_splits(campaign, dataset))


def test_answers_no_better_than_chance_are_pointed_out(root, asked, folder):
    with np.load(root / "all.npz") as file:
        keys, logits = file["keys"], file["logits"]
    np.savez(root / "mixed.npz", keys=keys, logits=logits[:, [1, 2, 0]])
    _, notes = make_context(root, "mixed.npz", folder)
    assert len(notes) == 1 and "right on 0.0 % of the 60 images that it teaches" in notes[0]


def test_other_logits_make_another_campaign(root, asked, tmp_path):
    spec = parse_spec(SPEC.format(root=root, file="all.npz"))
    dataset = load_dataset(spec.campaign)
    splits = draw_splits(spec.campaign, dataset)
    given = read_given_logits(spec.campaign, dataset, splits)
    content = {name: pack_logits(logits) for name, logits in given.items()}
    with closing(open_store(str(tmp_path / "kdopt.db"), create=True)) as store:
        artifacts = Artifacts(tmp_path / "artifacts")
        assert plan_campaign(spec, dataset, splits, store, artifacts, content).new_trials
        assert not plan_campaign(spec, dataset, splits, store, artifacts, content).new_trials
        other = {"big": pack_logits(given["big"]._replace(train=given["big"].train + 1))}
        with pytest.raises(StoreError, match="participant big \\(its logits are not the same"):
            plan_campaign(spec, dataset, splits, store, artifacts, other)


def test_a_plugins_method_that_trains_the_teacher_along_is_refused_by_name(
    root, asked, monkeypatch
):
    campaign = parse_spec(SPEC.format(root=root, file="all.npz")).campaign
    method = PluginMethod("both", (PluginParam("weight", (0.5, 1.0), 1.0),))
    campaign = replace(campaign, tune=replace(campaign.tune, plugin_methods=(method,)))
    declared = Declared("method", "both", None, "mine", (), trains_both=True)
    monkeypatch.setattr("kdopt.service.planner.get_code", lambda *_: declared)
    with pytest.raises(KdoptError, match="both trains the teacher along; participant 'big'"):
        check_training(campaign, load_dataset(campaign))
