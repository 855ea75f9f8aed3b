"""The section on methods in a real browser."""

from __future__ import annotations

import pytest

from kdopt.analysis.paper.claims import CLAIMS
from tests.report.in_browser import INKS, emit, ink_of, points_drawn, read


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


def test_a_pair_clicked_in_the_comparison_is_chosen(visit, comparison):
    page = visit(comparison)
    emit(page, "methods-transfer", "specialized/t03-s01")
    assert page.input_value("#pair") == "specialized/t03-s01"
