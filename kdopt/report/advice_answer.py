"""The answer of ``kdopt recommend`` for one pair, as text and JSON.

The JSON object of :func:`format_advice_json`:

=================  ================================================================
``schema``         2; raised when a field is renamed, removed or changes its meaning
``about``          what was asked about
``measured``       the verdict on the pair in words, if the store has its trials; else null
``note``           what is unusual about what was learnt from, or empty
``situation``      ``own``, ``public_labeled`` or ``public_unlabeled``
``rule``           the rule that is followed: ``name`` and ``label``
``distil``         false: use no teacher
``method``         ``none``, ``control`` (train on), ``vanilla``, ``tuned``, ``dml``, ``dp_kd``
``temperature``    of the advice, or null
``alpha``          likewise
``gain``           test gain of following the advice, pp: ``value`` as promised, ``low`` and
                   ``high`` of the interval, the ``level`` it is made for, the share that such
                   intervals ``held``, ``bias`` (promised minus real, mean) and ``error`` of such
                   promises on what was left out
``net_gain``       the same over training on without a teacher; on images without labels that is
                   0, so all of a gain is net
``anyway``         where no teacher is advised, the tree's best way to distil: ``method``,
                   ``temperature``, ``alpha``, ``gain``, ``net_gain``; else null
``left_out``       ``partition`` or ``participant``: what the rules did not know when judged
``rules``          all rules, the simplest first: ``name``, ``label``, what it says of the pair
                   (``method``, ``temperature``, ``alpha``), and on what was left out, pp:
                   ``gain``, ``net_gain``, ``bias``, ``regret`` with ``low`` and ``high``,
                   ``behind_lead``, ``guarded_regret``
``tree``           the decision tree's leaf: ``method``, ``temperature``, ``alpha``, ``as_good``
                   (least and greatest T and alpha, or null), ``because`` (list of ``feature``,
                   ``threshold``, ``above``), ``cases``, ``partitions``, ``guarded_gain`` and
                   ``searched_gain``, pp
``searches``       regret of looking: ``search`` (all on validation), ``oracle`` (all on test)
``features``       those that were known and could be asked for
``outside``        features beyond what was seen: value, least, greatest
``nearest``        the most similar cases
``learnt_from``    all that was learnt from: ``cases``, ``partitions``, ``campaigns``, ``left_out``
=================  ================================================================
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from kdopt.advice.advise import Advice, Expected, Forecast
from kdopt.advice.policies import SEARCH_POLICIES, TREE_POLICY
from kdopt.advice.training_set import DO_NOTHING, TRAIN_ON
from kdopt.advice.tree import Leaf
from kdopt.analysis.results import Line
from kdopt.analysis.stats import LEAST_UNITS
from kdopt.report.advice_text import (
    LEFT_OUT_UNITS,
    SITUATION_TITLES,
    align_lines,
    describe_evidence,
    format_action,
    format_band,
    format_between,
    format_condition,
    format_feature,
    format_interval,
    label_feature,
    replace_nan,
)
from kdopt.report.format import format_points, format_signed
from kdopt.shown import format_count

ADVICE_SCHEMA = 2
"""Version of what is written; fields may be added within one."""

LEFT_OUT_WORDS = {
    "partition": "partitions that were not learnt from",
    "participant": "participants that were not learnt from",
}


def format_advice(advice: Advice, about: str, measured: str | None = None, note: str = "") -> str:
    """The whole answer; ends with a newline.

    Args:
        advice: The answer.
        about: What it was asked about.
        measured: The verdict on the pair, if it was measured.
        note: What is unusual about what was learnt from.
    """
    training_set = advice.training_set
    lines = [("Measured", f"{about}: {measured}")] if measured else []
    if measured:
        lines.append(("", "what follows is learnt from other pairs"))
    lines += _label_lines("Note", [note] if note else [])
    lines += [
        ("Pair", f"{about}; on {SITUATION_TITLES[training_set.situation]}"),
        ("Advice", format_action(advice.lead.action)),
    ]
    if advice.lead.name == TREE_POLICY and format_band(advice.leaf):
        lines.append(("", f"as good: {format_band(advice.leaf)}"))
    lines += _label_lines("Because", _explain_lead(advice))
    lines += _label_lines("Expected", _list_expectations(advice))
    lines += _label_lines("Rules", _tabulate_rules(advice))
    units = LEFT_OUT_UNITS[advice.left_out]
    lines += _label_lines("95 %", [f"the interval of the regret, over {units}"])
    lines += _label_lines("Tree", _describe_leaf(advice))
    near = (
        f"{n.campaign}/{n.pair.partition}/{n.pair.label} ({format_signed(n.gain) or '0.00'} pp)"
        for n in advice.nearest
    )
    lines.append(("Evidence", describe_evidence(training_set)))
    lines.append(("", f"most similar: {', '.join(near)}"))
    lines += _label_lines("Caution", [_describe_outside(n, *v) for n, v in advice.outside.items()])
    lines += _label_lines("Left out", training_set.left_out)
    width = max(len(name) for name, _ in lines)
    return "\n".join(f"{name:<{width}}  {text}".rstrip() for name, text in lines) + "\n"


def _explain_lead(advice: Advice) -> list[str]:
    """Why this rule leads."""
    found = {str(line["policy"]): line for line in advice.regrets.to_dict("records")}
    lead = found[advice.lead.name]
    least = min((found[r.name] for r in advice.rules), key=lambda line: line["regret"])
    where = LEFT_OUT_WORDS[advice.left_out]
    said = (
        f"rule '{advice.lead.label}': on {where} it lost {format_points(lead['regret'])} pp "
        f"against the best of {format_count(len(advice.training_set.actions), 'action')} on "
        f"test{format_interval(lead['regret_low'], lead['regret_high'])}"
    )
    if lead["regret"] <= least["regret"]:
        return [said, "no rule lost less"]
    other = f"'{least['label']}' lost {format_points(least['regret'])} pp"
    low, high = -least["behind_lead_high"], -least["behind_lead_low"]
    if math.isnan(low):
        return [
            said,
            f"{other}, but {LEAST_UNITS} {advice.left_out}s would have to be left out to measure a "
            "difference, so the simplest rule leads",
        ]
    return [
        said,
        f"{other}: the difference of {format_points(-least['behind_lead'])}"
        f"{format_interval(low, high)} is not measurable for the best of "
        f"{format_count(len(advice.rules), 'rule')}, so the simpler one leads",
    ]


def _list_expectations(advice: Advice) -> list[str]:
    where = LEFT_OUT_WORDS[advice.left_out]
    action = advice.lead.action
    if action == DO_NOTHING:
        lines = ["0 pp: the student stays as it is"]
    else:
        lines = [f"test gain {_describe_forecast(advice.expected.gain, where)}"]
        if action == TRAIN_ON:
            lines.append("net gain 0 pp: no teacher is used")
        else:
            lines.append(_describe_net(advice.expected, where))
    if advice.training_set.situation == "public_unlabeled":
        lines.append(
            "without labels nothing can be learnt without a teacher, so all of a gain counts as "
            "the teacher's"
        )
    if advice.anyway:
        way = format_action(advice.anyway.action)
        lines.append(
            f"distilling anyway ({way}): test gain {_describe_forecast(advice.anyway.gain, where)}"
        )
        lines.append(_describe_net(advice.anyway, where))
    return lines


def _describe_net(expected: Expected, where: str) -> str:
    if math.isnan(expected.net.value):
        return (
            "net gain not known: the control (training on without a teacher) was not run, so the "
            "gain may be that of more training"
        )
    return f"net gain {_describe_forecast(expected.net, where)}"


def _describe_forecast(found: Forecast, where: str) -> str:
    """A promise, its interval and what such promises were worth."""
    text = f"{format_signed(found.value) or '0.00'} pp promised"
    if math.isfinite(found.bias):
        way = "too high" if found.bias > 0 else "too low"
        by = format_points(abs(found.bias))
        text += (
            f"; on {where} such promises were {'right' if by == '0.00' else f'{by} pp {way}'} on "
            f"average, and {format_points(found.error)} pp off either way"
        )
    if math.isnan(found.low):
        return f"{text}; too few groups to leave out for an interval"
    held = f"{100 * found.held:.0f} %" if math.isfinite(found.held) else "an unknown share"
    return (
        f"{text}; {100 * found.level:.0f} % interval {format_between(found.low, found.high)} "
        f"(such intervals held {held} of the gains there)"
    )


def _tabulate_rules(advice: Advice) -> list[str]:
    """What every rule says of this pair, and what it lost on what was left out."""
    found = {str(line["policy"]): line for line in advice.regrets.to_dict("records")}
    lines = [["", "says here", "regret", "95 %", "gain", "net gain", "bias"]]
    for rule in advice.rules:
        line = found[rule.name]
        lines.append(
            [
                f"* {rule.label}" if line["leads"] else f"  {rule.label}",
                format_action(rule.action),
                format_points(line["regret"]),
                format_between(line["regret_low"], line["regret_high"]),
                *(format_signed(line[name]) for name in ("gain", "net_gain", "bias")),
            ]
        )
    return align_lines(lines).splitlines()


def _describe_leaf(advice: Advice) -> list[str]:
    leaf = advice.leaf
    asked = "; ".join(map(format_condition, advice.path)) or "no question"
    where = ", ".join(f"{n} {name}" for name, n in leaf.partitions.items())
    tried = len(advice.training_set.actions) - 1
    said = (
        f"{asked}: {format_action(leaf.action)}; {format_count(len(leaf.members), 'case')} like "
        f"it ({where})"
    )
    return [
        said,
        f"there: {format_signed(leaf.guarded) or '0.00'} pp if {format_action(leaf.distil)} is "
        f"tried and kept only where validation rises; {format_signed(leaf.searched) or '0.00'} pp "
        f"if all {format_count(tried, 'action is', 'actions are')} tried",
    ]


def _describe_outside(name: str, value: float, low: float, high: float) -> str:
    return (
        f"{label_feature(name)}: {format_feature(name, value)} is outside the range that was seen "
        f"({format_feature(name, low)} to {format_feature(name, high)})"
    )


def _label_lines(label: str, texts: Sequence[str]) -> list[tuple[str, str]]:
    return [(label if not i else "", text) for i, text in enumerate(texts)]


def format_advice_json(
    advice: Advice,
    about: str,
    features: Mapping[str, float],
    measured: str | None = None,
    note: str = "",
) -> str:
    """The advice as indented JSON, without a newline at the end.

    Args:
        advice: The advice.
        about: What it was asked about.
        features: What was known of it.
        measured: The verdict on the pair, if it was measured.
        note: What is unusual about what was learnt from.
    """
    training_set = advice.training_set
    found = {str(line["policy"]): line for line in advice.regrets.to_dict("records")}
    record = {
        "schema": ADVICE_SCHEMA,
        "about": about,
        "measured": measured,
        "note": note,
        "situation": training_set.situation,
        "rule": {"name": advice.lead.name, "label": advice.lead.label},
        "distil": advice.lead.action not in (DO_NOTHING, TRAIN_ON),
        **_expected_fields(advice.expected),
        "anyway": _expected_fields(advice.anyway) if advice.anyway else None,
        "left_out": advice.left_out,
        "rules": [
            {"name": r.name, "label": r.label, **r.action._asdict(), **_score_fields(found[r.name])}
            for r in advice.rules
        ],
        "tree": {
            **advice.leaf.action._asdict(),
            "as_good": _band_fields(advice.leaf),
            "because": [step._asdict() for step in advice.path],
            "cases": len(advice.leaf.members),
            "partitions": dict(advice.leaf.partitions),
            "guarded_gain": advice.leaf.guarded,
            "searched_gain": advice.leaf.searched,
        },
        "searches": {name: found[name]["regret"] for name in SEARCH_POLICIES if name in found},
        "features": {name: features[name] for name in advice.names},
        "outside": {name: list(values) for name, values in advice.outside.items()},
        "nearest": _nearest_fields(advice),
        "learnt_from": {
            "cases": len(training_set),
            "partitions": training_set.n_partitions,
            "campaigns": sorted(set(training_set.pairs["campaign"])),
            "left_out": list(training_set.left_out),
        },
    }
    return json.dumps(replace_nan(record), indent=2, allow_nan=False)


def _nearest_fields(advice: Advice) -> list[dict[str, Any]]:
    return [
        {
            "campaign": near.campaign,
            **near.pair._asdict(),
            "transfer_set": near.transfer_set,
            "gain": near.gain,
        }
        for near in advice.nearest
    ]


def _expected_fields(expected: Expected) -> dict[str, Any]:
    return {
        **expected.action._asdict(),
        "gain": expected.gain._asdict(),
        "net_gain": expected.net._asdict(),
    }


def _score_fields(line: Line) -> dict[str, float]:
    return {
        **{name: line[name] for name in ("gain", "net_gain", "bias", "regret")},
        "low": line["regret_low"],
        "high": line["regret_high"],
        **{name: line[name] for name in ("behind_lead", "guarded_regret")},
    }


def _band_fields(leaf: Leaf) -> dict[str, list[float]] | None:
    if leaf.band is None:
        return None
    return {name: list(bounds) for name, bounds in leaf.band._asdict().items()}
