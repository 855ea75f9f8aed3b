"""Advice as text and JSON: the rules of a tree, the regret table, the answer for one pair.

The JSON object of :func:`format_advice_json`:

=================  ================================================================
``schema``         1; raised when a field is renamed, removed or changes its meaning
``about``          what was asked about
``situation``      ``own``, ``public_labeled`` or ``public_unlabeled``
``distil``         false: leave the student as it is
``method``         ``none``, ``vanilla``, ``tuned``, ``dml``, ``dp_kd``
``temperature``    of the advice, or null
``alpha``          likewise
``as_good``        ``temperature`` and ``alpha``: least and greatest, or null
``gain``           expected test gain of following the advice, pp
``guarded_gain``   if the best way to distil is tried and kept only where validation rises, pp
``searched_gain``  the same if every action is tried, pp
``distilling``     the best way to distil (the advice itself unless that is not to), its
                   expected gain in pp, and ``intervals`` of it: ``level``, ``low``, ``high``,
                   ``held`` (measured share of gains inside, or null)
``because``        list of ``feature``, ``threshold``, ``above``
``features``       those that were known and could be asked for
``outside``        features beyond what was seen: value, least, greatest
``cases``          finished cases that the advice rests on
``partitions``     how many of them each partition has
``nearest``        the most similar cases
``learnt_from``    all that was learnt from: ``cases``, ``partitions``, ``campaigns``, ``left_out``
``simpler``        a rule that lost less than the tree: ``label``, its action, ``regret``; or null
``error``          with each partition left out once, pp: mean ``promise`` error, and per policy
                   ``regret``, ``low``, ``high``, ``guarded``
=================  ================================================================
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from kdopt.advice.advise import Advice
from kdopt.advice.policies import FIXED_POLICIES, TREE_POLICY
from kdopt.advice.training_set import DO_NOTHING, Action, Situation, TrainingSet
from kdopt.advice.tree import AdviceTree, Answer, Leaf, Question
from kdopt.errors import AdviceError
from kdopt.features.definitions import FEATURES
from kdopt.report.format import format_points, format_setting, format_signed

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
    return f"{format_action(leaf.action)}{band}{gain}; {len(leaf.members)} cases"


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
        f"{len(training_set) // sets} {what}, {training_set.n_partitions} partitions, {campaigns}"
    )


def format_regrets(table: pd.DataFrame) -> str:
    """The policies that were compared, one per line, aligned; ends with a newline."""
    headings = ["pp", "trials", "gain", "regret", "95 %", "behind tree", "95 %", "guarded regret"]
    lines = [
        [
            str(line["label"]),
            str(line["trials"]),
            format_signed(line["gain"]),
            format_points(line["regret"]),
            _format_between(line["regret_low"], line["regret_high"]),
            format_signed(line["behind_tree"]),
            _format_between(line["behind_tree_low"], line["behind_tree_high"]),
            format_points(line["guarded_regret"]),
        ]
        for line in table.to_dict("records")
    ]
    return _align_lines([headings, *lines])


def format_advice(advice: Advice, about: str) -> str:
    """The whole answer; ends with a newline.

    Args:
        advice: The answer.
        about: What it was asked about.
    """
    leaf = advice.leaf
    lines = [
        ("Pair", f"{about}; on {SITUATION_TITLES[advice.training_set.situation]}"),
        ("Advice", format_action(leaf.action)),
    ]
    if format_band(leaf):
        lines.append(("", f"as good: {format_band(leaf)}"))
    sure = "; ".join(
        f"{100 * i.level:.0f} %: {_format_between(i.low, i.high) or 'too few pairs to say'}"
        for i in advice.intervals
    )
    expected = f"{format_signed(advice.gain) or '0.00'} pp on test; {sure}"
    if leaf.action == DO_NOTHING:
        lines.append(("Expected", "0 pp: the student stays as it is"))
        lines.append(("", f"distilling anyway ({format_action(leaf.distil)}): {expected}"))
    else:
        lines.append(("Expected", expected))
    tried = len(advice.training_set.actions) - 1
    lines.append(
        (
            "",
            f"{format_signed(leaf.guarded) or '0.00'} pp if tried and kept only where validation "
            f"rises; {format_signed(leaf.searched) or '0.00'} pp if all {tried} actions are tried",
        )
    )
    lines += _label_lines("Because", [format_condition(step) for step in advice.path])
    where = ", ".join(f"{n} {name}" for name, n in leaf.partitions.items())
    lines.append(
        (
            "Evidence",
            f"{len(leaf.members)} cases like it ({where}) among "
            f"{describe_evidence(advice.training_set)}",
        )
    )
    near = (
        f"{n.campaign}/{n.pair.partition}/{n.pair.label} ({format_signed(n.gain) or '0.00'} pp)"
        for n in advice.nearest
    )
    lines.append(("", f"most similar: {', '.join(near)}"))
    lines += _label_lines("Error", _list_errors(advice))
    lines += _label_lines("Caution", [_describe_outside(n, *v) for n, v in advice.outside.items()])
    lines += _label_lines("Left out", advice.training_set.left_out)
    width = max(len(name) for name, _ in lines)
    return "\n".join(f"{name:<{width}}  {text}" for name, text in lines) + "\n"


def _list_errors(advice: Advice) -> list[str]:
    """What the same procedure loses on partitions that it was not learnt from."""
    found = {str(line["policy"]): line for line in advice.regrets.to_dict("records")}
    tree = found[TREE_POLICY]
    compared = ", ".join(
        f"{found[name]['label']} {format_points(found[name]['regret'])}"
        for name in FIXED_POLICIES
        if name in found
    )
    held = ", ".join(
        f"{100 * i.level:.0f} % intervals held {100 * i.held:.0f} %"
        for i in advice.intervals
        if not math.isnan(i.held)
    )
    lines = [
        f"with each partition left out once: {format_points(tree['regret'])} pp behind the best of "
        f"{len(advice.training_set.actions)} actions on test "
        f"(95 %: {_format_between(tree['regret_low'], tree['regret_high'])}; "
        f"{format_points(tree['guarded_regret'])} with the guard)",
        f"for comparison: {compared}",
        f"expected gains were {format_points(advice.error)} pp off on average"
        + (held and f"; {held}"),
    ]
    if advice.simpler:
        rule = advice.simpler
        lines.append(
            f"'{rule.label}' lost less ({format_points(rule.regret)} pp); here it means: "
            f"{format_action(rule.action)}"
        )
    return lines


def _list_rules(node: Question | Leaf, indent: str = "  ") -> list[str]:
    if isinstance(node, Leaf):
        return [f"{indent}{format_leaf(node)}"]
    lines = []
    for child, above in ((node.below, False), (node.above, True)):
        lines.append(f"{indent}if {format_condition(Answer(node.feature, node.threshold, above))}:")
        lines += _list_rules(child, f"{indent}  ")
    return lines


def _describe_outside(name: str, value: float, low: float, high: float) -> str:
    return (
        f"{label_feature(name)}: {format_feature(name, value)} is outside the range that was seen "
        f"({format_feature(name, low)} to {format_feature(name, high)})"
    )


def _label_lines(label: str, texts: Sequence[str]) -> list[tuple[str, str]]:
    return [(label if not i else "", text) for i, text in enumerate(texts)]


def _format_between(low: float, high: float) -> str:
    return "" if math.isnan(low) else f"{format_points(low)} to {format_points(high)}"


def _format_range(bounds: tuple[float, float]) -> str:
    low, high = bounds
    return (
        format_setting(low) if low == high else f"{format_setting(low)} to {format_setting(high)}"
    )


def _align_lines(lines: Sequence[Sequence[str]]) -> str:
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    rows = [
        "  ".join(
            c.rjust(w) if i else c.ljust(w)
            for i, (c, w) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    ]
    return "\n".join(row.rstrip() for row in rows) + "\n"


ADVICE_SCHEMA = 1
"""Version of what is written; fields may be added within one."""


def format_advice_json(advice: Advice, about: str, features: Mapping[str, float]) -> str:
    """The advice as indented JSON, without a newline at the end.

    Args:
        advice: The advice.
        about: What it was asked about.
        features: What was known of it.
    """
    leaf, training_set = advice.leaf, advice.training_set
    record = {
        "schema": ADVICE_SCHEMA,
        "about": about,
        "situation": training_set.situation,
        "distil": leaf.action != DO_NOTHING,
        **_action_fields(leaf.action),
        "as_good": _band_fields(leaf),
        "gain": leaf.gain,
        "guarded_gain": leaf.guarded,
        "searched_gain": leaf.searched,
        "distilling": {
            **_action_fields(leaf.distil),
            "gain": advice.gain,
            "intervals": [interval._asdict() for interval in advice.intervals],
        },
        "because": [step._asdict() for step in advice.path],
        "features": {name: features[name] for name in advice.names},
        "outside": {name: list(values) for name, values in advice.outside.items()},
        "cases": len(leaf.members),
        "partitions": dict(leaf.partitions),
        "nearest": [
            {
                "campaign": near.campaign,
                **near.pair._asdict(),
                "transfer_set": near.transfer_set,
                "gain": near.gain,
            }
            for near in advice.nearest
        ],
        "learnt_from": {
            "cases": len(training_set),
            "partitions": training_set.n_partitions,
            "campaigns": sorted(set(training_set.pairs["campaign"])),
            "left_out": list(training_set.left_out),
        },
        "simpler": _simpler_fields(advice),
        "error": {
            "promise": advice.error,
            "policies": {
                str(line["policy"]): {
                    "regret": line["regret"],
                    "low": line["regret_low"],
                    "high": line["regret_high"],
                    "guarded": line["guarded_regret"],
                }
                for line in advice.regrets.to_dict("records")
            },
        },
    }
    return json.dumps(_replace_nan(record), indent=2, allow_nan=False)


def _action_fields(action: Action) -> dict[str, Any]:
    return action._asdict()


def _simpler_fields(advice: Advice) -> dict[str, Any] | None:
    rule = advice.simpler
    if rule is None:
        return None
    return {"label": rule.label, **_action_fields(rule.action), "regret": rule.regret}


def _band_fields(leaf: Leaf) -> dict[str, list[float]] | None:
    if leaf.band is None:
        return None
    return {name: list(bounds) for name, bounds in leaf.band._asdict().items()}


def _replace_nan(value: Any) -> Any:
    """JSON has no NaN: what is not known is null."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _replace_nan(item) for key, item in value.items()}
    return [_replace_nan(item) for item in value] if isinstance(value, list) else value
