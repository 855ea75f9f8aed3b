"""Tables in a real browser: sorted, filtered, scrolled and downloaded."""

from __future__ import annotations

import pytest

from kdopt.analysis.paper.claims import CLAIMS
from tests.analysis.synthetic import large_campaign
from tests.report.in_browser import PHONE, downloaded, rows_of


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


def test_a_filter_takes_what_the_page_shows_and_the_names_of_the_store(visit, address):
    page = visit(address)
    table, _ = pairs_table(page)
    search, rows = page.get_by_label("Filter Verdicts on 180 pairs"), table.locator("tbody tr")
    drawn = rows.first.locator("td").first  # as a later draw of a partition is shown
    drawn.evaluate(
        "cell => { cell.textContent = 'Quantity skew, draw 2';"
        " cell.dataset.key = 'quantity_skew-2'; }"
    )
    pair = rows.nth(1).locator("[data-pair]").get_attribute("data-pair")
    label = rows.first.locator("[data-pair]").inner_text()
    teacher = int(label[1:3])
    for typed, left in (
        ("partition=quantity skew draw 2", 1),
        ("Partition = Quantity skew, draw 2", 1),
        ('partition="Quantity skew, draw 2"', 1),
        ("quantity_skew-2", 1),
        ("partition=quantity_skew-2 accuracy before>0", 1),
        ("partition=quantity skew 2, verdict=distil", 1),
        ('partition="quantity skew draw 1"', 0),
        ('partition="quantity skew draw 22"', 0),
        ("partition=quantity skew draw", 1),
        ("quantity skew draw 2", 1),
        ("draw 2", 1),
        (f"Quantity skew, draw 2 {label}", 1),
        (f"{label} quantity_skew draw 2", 1),
        (f"partition = Quantity skew, draw 2 and teacher={teacher}", 1),
        (f"Quantity skew, draw 2 {label} draw 3", 0),
        ("partition=2", 1),
        (pair, 1),
    ):
        search.fill(typed)
        assert table.locator("tbody tr:visible").count() == left, typed
    for shown, stored in (
        ("T>1", "temperature > 1"),
        ("accuracy before > 50 %", "accuracy_before_percent>50"),
        ("validation gain > 1 pp, T=1", "validation_gain_pp>1 temperature=1"),
        ("label dirichlet", "partition=label_dirichlet"),
        ("accuracy gap (pp) > 3", "accuracy_gap>3"),
    ):
        counts = []
        for typed in (shown, stored):
            search.fill(typed)
            counts.append(table.locator("tbody tr:visible").count())
        assert 0 < counts[0] < 180 and counts[0] == counts[1], (shown, stored)


def test_a_filter_leads_one_pair_the_arrows_and_the_button_below(visit, address):
    page = visit(address)
    search = page.get_by_label("Filter Verdicts on 180 pairs")
    verdicts = page.locator("#pairs details").first
    page.select_option("#pair", "uniform/t00-s01")
    search.fill("partition=label_dirichlet student=3")
    assert verdicts.get_by_text("Scroll, or show all 9 rows").is_visible()
    left = page.locator("#pairs [data-pair]:visible").evaluate_all(
        "all => all.map((one) => one.dataset.pair)"
    )
    assert page.input_value("#pair") == left[0]
    assert (
        left[0].split("/")[1] in page.inner_text("#pair-verdict") and f"pair={left[0]}" in page.url
    )
    seen = set()
    for _ in left:
        page.click("#next")
        seen.add(page.input_value("#pair"))
    assert seen == set(left)
    assert not page.locator("#pair-outside").is_visible()
    search.fill("partition=label_dirichlet student=3 teacher=2")
    assert not verdicts.get_by_text("Scroll, or show").is_visible()
    outside = visit(f"{address}#filter-verdicts-on-pairs=uniform&pair=label_dirichlet/t00-s03")
    assert outside.input_value("#pair") == "label_dirichlet/t00-s03"
    assert outside.locator("#pair-outside").is_visible()
    outside.get_by_label("Filter Verdicts on 180 pairs").fill("")
    assert not outside.locator("#pair-outside").is_visible()


@pytest.mark.parametrize("width", [390, 1400])
def test_what_goes_on_to_the_right_says_so_and_leads_there(visit, whole, width):
    page = visit(whole, viewport={"width": width, "height": 900})
    page.evaluate("for (const one of document.querySelectorAll('details')) one.open = true")
    page.wait_for_timeout(300)
    found = page.locator(".scroll").evaluate_all(
        """all => all.filter((box) => box.clientWidth).map((box) => {
            const cue = box.previousElementSibling.querySelector(".cue");
            const shown = Boolean(cue.offsetWidth);
            return [box.scrollWidth > box.clientWidth + 1, shown, box.matches(".goes-on")];
        })"""
    )
    assert all(len(set(one)) == 1 for one in found)
    assert width > 390 or sum(shown for _, shown, _ in found) > 10
    if width > 390:
        return
    box = page.locator("#pairs .scroll").first
    cue = box.locator("xpath=preceding-sibling::p[1]").locator(".cue")
    heads, places = box.locator("thead th:visible"), []
    edge = box.bounding_box()["x"] + box.bounding_box()["width"]
    for _ in range(20):
        cut = sum(x["x"] + x["width"] > edge + 2 for x in [h.bounding_box() for h in heads.all()])
        if not cut:
            break
        places.append(f"{cut} more column{'s' * (cut > 1)}")
        assert cue.inner_text() == f"{places[-1]} \u2192"
        cue.click()
        page.wait_for_timeout(50)
    assert places and len(set(places)) == len(places)
    assert cue.inner_text() == "\u2190 Back to the left"
    cue.click()
    assert box.evaluate("box => box.scrollLeft") == 0


