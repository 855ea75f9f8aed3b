"""The decision tree as a figure (paper, Fig. 8): questions from left to right, advice at the end.

Drawn as a dendrogram: a question stands on its line, the answer that led to it below, so no text
crosses a line at any width. Advice boxes are plotly annotations, which measure their own text.
Colours tell methods apart, and the text says which it is.
"""

from __future__ import annotations

import textwrap
from typing import Any

import plotly.graph_objects as go

from kdopt.advice.training_set import DO_NOTHING
from kdopt.advice.tree import AdviceTree, Leaf, Question
from kdopt.report.advice_text import (
    action_title,
    band_text,
    feature_label,
    feature_value,
    signed,
)
from kdopt.report.method_figures import GREY, style_of

ROW = 64
"""Pixels of height per advice: three lines of text and a gap."""

WRAP = 18
LINE = "#888888"
LEAF_LINE = 0.85
"""Length of the line before the deepest advice, where its answer stands; a question's is 1."""

LEAF_BOX = 1.6


def tree_figure(tree: AdviceTree) -> dict[str, Any]:
    """The tree as plain JSON values."""
    leaves = tree.list_leaves()
    depth = max(len(path) for _, path in leaves)
    lines: list[tuple[float, float]] = []
    notes: list[dict[str, Any]] = []
    _draw(tree.root, (0.0, 0), depth + LEAF_LINE if depth else 0.0, lines, notes)
    trace = go.Scatter(
        x=[x for x, _ in lines],
        y=[y for _, y in lines],
        mode="lines",
        line={"color": LINE, "width": 1.5},
        hoverinfo="skip",
    )
    layout = go.Layout(
        template="none",
        height=ROW * len(leaves) + 40,
        margin={"l": 8, "r": 8, "t": 20, "b": 20},
        xaxis={"visible": False, "range": [0, depth + LEAF_LINE + LEAF_BOX], "fixedrange": True},
        yaxis={"visible": False, "range": [len(leaves) - 0.4, -0.6], "fixedrange": True},
        showlegend=False,
        annotations=notes,
    )
    plain: dict[str, Any] = go.Figure([trace], layout).to_plotly_json()
    return plain


def _draw(
    node: Question | Leaf,
    start: tuple[float, int],
    end: float,
    lines: list[tuple[float, float]],
    notes: list[dict[str, Any]],
) -> tuple[float, int]:
    """Add a node and what follows it; ``start`` is its level and the next free row.

    Returns:
        The row of the node, and the next free one.
    """
    x, free = start
    if isinstance(node, Leaf):
        lines += [(x, free), (end, free), _BREAK]
        notes.append(_advice(node, end, free))
        return free, free + 1
    spine = x + 1
    below, free = _draw(node.below, (spine, free), end, lines, notes)
    above, free = _draw(node.above, (spine, free), end, lines, notes)
    row = (below + above) / 2
    lines += [(x, row), (spine, row), _BREAK, (spine, below), (spine, above), _BREAK]
    question = "<br>".join(textwrap.wrap(f"{feature_label(node.feature)}?", WRAP))
    notes.append(_text(f"<b>{question}</b>", x, row, "bottom"))
    for to, up in ((below, False), (above, True)):
        answer = "more than" if up else "at most"
        value = feature_value(node.feature, node.threshold)
        notes.append(_text(f"{answer} {value}", spine, to, "top"))
    return row, free


_BREAK: Any = (None, None)
"""Where plotly lifts the pen."""


def _text(text: str, x: float, y: float, anchor: str) -> dict[str, Any]:
    return {
        "x": x,
        "y": y,
        "text": text,
        "showarrow": False,
        "xanchor": "left",
        "yanchor": anchor,
        "align": "left",
        "xshift": 3,
        "font": {"size": 11},
    }


def _advice(leaf: Leaf, x: float, y: float) -> dict[str, Any]:
    gain = "0" if leaf.action == DO_NOTHING else signed(leaf.gain) or "0.00"
    text = [f"<b>{action_title(leaf.action)}</b>", band_text(leaf)]
    text.append(f"{gain} pp; {len(leaf.members)} cases")
    colour = GREY if leaf.action == DO_NOTHING else style_of(leaf.action.method).colour
    box = {"bordercolor": colour, "borderwidth": 2, "borderpad": 4, "xshift": 0}
    return _text("<br>".join(filter(None, text)), x, y, "middle") | box
