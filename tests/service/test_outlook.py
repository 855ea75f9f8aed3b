"""What is said of a campaign before it starts."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from kdopt.campaign.partition_settings import PartitionSettings
from kdopt.campaign.spec import parse_spec
from kdopt.campaign.stages import plan_studies
from kdopt.data.datasets import load_dataset, read_dataset
from kdopt.service.outlook import (
    count_planned_trials,
    describe_unused,
    estimate_training_seconds,
    measure_shares,
)
from kdopt.service.planner import draw_splits
from tests.analysis.synthetic import make_campaign as make_synthetic
from tests.analysis.synthetic import make_rows
from tests.conftest import make_campaign
from tests.small_campaigns import make_spec


def test_shares_are_those_that_participants_train_on():
    campaign = make_campaign(
        participants=4,
        partitions=(
            PartitionSettings("uniform"),
            PartitionSettings("label_dirichlet", concentration=(0.3,), min_size=8),
        ),
    )
    dataset = read_dataset(campaign.data, campaign.seed)
    splits = draw_splits(campaign, dataset)
    uniform, skewed = measure_shares(splits, dataset)
    assert (uniform.partition, uniform.classes) == ("uniform", 10)
    assert len(set(uniform.sizes)) == 1 and uniform.too_small == []
    assert len(set(skewed.sizes)) > 1
    assert skewed.too_small == [i for i, size in enumerate(skewed.sizes) if size < 100]


def test_shared_images_that_nobody_uses_are_said_with_the_setting_that_uses_them(tmp_path):
    digits = read_dataset(make_campaign().data, 0)
    rows = {"images": digits.train_images[:40], "labels": digits.train_labels[:40]}
    np.savez(tmp_path / "own.npz", **rows)
    participants = [{"name": name, "data": str(tmp_path / "own.npz")} for name in ("a", "b")]
    for data, expected in (
        ({"validation_fraction": 0.1}, "1,213 of 1,348 training images of digits"),
        ({"validation_fraction": 0.9}, "135 of 1,348 training images of digits"),
        ({"validation": "local"}, None),
    ):
        text = make_spec(participants, participants=None, partitions=["own"], data=data)
        campaign = parse_spec(text).campaign
        dataset = load_dataset(campaign)
        notes = describe_unused(campaign, dataset, draw_splits(campaign, dataset))
        assert [note.partition(" are used by nobody")[0] for note in notes] == (
            [expected] if expected else []
        )


def test_trials_are_counted_by_stage():
    campaign = dataclasses.replace(make_campaign(), control=True)
    assert count_planned_trials(campaign) == {"pretrain": 2, "control": 2, "tune": 8}
    assert sum(count_planned_trials(campaign).values()) == sum(
        plan.n_trials for plan in plan_studies(campaign)
    )


def test_the_time_left_is_that_of_trials_like_those_that_are_done():
    rows = make_rows(make_synthetic())
    each = rows[-1].outcome.seconds
    waiting = [dataclasses.replace(row, state="WAITING", outcome=None) for row in rows[-5:]]
    assert estimate_training_seconds([*rows[:-5], *waiting]) == pytest.approx(5 * each)
    assert estimate_training_seconds(rows) == 0


def test_a_stage_without_an_example_makes_it_unknown():
    rows = [
        dataclasses.replace(row, state="WAITING", outcome=None)
        for row in make_rows(make_synthetic())
    ]
    assert math.isnan(estimate_training_seconds(rows))
