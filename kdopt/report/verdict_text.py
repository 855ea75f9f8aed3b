"""Verdicts as texts for the terminal and the page, and as JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import pandas as pd

from kdopt.analysis.names import list_name_columns
from kdopt.analysis.results import CampaignResults
from kdopt.analysis.verdicts import ERROR_RATE, VERDICTS, Candidate, list_candidates
from kdopt.outcome import Pair
from kdopt.report.export_columns import label_pairs, name_export_column
from kdopt.report.format import (
    format_chance,
    format_points,
    format_signed,
    format_transfer_set,
    includes_zero,
)
from kdopt.report.plotting import format_method
from kdopt.shown import format_setting

Line = Mapping[Hashable, Any]
"""One line of the table of verdicts."""

CANDIDATES_SHOWN = 5


def describe_verdict(line: Line) -> str:
    """What to do with a pair's student, such as ``distil: Tuned, T=6, alpha=0.9``."""
    action = str(line["action"])
    where = "" if line["transfer_set"] in ("", "student") else _name_images(line["transfer_set"])
    if action != "distil":
        budget = f": {line['setting']}" if action == "train on" and line.get("setting") else ""
        return f"{action}{budget}{where}"
    return f"{action}: {_describe_method(line)}{where}"


def explain_verdict(line: Line, results: CampaignResults) -> str:
    """Why a pair's verdict is what it is, in a sentence or two."""
    trained, distilled = list_candidates(_get_pair(line), results)
    if line["action"] == "undecided":
        if not distilled:
            return "No trial that distils this pair is complete."
        return (
            "These trials have no record of the single validation images, as those of older "
            "versions of kdopt, so nothing can be said about chance. Run the campaign again under "
            "another name."
        )
    over_leaving = format_chance(line["chance_over_leaving"])
    over_training = format_chance(line["chance_over_training"])
    best = min([*trained, *distilled], key=lambda candidate: candidate.rank)
    if line["action"] == "leave as it is":
        return (
            f"No measurable difference: the best of {line['tried']} that were tried gains "
            f"{format_points(best.validation_gain)} pp on validation, and chance alone gives the "
            f"best of so many that much with probability {over_leaving} "
            f"({ERROR_RATE:g} or more decides for the untouched student)."
        )
    if line["action"] == "train on":
        return (
            f"The best of {line['tried']} that were tried gains "
            f"{format_points(best.validation_gain)} pp on validation, with probability "
            f"{over_leaving} by chance, so to leave the student is not best. Training on without "
            f"a teacher gains {format_points(line['validation_gain'])} pp, and no teacher adds "
            "anything measurable to that: chance alone gives the best distilled student its lead "
            f"with probability {over_training}."
        )
    text = (
        f"It gains {format_points(line['validation_gain'])} pp on validation; chance alone gives "
        f"the best of {line['tried']} such a lead over the untouched student with probability "
        f"{over_leaving}"
    )
    if not trained:
        return f"{text}. The control did not run, so what the teacher adds is not known."
    return f"{text}, and over training on without a teacher with probability {over_training}."


def give_reason(line: Line) -> str:
    """Why no teacher is used, in a short sentence; empty for other verdicts."""
    if line["action"] == "leave as it is":
        chance = format_chance(line["chance_over_leaving"])
        return f"No setting beat the untouched student measurably on validation (chance {chance})."
    if line["action"] == "train on":
        chance = format_chance(line["chance_over_training"])
        return f"No teacher beat training on measurably on validation (chance {chance})."
    return ""


