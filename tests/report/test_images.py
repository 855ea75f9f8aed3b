import importlib.util
import re
import struct

import pytest

from kdopt.errors import KdoptError
from kdopt.report import images as module
from kdopt.report.blocks import ReportData
from kdopt.report.export import write_report
from kdopt.report.images import draw_images, set_paper_colours
from kdopt.report.page import list_figures, make_sections
from tests.analysis.synthetic import compare_campaign, compare_rows, make_campaign, make_rows
from tests.browser import CHROMIUM


def drawn_of(campaign, rows):
    figures = list_figures(make_sections(ReportData(campaign, rows)))
    return {figure.id: figure for figure in figures}


@pytest.fixture
def one():
    campaign = make_campaign()
    return drawn_of(campaign, make_rows(campaign))["map-0-gain"]


def test_axes_and_background_are_those_of_paper_and_hidden_traces_are_left_out(one):
    figure = set_paper_colours(one.figure)
    assert [trace["name"] for trace in figure["data"]] == [
        "Vanilla (T=1, alpha=0.5)",
        "Tuned, selected on validation",
    ]
    assert figure["layout"]["paper_bgcolor"] == "#ffffff"
    for key in ("xaxis", "yaxis"):
        assert figure["layout"][key]["gridcolor"] == "#d5d5d5"
        assert figure["layout"][key]["title"] == one.figure["layout"][key]["title"]
    assert "gridcolor" not in one.figure["layout"]["xaxis"]


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on the PATH")
def test_every_figure_becomes_a_file_in_every_format(tmp_path, monkeypatch):
    monkeypatch.setenv("BROWSER_PATH", str(CHROMIUM))
    campaign = compare_campaign(participants=2)
    rows = make_rows(campaign) + compare_rows(campaign)
    paths = write_report(tmp_path, ReportData(campaign, rows), ("svg", "png"))
    found = sorted(p.name for p in (tmp_path / "figures").iterdir())
    assert found == sorted(p.name for p in paths if p.parent.name == "figures")
    names = [item.name for item in drawn_of(campaign, rows).values()]
    assert found == sorted(f"{name}.{ending}" for name in names for ending in ("svg", "png"))
    svg = (tmp_path / "figures" / "fig6-methods.svg").read_text()
    assert svg.startswith("<svg") and "Accuracy gain on test (pp)" in svg
    assert svg.count('class="box"') == 5 * 4
    png = (tmp_path / "figures" / "fig6-methods.png").read_bytes()
    width, height = struct.unpack(">II", png[16:24])
    size = re.search(r'width="(\d+)" height="(\d+)"', svg)
    assert (width, height) == (2 * int(size[1]), 2 * int(size[2]))


def test_without_kaleido_the_message_says_what_to_install(one, monkeypatch):
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(KdoptError, match=r"pip install 'kdopt\[figures\]'"):
        draw_images([one], ["svg"])


@pytest.mark.skipif(importlib.util.find_spec("kaleido") is None, reason="kaleido is not there")
def test_without_a_browser_nothing_is_written_and_the_message_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("BROWSER_PATH", str(tmp_path / "nowhere"))
    campaign = make_campaign()
    with pytest.raises(KdoptError, match=r"need Chrome or Chromium.*BROWSER_PATH"):
        write_report(tmp_path / "out", ReportData(campaign, make_rows(campaign)), ["svg"])
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(importlib.util.find_spec("kaleido") is None, reason="kaleido is not there")
def test_a_browser_that_fails_is_named(one, tmp_path, monkeypatch):
    broken = tmp_path / "chrome"
    broken.write_text("#!/bin/sh\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("BROWSER_PATH", str(broken))
    with pytest.raises(KdoptError, match="the browser failed"):
        draw_images([one], ["svg"])
