"""The section on what was run in a real browser."""

from __future__ import annotations

from tests.report.in_browser import read


def test_sizes_are_drawn_where_they_were_measured(visit, whole):
    page = visit(whole)
    read(page, "run-sizes")
    assert page.locator("#run-sizes .heatmaplayer image, #run-sizes .heatmaplayer path").count()
    z = page.evaluate("document.getElementById('run-sizes').data[0].z")
    assert z == [[5, 0], [3, 9], [4, 4]] * 2
