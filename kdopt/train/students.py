"""A student's weights in a file that says what they are, and the same as ONNX or TorchScript.

The file is safetensors: the model's own state, and in its header what is needed to build the
model, to prepare images and to check the result. Nothing in it runs.
"""

from __future__ import annotations

import copy
import json
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import cast

import numpy as np
import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from kdopt.campaign.participants import Architecture
from kdopt.campaign.plain import load_json, read_plain
from kdopt.campaign.shapes import InputKind, Shape, TokenShape, describe_array, get_kind
from kdopt.errors import ArtifactError, KdoptError
from kdopt.files import open_input
from kdopt.outcome import StudentFacts
from kdopt.plugins.code import use_model
from kdopt.train.adapted import build_model, get_own_model
from kdopt.train.engine import Engine, Images, Precision
from kdopt.train.evaluation import predict_logits
from kdopt.train.models import make_example
from kdopt.train.weights import check_weights, parse_tensors

LONGEST_SIDE = 4096
"""Pixels or channels of an image that are believed."""

MOST_NUMBERS = 10_000_000
"""Numbers of a vector, ids of a sequence, or a vocabulary that are believed."""

OUTER_NAME = "model."
"""What stood before the names of a participant's model in files of older versions."""

HEADER_KEY = "kdopt"
"""Where the header of a student's file holds a :class:`StudentFacts`, as JSON."""


class TrainedStudent:
    """A student that was read from its file.

    Attributes:
        model: It, in evaluation mode, on the CPU: from normalised images to logits.
        facts: What its file says of it.
    """

    def __init__(self, model: nn.Module, facts: StudentFacts) -> None:
        self.model, self.facts = model, facts
        self._engine = _make_engine(facts)

    def predict_logits(self, images: np.ndarray | Tensor) -> Tensor:
        """Logits, float32, (n, classes), computed as the campaign did.

        Args:
            images: uint8, (n, channels, height, width), or without channels where there is one;
                for a student of vectors float32, (n, numbers); of token ids int64, (n, length).

        Raises:
            KdoptError: The images are of another shape or type.
        """
        pixels, shape = torch.as_tensor(images), self.facts.shape
        kind = get_kind(shape)
        if kind == "images" and shape[0] == 1 and pixels.ndim == 3:
            pixels = pixels.unsqueeze(1)
        wanted = shape[:1] if isinstance(shape, TokenShape) else shape
        if pixels.dtype != _TYPES[kind] or tuple(pixels.shape[1:]) != wanted:
            raise KdoptError(
                f"{kind} are {pixels.dtype} {tuple(pixels.shape)}; this student takes "
                f"{describe_array(shape)}"
            )
        if isinstance(shape, TokenShape) and not _are_ids(pixels, shape.vocabulary):
            raise KdoptError(
                f"tokens run from {int(pixels.min())} to {int(pixels.max())}; this student takes "
                f"ids from 0 to {shape.vocabulary - 1}"
            )
        labels = torch.zeros(len(pixels), dtype=torch.int64)
        return predict_logits(
            self.model, Images(pixels, labels, self.facts.mean, self.facts.std), self._engine
        )

    def predict(self, images: np.ndarray | Tensor) -> Tensor:
        """Class numbers, int64, (n,); see :meth:`predict_logits`."""
        return self.predict_logits(images).argmax(dim=1)


_TYPES: dict[InputKind, torch.dtype] = {
    "images": torch.uint8,
    "vectors": torch.float32,
    "tokens": torch.int64,
}


def _are_ids(tokens: Tensor, vocabulary: int) -> bool:
    return not bool(((tokens < 0) | (tokens >= vocabulary)).any())


def pack_student(model: nn.Module, facts: StudentFacts) -> bytes:
    """The file of a student; its weights have the names of the participant's own model."""
    own = get_own_model(model).state_dict()
    state = {k: v.detach().cpu().contiguous() for k, v in own.items()}
    return safetensors.torch.save(state, {HEADER_KEY: json.dumps(asdict(facts))})


