import importlib.util
import re
import struct

import pytest

from kdopt.errors import KdoptError
from kdopt.report import images as module
from kdopt.report.blocks import ReportData
from kdopt.report.export import write_report
from kdopt.report.images import draw_images, set_paper_colours, simplify_svg
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


POINT = (
    '<path class="point plotly-customdata" transform="translate({},{})" d="M2.5,0A2.5,2.5 0 1,1Z" '
    'style="opacity: 0.8; fill: rgb(230, 159, 0);"/>'
)


def draw(figure="30f1f9", trace="f6529a"):
    points = POINT.format(99.23456, 36.06) + POINT.format(197.12, 17.46)
    return (
        '<svg class="main-svg" xmlns="http://www.w3.org/2000/svg" '
        'xmlns:xlink="http://www.w3.org/1999/xlink" width="620" height="440">'
        f'<defs id="defs-{figure}"><g class="clips">'
        f'<clipPath id="clip{figure}xyplot" class="plotclip"><rect width="227.10625"/></clipPath>'
        f'<clipPath class="axesclip" id="clip{figure}x2y"><rect width="1"/></clipPath></g></defs>'
        f'<g class="trace scatter trace{trace}" style="opacity: 1;">'
        f'<g class="points" clip-path="url(#clip{figure}xyplot)">{points}</g>'
        '<g class="errorbars"/><g class="layer"><g class="text"></g></g></g>'
        '<path class="xlines-below"/><text x="1.23456">at 0.123456</text></svg>'
    )


def test_names_that_plotly_draws_by_lot_do_not_matter():
    assert simplify_svg(draw()) == simplify_svg(draw("123456", "abcdef"))


def test_the_shape_of_a_point_is_written_once():
    svg = simplify_svg(draw())
    assert svg.count("M2.5,0A2.5") == 1
    places = re.findall(r'<use xlink:href="#(\w+)" x="([\d.]+)" y="([\d.]+)"/>', svg)
    assert places == [("point0", "99.23", "36.06"), ("point0", "197.12", "17.46")]
    assert f'<path id="{places[0][0]}"' in svg


def test_what_shows_nothing_is_left_out_and_what_is_used_stays():
    svg = simplify_svg(draw())
    assert "errorbars" not in svg and "layer" not in svg and "xlines" not in svg
    assert "axesclip" not in svg
    used = re.search(r"url\(#(\w+)\)", svg)
    assert f'<clipPath id="{used[1]}" class="plotclip"><rect width="227.11"/>' in svg


def test_the_style_of_texts_is_written_once_and_their_classes_stay():
    text = '<text{} x="1" style="font-family: &quot;A B&quot;, sans-serif; fill: red;">a</text>'
    titled = text.format(' class="xtitle"')
    svg = simplify_svg(f"<svg>{text.format('')}{titled}</svg>")
    assert svg == (
        '<svg><style>.text0{font-family: "A B", sans-serif; fill: red;}</style>'
        '<text class="text0" x="1">a</text><text class="text0 xtitle" x="1">a</text></svg>'
    )


def test_digits_of_texts_stay():
    assert ">at 0.123456</text>" in simplify_svg(draw())


def test_a_drawing_without_points_stays_what_it_is():
    assert (
        simplify_svg('<svg width="1"><rect x="1"/></svg>') == '<svg width="1"><rect x="1"/></svg>'
    )
