"""What a real browser prints of the page."""

from __future__ import annotations

from pypdf import PdfReader

from tests.report.in_browser import INKS, ink_of, read


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


def test_paper_has_every_section_and_all_rows_of_the_verdicts(visit, address):
    page = visit(address, viewport={"width": 718, "height": 1000})  # A4 within its margins
    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    for name in ("#short details", "#run details", "#claims details"):
        assert page.locator(name).count()
        assert page.locator(f"{name}:not([open])").count() == 0
    table = page.locator("#pairs .tall").first
    assert table.evaluate("box => box.scrollHeight <= box.clientHeight + 1")
    assert page.locator("#pairs [data-pair]:visible").count() == 180
    assert page.evaluate("document.documentElement.scrollWidth") <= 718
    folded = page.locator("details:not([open])")
    assert folded.count() and not folded.locator("visible=true").count()
    assert page.locator(".plot").evaluate_all(
        "all => all.every((x) => !x.closest('details:not([open])'))"
    )
    heads = page.locator("thead").evaluate_all("all => all.map((x) => getComputedStyle(x).display)")
    assert set(heads) <= {"table-header-group", "none"}


def test_no_heading_ends_a_sheet_and_no_figure_is_higher_than_one(browser, whole, tmp_path):
    context = browser.new_context()
    page = context.new_page()
    page.goto(whole)
    page.pdf(path=tmp_path / "page.pdf", format="Letter", prefer_css_page_size=True)
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    heights = page.locator(".plot").evaluate_all(
        "all => all.map((one) => [one._fullLayout.height, parseFloat(one.style.minHeight)])"
    )
    heads = page.locator("h2, h3, h4, summary, figcaption").all_text_contents()
    context.close()
    # A sheet of Letter is 980 pixels high within its margins; above a figure stand its words.
    assert heights and all(drawn == kept <= 860 for drawn, kept in heights)
    last = [sheet.extract_text().split("\n") for sheet in PdfReader(tmp_path / "page.pdf").pages]
    ends = {[line for line in lines if line.strip()][-1].strip(" \u25be") for lines in last}
    assert len(last) > 10 and not ends & {head.strip() for head in heads}
