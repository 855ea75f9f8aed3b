"""Models of timm (PyTorch Image Models) by name, always with random weights."""

from __future__ import annotations

import difflib
import re
from types import ModuleType

from torch import nn

from kdopt.campaign.shapes import Shape
from kdopt.errors import KdoptError

_NAME = re.compile(r"[A-Za-z0-9_]+\Z")


def make_timm_model(name: str, shape: Shape, n_classes: int) -> nn.Module:
    """Build a model of timm; its weights come from torch's global generator.

    Only names of timm's own registry are taken: timm itself would also follow ``hf-hub:`` and
    ``local-dir:`` to other places. Nothing is downloaded.

    Raises:
        KdoptError: timm is not installed, or has no such model.
    """
    timm = _import_timm(name)
    if not _NAME.match(name) or not timm.is_model(name):
        raise KdoptError(_explain_unknown(timm, name))
    options: dict[str, object] = {"num_classes": n_classes, "in_chans": shape[0]}
    if timm.get_pretrained_cfg(name).fixed_input_size:
        # Of models whose embeddings or windows depend on the image; others do not take it.
        options["img_size"] = shape[1:]
    model: nn.Module = timm.create_model(name, pretrained=False, **options)
    return model


def _import_timm(name: str) -> ModuleType:
    try:
        import timm  # slow to import, and an extra
    except ImportError as error:
        raise KdoptError(
            f"model 'timm:{name}': timm is not installed ({error.name} is missing); "
            "pip install 'kdopt[timm]'"
        ) from error
    found: ModuleType = timm
    return found


def _explain_unknown(timm: ModuleType, name: str) -> str:
    stem, dot, tag = name.partition(".")
    if dot and _NAME.match(stem) and timm.is_model(stem):
        return (
            f"model 'timm:{name}': '{tag}' names weights, and kdopt downloads none; write "
            f"timm:{stem}, and give weights by 'weights' of a [[participant]]"
        )
    close = difflib.get_close_matches(name, timm.list_models(), n=3)
    hint = f"did you mean {' or '.join(close)}? " if close else ""
    return f"model 'timm:{name}': timm {timm.__version__} has no such model; {hint}see its list"
