"""Write docs/results.md and docs/results/ from the stores of two published campaigns.

    bash scripts/results.sh fashion-advice@FASHION/kdopt.db cifar10-small@CIFAR/kdopt.db

The text of the page is scripts/results.md.j2, written by hand: its numbers and tables are filled in
here, and a number that no campaign has is an error. The same stores give the same bytes on the same
versions. Figures need kaleido and a Chrome or Chromium (pip install 'kdopt[figures]').
"""

from __future__ import annotations

import argparse
import functools
import json
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined

# The page is that of this checkout, wherever else kdopt is installed.
sys.path.insert(0, str(Path(__file__).parents[1]))

from kdopt.analysis.tuning import OVERALL
from kdopt.campaign.record import format_campaign
from kdopt.cli.inputs import open_artifacts
from kdopt.cli.results_so_far import read_report_data
from kdopt.errors import KdoptError
from kdopt.report.comparison import make_compared_campaign, write_comparison
from kdopt.report.format import format_csv, format_hours, format_pipe_line, format_title
from kdopt.report.images import ImageFormat, draw_images
from kdopt.report.page import list_figures, make_sections
from kdopt.report.sections.run import list_facts
from kdopt.store.database import open_store
from kdopt.store.queries import read_record, read_trials
from scripts.published_numbers import (
    PublishedNumbers,
    count_verdicts,
    format_estimate,
    split_rival,
)

