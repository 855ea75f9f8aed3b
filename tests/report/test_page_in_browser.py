"""The page in a real browser, where there is one: what a reader does, and what must then show."""

from __future__ import annotations

import csv
import io
import json

import pytest
from pypdf import PdfReader

from kdopt.analysis.paper.claims import CLAIMS
from kdopt.campaign.record import SettingLine
from kdopt.features.measurements import PartitionMeasurements
from kdopt.report.blocks import ReportData
from kdopt.report.export import write_report
from tests.analysis.synthetic import (
    compare_campaign,
    compare_rows,
    large_campaign,
    make_campaign,
    make_rows,
    outcome,
    pretrain_rows,
    tune_row,
)
from tests.report.many_synthetic import many_campaign, many_rows

PHONE = {"width": 390, "height": 844}
INKS = {"light": "rgb(27, 27, 27)", "dark": "rgb(236, 236, 236)"}


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    campaign = large_campaign()
    folder = tmp_path_factory.mktemp("report")
    settings = [SettingLine("tune.t2_scale", "true", "paper, Eq. 2")]
    return write_report(folder, ReportData(campaign, make_rows(campaign), settings))[-1].as_uri()


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A campaign with every stage and measured sizes."""
    campaign = many_campaign(
        participants=6, stages=("tune", "compare", "combine", "federate"), replicates=2
    )
    rows = make_rows(campaign) + compare_rows(campaign) + many_rows(campaign)[30:]
    measurements = {
        p.name: PartitionMeasurements(((5, 0), (3, 9)) * 3) for p in campaign.partitions
    }
    folder = tmp_path_factory.mktemp("whole")
    return write_report(folder, ReportData(campaign, rows, measurements=measurements))[-1].as_uri()


@pytest.fixture(scope="module")
def comparison(tmp_path_factory):
    campaign = compare_campaign(participants=6)
    rows = make_rows(campaign) + compare_rows(campaign)
    return write_report(tmp_path_factory.mktemp("comparison"), ReportData(campaign, rows))[
        -1
    ].as_uri()


@pytest.fixture(scope="module")
def many_teachers(tmp_path_factory):
    campaign = many_campaign(replicates=3)
    folder = tmp_path_factory.mktemp("many")
    return write_report(folder, ReportData(campaign, many_rows(campaign)))[-1].as_uri()


def read(page, *figures):
    """Come near figures, as a reader does, and wait until they are drawn."""
    for figure in figures:
        page.evaluate(f"document.getElementById('{figure}').scrollIntoView()")
        page.wait_for_selector(f"#{figure} .main-svg", state="attached")


def points_drawn(page, figure):
    read(page, figure)
    return page.locator(f"#{figure} .scatterlayer .point").count()


def ink_of(page, figure, title="xtitle"):
    return page.evaluate(f"document.querySelector('#{figure} .{title}').style.fill")


def emit(page, figure, pair):
    read(page, figure)
    page.evaluate(
        f"document.getElementById('{figure}').emit('plotly_click',"
        f"{{points: [{{customdata: '{pair}'}}]}})"
    )


def downloaded(page, button):
    with page.expect_download() as waiting:
        button.click()
    return waiting.value.suggested_filename, waiting.value.path().read_bytes()


def rows_of(text):
    return list(csv.DictReader(io.StringIO(text.decode())))


def tools(page, figure):
    """The buttons under a figure."""
    read(page, figure)
    place = "element.closest('.scroll') || element"
    return page.locator(f"#{figure}").evaluate_handle(f"element => ({place}).nextElementSibling")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_figure_is_drawn_with_every_pair(visit, address, scheme):
    page = visit(address, color_scheme=scheme)
    for index in range(2):
        assert points_drawn(page, f"map-{index}-alpha") == 90
        assert points_drawn(page, f"map-{index}-temperature") == 90
        assert points_drawn(page, f"map-{index}-gain") == 2 * 90
    assert ink_of(page, "map-0-gain") == INKS[scheme]


def test_only_what_is_near_is_drawn_until_the_reader_comes(visit, address):
    page = visit(address)
    page.wait_for_selector("body[data-drawn=yes]")
    assert page.locator("#map-1-gain .main-svg").count() == 0
    # The place is kept, so nothing moves under the reader when it is drawn.
    before = page.evaluate("document.documentElement.scrollHeight")
    read(page, "map-1-gain")
    assert page.evaluate("document.documentElement.scrollHeight") == before


def test_the_theme_is_changed_by_a_button_whatever_the_system_says(visit, address):
    page = visit(address, color_scheme="dark")
    read(page, "map-0-gain")
    assert page.inner_text("#theme") == "Light"
    page.click("#theme")
    assert page.inner_text("#theme") == "Dark"
    assert ink_of(page, "map-0-gain") == INKS["light"]
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert paper == "rgb(255, 255, 255)"
    page.click("#theme")
    assert ink_of(page, "map-0-gain") == INKS["dark"]


def test_the_oracle_appears_when_its_legend_entry_is_clicked(visit, address):
    page = visit(address)
    read(page, "map-0-gain")
    page.locator("#map-0-gain .legendtoggle").nth(2).click()
    page.locator("#map-0-gain .scatterlayer .point").nth(269).wait_for(state="attached")
    assert points_drawn(page, "map-0-gain") == 270


def test_no_button_sends_a_chart_away(visit, address):
    page = visit(address)
    read(page, "map-0-gain", "surface")
    titles = page.eval_on_selector_all(".modebar-btn", "all => all.map(b => b.dataset.title)")
    assert set(titles) == {"Zoom", "Pan", "Reset axes"}


def pairs_table(page):
    """The table of verdicts, and the place of a column in it, from its heading."""
    table = page.locator("#pairs table.sortable").first
    headings = table.locator("th").all_inner_texts()
    return table, {" ".join(text.split()): place for place, text in enumerate(headings)}


def test_tables_sort_both_ways_as_numbers(visit, address):
    page = visit(address)
    table, places = pairs_table(page)
    header = table.locator("th", has_text="Accuracy gap")
    column = f"tbody td:nth-child({1 + places['Accuracy gap (pp)']})"

    def gaps():
        return [float(text) for text in table.locator(column).all_inner_texts()]

    before = gaps()
    assert len(before) == 180
    for direction in ("descending", "ascending"):  # the greatest numbers first
        header.locator("button").click()
        assert header.get_attribute("aria-sort") == direction
        assert gaps() == sorted(before, reverse=direction == "descending")


def test_tables_show_the_rows_that_match_every_word_and_number(visit, address):
    page = visit(address)
    table, places = pairs_table(page)
    search, gap = page.get_by_label("Filter Verdicts on 180 pairs"), places["Accuracy gap (pp)"]

    def shown(text):
        search.fill(text)
        lines = table.locator("tbody tr:visible").all_inner_texts()
        return [line.split("\t") for line in lines]

    assert {line[0] for line in shown("dirichlet")} == {"Label dirichlet"}
    assert [line[1] for line in shown("UNIFORM t03-s07")] == ["t03-s07"]
    assert {line[0] for line in shown("label_dirichlet")} == {"Label dirichlet"}
    assert {line[0] for line in shown("partition=label_dirichlet")} == {"Label dirichlet"}
    assert {line[2].partition(":")[0] for line in shown("verdict=distil")} == {"distil"}
    strong = shown("dirichlet gap>10")
    assert strong and all(float(line[gap]) > 10 for line in strong)
    said = search.locator("xpath=following-sibling::*[@role='status']")
    assert said.inner_text() == f"{len(strong)} of 180 rows; Accuracy gap (pp) > 10"
    both = shown("gap>=-3 gap<0")
    assert both and all(-3 <= float(line[gap]) < 0 for line in both)
    # A name is that of a column first: T is no letter of "Partition" or "Test gain".
    hot = shown("T>1")
    assert hot and all(float(line[places["T"]]) > 1 for line in hot)
    assert said.inner_text() == f"{len(hot)} of 180 rows; T > 1"
    shown("gain>1")
    assert said.inner_text().endswith(
        "; Gain of the verdict (pp) > 1 (write more of the name for "
        "Net gain of the verdict (pp), Validation gain (pp))"
    )
    before = places["Accuracy before (%)"]
    for text in ("dirichlet, accuracy before>50", 'dirichlet "accuracy before" > 50'):
        good = shown(text)
        assert good and all(float(line[before]) > 50 for line in good), text
        assert {line[0] for line in good} == {"Label dirichlet"}, text
        assert said.inner_text() == f"{len(good)} of 180 rows; Accuracy before (%) > 50", text
    assert shown("nonsense>1") == []
    assert said.inner_text().endswith("no column of numbers is called nonsense")
    assert shown("<script>") == []
    assert len(shown("")) == 180
    assert said.inner_text() == ""


def test_a_sorted_and_filtered_table_is_downloaded_as_it_is_shown(visit, address):
    page = visit(address)
    table, _ = pairs_table(page)
    table.locator("th", has_text="Accuracy gap").locator("button").click()
    page.get_by_label("Filter Verdicts on 180 pairs").fill("uniform gap>5")
    button = page.locator("#pairs .tools", has=page.get_by_label("Filter Verd")).get_by_text("CSV")
    name, text = downloaded(page, button)
    assert name == "synthetic-verdicts-on-180-pairs.csv"
    lines = rows_of(text)
    gaps = [float(line["Accuracy gap (pp)"]) for line in lines]
    assert gaps == sorted(gaps, reverse=True) and min(gaps) > 5
    assert {line["Partition"] for line in lines} == {"Uniform"}
    assert len(lines) == table.locator("tbody tr:visible").count()


def test_every_figure_is_downloaded_as_data_and_as_a_picture(visit, whole):
    page = visit(whole, color_scheme="dark")
    figures = page.eval_on_selector_all(".plot", "all => all.map(one => one.id)")
    assert len(figures) == 1 + 5 * 3 + 1 + 5 + 2 + 3 + 3
    page.evaluate("for (const one of document.querySelectorAll('details')) one.open = true")
    names = set()
    for number, figure in enumerate(figures):
        if number % 8 == 7:  # Chromium drops a page's downloads beyond ten a second
            page.wait_for_timeout(1200)
        row = tools(page, figure).as_element()
        assert row.inner_text().split() == ["CSV", "SVG", "PNG"]
        csv_button, svg_button, _ = row.query_selector_all("button")
        name, text = downloaded(page, csv_button)
        lines = rows_of(text)
        assert lines and None not in lines[0].values(), figure
        names.add(name)
    assert len(names) == len(figures)
    name, picture = downloaded(page, svg_button)
    assert name.endswith(".svg") and picture.startswith(b"<svg")
    assert b"rgb(236, 236, 236)" not in picture  # dark on white, whatever the page looks like


def test_the_data_of_a_map_are_its_points(visit, address):
    page = visit(address)
    button = tools(page, "map-1-alpha").as_element().query_selector("button")
    name, text = downloaded(page, button)
    assert name == "synthetic-fig3-2-label-dirichlet-alpha.csv"
    lines = rows_of(text)
    drawn = page.evaluate(
        "document.getElementById('map-1-alpha').data.flatMap((t) => t.customdata || []).sort()"
    )
    named = [f"t{int(line['teacher']):02}-s{int(line['student']):02}" for line in lines]
    assert sorted(f"label_dirichlet/{name}" for name in named) == drawn
    assert {line["partition"] for line in lines} == {"label_dirichlet"}


def test_the_surface_of_a_chosen_pair_is_drawn_for_both_sets(visit, address):
    page = visit(address)
    read(page, "surface")
    shown = []
    for pair in ("uniform/t00-s01", "label_dirichlet/t09-s02"):
        page.select_option("#pair", pair)
        for name in ("validation", "test"):
            page.check(f"input[value={name}]")
            z = page.evaluate("document.getElementById('surface').data[0].z")
            assert (len(z), {len(row) for row in z}) == (11, {5})  # so its columns are wide enough
            shown.append(str(z))
            title = page.locator("#surface .cbtitle").text_content()
            assert title == f"Accuracy gain on {name} (pp)"
        assert pair in page.inner_text("#pair-text")
    assert len(set(shown)) == 4
    assert page.locator("#surface .legendtext").all_text_contents() == [
        "Selected",
        "Vanilla",
        "Oracle (selected on test)",
    ]
    name, text = downloaded(page, tools(page, "surface").as_element().query_selector("button"))
    assert name == "synthetic-surface-label-dirichlet-t09-s02.csv"
    lines = rows_of(text)
    assert len(lines) == 55
    test = page.evaluate("document.getElementById('surface').data[0].z.flat()")
    assert sorted(float(line["test_gain_pp"]) for line in lines) == sorted(test)


def test_the_classes_and_the_history_of_a_pair_are_those_of_its_trials(visit, comparison):
    page = visit(comparison)
    read(page, "surface", "classes", "history")
    pair = json.loads(page.locator("#kdopt-data").text_content())["pairs"]["specialized/t03-s01"]
    page.select_option("#pair", "specialized/t03-s01")
    bars = page.evaluate("document.getElementById('classes').data.map((t) => [t.name, t.y])")
    assert [name for name, _ in bars] == ["Tuned", "Vanilla", "DML", "DP-KD"]
    before, after = pair["scores"]["before"], pair["scores"]["after"]
    assert bars[0][1] == [pytest.approx(after["tuned"][0] - before[0]), None]
    change = after["dml"][0] - before[0]
    part = f"DML {max(0, change):.2f} / {max(0, -change):.2f}"
    assert part in page.inner_text("#classes-text")
    line = page.evaluate("document.getElementById('history').data[0]")
    gains = [trial[3] for trial in pair["history"]]
    assert line["y"] == [max(gains[: n + 1]) for n in range(len(gains))]
    assert page.locator("#history .scatterlayer .point").count() == 2 * len(gains)


def test_a_class_that_did_not_change_says_so_where_its_bar_would_be(visit, tmp_path):
    campaign = make_campaign()
    cell = {"temperature": 1.0, "alpha": 0.5, "replicate": 0}
    rows = [*pretrain_rows(campaign), tune_row(campaign, (0, 1), cell, 0, outcome(1, 0))]
    page = visit(write_report(tmp_path, ReportData(campaign, rows))[-1].as_uri())
    read(page, "classes")
    bars = page.evaluate("document.getElementById('classes').data.map((t) => [t.y, t.text])")
    assert [text == "no change" for y, texts in bars for text in texts] == [
        value == 0 for y, _ in bars for value in y
    ]
    assert "no change" in page.inner_text("#classes")


def test_failed_trials_are_crosses_in_the_history(visit, tmp_path):
    campaign = make_campaign()
    cell = {"temperature": 1.0, "alpha": 0.5, "replicate": 0}
    rows = [
        *pretrain_rows(campaign),
        tune_row(campaign, (0, 1), cell, 0, outcome(1, 2)),
        tune_row(campaign, (0, 1), {**cell, "alpha": 0.9}, 1, error="NaN loss"),
    ]
    page = visit(write_report(tmp_path, ReportData(campaign, rows))[-1].as_uri())
    read(page, "history")
    names = page.evaluate("document.getElementById('history').data.map((t) => [t.name, t.x])")
    assert names[-1] == ["Failed", [1]]


def test_a_pair_is_chosen_in_a_figure_in_the_table_and_by_arrows(visit, address):
    page = visit(address)
    emit(page, "map-1-gain", "label_dirichlet/t03-s07")
    assert page.input_value("#pair") == "label_dirichlet/t03-s07"
    page.locator("[data-pair='uniform/t05-s02']").click()
    assert page.input_value("#pair") == "uniform/t05-s02"
    page.click("#next")
    assert page.input_value("#pair") == "uniform/t05-s03"
    page.click("#previous")
    page.click("#previous")
    assert page.input_value("#pair") == "uniform/t05-s01"
    assert "uniform/t05-s01" in page.inner_text("#pair-text")


@pytest.mark.parametrize("fixture", ["address", "comparison", "many_teachers", "whole"])
def test_a_phone_scrolls_down_only(visit, request, fixture):
    page = visit(request.getfixturevalue(fixture), viewport=PHONE)
    for figure in page.eval_on_selector_all(".plot", "all => all.map(one => one.id)"):
        page.evaluate(f"document.getElementById('{figure}').scrollIntoView()")
    page.wait_for_timeout(300)
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    for tiny in page.locator("nav a").all():
        assert tiny.bounding_box()["height"] >= 20


def test_print_is_dark_on_light_and_fits_paper_even_from_a_wide_dark_screen(visit, whole):
    page = visit(whole, color_scheme="dark", viewport={"width": 2000, "height": 900})
    read(page, "methods-transfer")
    width = "document.getElementById('methods-transfer')._fullLayout.width"
    on_screen = page.evaluate(width)
    assert on_screen > 1000
    # The browser prints as soon as the event has been handled, so there is nothing to wait for:
    # figures that nobody came near are drawn too.
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    widths = page.evaluate(
        "[...document.querySelectorAll('.plot')].map((e) => e._fullLayout && e._fullLayout.width)"
    )
    assert set(widths) == {340, 680}
    assert ink_of(page, "map-0-gain") == INKS["light"]
    assert page.locator("#run details:not([open])").count() == 0
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert ink_of(page, "map-0-gain") == INKS["dark"]
    assert page.evaluate(width) == on_screen


def test_what_is_printed_has_every_figure(browser, whole, tmp_path):
    context = browser.new_context(color_scheme="dark")
    page = context.new_page()
    page.goto(whole)
    page.pdf(path=tmp_path / "page.pdf", format="A4")
    drawn = page.evaluate("[...document.querySelectorAll('.plot')].every((e) => e._fullLayout)")
    context.close()
    assert drawn
    assert (tmp_path / "page.pdf").stat().st_size > 50_000


def test_each_printed_page_of_a_long_table_has_its_head(visit, whole, tmp_path):
    page = visit(whole)
    heads = page.evaluate(
        """() => {
            const table = document.querySelector("#pairs .sortable");
            table.id = "long";
            return [...table.querySelectorAll("thead th")].map((head) => head.textContent);
        }"""
    )
    page.add_style_tag(
        content="body :not(:has(#long), #long, #long *) { display: none !important }"
    )
    page.pdf(path=tmp_path / "table.pdf", format="A4")
    sheets = PdfReader(tmp_path / "table.pdf").pages
    assert len(sheets) > 1 and len(heads) > 5
    for sheet in sheets:
        words = set(sheet.extract_text().split())
        assert set(" ".join(heads).split()) <= words


def test_one_pair_opens_with_the_first_of_the_table(visit, whole):
    page = visit(whole)
    first = page.locator("#pairs .sortable [data-pair]").first.get_attribute("data-pair")
    assert first != page.locator("#pair option").first.get_attribute("value")  # or it says nothing
    assert page.input_value("#pair") == first
    assert first in page.inner_text("#pair-verdict")


@pytest.mark.parametrize("sampler", ["tpe", "sequential"])
def test_other_samplers_and_an_empty_campaign_have_a_working_page(visit, tmp_path, sampler):
    campaign = make_campaign(tune_sampler=sampler)
    paths = write_report(tmp_path / "full", ReportData(campaign, make_rows(campaign)))
    page = visit(paths[-1].as_uri())
    read(page, "surface")
    kind = {"tpe": "scatter", "sequential": "heatmap"}[sampler]
    assert page.evaluate("document.getElementById('surface').data[0].type") == kind
    paths = write_report(tmp_path / "empty", ReportData(campaign, []))
    page = visit(paths[-1].as_uri())
    assert "no cell of this pair is complete yet" in page.inner_text("#pair-text")
    assert not page.locator("#surface-figure").is_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_figures_of_the_comparison_are_drawn(visit, comparison, scheme):
    page = visit(comparison, color_scheme=scheme)
    assert points_drawn(page, "methods-transfer") == 5 * 4 * 3 * 30
    assert points_drawn(page, "methods-cumulative") == 5 * 4 * 30
    assert points_drawn(page, "methods-teachers") == 5 * 4 * 6
    assert points_drawn(page, "methods-partitions") == 5 * 4
    read(page, "methods-dynamics")
    assert page.locator("#methods-partitions .boxlayer .box").count() == 5 * 4
    assert page.locator("#methods-cumulative .barlayer .point").count() == 5 * 4
    assert ink_of(page, "methods-transfer", "x20title") == INKS[scheme]
    assert page.locator("#claims .verdict").count() == len(CLAIMS)


def test_the_numbers_of_bars_stand_within_their_panels(visit, comparison):
    page = visit(comparison)
    read(page, "methods-cumulative")
    figure = page.locator("#methods-cumulative")
    panels = [one.bounding_box() for one in figure.locator(".bglayer .bg").all()] or [
        one.bounding_box() for one in figure.locator(".plot .barlayer").all()
    ]
    floors = page.evaluate(
        "Object.values(document.getElementById('methods-cumulative')._fullLayout._plots)"
        ".map((p) => [p.yaxis._offset, p.yaxis._offset + p.yaxis._length])"
    )
    top = figure.locator(".main-svg").first.bounding_box()["y"]
    texts = figure.locator(".barlayer .bartext").all()
    assert panels and len(texts) == 5 * 4
    for text in texts:
        box = text.bounding_box()
        inside = [
            low - 1 <= box["y"] - top and box["y"] + box["height"] - top <= high + 1
            for low, high in floors
        ]
        assert any(inside), text.text_content()


def test_claims_sort_by_number_and_by_verdict(visit, comparison):
    page = visit(comparison)
    page.click("#claims summary")
    table = page.locator("#claims table")

    def names():
        return table.locator("tbody th").all_inner_texts()

    assert names() == [f"C{n}" for n in range(1, len(CLAIMS) + 1)]
    table.locator("thead th", has_text="Claim").locator("button").click()
    assert names() == [f"C{n}" for n in range(1, len(CLAIMS) + 1)]
    table.locator("thead th", has_text="Verdict").locator("button").click()
    verdicts = table.locator(".verdict").all_inner_texts()
    assert verdicts == sorted(verdicts)


def test_a_pair_clicked_in_the_comparison_is_chosen(visit, comparison):
    page = visit(comparison)
    emit(page, "methods-transfer", "specialized/t03-s01")
    assert page.input_value("#pair") == "specialized/t03-s01"


def test_a_campaign_without_tuning_shows_the_classes_of_a_pair(visit, tmp_path):
    campaign = compare_campaign(participants=3, stages=("compare",))
    rows = pretrain_rows(campaign) + compare_rows(campaign)
    page = visit(write_report(tmp_path, ReportData(campaign, rows))[-1].as_uri())
    assert points_drawn(page, "methods-transfer") == 5 * 4 * 3 * 6
    emit(page, "methods-transfer", "uniform/t00-s01")
    read(page, "classes")
    assert page.locator("#classes .barlayer .bars").count() == 3
    assert not page.locator("#surface-figure").is_visible()
    assert 'add "tune" to stages' in page.inner_text("#pair-text")


def test_sizes_are_drawn_where_they_were_measured(visit, whole):
    page = visit(whole)
    read(page, "run-sizes")
    assert page.locator("#run-sizes .heatmaplayer image, #run-sizes .heatmaplayer path").count()
    z = page.evaluate("document.getElementById('run-sizes').data[0].z")
    assert z == [[5, 0], [3, 9]] * 3


def test_the_contents_lead_to_the_sections(visit, whole):
    page = visit(whole)
    for link in page.locator("nav a").all():
        link.click()
        target = link.get_attribute("href").removeprefix("#")
        top = page.evaluate(f"document.getElementById('{target}').getBoundingClientRect().top")
        bottom = page.evaluate("document.documentElement.scrollHeight - scrollY - innerHeight")
        assert abs(top) < 60 or bottom < 2, target


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_figures_of_many_teachers_are_drawn(visit, many_teachers, scheme):
    page = visit(many_teachers, color_scheme=scheme)
    assert points_drawn(page, "many-combined") == 5 * 5 * 2
    read(page, "many-federated")
    # Two curves, their bands and two levels in each of five panels.
    assert page.locator("#many-federated .scatterlayer .js-line").count() == 5 * 6
    assert page.locator("#many-federated .legendtext").all_text_contents() == [
        "FedAvg from random weights",
        "KD, then FedAvg",
        "KD alone",
        "Best participant alone",
    ]
    assert ink_of(page, "many-federated", "x5title") == INKS[scheme]


def test_the_panels_of_many_teachers_have_one_range(visit, many_teachers):
    page = visit(many_teachers)
    for name in ("many-combined", "many-federated"):
        read(page, name)
        for axis in ("xaxis", "yaxis"):
            ranges = page.evaluate(
                f"['', 2, 3, 4, 5].map((i) => String("
                f"document.getElementById('{name}')._fullLayout['{axis}' + i].range))"
            )
            assert len(set(ranges)) == 1


def test_titles_of_a_wide_table_stay_in_sight(visit, many_teachers):
    page = visit(many_teachers, viewport=PHONE)
    grid = page.locator("#many .grid")
    grid.evaluate("table => table.parentNode.scrollLeft = 300")
    assert grid.locator("tbody th").first.bounding_box()["x"] >= 0


def test_rounds_sort_with_those_never_reached_last(visit, many_teachers):
    page = visit(many_teachers)
    table = page.locator("table.sortable", has_text="Rounds after KD")
    header = table.locator("th", has_text="Rounds from random weights")
    header.locator("button").dblclick()  # the greatest first, then the least
    place = header.evaluate("header => 1 + [...header.parentNode.children].indexOf(header)")
    texts = table.locator(f"tbody td:nth-child({place})").all_inner_texts()
    censored = [text.startswith(">") for text in texts]
    assert any(censored) and censored == sorted(censored)
    known = [int(text) for text in texts if not text.startswith(">")]
    assert known == sorted(known)
