"""Published summaries: whole, in place, readable by Optuna, and invisible to all that works."""

from __future__ import annotations

import dataclasses
import subprocess
import threading
from dataclasses import replace

import pytest
import sqlalchemy as sa
from optuna_dashboard import get_note
from optuna_dashboard._custom_plot_data import get_plotly_graph_objects

from kdopt.campaign.names import INDEX_SUFFIX, index_study_name, parse_study_name
from kdopt.campaign.stages import plan_studies
from kdopt.campaign.studies import Param
from kdopt.errors import StoreError
from kdopt.service.status import read_status
from kdopt.store import activity, leases, queries
from kdopt.store.activity import read_recent_endings
from kdopt.store.database import open_store
from kdopt.store.index_studies import IndexStudy, IndexTrial, write_index_studies
from kdopt.store.planning import write_plan
from tests.conftest import (
    PYTHON,
    list_failures,
    make_campaign,
    make_outcome,
    make_record,
    optuna_study,
)

NAME = "tiny/uniform/index"


SUMMARY = IndexStudy(
    NAME,
    "gain (pp)",
    {"teacher": Param("int", 0, 9), "way": Param("category", choices=("a", "b"))},
    {"kd:stage": "index"},
    (
        IndexTrial(1.5, {"teacher": 0, "way": "a"}, {"gap": -2.0, "advice": "distil"}),
        IndexTrial(0.0, {"teacher": 3, "way": "b"}, {"gap": 7.25, "advice": "do not distil"}),
    ),
    "# Note\n\nlong: " + "ä|" * 3000,
    {"map": '{"data":[],"layout":{"title":"' + "x" * 9000 + '"}}'},
)
OF_INDEX = (
    "JOIN studies s ON s.study_id = t.study_id "
    "WHERE s.study_name IN ('tiny/uniform/index', 'tiny/index')"
)
TABLES = {
    "studies": "study_id",
    "study_directions": "study_direction_id",
    "study_user_attributes": "study_user_attribute_id",
    "study_system_attributes": "study_system_attribute_id",
    "trials": "trial_id",
    "trial_values": "trial_value_id",
    "trial_params": "param_id",
    "trial_user_attributes": "trial_user_attribute_id",
    "trial_system_attributes": "trial_system_attribute_id",
    "trial_intermediate_values": "trial_intermediate_value_id",
    "trial_heartbeats": "trial_heartbeat_id",
    "kdopt_lease": "trial_id",
}


def contents(store, indexes=False):
    """Every row of the store, without those of index studies unless asked for."""
    found = {}
    with store.read() as connection:
        names = dict(connection.execute(sa.text("SELECT study_id, study_name FROM studies")).all())
        owner = dict(connection.execute(sa.text("SELECT trial_id, study_id FROM trials")).all())
        for table, key in TABLES.items():
            lines = connection.execute(sa.text(f"SELECT * FROM {table} ORDER BY {key}"))
            found[table] = [
                line
                for line in map(dict, lines.mappings())
                if indexes
                or not names[line.get("study_id") or owner[line["trial_id"]]].endswith(INDEX_SUFFIX)
            ]
    return found


def figures_of(study):
    return get_plotly_graph_objects(study._storage.get_study_system_attrs(study._study_id))


@pytest.fixture
def planned(store):
    write_plan(store, make_record(make_campaign()), plan_studies)
    study = queries.read_study_counts(store, "tiny")[1].study_id
    leases.finish_trial(store, leases.claim_trial(store, study, "me", 60), make_outcome(3.0))
    leases.fail_trial(store, leases.claim_trial(store, study, "me", 60), "no")
    leases.claim_trial(store, study, "me", 60)
    return store


def test_optuna_and_the_dashboard_read_what_was_published(store, store_url):
    write_index_studies(store, [SUMMARY])
    with optuna_study(store_url, NAME) as study:
        assert study.direction.name == "MAXIMIZE"
        assert study.metric_names == ["gain (pp)"]
        assert study.user_attrs == {"kd:stage": "index"}
        assert study.best_trial.number == 0
        assert [(t.number, t.state.name, t.value) for t in study.trials] == [
            (0, "COMPLETE", 1.5),
            (1, "COMPLETE", 0.0),
        ]
        assert study.trials[1].params == {"teacher": 3, "way": "b"}
        assert study.trials[1].user_attrs == {"gap": 7.25, "advice": "do not distil"}
        assert study.trials[0].duration.total_seconds() < 1
        assert get_note(study) == SUMMARY.note
        assert figures_of(study) == SUMMARY.figures


def test_nothing_else_in_the_store_changes(planned):
    before = contents(planned)
    write_index_studies(planned, [SUMMARY, SUMMARY._replace(name="tiny/index")])
    assert contents(planned) == before
    write_index_studies(planned, [SUMMARY._replace(entries=())])
    assert contents(planned) == before


