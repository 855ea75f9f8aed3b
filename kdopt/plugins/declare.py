"""The decorators by which a plugin offers models, methods and data sets.

They only note what is offered: nothing is built, read or checked against a campaign here.
"""

from __future__ import annotations

import inspect
import math
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeVar

from kdopt.campaign.data_settings import DATASET_RULE, DataSettings
from kdopt.campaign.participants import MODEL_RULE
from kdopt.campaign.plugin_methods import METHOD_RULE, PARAM_RULE, PluginMethod, PluginParam
from kdopt.campaign.settings import OWN_MODELS
from kdopt.campaign.shapes import Shape, TokenShape
from kdopt.campaign.stage_settings import TuneSettings
from kdopt.errors import KdoptError
from kdopt.typed import refuse_empty

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import nn

    from kdopt.train.steps import LossFn

CodeKind = Literal["model", "method", "dataset"]

MakeModel = TypeVar("MakeModel", bound="Callable[[Shape, int], nn.Module]")
MakeLoss = TypeVar("MakeLoss", bound="Callable[..., LossFn]")
ReadData = TypeVar("ReadData", bound="Callable[[DataSettings], LabelledData]")


class LabelledData(NamedTuple):
    """A whole data set: images, feature vectors or token ids, with labels.

    Attributes:
        train: Images, uint8 (n, channels, height, width); vectors, float32 (n, numbers); or token
            ids, int64 (n, length).
        train_labels: int64 (n,), class numbers from 0.
        test: As ``train``, (m, ...).
        test_labels: int64 (m,).
        class_names: One per class, in the order of their numbers.
        tokens: What sequences of token ids are like; ``None`` for images and vectors.
    """

    train: NDArray[Any]
    train_labels: NDArray[np.int64]
    test: NDArray[Any]
    test_labels: NDArray[np.int64]
    class_names: tuple[str, ...]
    tokens: TokenShape | None = None


@dataclass(frozen=True, eq=False)
class Declared:
    """What a plugin offers under a name.

    Attributes:
        kind: What it is.
        name: Its name.
        function: What the plugin decorated.
        module: The name of the module that offered it.
        params: Of a method: its search space.
        trains_both: Of a method: whether the teacher trains too.
    """

    kind: CodeKind
    name: str
    function: Callable[..., Any]
    module: str
    params: tuple[PluginParam, ...] = ()
    trains_both: bool = False

    @property
    def method(self) -> PluginMethod:
        """A method as campaigns know it."""
        return PluginMethod(self.name, self.params)


DECLARED: list[Declared] = []
"""All that code of this process offered so far, in order. That it was offered makes nothing use
it: see :mod:`kdopt.plugins.code`."""


def register_model(name: str) -> Callable[[MakeModel], MakeModel]:
    """Offer a model: a function of the inputs' shape and the number of classes that builds it.

    The shape is (channels, height, width) of images, (numbers,) of vectors, or a ``TokenShape``.

    Its weights must come from torch's global generator, which kdopt seeds: as layers' own do.

    Args:
        name: What ``model`` of a campaign file calls it.
    """
    _check_name(name, "model", MODEL_RULE.text, MODEL_RULE.holds(name) and ":" not in name)
    _check_name(name, "model", "kdopt has a model of this name", name not in OWN_MODELS)

    def note(function: MakeModel) -> MakeModel:
        DECLARED.append(Declared("model", name, function, _name_caller()))
        return function

    return note


def register_method(
    name: str,
    *,
    space: Mapping[str, Sequence[float]],
    published: Mapping[str, float],
    log: Collection[str] = (),
    trains_both: bool = False,
) -> Callable[[MakeLoss], MakeLoss]:
    """Offer a method: a function of ``MethodInputs`` and its parameters that makes a loss.

    The loss is a function of (batch,) positions in the transfer set and of the student's logits,
    (batch, classes), and gives a scalar; see :class:`kdopt.train.methods.base.MethodInputs`.

    Args:
        name: What ``tune.methods`` of a campaign file calls it.
        space: By parameter, the values that a grid tries; other samplers search between the least
            and the greatest. Teachers count at every value, so none may be one without a teacher.
        published: The setting that its authors recommend; it is always tried.
        log: Parameters that are searched on a logarithmic scale.
        trains_both: Whether the teacher trains too; logits are then (2, batch, classes).
    """
    for text in (log, *log):
        refuse_empty(log=text)
    taken = {field.name for field in fields(TuneSettings)}
    _check_name(name, "method", METHOD_RULE.text, METHOD_RULE.holds(name))
    _check_name(name, "method", "[tune] has a setting of this name", name not in taken)
    if not space or published.keys() != space.keys() or set(log) - space.keys():
        raise KdoptError(
            f"method '{name}': space has {', '.join(space) or 'nothing'}, published has "
            f"{', '.join(published) or 'nothing'}, log has {', '.join(log) or 'nothing'}; space "
            "and published must have the same parameters, one at least, and log some of them"
        )
    params = tuple(
        _make_param(name, key, tuple(values), published, key in log)
        for key, values in space.items()
    )

    def note(function: MakeLoss) -> MakeLoss:
        try:
            inspect.signature(function).bind(None, **published)
        except TypeError as error:
            raise KdoptError(
                f"method '{name}': its function does not take the inputs and then "
                f"{', '.join(published)} by name ({error})"
            ) from error
        module = _name_caller()
        DECLARED.append(Declared("method", name, function, module, params, trains_both))
        return function

    return note


def register_dataset(name: str) -> Callable[[ReadData], ReadData]:
    """Offer a data set: a function of the settings of ``[data]`` that reads its images.

    Args:
        name: What ``data.name`` of a campaign file calls it.
    """
    _check_name(name, "data set", DATASET_RULE.text, DATASET_RULE.holds(name))

    def note(function: ReadData) -> ReadData:
        DECLARED.append(Declared("dataset", name, function, _name_caller()))
        return function

    return note


def _name_caller() -> str:
    """The module that applies the decorator which calls this."""
    return str(sys._getframe(2).f_globals.get("__name__", ""))


def _check_name(name: str, what: str, rule: str, holds: bool) -> None:
    refuse_empty(name=name)
    if not holds:
        raise KdoptError(f"{what} {name[:100]!r}: {rule}; give it another name")


def _make_param(
    method: str, name: str, values: tuple[float, ...], published: Mapping[str, float], log: bool
) -> PluginParam:
    values = tuple(float(value) for value in values)
    own = float(published.get(name, math.nan))
    rules = {
        PARAM_RULE.text: PARAM_RULE.holds(name),
        "its values must be one or more different finite numbers, and so must be the published": (
            0 < len(values) == len(set(values)) and all(map(math.isfinite, (*values, own)))
        ),
        "on a logarithmic scale all its values must be above 0": not log or min(*values, own) > 0,
    }
    for rule, holds in rules.items():
        if not holds:
            raise KdoptError(f"method '{method}': parameter {name[:100]!r}: {rule}")
    return PluginParam(name, values, own, log)
