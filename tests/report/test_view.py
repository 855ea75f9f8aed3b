import csv
import io
import json
from dataclasses import replace

import pandas as pd
import pytest

from kdopt.campaign.settings import PartitionSettings
from kdopt.report.blocks import Block, PageFigure, Section
from kdopt.report.page import FAILURES_SHOWN, make_view
from tests.analysis.synthetic import make_campaign, make_rows


def test_at_most_fifty_failures_are_listed_and_the_rest_counted():
    campaign = make_campaign(participants=5)
    failed = [
        replace(row, state="FAIL", outcome=None, error="NaN loss") if row.stage == "tune" else row
        for row in make_rows(campaign)
    ]
    view = make_view(campaign, failed)
    assert len(view.failures) == FAILURES_SHOWN == 50
    assert view.failures_left_out == 20 * 9 - 50


def test_every_figure_has_its_numbers_and_figures_of_one_table_share_them():
    partitions = (PartitionSettings("uniform"), PartitionSettings("label_dirichlet"))
    campaign = make_campaign(partitions=partitions)
    view = make_view(campaign, make_rows(campaign))
    payload = view.payload
    assert payload["files"].keys() == payload["figures"].keys() == view.drawn.keys()
    names = [name for name, _ in payload["files"].values()]
    assert len(names) == len(set(names))
    maps = {payload["files"][f"map-1-{key}"][1] for key in ("alpha", "temperature", "gain")}
    assert len(maps) == 1
    lines = list(csv.DictReader(io.StringIO(payload["sheets"][maps.pop()])))
    best = view.best[view.best["partition"] == "label_dirichlet"]
    assert [float(line["alpha"]) for line in lines] == best["alpha"].tolist()
    assert [float(line["test_gain"]) for line in lines] == pytest.approx(
        best["test_gain"].tolist(), abs=0.0051
    )
    json.dumps(payload, allow_nan=False)


def test_further_sections_stand_before_the_claims_with_their_figures():
    campaign = make_campaign()
    figure = {"data": [], "layout": {"height": 100}}
    data = pd.DataFrame({"x": [1.0]})
    part = Section(
        "more", "More", "", [Block("A", "", "more-a")], {"more-a": PageFigure("a", figure, data)}
    )
    view = make_view(campaign, make_rows(campaign), more=[part])
    assert [p.id for p in view.parts] == ["maps", "methods", "many", "more"]
    assert view.payload["figures"]["more-a"] == figure
