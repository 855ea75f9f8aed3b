"""The section on many teachers in a real browser."""

from __future__ import annotations

import pytest

from tests.report.in_browser import INKS, ink_of, points_drawn, read


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
