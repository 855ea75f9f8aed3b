from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go
import pytest

import kdopt
from kdopt.errors import AdviceError, StoreError


@pytest.fixture(scope="module")
def store(finished):
    with kdopt.open(finished.path) as opened:
        yield opened


@pytest.fixture(scope="module")
def campaign(store):
    return store["home"]


def test_a_store_is_a_table_of_campaigns(store):
    assert list(store) == ["home"] and len(store) == 1 and "home" in store and "x" not in store
    assert store.pick().name == "home"
    assert repr(store).startswith("<kdopt store ") and repr(store).endswith(": home>")
    with pytest.raises(StoreError, match="no campaign 'x'; it has: home"):
        store["x"]


def test_no_store_is_made_by_looking(tmp_path):
    with pytest.raises(StoreError, match=r"kdopt\.db"):
        kdopt.open(tmp_path / "kdopt.db")
    assert not any(tmp_path.iterdir())


def test_best_says_a_verdict_for_every_pair(campaign):
    best = campaign.best()
    assert len(best) == 2
    assert set(best["action"]) <= {"leave as it is", "train on", "distil"}
    one = campaign.best("label_dirichlet", 1, 0)
    assert one[["teacher", "student"]].to_numpy().tolist() == [[1, 0]]
    assert len(campaign.best(student=1)) == 1 and campaign.best(teacher=9).empty


def test_trials_are_those_of_the_store(campaign, finished):
    trials = campaign.trials()
    done = (trials["state"] == "COMPLETE").sum()
    assert repr(campaign) == f"<kdopt campaign home: {done:,} of {len(trials):,} trials done>"
    assert set(trials["stage"]) == set(campaign.settings.all_stages)


def test_a_surface_has_the_gain_of_each_setting(campaign):
    surface = campaign.surface("label_dirichlet", 0, 1)
    assert list(surface.index) == [1.0, 4.0] and list(surface.columns) == [0.5, 0.9]
    trials = campaign.trials()
    cells = trials[
        (trials["stage"] == "tune") & (trials["teacher"] == 0)
        & (trials["temperature"] == 4) & (trials["alpha"] == 0.9)
    ]  # fmt: skip
    assert len(cells) == 2
    for on, gain in (("test", "test_gain"), ("validation", "validation_gain")):
        found = campaign.surface("label_dirichlet", 0, 1, on)
        (column,) = [c for c in trials.columns if c in (gain, f"{gain}_pp")]
        assert found.loc[4.0, 0.9] == pytest.approx(cells[column].mean())
    with pytest.raises(AdviceError, match=r"teacher 0, student 9; best\(\) lists"):
        campaign.surface("label_dirichlet", 0, 9)


def test_figures_are_plotlys_and_hold_what_the_tables_say(campaign):
    heat = campaign.plot_surface("label_dirichlet", 0, 1)
    assert isinstance(heat, go.Figure)
    assert (heat.data[0].z == campaign.surface("label_dirichlet", 0, 1).to_numpy()).all()
    for kind in ("alpha", "temperature", "gain"):
        assert isinstance(campaign.plot_map(kind=kind), go.Figure)
    assert len(campaign.plot_map("label_dirichlet").data) == len(campaign.plot_map().data)


def test_studies_are_optunas(campaign):
    study = campaign.load_study("label_dirichlet", 0, 1)
    frame = study.trials_dataframe()
    assert isinstance(frame, pd.DataFrame) and {"params_temperature", "params_alpha"} <= set(frame)
    (objective,) = [column for column in frame if column.startswith("value")]
    assert study.best_value == pytest.approx(frame[objective].max())


def test_what_is_shown_stays_until_it_is_read_again(campaign):
    before = campaign.tables
    assert campaign.tables is before
    assert campaign.refresh().tables is not before


def test_a_report_is_written(campaign, tmp_path):
    page = campaign.report(tmp_path / "out")
    assert page.name == "report.html" and page.exists()
    assert (tmp_path / "out" / "verdicts.csv").exists()


def test_import_kdopt_is_cheap():
    import subprocess
    import sys

    heavy = ("pandas", "torch", "optuna", "sqlalchemy", "plotly")
    code = f"import sys, kdopt; print([name for name in {heavy} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
