"""Verdicts as texts for the terminal and the page, and as JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence

import pandas as pd

from kdopt.analysis.results import CampaignResults, Line
from kdopt.analysis.tables import list_name_columns
from kdopt.analysis.tuning import describe_selection, describe_vanilla
from kdopt.analysis.verdicts import ERROR_RATE, VERDICTS, Candidate, list_candidates
from kdopt.campaign.method_studies import list_fixed_values
from kdopt.campaign.settings import Campaign
from kdopt.campaign.stage_settings import METHODS, UNLABELED
from kdopt.outcome import Pair
from kdopt.report.export_columns import label_pairs, name_export_column
from kdopt.report.format import (
    format_chance,
    format_images,
    format_points,
    format_signed,
    format_transfer_set,
    includes_zero,
)
from kdopt.report.plotting import format_method
from kdopt.shown import format_count, format_setting

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
    """Why no teacher is used, in a sentence; empty for other verdicts."""
    if line["action"] == "leave as it is":
        chance = format_chance(line["chance_over_leaving"])
        return (
            "Validation alone decides, and nothing that was tried beats the untouched student "
            f"measurably there (chance {chance}; less than {ERROR_RATE:g} counts as measurable)."
        )
    if line["action"] == "train on":
        chance = format_chance(line["chance_over_training"])
        return (
            "Validation alone decides, and no teacher beats training on without one measurably "
            f"there (chance {chance}; less than {ERROR_RATE:g} counts as measurable)."
        )
    return ""


def describe_unlabeled(verdicts: pd.DataFrame) -> str:
    """Whose a gain on images without labels is, where a verdict rests on them; else empty.

    There the control is 0 by definition, so that a mean of net gains holds all of it.
    """
    found = verdicts[(verdicts["action"] == "distil") & verdicts["transfer_set"].isin(UNLABELED)]
    if found.empty:
        return ""
    return (
        f"In {len(found):,} of {format_count(len(verdicts), 'pair')} the student is distilled on "
        "images without labels: there nothing can be learnt without a teacher, so all of the gain "
        "counts as the teacher's."
    )


def describe_effect(line: Line) -> str:
    """What following a pair's verdict does to accuracy on test, in a sentence or two."""
    if line["action"] == "undecided":
        return ""
    before, after = (format_points(line[key]) for key in ("accuracy_before", "accuracy_after"))
    if line["action"] == "leave as it is":
        return _describe_leaving(line, before)
    where, gain = format_images(line["transfer_set"]), format_signed(line["test_gain"])
    if line["action"] == "train on":
        if gain == "0.00":
            return (
                f"Training on without a teacher, {where}, gains "
                f"{format_signed(line['validation_gain'])} pp on validation and 0.00 pp on test: "
                f"accuracy on test stays {before} %."
            )
        return (
            f"Training on without a teacher, {where}, takes accuracy on test from {before} to "
            f"{after} %: {gain} pp."
        )
    changed = (
        f"{format_method(line['method'])} {where} takes accuracy on test from {before} to {after} "
        f"%: {gain} pp"
    )
    return f"{changed}. {_describe_net(line, where)}"


def _describe_leaving(line: Line, before: str) -> str:
    stays = f"Accuracy on test stays {before} %"
    control = format_signed(line["control_gain"])
    if not control:
        return f"{stays}."
    where = format_images("student")
    return (
        f"{stays}. Training on without a teacher, {where}, changes it by {control} pp, but test "
        "images take no part in choosing."
    )


def _describe_net(line: Line, where: str) -> str:
    """How much of a distilled student's gain is the teacher's."""
    control = format_signed(line["control_gain"])
    if not control:
        return "What the teacher adds is not known: the control did not run."
    interval = ""
    low, high = line["net_low"], line["net_high"]
    if not math.isnan(low):
        zero = "; the interval includes 0" if includes_zero(low, high) else ""
        interval = (
            f" (95 % interval {format_signed(low)} to {format_signed(high)} pp over other test "
            f"images{zero})"
        )
    without = (
        f"{where} nothing can be learnt without one, as there are no labels"
        if line["transfer_set"] in UNLABELED
        else f"training on without one, {where}, changes accuracy by {control} pp"
    )
    net = format_signed(line["net_gain"])
    return f"Because of the teacher: {net} pp{interval}; {without}."


