"""Read a model's weights from bytes, and believe nothing about them."""

from __future__ import annotations

import json
from collections.abc import Mapping

import safetensors
import safetensors.torch
from torch import Tensor

from kdopt.campaign.participants import Architecture
from kdopt.campaign.plain import load_json, read_plain
from kdopt.errors import ArtifactError
from kdopt.train.fit import find_not_finite

ARCHITECTURE_KEY = "architecture"
"""Where the header of a checkpoint says what its model is, as JSON."""


def pack_weights(state: Mapping[str, Tensor], kind: Architecture) -> bytes:
    """A checkpoint: safetensors, whose header says what stands around the model, if anything.

    A plain model has no header: it is known by its weights, and its file is the one that it was
    before there were others.
    """
    plain = {k: v.detach().cpu().contiguous() for k, v in state.items()}
    header = None if kind.is_plain else {ARCHITECTURE_KEY: json.dumps(kind)}
    return safetensors.torch.save(plain, header)


def parse_architecture(content: bytes) -> Architecture | None:
    """What the model of a checkpoint is; ``None`` where its header does not say.

    Raises:
        ArtifactError: It is no safetensors file, or its header is not one of kdopt's.
    """
    try:
        length = int.from_bytes(content[:8], "little")
        header = load_json(content[8 : 8 + length])
        text = header.get("__metadata__", {}).get(ARCHITECTURE_KEY)
        if text is None:
            return None
        found: Architecture = read_plain(Architecture, load_json(text))
    except (ValueError, AttributeError) as error:
        raise ArtifactError("not a safetensors file with a header of kdopt's") from error
    return found


def parse_weights(
    content: bytes, model: Mapping[str, Tensor], any_precision: bool = False
) -> dict[str, Tensor]:
    """The weights in a safetensors file, if a model can have them.

    Args:
        content: The file.
        model: A state of the model, which says the names, shapes and types.
        any_precision: Take any floating type where the model has one, as in files that kdopt did
            not write.

    Raises:
        ArtifactError: It is no such file, the weights are another model's, or they are not finite.
    """
    return check_weights(parse_tensors(content), model, any_precision)


def parse_tensors(content: bytes) -> dict[str, Tensor]:
    """The tensors in a safetensors file.

    Raises:
        ArtifactError: It is no such file, or holds types that torch does not know.
    """
    try:
        return safetensors.torch.load(content)
    except (safetensors.SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ArtifactError(f"not a safetensors file ({reason})") from error


def check_weights(
    found: dict[str, Tensor], model: Mapping[str, Tensor], any_precision: bool = False
) -> dict[str, Tensor]:
    """The same of tensors that were read; they are given back as they are."""
    for key, expected in model.items():
        if key not in found:
            raise ArtifactError(f"it has no '{key}', which the model has")
        value = found[key]
        if value.shape != expected.shape:
            raise ArtifactError(
                f"'{key}' is {_format_shape(value)}, the model's is {_format_shape(expected)}"
            )
        alike = value.is_floating_point() and expected.is_floating_point()
        if value.dtype != expected.dtype and not (any_precision and alike):
            raise ArtifactError(f"'{key}' is {value.dtype}, the model's is {expected.dtype}")
    if unknown := found.keys() - model.keys():
        raise ArtifactError(f"it has '{min(unknown)}', which the model has not")
    if (broken := find_not_finite(found)) is not None:
        raise ArtifactError(f"'{broken}' holds numbers that are not finite")
    for key, value in found.items():
        if key.endswith("running_var") and bool((value < 0).any()):
            raise ArtifactError(f"'{key}' holds variances below 0")
    return found


def _format_shape(value: Tensor) -> str:
    return "x".join(map(str, value.shape)) or "one number"