ROOT = Path(__file__).parents[1]
TEMPLATE = ROOT / "scripts" / "results.md.j2"
NON_IID = "mean of the non-IID partitions"
KEPT_FILES = (
    "claims.csv",
    "claims.md",
    "verdicts.csv",
    "best_settings.csv",
    "combined.csv",
    "combined.md",
    "rounds_to_target.csv",
    "federated_curves.csv",
    "spec.toml",
)
KEPT_FIGURES = re.compile(r"(fig2|fig3|fig5|fig6|fig7|fig9|table2)(?!-\d|-cumulative).*")
"""All but what the sheet of Fig. 3 holds already, and those that are no figure of the paper."""
KEPT_COMPARISON = ("headlines.csv", "agreement.csv", "findings.csv", "settings_differences.csv")
METHODS = ("vanilla", "dml", "dp_kd", "tuned")
METHOD_TITLES = {"vanilla": "vanilla", "dml": "DML", "dp_kd": "DP-KD", "tuned": "tuned"}
TRANSFER_TITLES = {
    "student": "student's own data",
    "public_unlabeled_small": "public, unlabelled, small",
    "public_unlabeled_large": "public, unlabelled, large",
    "public_labeled": "public, labelled",
}
PAPER_RATIOS = {"uniform": 16.0, NON_IID: 139.0}
PAPER_ROUNDS = 60.6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("campaigns", nargs=2, metavar="CAMPAIGN@STORE")
    parser.add_argument("--docs", type=Path, default=ROOT / "docs", help="folder to write into")
    parser.add_argument("--verify", type=int, default=0, metavar="N", help="run N trials again")
    parser.add_argument("--partial", action="store_true", help="take unfinished campaigns too")
    args = parser.parse_args()
    try:
        publish(args.campaigns, args.docs, verify=args.verify, partial=args.partial)
    except (KdoptError, LookupError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


def publish(
    campaigns: Sequence[str],
    docs: Path,
    template: Path = TEMPLATE,
    formats: Sequence[ImageFormat] = ("svg",),
    verify: int = 0,
    partial: bool = False,
) -> None:
    """Write the page and its folder.

    Args:
        campaigns: ``CAMPAIGN@STORE`` of each.
        docs: Gets ``results.md`` and ``results/``.
        template: The page.
        formats: Of figures.
        verify: Trials of each campaign that are run again, unless that was done before and its
            results are the same; 0 for none.
        partial: Whether campaigns may be unfinished; the page then says so.

    Raises:
        KdoptError: A store cannot be read, a campaign is not finished, or figures cannot be made.
        LookupError: The template quotes a number that a campaign does not have.
    """
    numbers = [read_numbers(text) for text in campaigns]
    if len({one.title for one in numbers}) < len(numbers):
        for one in numbers:
            one.title = one.name
    for one in numbers:
        if one.missing and not partial:
            raise KdoptError(
                f"campaign '{one.name}' has {one.missing:,} trials that are not complete; run it "
                "to its end, or give --partial"
            )
    folder = docs / "results"
    checks = {one.name: read_check(folder, one) for one in numbers}
    for one in numbers:
        known = checks[one.name]
        if verify and (known is None or known["trials"] < verify):
            checks[one.name] = check_trials(one, verify)
    page = render_page(template, numbers, checks)  # an unknown number must fail before files change
    for one in numbers:
        write_campaign(folder / one.name, one, checks[one.name], formats)
    write_tables(folder / "comparison", numbers)
    (docs / "results.md").write_text(page, "utf-8")


def read_numbers(text: str) -> PublishedNumbers:
    name, _, location = text.partition("@")
    store = open_store(location)
    return PublishedNumbers(store, read_record(store, name), read_report_data(store, name))


def render_page(
    template: Path, numbers: Sequence[PublishedNumbers], checks: Mapping[str, Any]
) -> str:
    environment = Environment(
        loader=FileSystemLoader(template.parent),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"pp": format_estimate, "title": format_title}
    makers: dict[str, Callable[..., str]] = {
        "gains_table": make_gains_table,
        "transfer_table": make_transfer_table,
        "ratio_table": make_ratio_table,
        "claims_table": make_claims_table,
        "cost_table": lambda campaigns: make_cost_table(campaigns, checks),
    }
    # Made when the page asks for them, as not every campaign has all.
    tables = {name: functools.partial(make, numbers) for name, make in makers.items()}
    unfinished = [f"{n.name} ({n.missing:,} trials to go)" for n in numbers if n.missing]
    return (
        environment.get_template(template.name).render(
            campaigns={one.name: one for one in numbers},
            unfinished=", ".join(unfinished),
            NON_IID=NON_IID,
            **tables,
        )
        + "\n"
    )


def write_campaign(
    folder: Path, one: PublishedNumbers, check: Any, formats: Sequence[ImageFormat]
) -> None:
    """A campaign's own folder; what was in it is replaced."""
    sections = make_sections(one.data)
    contents = {name: text.encode() for s in sections for name, text in s.files.items()}
    contents["spec.toml"] = format_campaign(one.data.campaign, one.data.settings).encode()
    kept = {name: contents[name] for name in KEPT_FILES if name in contents}
    drawn = [item for item in list_figures(sections) if KEPT_FIGURES.fullmatch(item.name)]
    kept |= draw_images(drawn, formats) if formats else {}
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name, content in kept.items():
        (folder / name).write_bytes(content)
    facts = list_published_facts(one, check)
    (folder / "facts.json").write_text(json.dumps(facts, indent=2) + "\n", "utf-8")
    (folder / "facts.md").write_text(format_facts(one, facts), "utf-8")
    if check:
        (folder / "verify.json").write_text(json.dumps(check, indent=2) + "\n", "utf-8")


def write_tables(folder: Path, numbers: Sequence[PublishedNumbers]) -> None:
    """What sets both campaigns side by side, as files."""
    compared = [
        make_compared_campaign(one.name, one.record, read_trials(one.store, one.name))
        for one in numbers
    ]
    with tempfile.TemporaryDirectory() as made:
        write_comparison(Path(made), compared)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for name in KEPT_COMPARISON:
            if (Path(made) / name).exists():
                shutil.copyfile(Path(made) / name, folder / name)
    contrasts = tabulate_contrasts(numbers)
    lines = contrasts.astype(object).to_dict("split")["data"]
    (folder / "claims.csv").write_text(format_csv(contrasts.columns, lines), "utf-8")
    text = f"# Every contrast of the paper's claims\n\n{format_table(contrasts)}\n"
    (folder / "claims.md").write_text(text, "utf-8")


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
            cells += [format_estimate(one.gain(method, scope)) for method in METHODS]
            net = format_estimate(one.gain("tuned", scope, "net_gain"))
            lines.append([_name_scope(scope), one.title, *cells, net])
    return _join_lines([*head, "tuned, net"], lines, worded=2)


def make_transfer_table(numbers: Sequence[PublishedNumbers]) -> str:
    """Mean test gains by transfer set, net gains behind them where a control can be run."""
    lines = []
    for transfer_set, title in TRANSFER_TITLES.items():
        for one in numbers:
            cells = []
            for method in METHODS:
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


def make_cost_table(numbers: Sequence[PublishedNumbers], checks: Mapping[str, Any]) -> str:
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


def list_published_facts(one: PublishedNumbers, check: Any) -> dict[str, Any]:
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


def check_trials(one: PublishedNumbers, trials: int) -> dict[str, Any]:
    """Random trials run again, as `kdopt verify` does, in the form that is kept."""
    from kdopt.analysis.reruns import sum_up_checks
    from kdopt.service.rerun import verify_trials

    checked = verify_trials(one.store, open_artifacts(one.store, None), one.name, trials, seed=0)
    return {
        "campaign": one.name,
        "results_sha256": one.results_sha256,
        "trials": len(checked),
        "differing": sum(not trial.equal for trial in checked),
        "other_machine": sum(bool(trial.machine) for trial in checked),
        "stages": {
            str(found.stage): {"checked": found.checked, "equal": found.equal}
            for found in sum_up_checks(checked)
        },
    }


def read_check(folder: Path, one: PublishedNumbers) -> Any:
    """What was found before, if it was about the same results."""
    path = folder / one.name / "verify.json"
    found = json.loads(path.read_text("utf-8")) if path.exists() else None
    return found if found and found["results_sha256"] == one.results_sha256 else None


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


if __name__ == "__main__":
    main()
