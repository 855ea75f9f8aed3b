"""``kdopt dashboard CAMPAIGN`` says where that campaign's results are, and of no other."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from kdopt.campaign.names import index_study_name
from kdopt.campaign.stages import plan_studies
from kdopt.cli import dashboard
from kdopt.cli.app import app
from kdopt.store.index_studies import IndexStudy, write_index_studies
from kdopt.store.planning import write_plan
from tests.conftest import make_campaign, make_record, new_store


@pytest.fixture
def path(tmp_path, monkeypatch):
    monkeypatch.setattr(dashboard, "serve", lambda *_, on_ready, **__: on_ready("http://here"))
    opened = new_store(tmp_path / "kdopt.db")
    for name in ("mine", "mine-too"):
        write_plan(opened, make_record(make_campaign(name=name)), plan_studies)
    opened.close()
    return tmp_path / "kdopt.db"


def test_each_published_study_of_the_campaign_has_its_address_and_no_other_has(path):
    opened = new_store(path)
    names = [
        index_study_name("mine"),
        index_study_name("mine", "uniform"),
        index_study_name("mine-too", "uniform"),
    ]
    ids = write_index_studies(opened, [IndexStudy(n, "gain", {}, {}, [], "", {}) for n in names])
    opened.close()
    shown = CliRunner().invoke(app, ["dashboard", "mine", "--store", str(path)]).output
    for name in names:
        line = f"http://here/dashboard/studies/{ids[name]}  ({name})"
        assert (line in shown) == name.startswith("mine/"), shown


def test_a_campaign_without_published_results_is_told_how_to_publish_them(path):
    shown = CliRunner().invoke(app, ["dashboard", "mine", "--store", str(path)]).output
    assert "kdopt report mine --publish" in shown
    assert "http://here  (" in shown
