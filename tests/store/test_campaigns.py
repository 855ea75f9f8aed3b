from __future__ import annotations

import dataclasses

import pytest
import sqlalchemy as sa

from kdopt.campaign.names import index_study_name
from kdopt.campaign.stages import plan_studies
from kdopt.campaign.studies import Param
from kdopt.errors import StoreError
from kdopt.store import leases, queries
from kdopt.store.campaigns import count_finished, delete_campaign, rename_campaign
from kdopt.store.database import open_store
from kdopt.store.index_studies import IndexStudy, IndexTrial, write_index_studies
from kdopt.store.planning import write_plan
from tests.conftest import make_outcome, make_record

SHARED, MINE, THEIRS = ("a" * 64, "b" * 64, "c" * 64)


@pytest.fixture
def store(store_url, campaign):
    """Two campaigns, a summary of the first, and a study of another program."""
    opened = open_store(store_url)
    for name in ("tiny", "tiny2"):
        record = make_record(dataclasses.replace(campaign, name=name))
        write_plan(opened, record, plan_studies)
    summary = IndexStudy(
        index_study_name("tiny", "uniform"),
        "gain",
        {"teacher": Param("int", 0, 1)},
        {},
        [IndexTrial(1.0, {"teacher": 0}, {})],
        "note",
        {},
    )
    write_index_studies(opened, [summary])
    with opened.write() as connection:
        connection.execute(sa.text("INSERT INTO studies (study_name) VALUES ('tiny/notes')"))
    yield opened
    opened.close()


def finish_one(store, campaign, checkpoint):
    study = queries.read_study_counts(store, campaign)[0].study_id
    claim = leases.claim_trial(store, study, "far/9/1/elsewhere", 90)
    outcome = dataclasses.replace(make_outcome(1.0), checkpoint=checkpoint)
    leases.finish_trial(store, claim, outcome)


def count_rows(store):
    tables = [
        name
        for name in sa.inspect(store.engine).get_table_names()
        if name.startswith(("stud", "trial", "kdopt_lease"))
    ]
    return {name: store.select_rows(f"SELECT count(*) FROM {name}")[0][0] for name in tables}


def test_what_is_deleted_is_all_of_one_campaign_and_nothing_of_others(store, campaign):
    finish_one(store, "tiny2", SHARED)
    finish_one(store, "tiny2", THEIRS)
    alone = count_rows(store)
    again = dataclasses.replace(campaign, name="third")
    write_plan(store, make_record(again), plan_studies)
    finish_one(store, "third", SHARED)
    finish_one(store, "third", MINE)
    gone = delete_campaign(store, "third")
    assert count_rows(store) == alone
    assert MINE in gone.artifacts and not {SHARED, THEIRS} & set(gone.artifacts)
    assert (gone.studies, gone.trials) == (4, 10)


def test_summaries_go_with_their_campaign_and_studies_of_other_programs_stay(store):
    delete_campaign(store, "tiny")
    names = [name for (name,) in store.select_rows("SELECT study_name FROM studies")]
    assert [name for name in names if not name.startswith("tiny2/")] == ["tiny/notes"]
    assert queries.list_campaigns(store) == ["tiny2"]


def test_a_campaign_whose_record_is_damaged_can_still_be_deleted(store):
    with store.write() as connection:
        connection.execute(
            sa.text(
                "UPDATE study_user_attributes SET value_json = '{}' WHERE key = 'kd:record' AND "
                "study_id = (SELECT study_id FROM studies WHERE study_name = 'tiny/campaign')"
            )
        )
    assert count_finished(store, "tiny") == 0
    assert delete_campaign(store, "tiny").trials == 11
    assert queries.list_campaigns(store) == ["tiny2"]


def test_a_renamed_campaign_has_the_same_trials_and_goes_on(store, campaign):
    finish_one(store, "tiny", MINE)
    before = queries.read_trials(store, "tiny")
    rename_campaign(store, "tiny", "new")
    assert queries.list_campaigns(store) == ["new", "tiny2"]
    after = queries.read_trials(store, "new")
    assert [(r.state, r.params, r.outcome) for r in after] == [
        (r.state, r.params, r.outcome) for r in before
    ]
    assert queries.read_record(store, "new").campaign.name == "new"
    grown = make_record(dataclasses.replace(campaign, name="new"))
    planned = write_plan(store, grown, plan_studies)
    assert (planned.new_studies, planned.new_trials) == (0, 0)


def test_what_must_not_be_touched_is_refused(store, campaign):
    with pytest.raises(StoreError, match="'tiny2' already"):
        rename_campaign(store, "tiny", "tiny2")
    tune = dataclasses.replace(campaign.tune, prior=("tiny2",))
    learns = dataclasses.replace(campaign, name="learns", tune=tune)
    write_plan(store, make_record(learns), plan_studies)
    with pytest.raises(StoreError, match="'learns' learns from it"):
        rename_campaign(store, "tiny2", "other")
    tune = dataclasses.replace(campaign.tune, sampler="tpe", budget=3)
    adapts = dataclasses.replace(campaign, name="adapts", tune=tune)
    write_plan(store, make_record(adapts), plan_studies)
    with pytest.raises(StoreError, match="sampler draws by its name"):
        rename_campaign(store, "adapts", "other")
    study = queries.read_study_counts(store, "tiny")[0].study_id
    leases.claim_trial(store, study, "far/9/1/elsewhere", 90)
    for change in (
        lambda: delete_campaign(store, "tiny"),
        lambda: rename_campaign(store, "tiny", "x"),
    ):
        with pytest.raises(StoreError, match="workers hold 1 of its trials"):
            change()
