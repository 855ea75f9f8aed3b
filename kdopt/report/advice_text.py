"""Words for advice: features, actions, the rules of a tree, the table of regrets."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from kdopt.advice.training_set import DO_NOTHING, Action, Situation, TrainingSet
from kdopt.advice.tree import AdviceTree, Answer, Leaf, Question
from kdopt.errors import AdviceError
from kdopt.features.definitions import FEATURES
from kdopt.report.format import format_points, format_signed
from kdopt.shown import format_count, format_setting, shorten
from kdopt.typed import check_digits

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


RANGES = {
    "pp": (-100.0, 100.0),
    "%": (0.0, 100.0),
    "": (0.0, 1.0),
    "nats": (0.0, 1e6),
    "images": (1.0, 1e12),
    "x": (1e-9, 1e9),
}
"""What the values of a unit can be, as they are typed."""

ROUNDING_PP = 0.11
"""How far two accuracies of one decimal may be from their gap."""

_FEATURES = {feature.name: feature for feature in FEATURES}


def label_feature(name: str) -> str:
    """How people read a feature."""
    return _FEATURES[name].label


def format_feature(name: str, value: float) -> str:
    """A feature's value with its unit; a ratio is kept as doublings and shown as a factor."""
    unit = _FEATURES[name].unit
    if unit == "x":
        return f"{2**value:.3g} x"
    return f"{value:.3g} {unit}".rstrip()


def parse_feature(text: str) -> tuple[str, float]:
    """A feature as people type it, such as ``size_ratio=2`` for twice the images.

    Raises:
        KdoptError: It is no feature, or its value is no number or out of range.
    """
    name, _, number = text.partition("=")
    name = name.strip().replace("-", "_")
    if name not in _FEATURES:
        units = {"x": "as a factor", "": "0 to 1"}
        known = "\n".join(
            f"  {f.name:<17} {f.label} ({units.get(f.unit, f.unit)})" for f in FEATURES
        )
        raise AdviceError(
            f"feature '{shorten(text, 100)}': give NAME=VALUE, the names are\n{known}"
        )
    check_digits(number, f"feature {name}")
    try:
        value = float(number)
    except ValueError:
        value = math.nan
    check_feature(name, value, number)
    return name, math.log2(value) if _FEATURES[name].unit == "x" else value


def check_feature(name: str, value: float, typed: str) -> None:
    """Refuse a value that no pair can have.

    Args:
        name: The feature.
        value: As it is typed: ratios as factors.
        typed: The text, for the message.

    Raises:
        AdviceError: It is no number, or out of the range of its unit.
    """
    unit = _FEATURES[name].unit
    least, most = RANGES[unit]
    if not least <= value <= most:
        numbers = "a number above 0" if unit == "x" else "a number"
        raise AdviceError(
            f"feature {name}: '{shorten(typed, 50)}' is not {numbers} from {least:g} to {most:g}"
            f"{f' {unit}' if unit in ('pp', '%', 'nats') else ''}, as in {name}=1"
        )


def combine_features(gap: float | None, texts: Sequence[str]) -> dict[str, float]:
    """The features of a pair as they were typed; the teacher's accuracy follows from two others.

    Args:
        gap: ``accuracy_gap``, if it was given by itself.
        texts: Further ones, see :func:`parse_feature`.

    Raises:
        AdviceError: One is out of range or given twice, or they contradict each other.
    """
    known: dict[str, float] = {}
    if gap is not None:
        check_feature("accuracy_gap", gap, str(gap))
        known["accuracy_gap"] = gap
    for name, value in map(parse_feature, texts):
        if name in known:
            raise AdviceError(f"feature {name}: given twice; give it once")
        known[name] = value
    if {"accuracy_gap", "student_accuracy"} <= known.keys():
        teacher = known["accuracy_gap"] + known["student_accuracy"]
        check_feature("teacher_accuracy", teacher, f"{teacher:g} (student's accuracy and gap)")
        known.setdefault("teacher_accuracy", teacher)
    accuracies = {"accuracy_gap", "student_accuracy", "teacher_accuracy"}
    if accuracies <= known.keys():
        gap_of_both = known["teacher_accuracy"] - known["student_accuracy"]
        if abs(gap_of_both - known["accuracy_gap"]) > ROUNDING_PP:
            raise AdviceError(
                f"accuracy_gap = {known['accuracy_gap']:g}: teacher_accuracy - student_accuracy is "
                f"{gap_of_both:g} pp; leave one of the three out"
            )
    return known


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
