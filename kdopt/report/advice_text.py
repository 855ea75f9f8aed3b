"""The decision tree and its advice as plain text: rules, the regret table, an answer to a pair."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import pandas as pd

from kdopt.advice.advise import Advice
from kdopt.advice.policies import FIXED_POLICIES, TREE_POLICY
from kdopt.advice.training_set import DO_NOTHING, Action, Situation, TrainingSet
from kdopt.advice.tree import AdviceTree, Answer, Leaf, Question
from kdopt.errors import AdviceError
from kdopt.features.definitions import FEATURES
from kdopt.report.tables import points, setting

SITUATION_TITLES: Mapping[Situation, str] = {
    "own": "the student's own labelled images",
    "public_labeled": "public images with labels",
    "public_unlabeled": "public images without labels",
}
METHOD_TITLES = {
    "none": "Do not distil",
    "vanilla": "Vanilla",
    "tuned": "Tuned",
    "dml": "DML",
    "dp_kd": "DP-KD",
}
_FEATURES = {feature.name: feature for feature in FEATURES}


def signed(value: float) -> str:
    """Percentage points with their sign, such as ``+1.20``; empty for NaN."""
    text = points(value)
    return f"+{text}" if text and value > 0 and float(text) > 0 else text


def feature_label(name: str) -> str:
    """How people read a feature."""
    return _FEATURES[name].label


def feature_value(name: str, value: float) -> str:
    """A feature's value with its unit; a ratio is kept as doublings and shown as a factor."""
    unit = _FEATURES[name].unit
    if unit == "x":
        return f"{2**value:.3g} x"
    return f"{value:.3g} {unit}".rstrip()


def parse_feature(text: str) -> tuple[str, float]:
    """A feature as people type it, such as ``size_ratio=2`` for twice the images.

    Raises:
        AdviceError: It is no feature, or its value is no number or out of range.
    """
    name, _, number = text.partition("=")
    name = name.strip().replace("-", "_")
    if name not in _FEATURES:
        units = {"x": "as a factor", "": "0 to 1"}
        known = "\n".join(
            f"  {f.name:<17} {f.label} ({units.get(f.unit, f.unit)})" for f in FEATURES
        )
        raise AdviceError(f"feature '{text}': give NAME=VALUE, the names are\n{known}")
    try:
        value = float(number)
    except ValueError:
        value = math.nan
    is_factor = _FEATURES[name].unit == "x"
    if not math.isfinite(value) or (is_factor and value <= 0):
        rule = "a number above 0" if is_factor else "a number"
        raise AdviceError(f"feature {name}: '{number}' is not {rule}, as in {name}=2")
    return name, math.log2(value) if is_factor else value


def condition(step: Answer) -> str:
    """An answer to a question, such as ``accuracy gap (teacher - student) > 10 pp``."""
    sign = ">" if step.above else "<="
    return f"{feature_label(step.feature)} {sign} {feature_value(step.feature, step.threshold)}"


def action_title(action: Action) -> str:
    """An action, such as ``Tuned, T=2, alpha=0.1``."""
    title = METHOD_TITLES.get(action.method, action.method)
    if action.temperature is None or action.alpha is None:
        return title
    return f"{title}, T={setting(action.temperature)}, alpha={setting(action.alpha)}"


def band_text(leaf: Leaf) -> str:
    """How far T and alpha can move at no clear loss; empty where there is nothing to move."""
    if leaf.band is None or all(low == high for low, high in leaf.band):
        return ""
    return f"T {_range(leaf.band.temperature)}, alpha {_range(leaf.band.alpha)}"


def leaf_text(leaf: Leaf) -> str:
    """A leaf in one line: what to do, how far it can move, what it gained, on how many pairs."""
    band = f" (as good: {band_text(leaf)})" if band_text(leaf) else ""
    gain = "" if leaf.action == DO_NOTHING else f"; {signed(leaf.gain)} pp"
    return f"{action_title(leaf.action)}{band}{gain}; {len(leaf.members)} cases"


def rules_text(tree: AdviceTree) -> str:
    """The tree as indented rules; ends with a newline."""
    head = f"To distil on {SITUATION_TITLES[tree.training_set.situation]}"
    return "\n".join([f"{head} ({evidence_text(tree.training_set)}):", *_rules(tree.root)]) + "\n"


def evidence_text(training_set: TrainingSet) -> str:
    """What a tree was learnt from, in a few words."""
    # A pair that was distilled on two public sets counts as two cases.
    sets = training_set.pairs["transfer_set"].nunique()
    what = "pairs" if sets == 1 else f"pairs on {sets} sets each"
    campaigns = ", ".join(sorted(set(training_set.pairs["campaign"])))
    return (
        f"{len(training_set) // sets} {what}, {training_set.n_partitions} partitions, {campaigns}"
    )


