"""The files of a student that was taken home: each appears whole, and none is replaced unasked."""

from __future__ import annotations

import hashlib
import os
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from kdopt.errors import KdoptError
from kdopt.service.distill import HomeStudent
from kdopt.train.students import check_onnx, export_onnx, export_torchscript, pack_student

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
