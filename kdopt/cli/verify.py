"""``kdopt verify``: run random finished trials again and compare every recorded number."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from typing import Annotated

import typer

from kdopt.analysis.reruns import UNITS, CheckedTrial, sum_up_checks
from kdopt.analysis.students import name_trial
from kdopt.cli.announce import say_if_slow
from kdopt.cli.inputs import open_artifacts, open_store_at
from kdopt.cli.options import (
    DEFAULT_STORE,
    ArtifactsOption,
    CampaignArgument,
    CampaignOption,
    PluginOption,
    SameDeviceOption,
    StoreOption,
    join_campaigns,
)
from kdopt.cli.tables import print_columns
from kdopt.plugins.sources import give_plugins
from kdopt.shown import format_count
from kdopt.store.queries import pick_campaign

SHOWN_TRIALS = 10
"""Differing trials that are listed."""

TrialsOption = Annotated[
    int, typer.Option("--trials", min=1, help="How many finished trials to run again.")
]
SeedOption = Annotated[int, typer.Option("--seed", min=0, help="Chooses which trials.")]


def verify_command(
    named: CampaignArgument = None,
    campaign: CampaignOption = None,
    trials: TrialsOption = 20,
    seed: SeedOption = 0,
    store: StoreOption = DEFAULT_STORE,
    artifacts: ArtifactsOption = None,
    device: SameDeviceOption = None,
    plugin: PluginOption = None,
) -> None:
    """Run random finished trials again and compare.

    Trials of all stages run again from their seeds, and every number that was recorded is
    compared; nothing is written. Exit code 1 when a number differs although machine and versions
    are those of the record.
    """
    give_plugins(plugin or [])
    with closing(open_store_at(store)) as opened:
        name = pick_campaign(opened, join_campaigns(named, campaign))
        kept = open_artifacts(opened, artifacts)
        with say_if_slow("loading torch"):
            from kdopt.service.rerun import verify_trials

        progress = _Progress()
        checked = verify_trials(opened, kept, name, trials, seed, device, progress)
        progress.end()
    _print_stages(checked)
    _print_trials(checked)
    _print_machines(checked)
    differing = sum(not trial.equal for trial in checked)
    same_machine = any(not trial.equal and not trial.machine for trial in checked)
    print(
        f"{name}: {format_count(len(checked), 'trial')} ran again, "
        f"{format_count(differing, 'differs', 'differ')}"
        if differing
        else f"{name}: {format_count(len(checked), 'trial')} ran again; every recorded number is "
        "the same"
    )
    if same_machine:
        raise typer.Exit(1)


class _Progress:
    """A line that counts trials, where somebody looks at it."""

    def __init__(self) -> None:
        self._done, self._shown = 0, sys.stderr.isatty()

    def __call__(self, trial: CheckedTrial) -> None:
        self._done += 1
        if self._shown:
            print(
                f"\r{format_count(self._done, 'trial')} ran again",
                end="",
                file=sys.stderr,
                flush=True,
            )

    def end(self) -> None:
        if self._shown:
            print(file=sys.stderr)


def _print_stages(checked: Sequence[CheckedTrial]) -> None:
    heads = {
        "pp": "accuracy (pp)",
        "nats": "loss (nats)",
        "epochs": "epochs",
        "images": "images",
        "other": "other",
    }
    lines = [["stage", "trials", "equal", "differing", *(f"max {heads[u]}" for u in UNITS[:-1])]]
    for found in sum_up_checks(checked):
        counts = (found.checked, found.equal, found.differing)
        sizes = (f"{found.largest[unit]:.3g}" for unit in UNITS[:-1])
        lines.append([found.stage, *map(str, counts), *sizes])
    print_columns(lines, 1)


def _print_trials(checked: Sequence[CheckedTrial]) -> None:
    differing = [trial for trial in checked if not trial.equal]
    for trial in differing[:SHOWN_TRIALS]:
        what = trial.error or ", ".join(d.key for d in trial.deviations[:4])
        more = len(trial.deviations) - 4
        print(f"{name_trial(trial.row)}: {what}" + (f" and {more} more" if more > 0 else ""))
    if len(differing) > SHOWN_TRIALS:
        print(f"... and {len(differing) - SHOWN_TRIALS} more")


def _print_machines(checked: Sequence[CheckedTrial]) -> None:
    for machine, n in Counter(trial.machine for trial in checked if trial.machine).items():
        print(
            f"{format_count(n, 'trial was', 'trials were')} recorded on another machine or with "
            f"other versions: {machine}"
        )