def describe_tuning(best: Line, verdict: Line, campaign: Campaign) -> str:
    """What the search of a pair found, on test, and why that is not the verdict where it is not.

    Args:
        best: The pair's line of the table of best settings.
        verdict: Its line of the table of verdicts.
        campaign: What was searched.
    """
    if math.isnan(best["temperature"]):
        return "Of the search no cell of this pair is complete yet."
    cells = [
        f"tuned KD ({_describe_cell(best, '')}, {describe_selection(campaign)}) "
        f"{format_signed(best['test_gain'])} pp",
        f"vanilla KD ({describe_vanilla(campaign)}) "
        + (f"{vanilla} pp" if (vanilla := format_signed(best["vanilla_gain"])) else "was not run"),
        f"the oracle ({_describe_cell(best, 'oracle_')}, selected on test itself) "
        f"{format_signed(best['oracle_gain'])} pp",
    ]
    text = f"{_describe_gap(best['accuracy_gap'])}Gains on test {format_images('student')}: "
    text += ", ".join(cells)
    if verdict["action"] in ("leave as it is", "train on"):
        return f"{text}; none of them counts here, as validation decides and test only reports."
    if verdict["action"] == "distil" and not is_cell(verdict):
        return f"{text}. The verdict is none of these: its line is marked below."
    return f"{text}."


def read_advice(best: Line) -> Line:
    """The verdict that stands in a line of the table of best settings, as a line of its own."""
    return {
        "action": best["advice"],
        "method": best["advice_method"],
        "transfer_set": best["advice_transfer_set"],
        "test_gain": best["advised_gain"],
        "temperature": math.nan,
    }


def describe_advice(best: Line) -> str:
    """The verdict of a line of best settings, whose setting need not be the line's.

    Such as ``distil: Vanilla, on public unlabeled (large), +26.85 pp on test``.
    """
    verdict = read_advice(best)
    gain = format_signed(verdict["test_gain"])
    return describe_verdict(verdict) + (f", {gain} pp on test" if gain else "")


def is_cell(verdict: Line) -> bool:
    """Whether a verdict is a cell of the pair's search of temperature and alpha."""
    return verdict["transfer_set"] == "student" and verdict["method"] in ("vanilla", "tuned")


def _describe_gap(gap: float) -> str:
    size = format_points(abs(gap))
    if not size:
        return ""
    if not float(size):
        return "Teacher and student are equally accurate on test. "
    sign = "higher" if gap > 0 else "lower"
    return f"The teacher's accuracy on test is {size} pp {sign} than the student's. "


def _describe_cell(line: Line, prefix: str) -> str:
    values = (format_setting(line[f"{prefix}{key}"]) for key in ("temperature", "alpha"))
    return "T={}, alpha={}".format(*values)


def format_verdicts(table: pd.DataFrame, name: str) -> tuple[str, list[list[str]]]:
    """A sentence on all pairs, and a line of texts per pair under a line of headings."""
    counts = table["action"].value_counts()
    said = [f"{counts[action]} {action}" for action in VERDICTS if counts.get(action)]
    head = f"{name}: {format_count(len(table), 'pair')}: {', '.join(said)}; test gains in pp"
    if unlabeled := describe_unlabeled(table):
        head += f". {unlabeled}"
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
    table = [["tried", "images", "setting", "validation gain (pp)", "test gain (pp)"]]
    table += [
        [
            format_method(c.method) if c.method else "no teacher",
            format_transfer_set(c.transfer_set),
            describe_full_setting(c, results.campaign),
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


def describe_full_setting(candidate: Candidate, campaign: Campaign) -> str:
    """All that a candidate ran with besides its images and budget, such as ``T=4, alpha=0.5``."""
    if candidate.setting or candidate.action != "distil":
        return candidate.setting
    fixed = list_fixed_values(campaign, candidate.method) if candidate.method in METHODS else {}
    has_labels = candidate.transfer_set not in UNLABELED
    values = {"T": fixed.get("temperature", candidate.temperature)}
    if not math.isnan(candidate.temperature):
        # Without labels nothing is left of the loss but the teacher's part.
        values = {"T": candidate.temperature, "alpha": candidate.alpha if has_labels else 1.0}
    if candidate.transfer_set != "student":
        values |= {key: v for key, v in fixed.items() if key == "self_teacher_weight"}
    if has_labels:
        values |= {key: v for key, v in fixed.items() if key in ("weight", "label_weight")}
    return ", ".join(
        "plain sum" if value is None else f"{name}={format_setting(value)}"
        for name, value in values.items()
    )


def _name_images(transfer_set: object) -> str:
    return f", {format_images(transfer_set)}"


def _get_pair(line: Line) -> Pair:
    return Pair(str(line["partition"]), int(line["teacher"]), int(line["student"]))
