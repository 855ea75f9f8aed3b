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
from collections.abc import Callable, Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

# The page is that of this checkout, wherever else kdopt is installed.
sys.path.insert(0, str(Path(__file__).parents[1]))

from kdopt.analysis.reruns import sum_up_checks
from kdopt.campaign.record import format_campaign
from kdopt.cli.inputs import open_artifacts
from kdopt.cli.results_so_far import read_report_data
from kdopt.errors import KdoptError
from kdopt.report.export import make_compared_campaign, write_comparison
from kdopt.report.format import format_csv, format_title
from kdopt.report.images import ImageFormat, draw_images
from kdopt.report.page import list_figures, make_sections
from kdopt.service.rerun import verify_trials
from kdopt.shown import format_count
from kdopt.store.database import open_store
from kdopt.store.queries import read_record, read_trials
from scripts.published_numbers import PublishedNumbers, format_estimate
from scripts.published_tables import (
    NON_IID,
    CheckRecord,
    Checks,
    format_facts,
    format_table,
    list_published_facts,
    make_claims_table,
    make_cost_table,
    make_gains_table,
    make_ratio_table,
    make_transfer_table,
    tabulate_contrasts,
)

ROOT = Path(__file__).parents[1]
TEMPLATE = ROOT / "scripts" / "results.md.j2"
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
            left = format_count(one.missing, "trial that is", "trials that are")
            raise KdoptError(
                f"campaign '{one.name}' has {left} not complete; run it to its end, or give "
                "--partial"
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


def render_page(template: Path, numbers: Sequence[PublishedNumbers], checks: Checks) -> str:
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
    unfinished = [
        f"{one.name} ({format_count(one.missing, 'trial')} to go)" for one in numbers if one.missing
    ]
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
    folder: Path, one: PublishedNumbers, check: CheckRecord | None, formats: Sequence[ImageFormat]
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


def check_trials(one: PublishedNumbers, trials: int) -> CheckRecord:
    """Random trials run again, as `kdopt verify` does, in the form that is kept."""
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


def read_check(folder: Path, one: PublishedNumbers) -> CheckRecord | None:
    """What was found before, if it was about the same results."""
    path = folder / one.name / "verify.json"
    found: CheckRecord | None = json.loads(path.read_text("utf-8")) if path.exists() else None
    return found if found and found["results_sha256"] == one.results_sha256 else None


if __name__ == "__main__":
    main()
