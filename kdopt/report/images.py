"""Figures as files for papers and slides, drawn by kaleido in a Chrome or Chromium.

Plotly's SVG is made smaller, and the same each time: plotly writes shape and style of every point
out, keeps places for what is not there, and names figures and traces by random numbers.
"""

from __future__ import annotations

import asyncio
import html
import importlib.util
import logging
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal

from kdopt.errors import KdoptError
from kdopt.report.blocks import PageFigure
from kdopt.report.plotting import INK, PlainFigure

ImageFormat = Literal["svg", "png", "pdf"]
WIDTHS = {"narrow": 620, "wide": 1100}
"""Pixels: figures of one panel, and those of many."""
COLUMN_WIDTH = 150
"""Pixels that a column of panels has at least: draws of partitions are many."""
MOST_NARROW_BOXES = 24
TIMEOUT_S = 120.0
AXIS_GREY, PALE_GREY = "#5b5b5b", "#d5d5d5"


def draw_images(drawn: Sequence[PageFigure], formats: Sequence[ImageFormat]) -> dict[str, bytes]:
    """Every figure in every format, dark on white, by file name.

    Nothing is fetched: plotly.js comes with plotly, and MathJax is switched off.

    Raises:
        KdoptError: kaleido or the browser is missing, or the browser fails.
    """
    if importlib.util.find_spec("kaleido") is None:
        raise KdoptError(
            "figures as files need kaleido: pip install 'kdopt[figures]', or leave out --figures "
            "(the page itself saves each figure as SVG or PNG)"
        )
    from choreographer.errors import ChromeNotFoundError

    wanted = [(item, format_) for item in drawn for format_ in formats]
    for name in ("kaleido", "choreographer"):  # they log errors that they recover from
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        # In a thread of its own: a notebook's already has a loop running.
        with ThreadPoolExecutor(1) as thread:
            return thread.submit(lambda: asyncio.run(_draw_all(wanted))).result()
    except ChromeNotFoundError as error:
        raise KdoptError(
            "figures as files need Chrome or Chromium, and none was found: install one (Debian: "
            "apt install chromium), name it in BROWSER_PATH, or leave out --figures"
        ) from error
    except Exception as error:  # browsers fail in many ways, and the fix is the same for all
        raise KdoptError(
            f"figures as files: the browser failed ({type(error).__name__}: "
            f"{_summarise_error(error)}); leave out --figures, "
            "or name another browser in BROWSER_PATH"
        ) from error


def _summarise_error(error: Exception) -> str:
    """The gist of an error whose arguments may be a page of advice."""
    return str(error.args[0]) if error.args else "no reason given"


async def _draw_all(wanted: Sequence[tuple[PageFigure, ImageFormat]]) -> dict[str, bytes]:
    # Kaleido's own synchronous server hangs where there is no browser.
    import kaleido

    found: dict[str, bytes] = {}
    async with kaleido.Kaleido(timeout=TIMEOUT_S, mathjax=False) as browser:
        for item, format_ in wanted:
            figure = set_paper_colours(item.figure)
            options = choose_image_size(item.figure, format_)
            image = await browser.calc_fig(figure, opts=options)
            if format_ == "svg":
                image = simplify_svg(image.decode()).encode()
            found[f"{item.name}.{format_}"] = image
    return found


def set_paper_colours(figure: PlainFigure) -> PlainFigure:
    """A figure of the page with the colours that the page would give it on paper."""
    layout = dict(figure["layout"])
    for key, axis in figure["layout"].items():
        if key.rstrip("0123456789") in ("xaxis", "yaxis"):
            lines = {"gridcolor": PALE_GREY, "linecolor": PALE_GREY, "zerolinecolor": AXIS_GREY}
            layout[key] = {**axis, **lines, "zerolinewidth": 2}
    layout |= {
        "paper_bgcolor": "#ffffff",
        "plot_bgcolor": "#ffffff",
        "font": {"color": INK, "family": "DejaVu Sans, Arial, sans-serif", "size": 12},
    }
    # What waits in the legend for a click would be a name without marks.
    shown = [trace for trace in figure["data"] if trace.get("visible") != "legendonly"]
    return {"data": shown, "layout": layout}


def choose_image_size(figure: PlainFigure, format_: ImageFormat) -> dict[str, Any]:
    """Format, size in pixels, and twice the resolution where there are pixels."""
    axes = [axis for key, axis in figure["layout"].items() if key.startswith("xaxis")]
    columns = len({axis["domain"][0] for axis in axes if "domain" in axis})
    boxes = {(t.get("name"), x) for t in figure["data"] if t["type"] == "box" for x in t["x"]}
    width = WIDTHS["wide" if len(axes) > 1 or len(boxes) > MOST_NARROW_BOXES else "narrow"]
    return {
        "format": format_,
        "width": max(width, COLUMN_WIDTH * columns),
        "height": int(figure["layout"]["height"]),
        "scale": 2 if format_ == "png" else 1,
    }


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
