"""Words for advice: features, actions, the rules of a tree, regrets; and the paper's guide.

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
import math
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
from kdopt.advice.training_set import DO_NOTHING, Action, Situation, TrainingSet
from kdopt.advice.tree import AdviceTree, Answer, Leaf, Question
from kdopt.analysis.results import Line
from kdopt.features.definitions import FEATURES_BY_NAME
from kdopt.report.format import format_points, format_signed
from kdopt.shown import format_count, format_setting

SITUATION_TITLES: Mapping[Situation, str] = {
    "own": "the student's own labelled images",
    "public_labeled": "public images with labels",
    "public_unlabeled": "public images without labels",
}

METHOD_TITLES = {
    "none": "Leave as it is",
    "control": "Train on without a teacher",
    "vanilla": "Vanilla",
    "tuned": "Tuned",
    "dml": "DML",
    "dp_kd": "DP-KD",
}


def label_feature(name: str) -> str:
    """How people read a feature."""
    return FEATURES_BY_NAME[name].label


def format_feature(name: str, value: float) -> str:
    """A feature's value with its unit; a ratio is kept as doublings and shown as a factor."""
    unit = FEATURES_BY_NAME[name].unit
    if unit == "x":
        return f"{2**value:.3g} x"
    return f"{value:.3g} {unit}".rstrip()


def format_condition(step: Answer) -> str:
    """An answer to a question, such as ``accuracy gap (teacher - student) > 10 pp``."""
    sign = ">" if step.above else "<="
    return f"{label_feature(step.feature)} {sign} {format_feature(step.feature, step.threshold)}"


def format_action(action: Action) -> str:
    """An action, such as ``Tuned, T=2, alpha=0.1``."""
    title = METHOD_TITLES.get(action.method, action.method)
    if action.temperature is None or action.alpha is None:
        return title
    return f"{title}, T={format_setting(action.temperature)}, alpha={format_setting(action.alpha)}"


def format_band(leaf: Leaf) -> str:
    """How far T and alpha can move without a clear loss; empty where there is no T or alpha."""
    if leaf.band is None or all(low == high for low, high in leaf.band):
        return ""
    return f"T {_format_range(leaf.band.temperature)}, alpha {_format_range(leaf.band.alpha)}"


def format_leaf(leaf: Leaf) -> str:
    """A leaf in one line: what to do, how far it can move, what it gained, on how many pairs."""
    band = f" (as good: {format_band(leaf)})" if format_band(leaf) else ""
    gain = "" if leaf.action == DO_NOTHING else f"; {format_signed(leaf.gain)} pp"
    return f"{format_action(leaf.action)}{band}{gain}; {format_count(len(leaf.members), 'case')}"


def format_rules(tree: AdviceTree) -> str:
    """The tree as indented rules; ends with a newline."""
    head = f"To distil on {SITUATION_TITLES[tree.training_set.situation]}"
    return (
        "\n".join([f"{head} ({describe_evidence(tree.training_set)}):", *_list_rules(tree.root)])
        + "\n"
    )


LEFT_OUT_UNITS = {"partition": "partitions", "participant": "participants"}
"""What the intervals of regrets are over, by what was left out."""


def describe_evidence(training_set: TrainingSet) -> str:
    """What a tree was learnt from, in a few words."""
    # A pair that was distilled on two public sets counts as two cases.
    sets = training_set.pairs["transfer_set"].nunique()
    what = "pairs" if sets == 1 else f"pairs on {sets} sets each"
    campaigns = ", ".join(sorted(set(training_set.pairs["campaign"])))
    return (
        f"{len(training_set) // sets} {what}, "
        f"{format_count(training_set.n_partitions, 'partition')}, {campaigns}"
    )


def format_regrets(table: pd.DataFrame) -> str:
    """The policies that were compared, one per line, aligned; ends with a newline.

    A star marks the rule that leads.
    """
    headings = ["pp", "trials", "gain", "net gain", "bias", "regret", "95 %", "behind"]
    headings += ["95 %", "guarded regret"]
    lines = [
        [
            f"* {line['label']}" if line["leads"] else str(line["label"]),
            str(line["trials"]),
            *(format_signed(line[name]) for name in ("gain", "net_gain", "bias")),
            format_points(line["regret"]),
            format_between(line["regret_low"], line["regret_high"]),
            format_signed(line["behind_lead"]),
            format_between(line["behind_lead_low"], line["behind_lead_high"]),
            format_points(line["guarded_regret"]),
        ]
        for line in table.to_dict("records")
    ]
    return align_lines([headings, *lines])


def _list_rules(node: Question | Leaf, indent: str = "  ") -> list[str]:
    if isinstance(node, Leaf):
        return [f"{indent}{format_leaf(node)}"]
    lines = []
    for child, above in ((node.below, False), (node.above, True)):
        lines.append(f"{indent}if {format_condition(Answer(node.feature, node.threshold, above))}:")
        lines += _list_rules(child, f"{indent}  ")
    return lines


def format_between(low: float, high: float) -> str:
    """An interval in pp; empty where it is not known."""
    return "" if math.isnan(low) else f"{format_points(low)} to {format_points(high)}"


def format_interval(low: float, high: float) -> str:
    """A 95 % interval in brackets after a number; empty where it is not known."""
    return "" if math.isnan(low) else f" (95 %: {format_between(low, high)})"


def _format_range(bounds: tuple[float, float]) -> str:
    low, high = bounds
    return (
        format_setting(low) if low == high else f"{format_setting(low)} to {format_setting(high)}"
    )


def align_lines(lines: Sequence[Sequence[str]]) -> str:
    """Columns of equal width, all but the first to the right; ends with a newline."""
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    rows = [
        "  ".join(
            c.rjust(w) if i else c.ljust(w)
            for i, (c, w) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    ]
    return "\n".join(row.rstrip() for row in rows) + "\n"


def replace_nan(value: Any) -> Any:
    """JSON has no NaN: what is not known is null."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: replace_nan(item) for key, item in value.items()}
    return [replace_nan(item) for item in value] if isinstance(value, list) else value


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
        "learnt tree on the same pairs, with their partition left out; 95 %: the interval of the "
        f"number before it, over {LEFT_OUT_UNITS['partition']}"
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
