"""Read a model's weights from bytes, kdopt's or somebody else's, and believe nothing about them."""

from __future__ import annotations

import io
import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from kdopt.campaign.participants import Architecture
from kdopt.campaign.plain import load_json, read_plain
from kdopt.campaign.shapes import describe_shape
from kdopt.data.datasets import Dataset
from kdopt.data.sources.base import expand_path
from kdopt.errors import ArtifactError, KdoptError
from kdopt.files import is_safetensors, read_input
from kdopt.shown import format_count
from kdopt.train.adapted import build_model, get_own_model
from kdopt.train.engine import seeded
from kdopt.train.fit import PRECISIONS, find_not_finite, is_ordinary

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


def parse_weights(content: bytes, model: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights in a safetensors file, if a model can have them.

    Args:
        content: The file.
        model: A state of the model, which says the names, shapes and types.

    Raises:
        ArtifactError: It is no such file, the weights are another model's, or they are not finite.
    """
    return check_weights(parse_tensors(content), model)


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
    """The same of tensors that were read; they are given back as they are.

    With ``any_precision`` they may have another of the ``PRECISIONS`` where the model has one, as
    in files that kdopt did not write.
    """
    for key, expected in model.items():
        if key not in found:
            raise ArtifactError(f"it has no '{key}', which the model has")
        value = found[key]
        if value.shape != expected.shape:
            raise ArtifactError(
                f"'{key}' is {_format_shape(value)}, the model's is {_format_shape(expected)}"
            )
        alike = value.dtype in PRECISIONS and expected.dtype in PRECISIONS
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


MAX_BYTES = 16 * 2**30

WRAPPERS = ("state_dict", "model_state_dict", "model")
"""Keys under which training scripts keep the state dict beside other things."""

MODULE_PREFIXES = ("module.", "_orig_mod.")
"""What ``DataParallel`` and ``torch.compile`` put before every name."""


def read_weights(name: str, path: str, kind: Architecture, dataset: Dataset) -> bytes:
    """The checkpoint of a participant's model, from a file of its weights.

    Args:
        name: The participant's, for messages.
        path: The file. What torch pickled is read as plain tensors: nothing in it is run.
        kind: What the model is.
        dataset: What its images are like.

    Raises:
        KdoptError: The file cannot be read, or holds other weights than those of the model.
    """
    with seeded(0, torch.device("cpu")):
        model = build_model(kind, dataset.shape, dataset.class_names, dataset.mean, dataset.std)
    where = f"participant '{name}': weights {path}"
    try:
        load_weights(get_own_model(model), expand_path(path))
    except OSError as error:
        reason = error.strerror or "it cannot be read"
        raise KdoptError(f"{where}: {reason}; give the path of the file") from error
    except ArtifactError as error:
        raise KdoptError(
            f"{where}: {error}; they must be those of model '{kind.model}' for "
            f"{format_count(len(kind.classes) or dataset.n_classes, 'class')} and "
            f"{describe_shape(dataset.shape)} (or the participant's own image_size and "
            "channels): save model.state_dict() with safetensors.torch.save_file or torch.save"
        ) from error
    return pack_weights(model.state_dict(), kind)


def load_weights(model: nn.Module, path: Path) -> None:
    """Put the weights of a file into a model.

    Raises:
        OSError: The file cannot be read.
        ArtifactError: It holds other weights than the model's, says what is wrong with them.
    """
    found = _strip_prefixes(_read_state(read_input(path, MAX_BYTES)))
    own = model.state_dict()
    model.load_state_dict(check_weights(_cast_counts(found, own), own, any_precision=True))


def _read_state(content: bytes) -> dict[str, Tensor]:
    # A zip file is what torch.save writes; older ones begin as a pickle.
    if is_safetensors(content) or not content.startswith((b"PK", b"\x80")):
        return parse_tensors(content)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # on kinds of pickles; what comes out is checked
            loaded: Any = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged pickle may fail in any way
        raise ArtifactError(
            "it holds more than tensors, or is damaged, and was not run: save "
            "model.state_dict(), not the model"
        ) from error
    for key in WRAPPERS:
        if isinstance(loaded, Mapping) and isinstance(loaded.get(key), Mapping):
            loaded = loaded[key]
    if not isinstance(loaded, Mapping) or not all(
        isinstance(key, str) and isinstance(value, Tensor) for key, value in loaded.items()
    ):
        raise ArtifactError("it is no state dict: a table from names to tensors")
    for key, value in loaded.items():
        if not is_ordinary(value):
            raise ArtifactError(
                f"'{key[:100]}' is sparse, quantized, nested, of 8-bit floats or without numbers "
                "(meta); save it as an ordinary tensor"
            )
    return dict(loaded)


def _strip_prefixes(state: dict[str, Tensor]) -> dict[str, Tensor]:
    for prefix in MODULE_PREFIXES:
        if state and all(key.startswith(prefix) for key in state):
            state = {key.removeprefix(prefix): value for key, value in state.items()}
    return state


def _cast_counts(state: dict[str, Tensor], model: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Count of batches and the like may be of another whole type; floats are cast when loaded."""
    return {
        key: value.to(model[key].dtype)
        if key in model
        and value.shape == model[key].shape  # first: a small file may claim any size
        and not model[key].is_floating_point()
        and not value.is_floating_point()
        else value
        for key, value in state.items()
    }
