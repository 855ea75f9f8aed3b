"""Figures as SVG: nothing drawn by lot, nothing written twice, the same drawing."""

import re

from kdopt.report.svg import simplify_svg

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
