"""Plotly's SVG, smaller and the same each time."""

from __future__ import annotations

import html
import re

_DRAWN_ID = re.compile(r'(?:id="defs-|class="trace [a-z]+ trace)([0-9a-f]{6})"')
_ATTRIBUTE = re.compile(r'(?<= )(?:id|class|clip-path|style|href)="[^"]*"')
_POINT = re.compile(
    r'<path class="point[^"]*" transform="translate\(([-\d.e]+),\s?([-\d.e]+)\)" '
    r'd="([^"]*)" style="([^"]*)"/>'
)
_TEXT_STYLE = re.compile(r'(<text\b[^>]*?) style="([^"]*)"([^>]*>)')
_CLIP = re.compile(r'<clipPath [^>]*\bid="([^"]*)".*?</clipPath>')
_GEOMETRY = re.compile(r' (?:d|x|y|width|height|transform)="[^"]*"')
_DIGITS = re.compile(r"\d+\.\d{3,}")
_EMPTY = re.compile(r'<g(?: (?:class|clip-path|style)="[^"]*")*(?:/>|></g>)|<path class="[^"]*"/>')


def simplify_svg(svg: str) -> str:
    """The same drawing in about a third of the bytes, without anything that was drawn by lot.

    Plotly writes shape and style of every point out, keeps places for what is not there, and names
    figures and traces by random numbers.

    Args:
        svg: As plotly.js made it.
    """
    svg = _share_text_styles(_share_points(_number_names(svg)))
    svg = _CLIP.sub(lambda clip: clip[0] if f"url(#{clip[1]})" in svg else "", svg)
    # A hundredth of a pixel; texts are left alone, where a third decimal may mean something.
    svg = _GEOMETRY.sub(
        lambda geometry: _DIGITS.sub(lambda number: f"{float(number[0]):.2f}", geometry[0]), svg
    )
    before = ""
    while before != svg:
        before, svg = svg, _EMPTY.sub("", svg)
    return svg


def _number_names(svg: str) -> str:
    names = {
        name: f"{place:06d}" for place, name in enumerate(dict.fromkeys(_DRAWN_ID.findall(svg)))
    }
    if not names:
        return svg
    # Within attributes that hold names only: digits of a coordinate may look like one.
    pattern = re.compile("|".join(names))
    return _ATTRIBUTE.sub(lambda m: pattern.sub(lambda name: names[name[0]], m[0]), svg)


def _share_points(svg: str) -> str:
    shapes: dict[tuple[str, str], str] = {}

    def refer(point: re.Match[str]) -> str:
        x, y, outline, style = point.groups()
        name = shapes.setdefault((outline, style), f"point{len(shapes)}")
        return f'<use xlink:href="#{name}" x="{x}" y="{y}"/>'

    svg = _POINT.sub(refer, svg)
    drawn = "".join(
        f'<path id="{name}" d="{outline}" style="{style}"/>'
        for (outline, style), name in shapes.items()
    )
    head, end, rest = svg.partition(">")
    return f"{head}{end}<defs>{drawn}</defs>{rest}" if shapes else svg


def _share_text_styles(svg: str) -> str:
    """Styles of texts as rules of one style sheet: most texts look alike."""
    rules: dict[str, str] = {}

    def refer(text: re.Match[str]) -> str:
        before, style, after = text.groups()
        name = rules.setdefault(style, f"text{len(rules)}")
        tag = before + after
        if ' class="' in tag:
            return tag.replace(' class="', f' class="{name} ', 1)
        return tag.replace("<text", f'<text class="{name}"', 1)

    svg = _TEXT_STYLE.sub(refer, svg)
    sheet = "".join(f".{name}{{{html.unescape(style)}}}" for style, name in rules.items())
    head, end, rest = svg.partition(">")
    return f"{head}{end}<style>{html.escape(sheet, quote=False)}</style>{rest}" if rules else svg
