"""Two checkpoints and a spec give the features that the store knows of the same pair."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import safetensors.torch
import torch

from kdopt.campaign.partition_settings import PartitionSettings
from kdopt.campaign.spec import parse_spec
from kdopt.cli.campaign_file import plan_spec
from kdopt.data.datasets import load_dataset
from kdopt.errors import AdviceError, ArtifactError, KdoptError
from kdopt.features.definitions import FEATURE_NAMES, LABEL_FEATURES
from kdopt.features.measurements import read_measurements, tabulate_pairs
from kdopt.features.measuring import Checkpoint, describe_checkpoints, measure_campaign
from kdopt.store.queries import read_trials
from kdopt.train.engine import make_engine
from kdopt.train.models import make_model
from kdopt.worker.worker import run_trials
from tests.small_campaigns import make_spec, plan_text

SPEC = make_spec(
    participants=3,
    partitions=["specialized"],
    stages=["compare"],
    data={"validation_fraction": None},
    pretrain={"epochs": 2},
    tune=None,
    compare={"methods": ["vanilla"], "transfer_sets": ["public_unlabeled_large"]},
    transfer={
        "public_unlabeled_small": 0,
        "public_unlabeled_large": 64,
        "public_labeled": 0,
    },
)
ENGINE = make_engine("fp32", "cpu")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """The campaign, its images, the table of features in its store, and its checkpoints."""
    folder = tmp_path_factory.mktemp("store")
    spec = parse_spec(SPEC)
    dataset = load_dataset(spec.campaign)
    store, artifacts, _ = plan_text(SPEC, folder)
    run_trials(store, artifacts, "tiny", ENGINE)
    measure_campaign(store, artifacts, "tiny", ENGINE)
    rows, measurements = read_trials(store, "tiny"), read_measurements(store, "tiny")
    tables = {
        name: tabulate_pairs(rows, spec.campaign, measurements, name)
        for name in ("student", "public_unlabeled_large")
    }
    paths = {
        row.params["participant"]: artifacts.path(row.outcome.checkpoint)
        for row in rows
        if row.stage == "pretrain"
    }
    store.close()
    return spec.campaign, dataset, tables, paths


def describe(world, *args):
    campaign, dataset, *_ = world
    return describe_checkpoints(campaign, dataset, *args, ENGINE)


@pytest.mark.parametrize("transfer_set", ["student", "public_unlabeled_large"])
def test_the_same_pair_has_the_same_features_with_and_without_a_store(world, transfer_set):
    *_, tables, paths = world
    for line in tables[transfer_set].to_dict("records"):
        t, s = line["teacher"], line["student"]
        found = describe(
            world,
            Checkpoint(paths[t], participant=t),
            Checkpoint(paths[s], participant=s),
            transfer_set,
            "specialized",
        )
        assert found == pytest.approx({name: line[name] for name in FEATURE_NAMES}, abs=1e-4)


def test_without_participants_the_student_owns_all_training_images(world):
    campaign, dataset, _, paths = world
    found = describe(world, Checkpoint(paths[0]), Checkpoint(paths[1]), "student", None)
    held_out = round(0.1 * len(dataset.train_labels)) + campaign.transfer.n_public
    assert found["transfer_images"] == len(dataset.train_labels) - held_out
    # Nobody said what the teacher learnt from.
    unknown = {f.name for f in LABEL_FEATURES} - {"transfer_images"}
    assert {name for name, value in found.items() if value != value} == unknown


def test_a_teacher_may_be_of_another_architecture(world, tmp_path):
    _, dataset, _, paths = world
    path, torch_path = tmp_path / "cnn.safetensors", tmp_path / "cnn.pt"
    made = make_model("cnn", dataset.shape, dataset.n_classes)
    safetensors.torch.save_file(made.state_dict(), path)
    torch.save({"epoch": 3, "state_dict": made.state_dict()}, torch_path)
    student = Checkpoint(paths[1])
    found = describe(world, Checkpoint(path, "cnn"), student, "student", "specialized")
    assert found["teacher_entropy"] > 0.9  # it was never trained
    assert found == describe(
        world, Checkpoint(torch_path, "cnn"), student, "student", "specialized"
    )
    with pytest.raises(ArtifactError, match="state dict of model 'mlp' for images of 1x8x8"):
        describe(world, Checkpoint(path), student, "student", None)
    with pytest.raises(KdoptError, match="there is no such model"):
        describe(world, Checkpoint(path, "cmn"), student, "student", None)


def test_files_that_are_no_checkpoints_are_refused(world, tmp_path):
    campaign, dataset, _, paths = world
    (tmp_path / "text.safetensors").write_text("no weights")
    for name, reason in (("text.safetensors", "not a safetensors"), ("none", "cannot be read")):
        with pytest.raises(ArtifactError, match=reason):
            describe_checkpoints(
                campaign,
                dataset,
                Checkpoint(tmp_path / name),
                Checkpoint(paths[0]),
                "student",
                None,
                ENGINE,
            )


def test_a_participants_checkpoint_is_read_as_its_model_with_its_images_and_classes(tmp_path):
    files = {name: tmp_path / f"{name}.pt" for name in ("berlin", "paris")}
    torch.manual_seed(0)
    for (name, path), shape in zip(files.items(), [(1, 8, 8), (3, 12, 12)], strict=True):
        torch.save(make_model("mlp" if name == "berlin" else "cnn", shape, 10).state_dict(), path)
    digits = load_dataset(parse_spec(SPEC).campaign)
    np.savez(tmp_path / "own.npz", images=digits.train_images[:60], labels=digits.train_labels[:60])
    paris = {"model": "cnn", "image_size": 12, "channels": 3, "mean": [0.2] * 3, "std": [0.3] * 3}
    extras = {"berlin": {}, "paris": {"classes": [str(c) for c in reversed(range(10))], **paris}}
    participants = [
        {"name": name, "weights": str(path), "data": str(tmp_path / "own.npz"), **extras[name]}
        for name, path in files.items()
    ]
    path = tmp_path / "mine.toml"
    path.write_text(make_spec(participants, participants=None, partitions=["own"]))
    store, artifacts, spec, *_ = plan_spec(path, str(tmp_path / "kdopt.db"), None)
    campaign = spec.campaign
    run_trials(store, artifacts, "tiny", ENGINE)
    measure_campaign(store, artifacts, "tiny", ENGINE)
    rows, measurements = read_trials(store, "tiny"), read_measurements(store, "tiny")
    store.close()
    checkpoints = [Checkpoint(path, None, number) for number, path in enumerate(files.values())]
    for line in tabulate_pairs(rows, campaign, measurements, "student").to_dict("records"):
        pair = checkpoints[line["teacher"]], checkpoints[line["student"]]
        # The campaign has one partition, so nobody needs to name it.
        found = describe_checkpoints(
            campaign, load_dataset(campaign), *pair, "student", None, ENGINE
        )
        assert found == pytest.approx({name: line[name] for name in FEATURE_NAMES}, abs=1e-4)


def test_participants_need_a_partition_that_has_them(world):
    campaign, dataset, _, paths = world
    student = Checkpoint(paths[1], participant=1)
    several = replace(campaign, partitions=(*campaign.partitions, PartitionSettings("uniform")))
    with pytest.raises(AdviceError, match=r"Give --partition, one of specialized, uniform"):
        describe((several, dataset), Checkpoint(paths[0]), student, "student", None)
    with pytest.raises(AdviceError, match=r"participant 7: tiny has 0 to 2"):
        describe(
            world,
            Checkpoint(paths[0], participant=7),
            student,
            "student",
            "specialized",
        )
    with pytest.raises(KdoptError, match="no partition 'uniform'"):
        describe(world, Checkpoint(paths[0]), student, "student", "uniform")


def test_a_set_without_images_is_refused(world):
    *_, paths = world
    with pytest.raises(AdviceError, match=r"set transfer\.public_labeled in its spec"):
        describe(
            world,
            Checkpoint(paths[0]),
            Checkpoint(paths[1]),
            "public_labeled",
            None,
        )
