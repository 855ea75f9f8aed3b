"""The paper's guide as text and JSON, with what following it loses.

The JSON object of :func:`format_guide_json`:

=============  ================================================================
``schema``     1; raised when a field is renamed, removed or changes its meaning
``note``       what is unusual about the pairs it was measured on, or empty
``tree``       a question (``ask``, ``yes``, ``no``) or a leaf: ``leaf`` (its name), ``advice``,
               ``where`` in the paper, ``lost`` (what the text lacks), and ``measured``: by
               situation ``cases``, ``trials`` per pair, ``gain``, ``net_gain``, ``regret``, pp
``measured``   the whole guide, by situation and by whether T and alpha are searched: ``n`` of
               ``total`` pairs, ``trials``, ``gain``, ``regret``, the learnt tree's
               ``tree_regret`` on the same pairs, ``behind_tree``, each with ``_low`` and ``_high``
``remarks``    what else to know
=============  ================================================================
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from kdopt.advice.guide import (
    GUIDE,
    GUIDE_REMARKS,
    GuideAnswer,
    GuideLeaf,
    GuideQuestion,
    Topic,
    compare_guide,
    measure_leaves,
)
from kdopt.advice.training_set import Situation, TrainingSet
from kdopt.analysis.results import Line
from kdopt.report.advice_text import SITUATION_TITLES, align_lines, format_between, replace_nan
from kdopt.report.format import format_points, format_signed
from kdopt.shown import format_count, format_setting

GUIDE_SCHEMA = 1


_ANSWERS: Mapping[Topic, tuple[str, str]] = {
    "labels": ("labels", "no labels"),
    "forget": ("forget little", "learn much"),
    "search": ("search T and alpha", "no search"),
    "specialized": ("one class each", "several classes"),
    "similar": ("equal models", "unequal models"),
    "weaker": ("weaker teacher", "stronger teacher"),
}
"""The answers yes and no to each question."""


class MeasuredGuide(NamedTuple):
    """What following the guide loses in one situation; see :mod:`kdopt.advice.guide`."""

    leaves: pd.DataFrame
    whole: pd.DataFrame


def measure_guide(lessons: Mapping[Situation, TrainingSet]) -> dict[Situation, MeasuredGuide]:
    """Measure the guide in every situation that has finished pairs."""
    return {
        situation: MeasuredGuide(measure_leaves(known), compare_guide(known))
        for situation, known in lessons.items()
        if len(known)
    }


def format_guide(found: Mapping[Situation, MeasuredGuide], note: str = "") -> str:
    """The guide as indented questions, and what it loses; ends with a newline."""
    lines = ["The paper's decision guide (Fig. 8)", *GUIDE_REMARKS, ""]
    lines += _list_node(GUIDE, "", found)
    text = "\n".join(lines) + "\n"
    if note:
        text += f"\nNote: {note}\n"
    if not found:
        return f"{text}\nNo finished pair to measure it on.\n"
    return text + "".join(f"\n{format_guide_regrets(name, one)}" for name, one in found.items())


def format_guide_regrets(situation: Situation, one: MeasuredGuide) -> str:
    """What the whole guide loses in one situation; ends with a newline."""
    headings = ["pp", "pairs", "trials", "gain", "net gain", "regret", "95 %"]
    headings += ["learnt tree", "guide - tree", "95 %"]
    lines = [
        [
            str(line["label"]),
            f"{line['n']} of {line['total']}",
            format_setting(round(line["trials"], 1)),
            format_signed(line["gain"]),
            format_signed(line["net_gain"]),
            format_points(line["regret"]),
            format_between(line["regret_low"], line["regret_high"]),
            format_points(line["tree_regret"]),
            format_signed(line["behind_tree"]),
            format_between(line["behind_tree_low"], line["behind_tree_high"]),
        ]
        for line in one.whole.to_dict("records")
    ]
    head = (
        f"To distil on {SITUATION_TITLES[situation]}: regret on test; that of the "
        "learnt tree on the same pairs, with their partition left out"
    )
    return f"{head}\n{align_lines([headings, *lines])}"


def format_guide_json(found: Mapping[Situation, MeasuredGuide], note: str = "") -> str:
    """The guide as indented JSON, without a newline at the end."""
    record = {
        "schema": GUIDE_SCHEMA,
        "note": note,
        "tree": _node_fields(GUIDE, found),
        "measured": [
            {str(k): v for k, v in line.items()}
            for one in found.values()
            for line in one.whole.to_dict("records")
        ],
        "remarks": list(GUIDE_REMARKS),
    }
    return json.dumps(replace_nan(record), indent=2, allow_nan=False)


def describe_path(path: Sequence[GuideAnswer]) -> str:
    """The answers that lead to a leaf, in a few words each."""
    return ", ".join(_ANSWERS[step.question.topic][not step.yes] for step in path)


def _list_node(
    node: GuideQuestion | GuideLeaf, indent: str, found: Mapping[Situation, MeasuredGuide]
) -> list[str]:
    if isinstance(node, GuideQuestion):
        lines = [f"{indent}{node.text}"]
        for answer, child in (("yes", node.yes), ("no", node.no)):
            first, *rest = _list_node(child, f"{indent}     ", found)
            lines += [f"{indent}{answer + ':':<5}{first.strip()}", *rest]
        return lines
    lines = [f"{indent}=> {node.advice} (paper, {node.where})"]
    if node.lost:
        lines.append(f"{indent}   not in the text: {node.lost}")
    for situation, one in found.items():
        for line in one.leaves[one.leaves["leaf"] == node.name].to_dict("records"):
            lines.append(f"{indent}   on {SITUATION_TITLES[situation]}: {_describe_case(line)}")
    return lines


def _describe_case(line: Line) -> str:
    if not line["cases"]:
        return "pairs reach it, but what it says was not tried, or not where it could be judged"
    trials = f", {format_count(line['trials'], 'trial')} each" if line["trials"] else ""
    net = format_signed(line["net_gain"])
    return (
        f"{format_count(line['cases'], 'case')}{trials}, gain {format_signed(line['gain'])} pp"
        f"{net and f', net gain {net}'}, regret {format_points(line['regret'])}"
    )


def _node_fields(
    node: GuideQuestion | GuideLeaf, found: Mapping[Situation, MeasuredGuide]
) -> dict[str, Any]:
    if isinstance(node, GuideQuestion):
        return {
            "ask": node.text,
            "yes": _node_fields(node.yes, found),
            "no": _node_fields(node.no, found),
        }
    measured = {
        situation: {str(k): v for k, v in line.items() if k != "leaf"}
        for situation, one in found.items()
        for line in one.leaves[one.leaves["leaf"] == node.name].to_dict("records")
    }
    return {
        "leaf": node.name,
        "advice": node.advice,
        "where": node.where,
        "lost": node.lost,
        "measured": measured,
    }