def test_work_never_meets_what_was_published(planned):
    def seen():
        status = read_status(planned, "tiny")
        return (
            queries.list_campaigns(planned),
            queries.read_record(planned, "tiny"),
            queries.read_study_counts(planned, "tiny"),
            queries.read_trials(planned, "tiny"),
            [
                r._replace(lease_left_s=0, running_s=0)
                for r in activity.read_running_trials(planned, "tiny")
            ],
            list_failures(planned, "tiny"),
            [ended.stage for ended in read_recent_endings(planned, "tiny", 3600, 9, 3600)],
            [dataclasses.replace(s, per_minute=0.0, eta_s=None) for s in status.stages],
            status.partitions,
        )

    before = seen()
    write_index_studies(planned, [SUMMARY, SUMMARY._replace(name=index_study_name("tiny"))])
    assert seen() == before
    again = write_plan(planned, make_record(make_campaign()), plan_studies)
    assert (again.new_studies, again.new_trials) == (0, 0)
    assert seen() == before
    assert leases.requeue_lost_trials(planned, lambda worker: True) == 1
    with planned.read() as connection:
        states = connection.execute(sa.text(f"SELECT t.state FROM trials t {OF_INDEX}")).scalars()
        assert set(states) == {"COMPLETE"}


def test_publishing_again_replaces_all_and_adds_no_row(planned, store_url):
    write_index_studies(planned, [SUMMARY])
    before = contents(planned, indexes=True)
    write_index_studies(planned, [SUMMARY])
    after = contents(planned, indexes=True)
    assert {t: len(lines) for t, lines in after.items()} == {
        t: len(lines) for t, lines in before.items()
    }
    assert after["studies"] == before["studies"]
    assert [t["trial_id"] for t in after["trials"]] == [t["trial_id"] for t in before["trials"]]
    changed = SUMMARY._replace(
        objective="other",
        entries=(SUMMARY.entries[1],),
        note="short",
        figures={"new": "{}"},
        attributes={},
    )
    write_index_studies(planned, [changed])
    with optuna_study(store_url, NAME) as study:
        assert study.metric_names == ["other"]
        assert study.user_attrs == {}
        assert [(t.number, t.params["teacher"]) for t in study.trials] == [(0, 3)]
        assert get_note(study) == "short"
        assert figures_of(study) == {"new": "{}"}
    write_index_studies(planned, [SUMMARY])
    with optuna_study(store_url, NAME) as study:
        assert [t.number for t in study.trials] == [0, 1]


def test_what_cannot_be_written_leaves_the_old_one_whole(planned):
    write_index_studies(planned, [SUMMARY])
    before = contents(planned, indexes=True)
    broken = IndexTrial(1.0, {"teacher": 0, "way": "a"}, {"gap": float("nan")})
    with pytest.raises(ValueError, match="JSON"):
        write_index_studies(planned, [SUMMARY._replace(entries=(broken,), note="half")])
    assert contents(planned, indexes=True) == before


@pytest.mark.parametrize("name", ["tiny/uniform/tune/t00-s01", "tiny/campaign", "index", "tiny"])
def test_only_index_studies_can_be_published(planned, name):
    before = contents(planned, indexes=True)
    with pytest.raises(ValueError, match="index"):
        write_index_studies(planned, [SUMMARY._replace(name=name)])
    assert contents(planned, indexes=True) == before


def test_several_publishers_and_a_worker_at_once_end_with_one_study(planned, store_url):
    errors = []

    def repeat():
        own = open_store(store_url)
        try:
            for _ in range(5):
                write_index_studies(own, [SUMMARY, SUMMARY._replace(name="tiny/index")])
        except (StoreError, sa.exc.SQLAlchemyError) as error:
            errors.append(error)
        finally:
            own.close()

    threads = [threading.Thread(target=repeat) for _ in range(3)]
    for thread in threads:
        thread.start()
    study = queries.read_study_counts(planned, "tiny")[2].study_id
    while claim := leases.claim_trial(planned, study, "me", 60):
        leases.finish_trial(planned, claim, make_outcome(1.0))
    for thread in threads:
        thread.join()
    assert errors == []
    assert queries.read_study_counts(planned, "tiny")[2].complete == 4
    found = contents(planned, indexes=True)
    names = [s["study_name"] for s in found["studies"]]
    assert (names.count(NAME), names.count("tiny/index")) == (1, 1)
    with optuna_study(store_url, NAME) as study:
        assert [t.number for t in study.trials] == [0, 1]
        assert len(study.trials[0].user_attrs) == 2


@pytest.mark.parametrize("name", [NAME, "tiny/index", "index/index"])
def test_names_of_index_studies_are_no_stages(name):
    with pytest.raises(ValueError, match="not a study name"):
        parse_study_name(name)
    assert parse_study_name("tiny/uniform/tune/t00-s01").stage == "tune"


def test_the_command_publishes_beside_the_report(planned, store_url, tmp_path):
    study_id = queries.read_study_counts(planned, "tiny")[1].study_id
    outcome = replace(make_outcome(2.0), validation_gain=2.0, test_gain=1.0)
    leases.finish_trial(planned, leases.claim_trial(planned, study_id, "me", 60), outcome)
    command = [PYTHON, "-m", "kdopt", "report", "--publish", "--store", store_url]
    for _ in range(2):
        end = subprocess.run(
            [*command, "--out", str(tmp_path / "report")],
            capture_output=True,
            text=True,
            check=False,
        )
        assert end.returncode == 0, end.stderr
        assert f"{NAME}: 1 line, 3 figures" in end.stdout
        assert (tmp_path / "report" / "report.html").is_file()
    with optuna_study(store_url, NAME) as study:
        (trial,) = study.trials
        assert trial.params == {"teacher": 0, "student": 1}
        assert trial.value == 1.0
        assert trial.user_attrs["study"] == "tiny/uniform/tune/t00-s01"
        assert "Measured: 1 of 2 pairs" in get_note(study)
        assert f"(/dashboard/studies/{study_id})" in get_note(study)
