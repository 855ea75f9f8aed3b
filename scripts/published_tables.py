"""The tables of the published page: each of its lines sets the campaigns side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

import pandas as pd

from kdopt.analysis.tuning import OVERALL
from kdopt.report.format import format_hours, format_pipe_line
from kdopt.report.sections.run import list_facts
from scripts.published_numbers import (
    PublishedNumbers,
    count_verdicts,
    format_estimate,
    split_rival,
)

NON_IID = "mean of the non-IID partitions"
METHOD_TITLES = {"vanilla": "vanilla", "dml": "DML", "dp_kd": "DP-KD", "tuned": "tuned"}
TRANSFER_TITLES = {
    "student": "student's own data",
    "public_unlabeled_small": "public, unlabelled, small",
    "public_unlabeled_large": "public, unlabelled, large",
    "public_labeled": "public, labelled",
}
PAPER_RATIOS = {"uniform": 16.0, NON_IID: 139.0}
PAPER_ROUNDS = 60.6


class CheckRecord(TypedDict):
    """What came of running trials of a campaign again, as ``verify.json`` keeps it.

    Attributes:
        campaign: Its name.
        results_sha256: Of the results that were checked.
        trials: How many ran again.
        differing: How many of them gave other numbers.
        other_machine: How many ran on another machine or other versions than before.
        stages: ``checked`` and ``equal`` trials by stage.
    """

    campaign: str
    results_sha256: str
    trials: int
    differing: int
    other_machine: int
    stages: dict[str, dict[str, int]]


Checks = Mapping[str, CheckRecord | None]
"""By campaign; ``None`` where nothing ran again."""


def make_gains_table(numbers: Sequence[PublishedNumbers]) -> str:
    """Mean test gains by partition, both campaigns below each other."""
    head = ["partition", "images", "untouched (%)", "control", *METHOD_TITLES.values()]
    lines = []
    for scope in [*_join_scopes(numbers), OVERALL]:
        for one in numbers:
            before = one.gain("tuned", scope, "student_accuracy")
            cells = [
                f"{before.mean:.1f}" if before.n else "-",
                format_estimate(one.gain("tuned", scope, "control_gain")),
            ]
            cells += [format_estimate(one.gain(method, scope)) for method in METHOD_TITLES]
            net = format_estimate(one.gain("tuned", scope, "net_gain"))
            lines.append([_name_scope(scope), one.title, *cells, net])
    return _join_lines([*head, "tuned, net"], lines, worded=2)


def make_transfer_table(numbers: Sequence[PublishedNumbers]) -> str:
    """Mean test gains by transfer set, net gains behind them where a control can be run."""
    lines = []
    for transfer_set, title in TRANSFER_TITLES.items():
        for one in numbers:
            cells = []
            for method in METHOD_TITLES:
                gain = one.gain(method, transfer_set=transfer_set)
                net = one.gain(method, measure="net_gain", transfer_set=transfer_set)
                labelled = "unlabeled" not in transfer_set
                text = f"{gain.mean:.2f}" if gain.n else ""
                cells.append(f"{text} ({net.mean:.2f})" if text and labelled else text)
            lines.append([title, one.title, *cells])
    return _join_lines(["transfer set", "images", *METHOD_TITLES.values()], lines, worded=2)


def make_ratio_table(numbers: Sequence[PublishedNumbers]) -> str:
    """The headline numbers of the paper's second version beside ours."""
    lines = []
    for scope, paper in PAPER_RATIOS.items():
        what = "uniform" if scope == "uniform" else "mean of the skewed partitions"
        for key, label, unit, theirs in (
            ("ratio", "tuned against the best untuned", " %", f"+{paper:g} %"),
            ("net_ratio", "the same of net gains", " %", ""),
            ("difference", "the difference", " pp", ""),
        ):
            found = [format_estimate(one.ratio(scope, key), unit) for one in numbers]
            lines.append([f"{what}: {label}", theirs, *found])
    for key, label, theirs in (
        ("reduction", "rounds of federated averaging saved", f"{PAPER_ROUNDS:g} %"),
        ("megabytes_reduction", "bytes saved, consolidation's own counted", ""),
    ):
        lines.append(
            [label, theirs, *(format_estimate(one.reduction(key), " %") for one in numbers)]
        )
    head = ["", "paper, version 2", *(one.title for one in numbers)]
    return _join_lines(head, lines, worded=1)


def make_claims_table(numbers: Sequence[PublishedNumbers]) -> str:
    """Each claim with its verdict on each data set, and how its contrasts came out."""
    lines = []
    for name, claim in numbers[0].claims.items():
        cells = []
        for one in numbers:
            own = one.claims[name]
            counts = count_verdicts(own)
            cells.append(own.verdict if not counts else f"**{own.verdict}** ({counts})")
        lines.append([name, claim.paper, *cells])
    head = ["", "what the paper says", *(one.title for one in numbers)]
    return _join_lines(head, lines, worded=len(head))


