"""Take the student of a pair home: from its kept weights, or by running its trial again.

Its files appear whole each, and none is replaced unasked.
"""

from __future__ import annotations

import hashlib
import logging
import os
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from torch import nn

from kdopt.analysis.reruns import compare_machines, compare_outcomes
from kdopt.analysis.students import (
    ChosenTrial,
    StudentRecord,
    TrialChoice,
    average_replicates,
    choose_trial,
    describe_setting,
    get_outcome,
    measure_leads,
    name_trial,
)
from kdopt.analysis.tables import Tables
from kdopt.errors import ArtifactError, KdoptError
from kdopt.outcome import Outcome, Pair, StudentFacts, TrialRow
from kdopt.service.rerun import Rerunner
from kdopt.store.artifacts import Artifacts
from kdopt.store.database import Store
from kdopt.store.kept import find_kept
from kdopt.train.students import (
    check_onnx,
    export_onnx,
    export_torchscript,
    pack_student,
    parse_student,
)
from kdopt.trials.context import Context
from kdopt.trials.trained import describe_student

logger = logging.getLogger(__name__)


class HomeStudent(NamedTuple):
    """A student that was taken home.

    Attributes:
        model: It, with its weights.
        facts: What its file says of it.
        record: All that is known of it.
    """

    model: nn.Module
    facts: StudentFacts
    record: StudentRecord


class _Found(NamedTuple):
    source: str
    model: nn.Module
    outcome: Outcome


def distill_student(
    store: Store,
    artifacts: Artifacts,
    campaign: str,
    pair: Pair,
    choice: TrialChoice | None = None,
    device: str | None = None,
) -> HomeStudent:
    """The student of a pair, as it is on record: kept, pre-trained, or trained again.

    Args:
        store: The store.
        artifacts: Its artifacts.
        campaign: The campaign.
        pair: Who teaches whom.
        choice: Which trial; by default the one that the verdict on the pair names.
        device: Where to compute; ``None``: where the trial ran, if there is such a device here.

    Raises:
        AdviceError: There is no such trial.
        KdoptError: The images or the checkpoints are missing, or training diverges now.
    """
    rerunner = Rerunner(store, artifacts, campaign, device)
    tables = Tables(rerunner.rows, rerunner.record.campaign)
    chosen = choose_trial(tables, pair, choice or TrialChoice())
    found = _find_student(store, artifacts, rerunner, chosen)
    facts = describe_student(
        rerunner.record.campaign.get_architecture(get_student(chosen.row)),
        rerunner.dataset,
        name_trial(chosen.row),
        found.outcome,
    )
    hashes = _list_hashes(rerunner, pair, tables)
    return HomeStudent(found.model, facts, _make_record(tables, pair, chosen, found, hashes))


def _find_student(
    store: Store, artifacts: Artifacts, rerunner: Rerunner, chosen: ChosenTrial
) -> _Found:
    recorded = get_outcome(chosen.row)
    context = rerunner.get_context(recorded)
    if chosen.row.stage == "pretrain":
        model = context.load_model(recorded)
        return _Found("pre-trained", model, _score_again(context, model, chosen))
    kept = _load_kept(store, artifacts, context, chosen)
    if kept is not None:
        return kept
    outcome, trained = rerunner.run(chosen.row)
    assert trained is not None
    return _Found("trained again", trained, outcome)


def _load_kept(
    store: Store, artifacts: Artifacts, context: Context, chosen: ChosenTrial
) -> _Found | None:
    """The kept weights of a trial, unless they are lost or are not those on record."""
    row, recorded = chosen.row, get_outcome(chosen.row)
    student = get_student(row)
    sha256 = find_kept(store, row.study, row.number)
    if sha256 is None:
        return None
    try:
        state = artifacts.read(
            sha256,
            f"student of {name_trial(row)}",
            lambda c: parse_student(c, context.get_weights(student)),
        )
    except ArtifactError as error:
        logger.warning("%s; it is trained again", error)
        return None
    model = context.load_state(state, student)
    found = _score_again(context, model, chosen)
    if compare_outcomes(recorded, found) and not compare_machines(recorded, found):
        logger.warning(
            "%s: the kept weights do not give the accuracy on record; it is trained again",
            name_trial(row),
        )
        return None
    return _Found("kept", model, found)


def get_student(row: TrialRow) -> int:
    """Whose model a trial of a pair, a control or a pre-training trains."""
    return int(row.params.get("participant", row.params.get("student", row.student or 0)))


def _score_again(context: Context, model: nn.Module, chosen: ChosenTrial) -> Outcome:
    """The record with the scores that the weights give now."""
    row, recorded = chosen.row, get_outcome(chosen.row)
    student = get_student(row)
    validation, test = context.score_model(model, context.get_validation(row.partition, student))
    return replace(
        recorded,
        validation=validation,
        test=test,
        device=context.engine.device.type,
        precision=context.engine.precision,
        versions=context.engine.list_versions(),
    )


