"""Advice for new pairs: the decision tree (paper, Fig. 8), its rules and its regret."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd
import plotly.graph_objects as go

from kdopt.advice.advise import MIN_TRAINING_PAIRS, MIN_TRAINING_PARTITIONS, has_enough_pairs
from kdopt.advice.guide import GUIDE_REMARKS, list_leaves
from kdopt.advice.policies import RULES
from kdopt.advice.regret import compare_policies
from kdopt.advice.training_set import (
    DO_NOTHING,
    SITUATIONS,
    Situation,
    TrainingCampaign,
    TrainingSet,
    build_training_set,
)
from kdopt.advice.tree import AdviceTree, Leaf, Question, grow_tree
from kdopt.analysis.stats import LEAST_UNITS
from kdopt.features.definitions import MODEL_FEATURES
from kdopt.report.advice_text import (
    LEFT_OUT_UNITS,
    METHOD_TITLES,
    SITUATION_TITLES,
    describe_evidence,
    describe_path,
    format_action,
    format_band,
    format_condition,
    format_feature,
    format_interval,
    format_regrets,
    format_rules,
    label_feature,
    measure_guide,
)
from kdopt.report.blocks import Block, PageFigure, ReportData, Section, Table, make_tables
from kdopt.report.columns import Column, Columns, IntervalColumn
from kdopt.report.format import format_points, format_signed, make_slug
from kdopt.report.plotting import GREY, PlainFigure, get_method_style
from kdopt.shown import format_count, format_setting

ADVICE_NOTE = (
    "Fig. 8 of the paper, learnt from this campaign: what to do with a new pair, from what is "
    "known before distillation. A tree is learnt on validation gains, relative to the "
    "best of each pair, and judged on test gains of partitions that it was not learnt from. "
    "Simpler rules stand beside it, and are followed where the tree does not lose measurably less. "
    "To ask about a pair, use 'kdopt recommend'."
)

GAIN = Column("gain", "Test gain (pp)")
RULE_COLUMNS = ("rule", "advice", "as_good", "gain", "guarded_gain", "searched_gain", "cases")


class LearntAdvice(NamedTuple):
    """What was learnt of one situation; the tree is ``None`` where there is too little."""

    training_set: TrainingSet
    tree: AdviceTree | None
    regrets: pd.DataFrame


def learn_advice(sources: Sequence[TrainingCampaign]) -> dict[Situation, LearntAdvice]:
    """The trees of all situations, and how they do on what they do not know."""
    return {
        situation: learn_lessons(build_training_set(sources, situation)) for situation in SITUATIONS
    }


def learn_lessons(known: TrainingSet) -> LearntAdvice:
    """The tree of one situation, where there is enough, and what all rules lose."""
    tree = grow_tree(known, known.usable_features) if has_enough_pairs(known) else None
    tables = [compare_policies(known, left_out) for left_out in ("partition", "participant")]
    return LearntAdvice(known, tree, pd.concat(tables, ignore_index=True))


def make_advice_section(data: ReportData) -> Section | None:
    """The section of the page; none where no pair is distilled."""
    if not data.has_pairs:
        return None
    found = learn_advice([TrainingCampaign(data.campaign, data.rows, data.measurements)])
    blocks = [
        _make_situation_block(situation, learnt)
        for situation, learnt in found.items()
        if situation == "own" or len(learnt.training_set)  # one block says what is missing
    ]
    blocks += _make_guide_blocks({name: one.training_set for name, one in found.items()})
    return Section(
        "advice", "Advice for new pairs", ADVICE_NOTE, blocks, files=format_advice_files(found)
    )


def tabulate_rules(tree: AdviceTree) -> pd.DataFrame:
    """One line per advice: the conditions, what to do, and what it gained on test, in pp.

    ``guarded_gain`` is that of the best action where it is tried once and kept only if
    validation rose, ``searched_gain`` that of trying everything; the last columns are the best
    action of each method.
    """
    methods = list(dict.fromkeys(a.method for a in tree.training_set.actions))
    lines: list[dict[str, object]] = []
    for leaf, path in tree.list_leaves():
        line: dict[str, object] = {
            "rule": " and ".join(map(format_condition, path)) or "always",
            "advice": format_action(leaf.action),
            "as_good": format_band(leaf),
            "gain": leaf.gain,
            "guarded_gain": leaf.guarded,
            "searched_gain": leaf.searched,
            "cases": len(leaf.members),
        }
        lines.append(line | {method: leaf.gains[method] for method in methods})
    return pd.DataFrame(lines, columns=[*RULE_COLUMNS, *methods])


def format_advice_files(found: Mapping[Situation, LearntAdvice]) -> dict[str, str]:
    """What was learnt as files: the rules as text and the regret tables as CSV, by file name."""
    rules = [format_rules(one.tree) for one in found.values() if one.tree is not None]
    if not rules:
        return {}
    regret = [
        f"{SITUATION_TITLES[name]}, a {left_out} left out; 95 %: the interval of the number before "
        f"it, over {LEFT_OUT_UNITS[str(left_out)]}:\n{format_regrets(table)}"
        for name, one in found.items()
        for left_out, table in one.regrets.groupby("left_out", sort=False)
    ]
    return {"advice.txt": "\n".join([*rules, *regret])}


def _make_situation_block(situation: Situation, learnt: LearntAdvice) -> Block:
    known, tree = learnt.training_set, learnt.tree
    title = f"To distil on {SITUATION_TITLES[situation]}"
    if tree is None:
        needs = 'the stages "tune" and "compare"' if situation == "own" else 'the stage "compare"'
        return Block(
            title,
            missing=f"Too little to learn from: {format_count(len(known), 'finished case')} of "
            f"{format_count(known.n_partitions, 'partition')}. It needs {MIN_TRAINING_PAIRS} "
            f"cases from at least {MIN_TRAINING_PARTITIONS} partitions: run {needs} with the "
            "grid sampler.",
        )
    note = (
        f"Learnt from {describe_evidence(known)}. Gains are means on test over the cases that end "
        "there. T and alpha in the boxes: how far either can move without a clear loss. "
        f"{_describe_loss(learnt.regrets)}"
    )
    if not any(f.name in known.usable_features for f in MODEL_FEATURES):
        note += " What the models say about the images was not measured: run 'kdopt features'."
    name, frame = f"advice-{make_slug(situation)}", tabulate_rules(tree)
    return Block(
        title,
        note,
        PageFigure(name, name, draw_tree(tree), frame),
        [*_make_rule_tables(frame), *_make_regret_tables(learnt.regrets)],
    )


def _make_guide_blocks(known: Mapping[Situation, TrainingSet]) -> list[Block]:
    """The paper's own guide and what it loses; none before there is a finished pair."""
    found = measure_guide(known)
    if not found:
        return []
    sayings = {leaf.name: (leaf, describe_path(path)) for leaf, path in list_leaves()}
    lines = [
        {
            **line,
            "rule": sayings[line["leaf"]][1],
            "advice": sayings[line["leaf"]][0].advice,
            "where": sayings[line["leaf"]][0].where,
            "lost": sayings[line["leaf"]][0].lost,
            "situation": SITUATION_TITLES[situation],
        }
        for situation, one in found.items()
        for line in one.leaves.to_dict("records")
    ]
    columns: Columns = [
        "rule",
        Column("advice", "then", str),
        *("cases", "trials", GAIN, "net_gain", "regret"),
        Column("situation", "Measured on", str),
        Column("where", "Paper", str),
        Column("lost", "Not in the text", str),
    ]
    whole = pd.concat([one.whole for one in found.values()], ignore_index=True)
    whole = whole.assign(situation=[SITUATION_TITLES[name] for name in whole["situation"]])
    compared: Columns = [
        Column("situation", "To distil on", str),
        "label",
        *("n", "total"),
        Column("trials", "Trials per pair", lambda trials: format_setting(round(trials, 1))),
        *(GAIN, "net_gain"),
        IntervalColumn("regret", "regret_", over=LEFT_OUT_UNITS["partition"]),
        Column("tree_regret", "Regret of the learnt tree (pp)"),
        IntervalColumn(
            Column("behind_tree", "Guide minus tree (pp)", format_points),
            "behind_tree_",
            over=LEFT_OUT_UNITS["partition"],
        ),
    ]
    note = (
        " ".join(GUIDE_REMARKS)
        + " The guide learnt nothing from these pairs; the tree that was learnt is judged on the "
        "same pairs with their partition left out."
    )
    return [
        Block(
            "The paper's own guide",
            note,
            tables=[
                *make_tables("What it loses", compared, whole),
                *make_tables("What it says, and what that gained", columns, pd.DataFrame(lines)),
            ],
        )
    ]