def make_cost_table(numbers: Sequence[PublishedNumbers], checks: Checks) -> str:
    facts = [list_published_facts(one, checks[one.name]) for one in numbers]
    shown = {
        "trials": "trials",
        "work": "seconds of work",
        "wall": "wall time",
        "results_sha256": "sha256 of the results",
        "images_sha256": "sha256 of the images",
        "run_again": "run again",
    }
    lines = [[label, *(str(f[key]) for f in facts)] for key, label in shown.items()]
    return _join_lines(["", *(one.name for one in numbers)], lines, worded=3)


def tabulate_contrasts(numbers: Sequence[PublishedNumbers]) -> pd.DataFrame:
    """A line per contrast: claim, contrast, claimed range, then number and verdict of each."""
    found: dict[tuple[str, str], dict[str, str]] = {}
    for one in numbers:
        for name, claim in one.claims.items():
            for contrast in claim.contrasts:
                label, rival = split_rival(contrast.label)
                line = found.setdefault((name, label), {"claimed": contrast.claimed})
                unit = f" {contrast.unit}" if contrast.unit else ""
                text = format_estimate(contrast, unit)
                line[one.title] = f"{text} against {rival}" if rival else text
                line[f"{one.title}: verdict"] = contrast.verdict
    columns = ["claimed", *(f"{one.title}{end}" for one in numbers for end in ("", ": verdict"))]
    order = sorted(found, key=lambda key: int(key[0][1:]))  # stable: contrasts keep theirs
    lines = [(*key, *(found[key].get(column, "") for column in columns)) for key in order]
    return pd.DataFrame(lines, columns=["claim", "contrast", *columns])


def list_published_facts(one: PublishedNumbers, check: CheckRecord | None) -> dict[str, Any]:
    """What a campaign was, cost and hashes to."""
    stages = one.stages
    work = float(stages["seconds"].sum())
    wall = one.wall_seconds
    listed = list_facts(one.data)
    again = "not run again"
    if check:
        again = f"{check['trials']} random trials: " + (
            f"{check['differing']} differ" if check["differing"] else "every number is the same"
        )
    return {
        "campaign": one.name,
        "trials": f"{int(stages['complete'].sum()):,} of {int(stages['planned'].sum()):,}",
        "stages": {
            str(line["stage"]): {
                "trials": int(line["complete"]),
                "seconds": round(float(line["seconds"]), 1),
            }
            for line in stages.to_dict("records")
        },
        "work": f"{work:,.0f} s ({format_hours(work / 3600)})",
        "wall": f"{format_hours(wall / 3600)} with a trial under way",
        "busy_processes": round(work / wall, 2) if wall else None,
        "ran_on": listed.get("Ran on", ""),
        "versions": listed.get("Versions", ""),
        "data": listed["Data"],
        "participants": listed["Participants"],
        "images_sha256": one.record.data_sha256,
        "results_sha256": one.results_sha256,
        "run_again": again,
    }


def format_facts(one: PublishedNumbers, facts: Mapping[str, Any]) -> str:
    lines = [[key, str(value)] for key, value in facts.items() if key != "stages"]
    stages = [
        [stage, f"{values['trials']:,}", f"{values['seconds']:,.1f}"]
        for stage, values in facts["stages"].items()
    ]
    return (
        f"# {one.name}: what it was and what it cost\n\n"
        f"{_join_lines(['fact', 'value'], lines, worded=2)}\n\n"
        f"{_join_lines(['stage', 'trials', 'seconds of work'], stages, worded=1)}\n\n"
        "`results_sha256` is over every number that the trials recorded, in the order of studies "
        "and trials, without times, devices and versions: another run that gives the same numbers "
        "gives the same hash.\n"
    )


def format_table(frame: pd.DataFrame) -> str:
    lines = [format_pipe_line(map(str, line)) for line in frame.astype(object).to_numpy()]
    head = [format_pipe_line(frame.columns), format_pipe_line(["---"] * len(frame.columns))]
    return "\n".join([*head, *lines])


def _join_scopes(numbers: Sequence[PublishedNumbers]) -> list[str]:
    scopes = dict.fromkeys(scope for one in numbers for scope in one.scopes())
    return [scope for scope in scopes if scope != OVERALL]


def _name_scope(scope: str) -> str:
    return "all" if scope == OVERALL else scope.replace("_", " ")


def _join_lines(head: Sequence[str], lines: Sequence[Sequence[str]], worded: int) -> str:
    """A Markdown table whose first columns are words and whose others are numbers."""
    rule = ["---"] * worded + ["--:"] * (len(head) - worded)
    return "\n".join(f"| {' | '.join(line)} |" for line in [head, rule, *lines])