def test_a_phone_names_the_partition_below_each_pair(visit, address):
    page = visit(address, viewport={"width": 390, "height": 800})
    table, _ = pairs_table(page)
    cell = table.locator("tbody td.pair").first
    where = cell.evaluate("cell => getComputedStyle(cell, '::after').content")
    assert where == '"Label dirichlet"' or where == '"Uniform"'
    assert not table.locator("th", has_text="Partition").is_visible()
    box = page.locator("#pairs .tall").first.bounding_box()
    after = table.locator("th", has_text="Accuracy after").bounding_box()
    assert after["x"] + after["width"] <= box["x"] + box["width"] + 1  # verdict, before and after


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


def test_a_long_table_says_that_it_has_more_rows_and_shows_them(visit, address):
    page = visit(address)
    box = page.locator("#pairs .tall").first
    assert box.evaluate("box => box.scrollHeight > box.clientHeight")
    page.get_by_role("button", name="Scroll, or show all 180 rows").first.click()
    assert box.evaluate("box => box.scrollHeight <= box.clientHeight + 1")
    page.get_by_role("button", name="Show fewer rows").click()
    assert box.evaluate("box => box.scrollHeight > box.clientHeight")


def test_a_pair_is_found_by_its_numbers_and_is_then_the_one_below(visit, address):
    page = visit(f"{address}#pairs")
    rows = page.locator("#pairs table").first.locator("tbody tr:not([hidden])")
    search = page.locator("#pairs input[type=search]").first
    of_student_0 = large_campaign().participants - 1
    for typed, left in (
        ("uniform student=0", of_student_0),
        ("uniform teacher>=2 student < 1", of_student_0 - 1),
        ("uniform, teacher = 2, student = 0", 1),
        ("uniform teacher 2 student 0", 1),
    ):
        search.fill(typed)
        assert rows.count() == left, typed
    assert page.locator("#pair-verdict").inner_text().startswith("Uniform, t02-s00: ")
    assert "pair=uniform/t02-s00" in page.url
    verdicts = page.locator("#pairs details").first
    assert not verdicts.get_by_text("Scroll, or show all").is_visible()


def test_a_laptop_shows_every_column_of_the_verdicts_and_a_phone_keeps_the_pair(visit, address):
    page = visit(address, viewport={"width": 1368, "height": 800})
    box = page.locator("#pairs .tall").first
    assert box.evaluate("box => box.scrollWidth <= box.clientWidth")
    page.set_viewport_size({"width": 390, "height": 800})
    box.evaluate("box => { box.scrollLeft = 400; }")
    left = box.bounding_box()["x"]
    for cell in ("thead .pair", "tbody .pair"):
        assert abs(box.locator(cell).first.bounding_box()["x"] - left) < 1


def test_a_tap_on_a_term_says_what_it_means(visit, address):
    page = visit(address)
    term = page.locator("#main abbr[title]").first
    term.wait_for(state="attached")
    meaning = term.get_attribute("title").rstrip(".")
    term.click()
    assert meaning in page.locator(".meaning").inner_text()
    term.click()
    assert page.locator(".meaning").count() == 0


ROOM_BELOW = """() => [...document.querySelectorAll("table")].map((table) => {
    const box = table.closest(".scroll") || table;
    const { left, right, bottom } = box.getBoundingClientRect();
    const others = [...document.querySelectorAll("h2, h3, h4, p, summary, figcaption, .scroll")];
    const below = others.filter((other) => other.checkVisibility() && !other.contains(table))
        .filter((other) => !box.contains(other) && !other.closest(".tools"))
        .map((other) => other.getBoundingClientRect())
        .filter((it) => it.height && it.bottom > bottom && it.left < right && left < it.right);
    return table.checkVisibility() ? Math.min(...below.map((it) => it.top - bottom)) : 100;
})"""


@pytest.mark.parametrize("width", [390, 1400])
@pytest.mark.parametrize("fixture", ["comparison", "whole"])
def test_no_table_touches_what_follows_it(visit, request, fixture, width):
    page = visit(request.getfixturevalue(fixture), viewport={"width": width, "height": 900})
    page.wait_for_selector("body[data-drawn=yes]")
    assert page.locator("#tried").is_visible()
    rooms = page.evaluate(ROOM_BELOW)
    assert len(rooms) > 5 and min(rooms) >= 7.5