def _describe_loss(table: pd.DataFrame) -> str:
    """Which rule leads, and what all of them lost on partitions they did not know."""
    found = table[table["left_out"] == "partition"].set_index("policy").to_dict("index")
    (lead,) = [line for line in found.values() if line["leads"]]
    others = ", ".join(
        f"{line['label']} {format_points(line['regret'])}"
        for name, line in found.items()
        if name in RULES and not line["leads"]
    )
    return (
        "For a partition that is not known, 'kdopt recommend' follows the simplest rule, unless a "
        f"more complex one loses measurably less (to measure that takes {LEAST_UNITS} partitions "
        f"or more). Here it follows: {lead['label']}. On partitions that it was not learnt from, "
        f"that lost {format_points(lead['regret'])} pp"
        f"{format_interval(lead['regret_low'], lead['regret_high'])} against the best action of "
        f"each pair. The other rules lost, in pp: {others}."
    )


def _make_rule_tables(frame: pd.DataFrame) -> list[Table]:
    methods = [m for m in frame.columns if m in METHOD_TITLES and m != DO_NOTHING.method]
    columns: Columns = [
        "rule",
        Column("advice", "then", str),
        *("as_good", GAIN),
        Column("guarded_gain", "if tried and kept where validation rises (pp)"),
        *("searched_gain", "cases"),
        *[Column(m, f"Best {METHOD_TITLES[m]} (pp)") for m in methods],
    ]
    return make_tables("The rules, and what each method gained there", columns, frame)


