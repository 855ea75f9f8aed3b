"""Draws: the whole campaign again, with other participants."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from kdopt.campaign.compatibility import fingerprint, unite_records
from kdopt.campaign.record import format_campaign
from kdopt.campaign.spec import parse_spec
from kdopt.campaign.stages import plan_studies
from kdopt.data.splits import make_splits, pack_splits, unpack_splits
from kdopt.errors import SpecError
from tests.conftest import make_record

SPEC = """
name = "mine"
partitions = ["uniform", "label_dirichlet"]
stages = ["tune"]
[data]
name = "digits"
"""
LABELS = np.random.default_rng(0).integers(0, 10, 4000)


def read(text=""):
    return parse_spec(text + SPEC)


def test_every_draw_is_a_partition_of_its_own_after_the_first():
    campaign = read("draws = 3\n").campaign
    assert [p.name for p in campaign.partitions] == [
        *("uniform", "uniform-2", "uniform-3"),
        *("label_dirichlet", "label_dirichlet-2", "label_dirichlet-3"),
    ]
    assert {p.kind for p in campaign.partitions} == {"uniform", "label_dirichlet"}
    assert campaign.get_family("label_dirichlet-3") == "label_dirichlet"
    assert len(plan_studies(campaign)) == 3 * len(plan_studies(read().campaign))


def test_draws_differ_in_who_has_what_and_share_what_is_held_out():
    campaign = read("draws = 2\n").campaign
    first, second = (make_splits(campaign, n, LABELS, 10) for n in ("uniform", "uniform-2"))
    assert (first.validation == second.validation).all()
    assert (first.public == second.public).all()
    assert not any((a == b).all() for a, b in zip(first.train, second.train, strict=True))


def test_more_draws_are_more_work_and_change_nothing_that_was_planned():
    one, three = read().campaign, read("draws = 3\n").campaign
    assert fingerprint(one) == fingerprint(three)
    names = {p.name for p in plan_studies(one)}
    assert names < {p.name for p in plan_studies(three)}
    for before, now in ((one, three), (three, one)):
        united = unite_records(make_record(before), make_record(now)).campaign
        assert united.draws == 3
        assert {p.name for p in united.partitions} == {p.name for p in three.partitions}


def test_the_resolved_file_means_the_same_campaign():
    spec = read("draws = 2\n")
    text = format_campaign(spec.campaign, spec.settings)
    assert parse_spec(text).campaign == spec.campaign


@pytest.mark.parametrize("draws", ["0", "101", "1.5"])
def test_other_numbers_are_refused(draws):
    with pytest.raises(SpecError, match="draws"):
        read(f"draws = {draws}\n")


def test_local_validation_takes_a_part_of_every_share_and_reads_back():
    campaign = parse_spec(SPEC + 'validation = "local"\n').campaign
    splits = make_splits(campaign, "label_dirichlet", LABELS, 10)
    everything = np.concatenate([*splits.train, *splits.local_validation, splits.public])
    assert len(np.unique(everything)) == len(everything)
    assert (np.sort(np.concatenate(splits.local_validation)) == splits.validation).all()
    for train, own in zip(splits.train, splits.local_validation, strict=True):
        assert len(own) == round(0.1 * (len(train) + len(own)))
    again = unpack_splits(pack_splits(splits))
    for a, b in zip(again.local_validation, splits.local_validation, strict=True):
        assert (a == b).all()


def test_where_validation_is_from_is_part_of_what_a_campaign_means():
    one = read().campaign
    other = dataclasses.replace(one, data=dataclasses.replace(one.data, validation="local"))
    before, now = fingerprint(one), fingerprint(other)
    assert [key for key in before if before[key] != now[key]] == ["data.validation"]