def regret_text(table: pd.DataFrame) -> str:
    """The policies that were compared, one per line, aligned; ends with a newline."""
    headings = ["pp", "trials", "gain", "regret", "95 %", "behind tree", "95 %", "guarded regret"]
    lines = [
        [
            str(line["label"]),
            str(line["trials"]),
            signed(line["gain"]),
            points(line["regret"]),
            _between(line["regret_low"], line["regret_high"]),
            signed(line["behind_tree"]),
            _between(line["behind_tree_low"], line["behind_tree_high"]),
            points(line["guarded_regret"]),
        ]
        for line in table.to_dict("records")
    ]
    return _aligned([headings, *lines])


def advice_text(advice: Advice, about: str) -> str:
    """The whole answer; ends with a newline.

    Args:
        advice: The answer.
        about: What it was asked about.
    """
    leaf = advice.leaf
    lines = [
        ("Pair", f"{about}; on {SITUATION_TITLES[advice.training_set.situation]}"),
        ("Advice", action_title(leaf.action)),
    ]
    if band_text(leaf):
        lines.append(("", f"as good: {band_text(leaf)}"))
    sure = "; ".join(
        f"{100 * i.level:.0f} %: {_between(i.low, i.high) or 'too few pairs to say'}"
        for i in advice.intervals
    )
    expected = f"{signed(advice.gain) or '0.00'} pp on test; {sure}"
    if leaf.action == DO_NOTHING:
        lines.append(("Expected", "0 pp: the student stays as it is"))
        lines.append(("", f"distilling anyway ({action_title(leaf.distil)}): {expected}"))
    else:
        lines.append(("Expected", expected))
    tried = len(advice.training_set.actions) - 1
    lines.append(
        (
            "",
            f"{signed(leaf.guarded) or '0.00'} pp if tried and kept only where validation rises; "
            f"{signed(leaf.searched) or '0.00'} pp if all {tried} ways are tried",
        )
    )
    lines += _labelled("Because", [condition(step) for step in advice.path])
    where = ", ".join(f"{n} {name}" for name, n in leaf.partitions.items())
    lines.append(
        (
            "Evidence",
            f"{len(leaf.members)} cases like it ({where}) among "
            f"{evidence_text(advice.training_set)}",
        )
    )
    near = (
        f"{n.campaign}/{n.pair.partition}/{n.pair.label} ({signed(n.gain) or '0.00'} pp)"
        for n in advice.nearest
    )
    lines.append(("", f"most alike: {', '.join(near)}"))
    lines += _labelled("Error", _error_lines(advice))
    lines += _labelled("Caution", [_beyond(n, *v) for n, v in advice.outside.items()])
    lines += _labelled("Left out", advice.training_set.left_out)
    width = max(len(name) for name, _ in lines)
    return "\n".join(f"{name:<{width}}  {text}" for name, text in lines) + "\n"


def _error_lines(advice: Advice) -> list[str]:
    """How this very procedure does on partitions that it was not learnt from."""
    found = {str(line["policy"]): line for line in advice.regrets.to_dict("records")}
    tree = found[TREE_POLICY]
    compared = ", ".join(
        f"{found[name]['label']} {points(found[name]['regret'])}"
        for name in FIXED_POLICIES
        if name in found
    )
    held = ", ".join(
        f"{100 * i.level:.0f} % intervals held {100 * i.held:.0f} %"
        for i in advice.intervals
        if not math.isnan(i.held)
    )
    lines = [
        f"with each partition left out once: {points(tree['regret'])} pp behind the best of "
        f"{len(advice.training_set.actions)} ways on test "
        f"(95 %: {_between(tree['regret_low'], tree['regret_high'])}; "
        f"{points(tree['guarded_regret'])} with the guard)",
        f"for comparison: {compared}",
        f"promised gains were {points(advice.error)} pp off on average" + (held and f"; {held}"),
    ]
    if advice.simpler:
        rule = advice.simpler
        lines.append(
            f"less was lost by '{rule.label}' ({points(rule.regret)} pp), which is here: "
            f"{action_title(rule.action)}"
        )
    return lines


def _rules(node: Question | Leaf, indent: str = "  ") -> list[str]:
    if isinstance(node, Leaf):
        return [f"{indent}{leaf_text(node)}"]
    lines = []
    for child, above in ((node.below, False), (node.above, True)):
        lines.append(f"{indent}if {condition(Answer(node.feature, node.threshold, above))}:")
        lines += _rules(child, f"{indent}  ")
    return lines


def _beyond(name: str, value: float, low: float, high: float) -> str:
    return (
        f"{feature_label(name)}: {feature_value(name, value)} is beyond what was seen "
        f"({feature_value(name, low)} to {feature_value(name, high)})"
    )


def _labelled(label: str, texts: Sequence[str]) -> list[tuple[str, str]]:
    return [(label if not i else "", text) for i, text in enumerate(texts)]


def _between(low: float, high: float) -> str:
    return "" if math.isnan(low) else f"{points(low)} to {points(high)}"


def _range(bounds: tuple[float, float]) -> str:
    low, high = bounds
    return setting(low) if low == high else f"{setting(low)} to {setting(high)}"


def _aligned(lines: Sequence[Sequence[str]]) -> str:
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    rows = [
        "  ".join(
            c.rjust(w) if i else c.ljust(w)
            for i, (c, w) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    ]
    return "\n".join(row.rstrip() for row in rows) + "\n"
