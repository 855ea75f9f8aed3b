"""``kdopt distill``: the best student of a pair as a file, with a card beside it."""

from __future__ import annotations

import sys
from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from kdopt.analysis.students import TrialChoice
from kdopt.cli.announce import say_if_slow
from kdopt.cli.inputs import open_artifacts, open_store_at, read_pair
from kdopt.cli.options import (
    DEFAULT_STORE,
    ArtifactsOption,
    CampaignOption,
    PluginOption,
    SameDeviceOption,
    StoreOption,
)
from kdopt.plugins.sources import give_plugins
from kdopt.report.student_card import format_student_card, summarise_student
from kdopt.store.queries import pick_campaign, read_record

PairNameArgument = Annotated[
    str, typer.Argument(metavar="PAIR", help="The pair, as [CAMPAIGN/]PARTITION/tNN-sNN.")
]
OutputOption = Annotated[
    Path,
    typer.Option("--output", help="The file of the weights; the card is beside it, as .md."),
]
TrialOption = Annotated[
    str | None,
    typer.Option(
        "--trial",
        metavar="[STAGE/]N",
        help="The student of this trial, rather than the one of 'kdopt best': its number in stage "
        "tune; compare/3 is one of another stage, dkd/0 of a method with its own study.",
    ),
]
MethodOption = Annotated[
    str | None,
    typer.Option("--method", help="The best student of this method; 'tuned' for a tuned one."),
]
TemperatureOption = Annotated[
    float | None, typer.Option("--temperature", help="The best student of this temperature.")
]
AlphaOption = Annotated[float | None, typer.Option("--alpha", help="The best one of this alpha.")]
OnnxOption = Annotated[
    bool,
    typer.Option("--onnx", help="Also write ONNX, as .onnx (pip install 'kdopt[onnx]')."),
]
TorchscriptOption = Annotated[
    bool, typer.Option("--torchscript", help="Also write TorchScript, as .pt.")
]
ForceOption = Annotated[bool, typer.Option("--force", help="Replace files that are there.")]


def distill_command(
    pair: PairNameArgument,
    output: OutputOption = Path("student.safetensors"),
    trial: TrialOption = None,
    method: MethodOption = None,
    temperature: TemperatureOption = None,
    alpha: AlphaOption = None,
    onnx: OnnxOption = False,
    torchscript: TorchscriptOption = False,
    force: ForceOption = False,
    store: StoreOption = DEFAULT_STORE,
    artifacts: ArtifactsOption = None,
    campaign: CampaignOption = None,
    device: SameDeviceOption = None,
    plugin: PluginOption = None,
) -> None:
    """Write the best student of a pair to a file.

    By default it is the student of the verdict ('kdopt best'): distilled, trained on without a
    teacher, or pre-trained where that is best. Its trial runs again from its seed, unless its
    student was kept (keep = "best"), and must give the accuracies on record. Exit code 1 when it
    does not although machine and versions are the same.
    """
    give_plugins(plugin or [])
    named, wanted = read_pair(pair, campaign)
    with closing(open_store_at(store)) as opened:
        name = pick_campaign(opened, named)
        kept = open_artifacts(opened, artifacts)
        settings = read_record(opened, name).campaign
        with say_if_slow("loading torch"):
            from kdopt.service import distill as home

        asked = ((home.ONNX, onnx), (home.TORCHSCRIPT, torchscript))
        suffixes = [home.WEIGHTS, *(suffix for suffix, wish in asked if wish), home.CARD]
        home.check_targets(output, suffixes, force)
        choice = TrialChoice(trial, method, temperature, alpha)
        with say_if_slow("reading the trials and making the student"):
            student = home.distill_student(opened, kept, name, wanted, choice, device)
    record = student.record
    written = home.write_student(
        student,
        output,
        suffixes,
        lambda hashes: format_student_card(record, student.facts, settings, hashes),
    )
    print("\n".join([*summarise_student(record), *map(str, written)]))
    if record.deviations and not record.machine:
        print(
            "kdopt: the accuracies are not those on record, on the same kind of machine; run "
            "'kdopt verify' to see whether other trials differ too",
            file=sys.stderr,
        )
        raise typer.Exit(1)