def _list_hashes(rerunner: Rerunner, pair: Pair, tables: Tables) -> Mapping[str, str]:
    hashes = {}
    for role, who in (("teacher", pair.teacher), ("student before", pair.student)):
        pretrained = tables.results.pretrained.get((pair.partition, who))
        if pretrained is not None and pretrained.checkpoint is not None:
            name = rerunner.record.campaign.name_participant(who)
            hashes[f"{role} (participant {name})"] = pretrained.checkpoint
    record = rerunner.record
    return {**hashes, "images": record.data_sha256, "splits": record.splits[pair.partition]}


def _make_record(
    tables: Tables, pair: Pair, chosen: ChosenTrial, found: _Found, hashes: Mapping[str, str]
) -> StudentRecord:
    results, row, recorded = tables.results, chosen.row, get_outcome(chosen.row)
    method, temperature, alpha = describe_setting(results, row)
    gain, net_gain = None, None
    if chosen.action != "leave as it is":
        gain, net_gain = measure_leads(results, pair, row, found.outcome)
    replicates, mean_gain = average_replicates(results, row)
    return StudentRecord(
        campaign=tables.campaign.name,
        pair=pair,
        chosen=chosen,
        method="" if chosen.action != "distil" else method,
        temperature=temperature,
        alpha=alpha,
        images=str(row.params.get("transfer_set", "student")),
        source=found.source,
        found=found.outcome,
        deviations=compare_outcomes(recorded, found.outcome),
        machine=compare_machines(recorded, found.outcome),
        untouched=results.pretrained[pair.partition, pair.student],
        gain=gain,
        net_gain=net_gain if chosen.action == "distil" else None,
        replicates=replicates,
        mean_gain=mean_gain,
        hashes=hashes,
    )


WEIGHTS, CARD, ONNX, TORCHSCRIPT = ".safetensors", ".md", ".onnx", ".pt"
"""How the names of the files end; all begin alike."""


def check_targets(output: Path, suffixes: Sequence[str], force: bool) -> None:
    """Refuse what cannot be written, before anything is trained.

    Args:
        output: The file of the weights.
        suffixes: Of the files that are to be written.
        force: Whether files that are there may be replaced.

    Raises:
        KdoptError: Another suffix, no such folder, a file that is there, or no packages for ONNX.
    """
    if output.suffix != WEIGHTS:
        raise KdoptError(
            f"--output {output}: the weights are written as safetensors; give a name that ends in "
            f"{WEIGHTS}"
        )
    if not output.parent.is_dir():
        raise KdoptError(f"--output {output}: there is no folder {output.parent}; make it first")
    there = [str(path) for s in suffixes if os.path.lexists(path := output.with_suffix(s))]
    if there and not force:
        raise KdoptError(
            f"{', '.join(there)}: there already; give another --output, or --force to replace"
        )
    if ONNX in suffixes:
        check_onnx()


def write_student(
    student: HomeStudent,
    output: Path,
    suffixes: Sequence[str],
    write_card: Callable[[Mapping[str, str]], str],
) -> list[Path]:
    """Write a student and its card.

    Args:
        student: It.
        output: The file of the weights.
        suffixes: Of the files to write, that of the card last.
        write_card: Makes the card of the sha256 of each other file, by its name.

    Returns:
        The files, in order.

    Raises:
        KdoptError: A file cannot be written.
    """
    writers: Mapping[str, Callable[[Path], object]] = {
        WEIGHTS: lambda path: path.write_bytes(pack_student(student.model, student.facts)),
        ONNX: lambda path: export_onnx(student.model, student.facts.shape, path),
        TORCHSCRIPT: lambda path: export_torchscript(student.model, student.facts.shape, path),
        CARD: lambda path: path.write_text(write_card(hashes), "utf-8"),
    }
    hashes: dict[str, str] = {}
    paths = [output.with_suffix(suffix) for suffix in suffixes]
    mark = uuid.uuid4().hex
    temporary = {path: path.with_name(f".{path.stem}.{mark}{path.suffix}") for path in paths}
    try:
        for path, part in temporary.items():
            writers[path.suffix](part)
            hashes[path.name] = hashlib.sha256(part.read_bytes()).hexdigest()
        # Only now that all of them are whole: weights without a card would be of nobody.
        for path, part in temporary.items():
            part.replace(path)
    except OSError as error:
        raise KdoptError(
            f"{output}: cannot be written: {error.strerror or error}; free space, change the "
            "permissions or give another --output"
        ) from error
    finally:
        for part in temporary.values():
            part.unlink(missing_ok=True)
    return paths
