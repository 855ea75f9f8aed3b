"""The dashboard in a real browser, where there is one."""

from __future__ import annotations

import time

import optuna
import pytest
import sqlalchemy as sa

from kdopt.dashboard.campaign_index import index_studies
from kdopt.report.blocks import ReportData
from kdopt.store.index_studies import write_index_studies
from tests.analysis.synthetic import make_campaign, make_rows
from tests.browser import PATIENCE_MS
from tests.conftest import new_store
from tests.dashboard.serving import serving
from tests.report.many_synthetic import many_campaign, many_rows


def test_the_dashboard_works_behind_its_wrapper(visit, tmp_path):
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    url = f"sqlite:///{tmp_path}/kdopt.db"
    storage = optuna.storages.RDBStorage(url)
    study = optuna.create_study(storage=storage, study_name="toy/uniform/tune/t00-s01")
    study.optimize(
        lambda t: t.suggest_float("alpha", 0, 1) * t.suggest_float("temperature", 0.1, 7), 12
    )
    storage.engine.dispose()
    with serving(url) as port:
        home = f"http://127.0.0.1:{port}/"
        page = visit(home)
        page.get_by_text("toy/uniform/tune/t00-s01").first.wait_for()
        shown = [button for button in page.locator("button").all() if button.is_visible()]
        assert {button.inner_text().strip() for button in shown} == {"", "RELOAD"}
        labels = {button.get_attribute("aria-label") for button in shown}
        assert labels == {None, "open drawer"}, "a button that cannot work"
        page.goto(f"{home}dashboard/studies/1/note")
        edit = page.locator("svg[data-testid=EditIcon]").first
        edit.wait_for(state="attached")
        assert not edit.is_visible()
        page.goto(f"{home}dashboard/studies/1/analytics")
        page.locator(".js-plotly-plot .main-svg").first.wait_for()
        page.goto("about:blank")


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """The URL of a store with the index studies of two campaigns, and their ids by name."""
    opened = new_store(tmp_path_factory.mktemp("published") / "kdopt.db")
    tuned, many = make_campaign(name="toy"), many_campaign(name="many")
    write_index_studies(opened, index_studies(ReportData(tuned, make_rows(tuned)), {}))
    write_index_studies(opened, index_studies(ReportData(many, many_rows(many)), {}))
    with opened.read() as connection:
        listed = connection.execute(sa.text("SELECT study_name, study_id FROM studies")).all()
    opened.close()
    return str(opened.url), dict(listed)


@pytest.mark.parametrize(
    ("name", "points", "lines"), [("toy/uniform/index", 6 + 6 + 12, 0), ("many/index", 50, 20)]
)
def test_the_dashboard_draws_the_figures_of_an_index_study(visit, published, name, points, lines):
    url, ids = published
    with serving(url) as port:
        home = f"http://127.0.0.1:{port}/"
        page = visit(home)
        page.get_by_text(name).first.click()
        figures = page.locator("[id^='user-defined-plot:']")
        figures.locator(".main-svg").first.wait_for()
        page.wait_for_function(
            "n => document.querySelectorAll(\"[id^='user-defined-plot:'] .point\").length == n",
            arg=points,
        )
        assert figures.locator(".scatterlayer .js-line").count() >= lines
        for figure in figures.all():
            box, drawn = figure.bounding_box(), figure.locator(".main-svg").first.bounding_box()
            assert drawn["width"] <= box["width"] + 1 and drawn["height"] <= box["height"] + 1
        assert page.url.startswith(f"{home}dashboard/studies/{ids[name]}")
        page.goto("about:blank")


def test_who_signs_in_finds_the_pairs_sorted_and_the_note(browser, published):
    url, ids = published
    troubles = []
    context = browser.new_context(viewport={"width": 1600, "height": 1000})
    with serving(url, token="0123456789abcdef") as port:
        home = f"http://127.0.0.1:{port}/"
        page = context.new_page()
        page.set_default_timeout(PATIENCE_MS)
        page.goto(home)
        page.fill("#token", "wrong")
        page.click("button")
        page.get_by_text("This is not the token.").wait_for()
        page.on("console", lambda m: m.type == "error" and troubles.append(m.text))
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.fill("#token", "0123456789abcdef")
        page.click("button")
        page.get_by_text("toy/uniform/index").first.wait_for()
        study = f"{home}dashboard/studies/{ids['toy/uniform/index']}"
        page.goto(f"{study}/smartSelection")
        header = page.locator("th", has_text="accuracy_gap")
        header.wait_for()
        place = header.evaluate("h => 1 + [...h.parentNode.children].indexOf(h)")

        def gaps():
            return [
                float(t) for t in page.locator(f"tbody td:nth-child({place})").all_inner_texts()
            ]

        before = gaps()
        assert len(before) == 6
        unseen = [sorted(before), sorted(before, reverse=True)]
        end = time.monotonic() + PATIENCE_MS / 1000
        while unseen:
            assert time.monotonic() < end, unseen
            header.get_by_text("accuracy_gap").click()
            page.wait_for_timeout(300)  # where that is too short, one of the next clicks will do
            if (seen := gaps()) in unseen:
                unseen.remove(seen)
        page.goto(f"{study}/note")
        page.get_by_role("heading", name="Best temperature and alpha: Uniform").wait_for()
        assert page.locator("td", has_text="t02-s00").count() == 1
        page.goto("about:blank")
    context.close()
    assert troubles == []
