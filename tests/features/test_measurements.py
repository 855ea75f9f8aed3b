"""Measurements of partitions beside a campaign's record, on both databases."""

import json

import pytest

from kdopt.campaign.stages import plan_studies
from kdopt.errors import StoreError
from kdopt.features.measurements import PartitionMeasurements, read_measurements, write_measurements
from kdopt.store.attributes import MEASUREMENTS_KEY
from kdopt.store.planning import write_plan
from kdopt.store.queries import read_record, read_trials
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
