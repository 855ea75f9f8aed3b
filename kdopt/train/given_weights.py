"""Read the weights that somebody trained elsewhere: safetensors, or a state dict of torch."""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from kdopt.campaign.participants import Architecture
from kdopt.campaign.shapes import describe_shape
from kdopt.data.datasets import Dataset
from kdopt.data.sources.base import expand_path
from kdopt.errors import ArtifactError, KdoptError
from kdopt.files import is_safetensors, read_input
from kdopt.train.adapted import AdaptedModel, build_model
from kdopt.train.engine import seeded
from kdopt.train.weights import check_weights, pack_weights, parse_tensors

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
    inner = model.model if isinstance(model, AdaptedModel) else model
    where = f"participant '{name}': weights {path}"
    try:
        load_weights(inner, expand_path(path))
    except OSError as error:
        reason = error.strerror or "it cannot be read"
        raise KdoptError(f"{where}: {reason}; give the path of the file") from error
    except ArtifactError as error:
        raise KdoptError(
            f"{where}: {error}; they must be those of model '{kind.model}' for "
            f"{len(kind.classes) or dataset.n_classes} classes and "
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
        if key in model and not model[key].is_floating_point() and not value.is_floating_point()
        else value
        for key, value in state.items()
    }
