"""What was tried with the student of one pair: the best setting of every method and image set."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from kdopt.analysis.verdicts import Candidate, Candidates
from kdopt.report.format import format_points, format_transfer_set
from kdopt.report.plotting import format_method
from kdopt.report.verdict_text import Line, is_cell
from kdopt.shown import format_setting

UNTOUCHED = ("", "")
"""Method and image set of the student that is left as it is."""


class TriedNames(NamedTuple):
    """The numbers that stand for methods and image sets in the lines of all pairs of a page."""

    methods: dict[str, int]
    sets: dict[str, int]


def collect_tried(line: Line, found: Candidates, names: TriedNames) -> dict[str, Any]:
    """What was tried with a pair's student, as the page lists it.

    Args:
        line: The pair's line of the table of verdicts.
        found: What was tried; of each method on each image set the best on validation is kept.
        names: Those of the page, which grow.

    Returns:
        ``tried``: what was done and on which images (numbers of ``names``), the setting, and the
        gains on validation and test, the best on validation first. ``chosen``: the place of the
        verdict, which is always among them; none before there is one. ``cell``: the mark of the
        verdict on the map of temperature and alpha, if it is there.
    """
    kept: dict[tuple[str, str], Candidate] = {}
    for candidate in (*found.trained, *found.distilled):
        kept.setdefault((candidate.method, candidate.transfer_set), candidate)
    vanilla, tuned = (kept.get((method, "student")) for method in ("vanilla", "tuned"))
    selects_vanilla = vanilla is not None and tuned is not None and vanilla.rank < tuned.rank
    if selects_vanilla:
        # The search selects vanilla's cell: another one called tuned would contradict the map.
        del kept["tuned", "student"]
    lines = {UNTOUCHED: (0.0, 0.0, "")} | {
        key: (c.validation_gain, c.test_gain, _describe_setting(c)) for key, c in kept.items()
    }
    if selects_vanilla:
        gains = lines["vanilla", "student"]
        lines["vanilla", "student"] = (*gains[:2], f"{gains[2]}, which is the tuned cell")
    keys = sorted(lines, key=lambda key: -lines[key][0])
    shown: dict[str, Any] = {"tried": [_make_line(key, *lines[key], names) for key in keys]}
    if line["action"] != "undecided":
        shown["chosen"] = keys.index((str(line["method"]), str(line["transfer_set"])))
    return shown | ({"cell": line["method"]} if is_cell(line) else {})


def _make_line(
    key: tuple[str, str], validation: float, test: float, setting: str, names: TriedNames
) -> list[Any]:
    method, images = key
    done = format_method(method) if method else "Train on without a teacher"
    if key == UNTOUCHED:
        done = "Leave as it is"
    image_set = format_transfer_set(images) if images else ""
    return [
        names.methods.setdefault(done, len(names.methods)),
        names.sets.setdefault(image_set, len(names.sets)),
        setting,
        format_points(validation),
        format_points(test),
    ]


def _describe_setting(candidate: Candidate) -> str:
    if candidate.setting or math.isnan(candidate.temperature):
        return candidate.setting
    values = map(format_setting, (candidate.temperature, candidate.alpha))
    return "T={}, alpha={}".format(*values)