def describe_effect(line: Line) -> str:
    """What following a pair's verdict does to accuracy on test, in a sentence or two."""
    if line["action"] == "undecided":
        return ""
    before, after = (f"{line[key]:.1f}" for key in ("accuracy_before", "accuracy_after"))
    control = format_signed(line["control_gain"])
    without = f"without a teacher it changes by {control} pp" if control else ""
    if line["action"] == "leave as it is":
        return f"Accuracy on test stays {before} %{f'; trained on {without}' if without else ''}."
    seen = format_signed(line["validation_gain"])
    if line["action"] == "train on" and format_signed(line["test_gain"]) == "0.00":
        return (
            f"Training on gained {seen} pp on validation; the test images show 0.00 pp: accuracy "
            f"stays {before} %."
        )
    changed = (
        f"Accuracy on test goes from {before} to {after} %: {format_signed(line['test_gain'])} pp"
    )
    if line["action"] == "train on":
        return f"{changed}, without a teacher."
    if not control:
        return f"{changed}. What the teacher adds is not known: the control did not run."
    interval = ""
    low, high = line["net_low"], line["net_high"]
    if not math.isnan(low):
        zero = "; the interval includes 0" if includes_zero(low, high) else ""
        interval = (
            f" (95 % interval {format_signed(low)} to {format_signed(high)} pp over other test "
            f"images{zero})"
        )
    net = format_signed(line["net_gain"])
    return f"{changed}. Of it {net} pp is because of the teacher{interval}; {without}."


def format_verdicts(table: pd.DataFrame, name: str) -> tuple[str, list[list[str]]]:
    """A sentence on all pairs, and a line of texts per pair under a line of headings."""
    counts = table["action"].value_counts()
    said = [f"{counts[action]} {action}" for action in VERDICTS if counts.get(action)]
    head = f"{name}: {len(table)} pairs: {', '.join(said)}; test gains in pp"
    names = list_name_columns(table)
    headings = [name.removesuffix("_name") for name in names]
    lines = [["pair", *headings, "verdict", "test", "control", "net"]]
    lines += [
        [
            f"{line['partition']}/{_get_pair(line).label}",
            *(str(line[name]) for name in names),
            describe_verdict(line),
            *(format_points(line[key]) for key in ("test_gain", "control_gain", "net_gain")),
        ]
        for line in table.to_dict("records")
    ]
    return head, lines


def format_verdict(line: Line, results: CampaignResults) -> tuple[str, list[list[str]]]:
    """All about one pair: its verdict with reasons, and the best of what was tried."""
    pair = _get_pair(line)
    trained, distilled = list_candidates(pair, results)
    who = results.campaign.describe_pair(pair.teacher, pair.student)
    texts = [
        f"{results.campaign.name}/{pair.partition}/{pair.label}{f' ({who})' if who else ''}: "
        f"{describe_verdict(line)}",
        explain_verdict(line, results),
    ]
    if effect := describe_effect(line):
        texts.append(effect)
    shown = [*trained[:CANDIDATES_SHOWN], *distilled[:CANDIDATES_SHOWN]]
    table = [["tried", "images", "T", "alpha", "validation gain (pp)", "test gain (pp)"]]
    table += [
        [
            _name_candidate(c),
            format_transfer_set(c.transfer_set),
            format_setting(c.temperature),
            format_setting(c.alpha),
            format_points(c.validation_gain),
            format_points(c.test_gain),
        ]
        for c in shown
    ]
    if len(distilled) > CANDIDATES_SHOWN:
        texts.append(
            f"Without a teacher, and the best {CANDIDATES_SHOWN} of {len(distilled)} on validation:"
        )
    return "\n".join(texts), table


def format_verdicts_json(table: pd.DataFrame) -> str:
    """The table as a JSON list, under the names that files have; unknown numbers are null."""
    lines: Sequence[Line] = label_pairs(table).to_dict("records")
    return json.dumps(
        [
            {
                name_export_column(str(key)): None
                if isinstance(value, float) and math.isnan(value)
                else value
                for key, value in line.items()
            }
            for line in lines
        ],
        indent=2,
        allow_nan=False,
    )


def _describe_method(line: Line) -> str:
    method = format_method(line["method"])
    if line.get("setting"):
        return f"{method}, {line['setting']}"
    if math.isnan(line["temperature"]):
        return method
    return (
        f"{method}, T={format_setting(line['temperature'])}, alpha={format_setting(line['alpha'])}"
    )


def _name_candidate(candidate: Candidate) -> str:
    name = format_method(candidate.method) if candidate.method else "no teacher"
    return f"{name} ({candidate.setting})" if candidate.setting else name


def _name_images(transfer_set: object) -> str:
    return f", on {format_transfer_set(transfer_set).lower()}"


def _get_pair(line: Line) -> Pair:
    return Pair(str(line["partition"]), int(line["teacher"]), int(line["student"]))
