"""The page and the dashboard in a real browser, where there is one."""

from __future__ import annotations

import contextlib
import shutil
import threading

import optuna
import pytest
import sqlalchemy as sa

from kdopt.analysis.claims import CLAIMS
from kdopt.plan import SettingLine
from kdopt.report.dashboard import make_server
from kdopt.report.many_index import index_studies
from kdopt.report.page import write_report
from kdopt.store.publish import publish
from tests.analysis.synthetic import (
    compare_campaign,
    compare_rows,
    large_campaign,
    make_campaign,
    make_rows,
    pretrain_rows,
)
from tests.conftest import new_store
from tests.report.many_synthetic import many_campaign, many_rows

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on the PATH")


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as running:
        arguments = ["--no-sandbox", "--headless", "--disable-background-networking"]
        opened = running.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    campaign = large_campaign()
    folder = tmp_path_factory.mktemp("report")
    settings = [SettingLine("tune.t2_scale", "true", "paper, Eq. 2")]
    return write_report(folder, campaign, make_rows(campaign), settings)[-1].as_uri()


@pytest.fixture
def visit(browser):
    """Open an address; at the end of the test nothing may have gone wrong or been fetched."""
    troubles, contexts = [], []

    def open_page(address, **settings):
        own = address.partition("://")[2].partition("/")[0]
        contexts.append(browser.new_context(**settings))
        page = contexts[-1].new_page()
        page.set_default_timeout(15_000)
        page.on("console", lambda message: troubles.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.on(
            "request",
            lambda request: (
                request.url.startswith("http")
                and not request.url.startswith(f"http://{own}/")
                and troubles.append(request.url)
            ),
        )
        page.goto(address)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert troubles == []


def points_drawn(page, figure):
    return page.locator(f"#{figure} .scatterlayer .point").count()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_figure_is_drawn_with_every_pair(visit, address, scheme):
    page = visit(address, color_scheme=scheme)
    page.wait_for_selector("body[data-drawn=yes]")
    for index in range(2):
        assert points_drawn(page, f"figure-{index}-alpha") == 90
        assert points_drawn(page, f"figure-{index}-temperature") == 90
        assert points_drawn(page, f"figure-{index}-gain") == 2 * 90
    ink = page.evaluate("document.querySelector('#figure-0-gain .xtitle').style.fill")
    assert ink == {"light": "rgb(27, 27, 27)", "dark": "rgb(236, 236, 236)"}[scheme]


def test_the_oracle_appears_when_its_legend_entry_is_clicked(visit, address):
    page = visit(address)
    page.locator("#figure-0-gain .legendtoggle").nth(2).click()
    page.locator("#figure-0-gain .scatterlayer .point").nth(269).wait_for(state="attached")
    assert points_drawn(page, "figure-0-gain") == 270


def test_no_button_sends_a_chart_away(visit, address):
    page = visit(address)
    titles = page.eval_on_selector_all(".modebar-btn", "all => all.map(b => b.dataset.title)")
    assert set(titles) == {"Download plot as a PNG", "Zoom", "Pan", "Reset axes"}


def test_tables_sort_both_ways_as_numbers(visit, address):
    page = visit(address)
    table = page.locator(".pairs table.sortable").first
    header = table.locator("th", has_text="Accuracy gap")

    def gaps():
        return [float(text) for text in table.locator("tbody td:nth-child(2)").all_inner_texts()]

    before = gaps()
    for direction, expected in (("ascending", sorted(before)), ("descending", None)):
        header.locator("button").click()
        assert header.get_attribute("aria-sort") == direction
        assert gaps() == (expected or sorted(before, reverse=True))


def test_the_surface_of_a_chosen_pair_is_drawn_for_both_sets(visit, address):
    page = visit(address)
    shown = []
    for pair in ("uniform/t00-s01", "label_dirichlet/t09-s02"):
        page.select_option("#pair", pair)
        for name in ("validation", "test"):
            page.check(f"input[value={name}]")
            z = page.evaluate("document.getElementById('surface').data[0].z")
            assert (len(z), {len(row) for row in z}) == (5, {11})
            shown.append(str(z))
            title = page.locator("#surface .cbtitle").text_content()
            assert title == f"Accuracy gain on {name} (pp)"
        assert pair in page.inner_text("#surface-text")
    assert len(set(shown)) == 4
    assert page.locator("#surface .legendtext").all_text_contents() == [
        "Selected",
        "Vanilla",
        "Oracle (selected on test)",
    ]


def test_clicking_a_point_chooses_its_pair(visit, address):
    page = visit(address)
    page.evaluate(
        "document.getElementById('figure-1-gain').emit('plotly_click',"
        "{points: [{customdata: 'label_dirichlet/t03-s07'}]})"
    )
    assert page.input_value("#pair") == "label_dirichlet/t03-s07"


def test_a_phone_scrolls_down_only(visit, address):
    page = visit(address, viewport={"width": 390, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_print_is_dark_on_light_and_fits_paper_even_from_a_wide_dark_screen(visit, address):
    page = visit(address, color_scheme="dark", viewport={"width": 2000, "height": 900})
    width = "document.getElementById('surface')._fullLayout.width"
    on_screen = page.evaluate(width)
    assert on_screen > 1000
    ink = "document.querySelector('#figure-0-gain .xtitle').style.fill"
    # The browser prints as soon as the event has been handled, so there is nothing to wait for.
    assert page.evaluate(f"dispatchEvent(new Event('beforeprint')), {ink}") == "rgb(27, 27, 27)"
    assert page.evaluate(width) == 680
    assert page.evaluate(f"dispatchEvent(new Event('afterprint')), {ink}") == "rgb(236, 236, 236)"
    assert page.evaluate(width) == on_screen


@pytest.mark.parametrize("sampler", ["tpe", "sequential"])
def test_other_samplers_and_an_empty_campaign_have_a_working_page(visit, tmp_path, sampler):
    campaign = make_campaign(tune_sampler=sampler)
    paths = write_report(tmp_path / "full", campaign, make_rows(campaign), [])
    page = visit(paths[-1].as_uri())
    kind = {"tpe": "scatter", "sequential": "heatmap"}[sampler]
    assert page.evaluate("document.getElementById('surface').data[0].type") == kind
    paths = write_report(tmp_path / "empty", campaign, [], [])
    page = visit(paths[-1].as_uri())
    assert page.inner_text("#surface-text") == "No cell of this pair is complete yet."


METHOD_FIGURES = ("transfer", "cumulative", "teachers", "partitions", "dynamics")


@pytest.fixture(scope="module")
def comparison(tmp_path_factory):
    campaign = compare_campaign(participants=6)
    rows = make_rows(campaign) + compare_rows(campaign)
    return write_report(tmp_path_factory.mktemp("comparison"), campaign, rows, [])[-1].as_uri()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_figures_of_the_comparison_are_drawn(visit, comparison, scheme):
    page = visit(comparison, color_scheme=scheme)
    page.wait_for_selector("body[data-drawn=yes]")
    assert points_drawn(page, "methods-transfer") == 5 * 4 * 3 * 30
    assert points_drawn(page, "methods-cumulative") == 5 * 4 * 30
    assert points_drawn(page, "methods-teachers") == 5 * 4 * 6
    assert points_drawn(page, "methods-partitions") == 5 * 4
    assert page.locator("#methods-partitions .boxlayer .box").count() == 5 * 4
    assert page.locator("#methods-cumulative .barlayer .point").count() == 5 * 4
    ink = page.evaluate("document.querySelector('#methods-transfer .x20title').style.fill")
    assert ink == {"light": "rgb(27, 27, 27)", "dark": "rgb(236, 236, 236)"}[scheme]
    assert page.locator("#claims .verdict").count() == len(CLAIMS)


def test_the_comparison_fits_a_phone_and_paper(visit, comparison):
    page = visit(comparison, viewport={"width": 390, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    for name in METHOD_FIGURES:
        width = page.evaluate(f"document.getElementById('methods-{name}')._fullLayout.width")
        assert width == 680


def test_a_pair_clicked_in_the_comparison_is_chosen(visit, comparison):
    page = visit(comparison)
    page.evaluate(
        "document.getElementById('methods-transfer').emit('plotly_click',"
        "{points: [{customdata: 'specialized/t03-s01'}]})"
    )
    assert page.input_value("#pair") == "specialized/t03-s01"


def test_a_campaign_without_tuning_has_a_working_page(visit, tmp_path):
    campaign = compare_campaign(participants=3, stages=("compare",))
    rows = pretrain_rows(campaign) + compare_rows(campaign)
    page = visit(write_report(tmp_path, campaign, rows, [])[-1].as_uri())
    assert points_drawn(page, "methods-transfer") == 5 * 4 * 3 * 6
    page.evaluate(
        "document.getElementById('methods-transfer').emit('plotly_click',"
        "{points: [{customdata: 'uniform/t00-s01'}]})"
    )
    assert not page.locator("#surface-section").is_visible()


@pytest.fixture(scope="module")
def many_teachers(tmp_path_factory):
    campaign = many_campaign(replicates=3)
    folder = tmp_path_factory.mktemp("many")
    return write_report(folder, campaign, many_rows(campaign), [])[-1].as_uri()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_figures_of_many_teachers_are_drawn(visit, many_teachers, scheme):
    page = visit(many_teachers, color_scheme=scheme)
    page.wait_for_selector("body[data-drawn=yes]")
    assert points_drawn(page, "many-combined") == 5 * 5 * 2
    # Two curves, their bands and two levels in each of five panels.
    assert page.locator("#many-federated .scatterlayer .js-line").count() == 5 * 6
    assert page.locator("#many-federated .legendtext").all_text_contents() == [
        "FedAvg from random weights",
        "KD, then FedAvg",
        "KD alone",
        "Best participant alone",
    ]
    ink = page.evaluate("document.querySelector('#many-federated .x5title').style.fill")
    assert ink == {"light": "rgb(27, 27, 27)", "dark": "rgb(236, 236, 236)"}[scheme]


def test_the_panels_of_many_teachers_have_one_range(visit, many_teachers):
    page = visit(many_teachers)
    page.wait_for_selector("body[data-drawn=yes]")
    for name in ("many-combined", "many-federated"):
        for axis in ("xaxis", "yaxis"):
            ranges = page.evaluate(
                f"['', 2, 3, 4, 5].map((i) => String("
                f"document.getElementById('{name}')._fullLayout['{axis}' + i].range))"
            )
            assert len(set(ranges)) == 1


def test_many_teachers_fit_a_phone_and_paper_and_keep_their_titles_in_sight(visit, many_teachers):
    page = visit(many_teachers, viewport={"width": 390, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    grid = page.locator(".grid")
    grid.evaluate("table => table.parentNode.scrollLeft = 300")
    assert grid.locator("tbody th").first.bounding_box()["x"] >= 0
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    for name in ("combined", "federated"):
        width = page.evaluate(f"document.getElementById('many-{name}')._fullLayout.width")
        assert width == 680


def test_rounds_sort_with_those_never_reached_last(visit, many_teachers):
    page = visit(many_teachers)
    table = page.locator("table.sortable", has_text="Rounds after KD")
    header = table.locator("th", has_text="Rounds from random weights")
    header.locator("button").click()
    place = header.evaluate("header => 1 + [...header.parentNode.children].indexOf(header)")
    texts = table.locator(f"tbody td:nth-child({place})").all_inner_texts()
    censored = [text.startswith(">") for text in texts]
    assert any(censored) and censored == sorted(censored)
    known = [int(text) for text in texts if not text.startswith(">")]
    assert known == sorted(known)


def test_the_dashboard_works_behind_its_wrapper(visit, tmp_path):
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    url = f"sqlite:///{tmp_path}/kdopt.db"
    storage = optuna.storages.RDBStorage(url)
    study = optuna.create_study(storage=storage, study_name="toy/uniform/tune/t00-s01")
    study.optimize(
        lambda t: t.suggest_float("alpha", 0, 1) * t.suggest_float("temperature", 0.1, 7), 12
    )
    storage.engine.dispose()
    with serving(url) as home:
        page = visit(home)
        page.get_by_text("toy/uniform/tune/t00-s01").first.wait_for()
        page.goto(f"{home}dashboard/studies/1/analytics")
        page.locator(".js-plotly-plot .main-svg").first.wait_for()
        page.goto("about:blank")


@contextlib.contextmanager
def serving(url, **settings):
    with make_server(url, port=0, **settings) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """The URL of a store with the index studies of two campaigns, and their ids by name."""
    opened = new_store(tmp_path_factory.mktemp("published") / "kdopt.db")
    tuned, many = make_campaign(name="toy"), many_campaign(name="many")
    publish(opened, index_studies(tuned, make_rows(tuned), {}))
    publish(opened, index_studies(many, many_rows(many), {}))
    with opened.read() as connection:
        listed = connection.execute(sa.text("SELECT study_name, study_id FROM studies")).all()
    opened.close()
    return str(opened.url), dict(listed)


@pytest.mark.parametrize(
    ("name", "points", "lines"), [("toy/uniform/index", 6 + 6 + 12, 0), ("many/index", 50, 20)]
)
def test_the_dashboard_draws_the_figures_of_an_index_study(visit, published, name, points, lines):
    url, ids = published
    with serving(url) as home:
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
    with serving(url, token="0123456789abcdef") as home:
        page = context.new_page()
        page.set_default_timeout(15_000)
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
        seen = []
        for _ in range(2):
            header.get_by_text("accuracy_gap").click()
            page.wait_for_timeout(300)
            seen.append(gaps())
        assert sorted(before) in seen and sorted(before, reverse=True) in seen
        page.goto(f"{study}/note")
        page.get_by_role("heading", name="Best temperature and alpha: Uniform").wait_for()
        assert page.locator("td", has_text="t02-s00").count() == 1
        page.goto("about:blank")
    context.close()
    assert troubles == []
