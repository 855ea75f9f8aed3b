"""What tests of the page in a real browser share: coming near figures, clicks, downloads."""

from __future__ import annotations

import csv
import io

PHONE = {"width": 390, "height": 844}
INKS = {"light": "rgb(27, 27, 27)", "dark": "rgb(236, 236, 236)"}


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
