"""Read what ``kdopt.tune`` is given, and refuse what could only fail later.

Each message names the value, the rule and the fix, and comes before anything is trained.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from kdopt.data.given_logits import GivenLogits
from kdopt.errors import InputError
from kdopt.shown import format_count
from kdopt.train.engine import seeded
from kdopt.train.fit import find_not_finite, is_ordinary
from kdopt.trials.given import GivenPair, GivenSet

TRIED = 2
"""Inputs that each module is tried on: batch norm needs two."""

LOGIT_SETS = ("train", "validation", "test")


def read_given(teacher: Any, student: Any, train: Any, validation: Any, test: Any) -> GivenPair:
    """Check teacher, student and data, and try both models on two inputs.

    Args:
        teacher: A module, logits, or a mapping with the logits of each set.
        student: A module.
        train: Inputs and class numbers, or a data set of torch.
        validation: The same.
        test: The same.

    Raises:
        InputError: Says what is wrong, and what to do.
    """
    sets = {
        name: _read_set(name, value)
        for name, value in (("train", train), ("validation", validation), ("test", test))
    }
    _check_sets(sets)
    _check_module("student", student)
    _check_trainable(student)
    n_classes = _try_module("student", student, sets["train"], trains=True)
    if isinstance(teacher, nn.Module):
        _check_module("teacher", teacher)
        found = _try_module("teacher", teacher, sets["train"])
        known: nn.Module | GivenLogits = teacher
    else:
        known = _read_logits(teacher, sets)
        found = known.train.shape[1]
    if found != n_classes:
        raise InputError(
            f"teacher and student: {found} and {format_count(n_classes, 'logit')}; they must tell "
            "the same classes apart, in the same order"
        )
    _check_labels(sets, n_classes)
    return GivenPair(known, student, sets["train"], sets["validation"], sets["test"], n_classes)


def _read_set(name: str, value: Any) -> GivenSet:
    if isinstance(value, tuple | list) and len(value) == 2:
        inputs, labels = value
    elif hasattr(value, "__getitem__") and hasattr(value, "__len__") and _is_table(value):
        inputs, labels = _stack_items(name, value)
    else:
        raise InputError(
            f"{name}: a {type(value).__name__}; give (inputs, class numbers), arrays or tensors of "
            "the same length, or a torch Dataset whose items are such pairs"
        )
    x, y = _read_array(f"{name}: inputs", inputs), _read_array(f"{name}: labels", labels)
    if y.ndim != 1:
        raise InputError(
            f"{name}: labels of shape {tuple(y.shape)}; give one class number per input, (n,), "
            "such as labels.argmax(1) of one-hot rows or labels.ravel() of a column"
        )
    if y.is_floating_point() or y.is_complex():
        raise InputError(
            f"{name}: labels are {y.dtype}; class numbers are whole: give labels.astype('int64')"
        )
    if x.ndim == 0 or len(x) != len(y):
        raise InputError(
            f"{name}: {format_count(len(x), 'input') if x.ndim else 'no row of inputs'} and "
            f"{format_count(len(y), 'label')}; give one label per input"
        )
    if x.is_floating_point() and not bool(torch.isfinite(x).all()):
        rows = int((~torch.isfinite(x.reshape(len(x), -1))).any(dim=1).sum())
        raise InputError(
            f"{name}: NaN or infinity in {rows:,} of {format_count(len(x), 'input')}; repair or "
            "drop them"
        )
    return GivenSet(x, y.to(torch.int64))


def _is_table(value: Any) -> bool:
    """Whether it is a data set by position; arrays alone lack their labels."""
    return not isinstance(value, tuple | list | Mapping | str | np.ndarray | Tensor)


def _stack_items(name: str, dataset: Any) -> tuple[Tensor, Tensor]:
    try:
        items = [dataset[i] for i in range(len(dataset))]
        pairs = [(torch.as_tensor(x), int(y)) for x, y in items]
        inputs = torch.stack([x for x, _ in pairs])
    except Exception as error:  # a data set may raise anything
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            f"{name}: its items are not pairs of a tensor and a class number, all of one shape "
            f"({type(error).__name__}: {reason}); give the data set a transform such as ToTensor, "
            "or give (inputs, class numbers)"
        ) from error
    return inputs, torch.tensor([y for _, y in pairs])


def _read_array(what: str, value: Any) -> Tensor:
    if isinstance(value, Tensor):
        if not is_ordinary(value):
            raise InputError(
                f"{what}: not a dense tensor with values of 16 bits or more; give "
                "value.to_dense().float()"
            )
        found = value.detach().cpu()
    else:
        array = np.asarray(value)
        try:
            # A copy where it cannot be written: torch shares memory and warns of it.
            writable = array.flags.writeable and array.dtype.isnative
            found = torch.from_numpy(
                array if writable else array.astype(array.dtype.newbyteorder("="))
            )
        except (TypeError, ValueError) as error:
            raise InputError(
                f"{what}: an array of {array.dtype}; torch computes with numbers: give float32, "
                "uint8, int64 or the like (np.unique(labels, return_inverse=True)[1] numbers names)"
            ) from error
    if found.dtype is torch.bfloat16:
        raise InputError(f"{what}: bfloat16 is not kept; give value.float() and precision='bf16'")
    return found.contiguous()


def _check_sets(sets: Mapping[str, GivenSet]) -> None:
    train = sets["train"]
    for name, found in sets.items():
        least = TRIED if name == "train" else 1
        if len(found.labels) < least:
            raise InputError(
                f"{name}: {format_count(len(found.labels), 'input')}; give {least} or more"
            )
        ours, theirs = found.inputs, train.inputs
        if (ours.shape[1:], ours.dtype) != (theirs.shape[1:], theirs.dtype):
            raise InputError(
                f"{name}: inputs are {ours.dtype} {tuple(ours.shape[1:])}, those of train are "
                f"{theirs.dtype} {tuple(theirs.shape[1:])}; prepare all three alike"
            )


def _check_labels(sets: Mapping[str, GivenSet], n_classes: int) -> None:
    for name, found in sets.items():
        low, high = int(found.labels.min()), int(found.labels.max())
        if low < 0 or high >= n_classes:
            raise InputError(
                f"{name}: class numbers run from {low} to {high}, and the models have "
                f"{format_count(n_classes, 'logit')}: 0 to {n_classes - 1}; number the classes in "
                "the order of the logits"
            )
    labels = sets["train"].labels
    if bool((labels == labels[0]).all()):
        raise InputError(
            f"train: all {format_count(len(labels), 'input is', 'inputs are')} of class "
            f"{int(labels[0])}; a student learns to tell classes apart from two or more"
        )


def _check_module(role: str, module: Any) -> None:
    if not isinstance(module, nn.Module):
        hint = " (a class: call it)" if isinstance(module, type) else ""
        raise InputError(f"{role}: a {type(module).__name__}{hint}; give a torch.nn.Module")
    if any(isinstance(p, nn.UninitializedParameter) for p in module.parameters()):
        raise InputError(
            f"{role}: {type(module).__name__} has lazy layers without a shape; run it on a batch"
        )
    state = module.state_dict()
    odd = [k for k, v in state.items() if not (isinstance(v, Tensor) and is_ordinary(v))]
    if odd:
        raise InputError(
            f"{role}: '{odd[0]}' of its state is no dense tensor with values of 16 bits or more; "
            "load its weights first, and as such"
        )
    broken = find_not_finite(state)
    if broken is not None:
        raise InputError(
            f"{role}: '{broken}' holds NaN or infinity; load weights from before it diverged"
        )


def _check_trainable(student: nn.Module) -> None:
    trained = [p for p in student.parameters() if p.requires_grad]
    if not trained:
        raise InputError(
            f"student: {type(student).__name__} has no trainable parameters; unfreeze some with "
            "requires_grad_(True)"
        )
    kinds = sorted({str(p.dtype) for p in trained})
    if kinds != ["torch.float32"]:
        raise InputError(
            f"student: its trainable parameters are {', '.join(kinds)}; kdopt trains float32: give "
            "student.float(), and precision='bf16' for bfloat16 arithmetic"
        )


def _try_module(role: str, module: nn.Module, data: GivenSet, trains: bool = False) -> int:
    """Try a copy of a module on a few inputs.

    Returns:
        How many logits it gives.
    """
    name = type(module).__name__
    batch, labels = data.inputs[:TRIED], data.labels[:TRIED]
    shown = f"{batch.dtype} {tuple(batch.shape)}"
    try:
        with seeded(0, torch.device("cpu")), torch.enable_grad():
            copied = copy.deepcopy(module).cpu()
            logits = copied.train(trains)(batch)
            shape = _check_logits(role, name, logits, shown)
            if trains:
                inside = labels.clamp(0, shape[1] - 1)
                functional.cross_entropy(logits.float(), inside).backward()  # type: ignore[no-untyped-call]
    except InputError:
        raise
    except Exception as error:  # a module may raise anything
        reason = " ".join(str(error).split())[:300]
        raise InputError(
            f"{role}: {name} does not take a batch of train, {shown} "
            f"({type(error).__name__}: {reason}); give inputs as it takes them, such as float32 "
            "(n, channels, height, width) for convolutions and int64 (n, length) for tokens"
        ) from error
    if trains and all(p.grad is None for p in copied.parameters()):
        raise InputError(
            f"{role}: no trainable parameter of {name} has a part in its logits; unfreeze those "
            "that have"
        )
    return shape[1]


def _check_logits(role: str, name: str, logits: Any, shown: str) -> tuple[int, int]:
    if isinstance(logits, Tensor) and logits.is_floating_point() and logits.ndim == 2:
        n, classes = logits.shape
        if n == TRIED and classes >= 2:
            if not bool(torch.isfinite(logits).all()):
                raise InputError(
                    f"{role}: {name} gives logits that are not finite on {shown}; prepare inputs "
                    "as it was trained on"
                )
            return n, classes
    found = (
        f"{logits.dtype} {tuple(logits.shape)}"
        if isinstance(logits, Tensor)
        else f"a {type(logits).__name__}"
    )
    raise InputError(
        f"{role}: {name} gives {found} for a batch of {TRIED}; it must give logits, a float tensor "
        f"({TRIED}, classes): wrap it in a module that returns those"
    )


def _read_logits(teacher: Any, sets: Mapping[str, GivenSet]) -> GivenLogits:
    given = teacher if isinstance(teacher, Mapping) else {"train": teacher}
    unknown = sorted(map(str, given.keys() - set(LOGIT_SETS)))
    if unknown or given.get("train") is None:
        there = [name for name in LOGIT_SETS if given.get(name) is not None]
        raise InputError(
            f"teacher: logits of {', '.join(unknown or there) or 'nothing'}; give those "
            "of 'train', and of 'validation' and 'test' where you have them"
        )
    read = {}
    for name in LOGIT_SETS:
        if given.get(name) is None:
            continue
        logits = _read_array(f"teacher: logits of {name}", given[name])
        n = len(sets[name].labels)
        if logits.ndim != 2 or not logits.is_floating_point() or logits.shape[1] < 2:
            raise InputError(
                f"teacher: logits of {name} are {logits.dtype} {tuple(logits.shape)}; give floats "
                f"({n}, classes), a row per input, or a torch.nn.Module"
            )
        if len(logits) != n:
            raise InputError(
                f"teacher: {format_count(len(logits), 'row')} of logits for the "
                f"{format_count(n, 'input')} of {name}; give one row per input, in the same order"
            )
        if not bool(torch.isfinite(logits).all()):
            raise InputError(
                f"teacher: logits of {name} hold NaN or infinity; give logits, not log(0) of a "
                "probability"
            )
        read[name] = logits.float()
    widths = {logits.shape[1] for logits in read.values()}
    if len(widths) > 1:
        raise InputError(
            f"teacher: its logits have {' and '.join(map(str, sorted(widths)))} columns; "
            "one per class in every set"
        )
    unknown_rows = {
        name: np.full((len(found.labels), next(iter(widths))), np.nan, np.float32)
        for name, found in sets.items()
    }
    rows = {name: read[name].numpy() if name in read else unknown_rows[name] for name in sets}
    return GivenLogits(np.concatenate([rows["validation"], rows["train"]]), rows["test"])
