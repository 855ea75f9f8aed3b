"""``kdopt distill``: the best student of a pair as a file, with a card beside it."""

from __future__ import annotations

import hashlib
import sys
import uuid
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from kdopt.analysis.students import TrialChoice
from kdopt.cli.inputs import open_artifacts, open_store_at, read_pair
from kdopt.cli.options import (
    DEFAULT_STORE,
    ArtifactsOption,
    CampaignOption,
    SameDeviceOption,
    StoreOption,
)
from kdopt.errors import KdoptError
from kdopt.report.student_card import format_student_card, summarise_student
from kdopt.store.queries import pick_campaign, read_record

CARD, ONNX, TORCHSCRIPT = ".md", ".onnx", ".pt"
SUFFIX = ".safetensors"

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
        "tune, or in another, such as compare/3.",
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
) -> None:
    """Write the best student of a pair to a file.

    By default it is the student of the verdict ('kdopt best'): distilled, trained on without a
    teacher, or pre-trained where that is best. Its trial runs again from its seed, unless its
    student was kept (keep = "best"), and must give the accuracies on record. Exit code 1 when it
    does not although machine and versions are the same.
    """
    named, wanted = read_pair(pair)
    suffixes = [SUFFIX, CARD, *([ONNX] if onnx else []), *([TORCHSCRIPT] if torchscript else [])]
    _check_files(output, suffixes, force)
    with closing(open_store_at(store)) as opened:
        name = pick_campaign(opened, named or campaign)
        kept = open_artifacts(opened, artifacts)
        settings = read_record(opened, name).campaign
        from kdopt.service.distill import distill_student  # loads torch
        from kdopt.train import students

        if onnx:
            students.check_onnx()
        choice = TrialChoice(trial, method, temperature, alpha)
        student = distill_student(opened, kept, name, wanted, choice, device)
    model, facts, record = student
    writers: dict[str, Callable[[Path], object]] = {
        SUFFIX: lambda path: path.write_bytes(students.pack_student(model, facts)),
        ONNX: lambda path: students.export_onnx(model, facts.shape, path),
        TORCHSCRIPT: lambda path: students.export_torchscript(model, facts.shape, path),
    }
    files: dict[str, str] = {}
    for suffix in (s for s in suffixes if s != CARD):
        path = output.with_suffix(suffix)
        _write_whole(path, writers[suffix])
        files[path.name] = hashlib.sha256(path.read_bytes()).hexdigest()
    card = format_student_card(record, facts, settings, files)
    _write_whole(output.with_suffix(CARD), lambda path: path.write_text(card, "utf-8"))
    print("\n".join(summarise_student(record)))
    for suffix in suffixes:
        print(output.with_suffix(suffix))
    if record.deviations and not record.machine:
        print(
            "kdopt: the accuracies are not those on record, on the same kind of machine; run "
            "'kdopt verify' to see whether other trials differ too",
            file=sys.stderr,
        )
        raise typer.Exit(1)


def _check_files(output: Path, suffixes: list[str], force: bool) -> None:
    """Refuse what cannot be written before anything is trained."""
    if output.suffix != SUFFIX:
        raise KdoptError(
            f"--output {output}: the weights are written as safetensors; give a name that ends in "
            f"{SUFFIX}"
        )
    if not output.parent.is_dir():
        raise KdoptError(f"--output {output}: there is no folder {output.parent}; make it first")
    there = [str(path) for s in suffixes if (path := output.with_suffix(s)).exists()]
    if there and not force:
        raise KdoptError(
            f"{', '.join(there)}: there already; give another --output, or --force to replace"
        )


def _write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file under another name and move it, so that it appears whole or not at all."""
    temporary = path.with_name(f".{path.stem}.{uuid.uuid4().hex}{path.suffix}")
    try:
        write(temporary)
        temporary.replace(path)
    except OSError as error:
        raise KdoptError(
            f"{path}: cannot be written: {error.strerror or error}; free space, change the "
            "permissions or give another --output"
        ) from error
    finally:
        temporary.unlink(missing_ok=True)
