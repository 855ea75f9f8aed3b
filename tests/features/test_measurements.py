"""Measurements of partitions beside a campaign's record, and the table of pairs made of them."""

import json
import random
from dataclasses import replace

import pytest

from kdopt.campaign.stages import plan_studies
from kdopt.errors import StoreError
from kdopt.features.definitions import FEATURE_NAMES
from kdopt.features.measurements import (
    PAIR_COLUMNS,
    PartitionMeasurements,
    read_measurements,
    tabulate_pairs,
    write_measurements,
)
from kdopt.outcome import find_pretrained
from kdopt.store.attributes import MEASUREMENTS_KEY
from kdopt.store.planning import write_plan
from kdopt.store.queries import read_record, read_trials
from tests.analysis import synthetic
from tests.analysis.synthetic import accuracy_of, compare_campaign, pretrain_rows
from tests.conftest import make_campaign, make_record, optuna_study

ONE = PartitionMeasurements(
    ((1, 2), (3, 4)), ("a", None), {"student": ((None, 0.5), (0.25, None))}, {}
)
OTHER = PartitionMeasurements(((9, 9), (9, 9)))


@pytest.fixture
def planned(store):
    write_plan(store, make_record(make_campaign()), plan_studies)
    return store


def test_a_campaign_starts_without_measurements(planned):
    assert read_measurements(planned, "tiny") == {}


def test_measurements_come_back_as_they_were_and_others_stay(planned):
    write_measurements(planned, "tiny", {"uniform": ONE})
    write_measurements(planned, "tiny", {"specialized": OTHER})
    assert read_measurements(planned, "tiny") == {"uniform": ONE, "specialized": OTHER}
    write_measurements(planned, "tiny", {"uniform": OTHER})
    assert read_measurements(planned, "tiny") == {"uniform": OTHER, "specialized": OTHER}


def test_record_and_trials_do_not_change(planned):
    before = read_record(planned, "tiny"), read_trials(planned, "tiny")
    write_measurements(planned, "tiny", {"uniform": ONE})
    assert (read_record(planned, "tiny"), read_trials(planned, "tiny")) == before
    # Planning again, as every `kdopt run` does, keeps them.
    write_plan(planned, make_record(make_campaign()), plan_studies)
    assert read_measurements(planned, "tiny") == {"uniform": ONE}


def test_optuna_reads_them_as_an_attribute(planned, store_url):
    write_measurements(planned, "tiny", {"uniform": ONE})
    with optuna_study(store_url, "tiny/campaign") as study:
        kept = study.user_attrs[MEASUREMENTS_KEY]
    assert kept == json.loads(json.dumps({"uniform": ONE.to_json()}))


def test_measurements_of_a_campaign_that_is_not_there_are_refused(planned):
    with pytest.raises(StoreError, match="no campaign 'other'"):
        write_measurements(planned, "other", {"uniform": ONE})


MEASURED = PartitionMeasurements(
    label_counts=((10, 0), (0, 20), (5, 5)),
    checkpoints=("a" * 64, "b" * 64, "c" * 64),
    disagreement={"student": ((None, 0.1, 0.2), (0.3, None, 0.4), (0.5, 0.6, None))},
    teacher_entropy={"student": ((None, 0.9, 0.8), (0.7, None, 0.6), (0.5, 0.4, None))},
)


def line(table, teacher, student):
    found = table[(table["teacher"] == teacher) & (table["student"] == student)]
    assert len(found) == 1
    return found.iloc[0]


def test_one_line_per_pair_of_pretrained_participants():
    campaign = compare_campaign()
    rows = pretrain_rows(campaign)
    table = tabulate_pairs(rows, campaign)
    assert list(table.columns) == [*PAIR_COLUMNS, *FEATURE_NAMES]
    assert len(table) == 5 * 4 * 3
    lost = [r for r in rows if not (r.partition == "uniform" and r.params["participant"] == 2)]
    left = tabulate_pairs(lost, campaign)
    assert len(left) == 5 * 4 * 3 - 6
    uniform = left[left["partition"] == "uniform"]
    assert 2 not in set(uniform["teacher"]) | set(uniform["student"])


def test_the_order_of_rows_does_not_matter():
    campaign = compare_campaign()
    rows = pretrain_rows(campaign)
    mixed = random.Random(1).sample(rows, len(rows))
    assert tabulate_pairs(rows, campaign).equals(tabulate_pairs(mixed, campaign))


def test_what_is_known_without_measurements():
    campaign = synthetic.make_campaign()
    table = tabulate_pairs(pretrain_rows(campaign), campaign)
    gap = 100 * (accuracy_of(2) - accuracy_of(0))
    assert line(table, 2, 0)["accuracy_gap"] == pytest.approx(gap)
    assert table[["label_distance", "size_ratio", "disagreement"]].isna().all(axis=None)


def test_measurements_give_the_rest():
    campaign = synthetic.make_campaign()
    table = tabulate_pairs(pretrain_rows(campaign), campaign, {"uniform": MEASURED})
    found = line(table, 1, 0)
    assert found["label_distance"] == 1  # no class in common
    assert found["size_ratio"] == pytest.approx(1)  # twice the images
    assert found["coverage"] == 0
    assert found["disagreement"] == pytest.approx(30)
    assert found["teacher_entropy"] == pytest.approx(0.7)


def test_another_transfer_set_was_not_measured():
    campaign = synthetic.make_campaign()
    table = tabulate_pairs(
        pretrain_rows(campaign), campaign, {"uniform": MEASURED}, transfer_set="public_labeled"
    )
    assert table["disagreement"].isna().all()
    assert table["label_distance"].notna().all()


def test_only_complete_pretraining_counts():
    campaign = synthetic.make_campaign()
    rows = [replace(r, state="FAIL", outcome=None) for r in pretrain_rows(campaign)]
    assert find_pretrained(rows) == {}
    assert tabulate_pairs(rows, campaign).empty


def test_measurements_are_read_as_they_were_written():
    assert PartitionMeasurements.from_json(json.loads(json.dumps(MEASURED.to_json()))) == MEASURED