def parse_student(content: bytes, pretrained: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of a student's file, by the names of the campaign's model.

    Args:
        content: From :func:`pack_student`, of this version or an older one.
        pretrained: The participant's weights; where something stands around its model, each name
            says so.

    Raises:
        ArtifactError: As :func:`kdopt.train.weights.parse_weights`.
    """
    state = parse_tensors(content)
    if {f"{OUTER_NAME}{key}" for key in state} == pretrained.keys():
        state = {f"{OUTER_NAME}{key}": value for key, value in state.items()}
    return check_weights(state, pretrained)


def read_student(path: str | Path) -> TrainedStudent:
    """Read a student's file that ``kdopt distill`` wrote.

    Raises:
        KdoptError: There is no such file, or it is not one of kdopt's.
    """
    try:
        open_input(Path(path)).close()  # a pipe would be waited for
        with safetensors.safe_open(str(path), "pt") as file:
            header: dict[str, str] = file.metadata() or {}
            state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        facts = _parse_facts(load_json(header[HEADER_KEY]))
    except FileNotFoundError as error:
        raise KdoptError(f"student {path}: no such file; 'kdopt distill' writes one") from error
    except (OSError, safetensors.SafetensorError, KeyError, TypeError, ValueError) as error:
        raise KdoptError(
            f"student {path}: not a file that 'kdopt distill' wrote ({error}); give that one"
        ) from error
    if facts.code_sha256:
        _use_code(path, facts)
    kind = facts.architecture or Architecture(facts.model)
    inputs = facts.shape, facts.classes, facts.mean, facts.std
    try:
        with torch.device("meta"):  # without memory: what the header says may be anything
            own = get_own_model(build_model(kind, *inputs)).state_dict()
        state = check_weights(_take_own_names(state, own), own)
        model = build_model(kind, *inputs)
        get_own_model(model).load_state_dict(state)
    except ArtifactError as error:
        raise KdoptError(
            f"student {path}: {error}; use the kdopt and torchvision versions that its card names"
        ) from error
    return TrainedStudent(_make_engine(facts).move(model).eval(), facts)


def _take_own_names(state: dict[str, Tensor], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Files of older versions have the name of what stood around the model before every name."""
    if state.keys() == {f"{OUTER_NAME}{key}" for key in own}:
        return {key.removeprefix(OUTER_NAME): value for key, value in state.items()}
    return state


def _use_code(path: str | Path, facts: StudentFacts) -> None:
    """Find the plugin that a student's model is from, among those that were given here."""
    found = use_model(facts.model).values()
    if facts.code_sha256 not in {source.sha256 for source in found}:
        other = f"; {', '.join(s.name for s in found)} is other code" if found else ""
        raise KdoptError(
            f"student {path}: its model '{facts.model}' is a plugin's, sha256 "
            f"{facts.code_sha256[:12]}{other}; give the very file by "
            "kdopt.plugins.load_plugins, or install the package, then read it again"
        )


def export_torchscript(model: nn.Module, shape: Shape, path: Path) -> None:
    """Write a model for ``torch.jit.load``: from normalised images, (n, *shape), to logits.

    Raises:
        KdoptError: The model cannot be traced.
    """
    with _explain_export_errors("TorchScript"):
        torch.jit.trace(_put_on_cpu(model), make_example(shape)).save(str(path))  # type: ignore[no-untyped-call]


def export_onnx(model: nn.Module, shape: Shape, path: Path) -> None:
    """Write a model as ONNX: input ``images``, (n, *shape), normalised; output ``logits``.

    Raises:
        KdoptError: The extra is not installed, or cannot express the model.
    """
    check_onnx()
    with _explain_export_errors("ONNX"):
        torch.onnx.export(
            _put_on_cpu(model),
            (make_example(shape),),
            str(path),
            input_names=["images"],
            output_names=["logits"],
            dynamic_shapes=({0: torch.export.Dim("images")},),
            dynamo=True,
            external_data=False,
            verbose=False,
        )


def check_onnx() -> None:
    """Refuse ONNX where it cannot be written.

    Raises:
        KdoptError: The extra is not installed.
    """
    try:
        import onnx  # type: ignore[import-not-found, unused-ignore]  # noqa: F401
        import onnxscript  # type: ignore[import-not-found, unused-ignore]  # noqa: F401
    except ImportError as error:
        raise KdoptError(
            f"ONNX needs packages that are not installed ({error.name}); pip install 'kdopt[onnx]'"
        ) from error


def _make_engine(facts: StudentFacts) -> Engine:
    # Not make_engine, which sets how many threads the whole process has.
    return Engine(torch.device("cpu"), cast("Precision", facts.precision))


@contextmanager
def _explain_export_errors(form: str) -> Iterator[None]:
    with warnings.catch_warnings():
        # Of torch on its own passes, and on the end of TorchScript, which others still read.
        warnings.simplefilter("ignore")
        try:
            yield
        except OSError:
            raise
        except Exception as error:  # exporters raise anything about models they do not know
            reason = " ".join(str(error).split())[:200]
            raise KdoptError(
                f"this model cannot be written as {form} ({type(error).__name__}: {reason}); "
                "write the weights alone"
            ) from error


def _put_on_cpu(model: nn.Module) -> nn.Module:
    plain: nn.Module = copy.deepcopy(model).cpu().eval()
    return plain


def _parse_facts(values: object) -> StudentFacts:
    facts: StudentFacts = read_plain(StudentFacts, values)
    if facts.tokens:
        facts = replace(facts, shape=TokenShape(*facts.shape))
    channels = (facts.mean, facts.std)
    longest = LONGEST_SIDE if get_kind(facts.shape) == "images" else MOST_NUMBERS
    normalized = 0 if facts.tokens else (*facts.shape, 0)[0]
    fine = (
        len(facts.shape) in (1, 3)
        and all(0 <= side <= longest for side in facts.shape)
        # The id of padding may be 0.
        and all(facts.shape[:2] if facts.tokens else facts.shape)
        and all(len(values) == normalized for values in channels)
        and len(facts.classes) > 1
        and facts.precision in ("fp32", "bf16")
    )
    if not fine:
        raise ValueError("what its header says of images and classes cannot be")
    return facts