def _make_regret_tables(table: pd.DataFrame) -> list[Table]:
    shown: list[Table] = []
    for left_out, part in table.groupby("left_out", sort=False):
        columns = _list_regret_columns(LEFT_OUT_UNITS[str(left_out)])
        title = f"Regret on a {left_out} that was not learnt from"
        marked = part["label"].where(~part["leads"].astype(bool), part["label"] + " (leads)")
        shown += make_tables(title, columns, part.assign(label=marked))
    return shown


def _list_regret_columns(over: str) -> Columns:
    return [
        "label",
        Column("trials", "Trials per pair", str),
        IntervalColumn("regret", "regret_", over=over),
        IntervalColumn("behind_lead", "behind_lead_", over=over),
        *(GAIN, "net_gain"),
        Column("bias", "Promised minus real gain (pp)"),
        Column("guarded_gain", "Gain with guard (pp)"),
        "guarded_regret",
    ]


ROW_HEIGHT = 64
"""Pixels of height per advice: three lines of text and a gap."""

WRAP_WIDTH = 18

LINE_COLOUR = "#888888"

LEAF_LINE = 0.85
"""Length of the line before the deepest advice, where its answer stands; a question's is 1."""

LEAF_BOX = 1.6


_BREAK: Any = (None, None)
"""Where plotly lifts the pen."""


def draw_tree(tree: AdviceTree) -> PlainFigure:
    """The tree as plain JSON values."""
    leaves = tree.list_leaves()
    depth = max(len(path) for _, path in leaves)
    lines: list[tuple[float, float]] = []
    notes: list[dict[str, object]] = []
    _draw_node(tree.root, (0.0, 0), depth + LEAF_LINE if depth else 0.0, lines, notes)
    trace = go.Scatter(
        x=[x for x, _ in lines],
        y=[y for _, y in lines],
        mode="lines",
        line={"color": LINE_COLOUR, "width": 1.5},
        hoverinfo="skip",
    )
    layout = go.Layout(
        template="none",
        height=ROW_HEIGHT * len(leaves) + 40,
        margin={"l": 8, "r": 8, "t": 20, "b": 20},
        xaxis={"visible": False, "range": [0, depth + LEAF_LINE + LEAF_BOX], "fixedrange": True},
        yaxis={"visible": False, "range": [len(leaves) - 0.4, -0.6], "fixedrange": True},
        showlegend=False,
        annotations=notes,
    )
    plain: PlainFigure = go.Figure([trace], layout).to_plotly_json()
    return plain


def _draw_node(
    node: Question | Leaf,
    start: tuple[float, int],
    end: float,
    lines: list[tuple[float, float]],
    notes: list[dict[str, object]],
) -> tuple[float, int]:
    """Add a node and what follows it; ``start`` is its level and the next free row.

    Returns:
        The row of the node, and the next free one.
    """
    x, free = start
    if isinstance(node, Leaf):
        lines += [(x, free), (end, free), _BREAK]
        notes.append(_make_advice_box(node, end, free))
        return free, free + 1
    spine = x + 1
    below, free = _draw_node(node.below, (spine, free), end, lines, notes)
    above, free = _draw_node(node.above, (spine, free), end, lines, notes)
    row = (below + above) / 2
    lines += [(x, row), (spine, row), _BREAK, (spine, below), (spine, above), _BREAK]
    question = "<br>".join(textwrap.wrap(f"{label_feature(node.feature)}?", WRAP_WIDTH))
    notes.append(_make_text(f"<b>{question}</b>", x, row, "bottom"))
    for to, up in ((below, False), (above, True)):
        answer = "more than" if up else "at most"
        value = format_feature(node.feature, node.threshold)
        notes.append(_make_text(f"{answer} {value}", spine, to, "top"))
    return row, free


def _make_text(text: str, x: float, y: float, anchor: str) -> dict[str, object]:
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


def _make_advice_box(leaf: Leaf, x: float, y: float) -> dict[str, object]:
    gain = "0" if leaf.action == DO_NOTHING else format_signed(leaf.gain) or "0.00"
    text = [f"<b>{format_action(leaf.action)}</b>", format_band(leaf)]
    text.append(f"{gain} pp; {format_count(len(leaf.members), 'case')}")
    colour = GREY if leaf.action == DO_NOTHING else get_method_style(leaf.action.method).colour
    box = {"bordercolor": colour, "borderwidth": 2, "borderpad": 4, "xshift": 0}
    return _make_text("<br>".join(filter(None, text)), x, y, "middle") | box
