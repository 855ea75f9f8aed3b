"""How a parameter value is written in Optuna's ``trial_params`` table, and read back.

Optuna stores a number per parameter (the index for a category) and the distribution as JSON
beside it. Written here without importing Optuna, so that planning and status stay quick; a test
holds every line of it against Optuna's own functions.
"""

from __future__ import annotations

import functools
import json
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kdopt.campaign.federated_algorithms import INITIAL_MODELS, OWN_STARTS
from kdopt.campaign.plain import describe_value
from kdopt.campaign.stage_settings import METHODS, STARTS, TRANSFER_SETS, WEIGHTINGS
from kdopt.campaign.studies import Param, Params, ParamValue
from kdopt.errors import StoreError
from kdopt.store.reading import UnreadableError, parse_json, refuse_trial
from kdopt.store.statements import bind_lists


def write_distribution(param: Param) -> str:
    """The JSON of Optuna's distribution for a parameter."""
    attributes: dict[str, object]
    # As every store has these texts; Optuna itself compares them parsed.
    if param.kind == "category":
        kind, attributes = "CategoricalDistribution", {"choices": list(param.choices)}
    elif param.kind == "int":
        kind = "IntDistribution"
        attributes = {"log": False, "step": 1, "low": int(param.low), "high": int(param.high)}
    else:
        kind = "FloatDistribution"
        attributes = {"step": None, "low": param.low, "high": param.high, "log": param.log}
    return json.dumps({"name": kind, "attributes": attributes})


def encode_value(param: Param, value: ParamValue) -> float:
    """The number that stands for a value."""
    return float(param.choices.index(str(value)) if param.kind == "category" else value)


def decode_value(name: str, stored: object, distribution: object) -> ParamValue:
    """The value that a stored number stands for.

    Args:
        name: The parameter.
        stored: The number.
        distribution: The JSON of its distribution.

    Raises:
        UnreadableError: It stands for none, or for one that this parameter cannot have.
    """
    if not isinstance(name, str):
        raise UnreadableError(f"{describe_value(name)} is no name of a parameter")
    number: Any = stored
    try:
        kind, low, high, choices = _read_distribution(name, distribution)
        # What is no number, and NaN, is within no bounds.
        if low <= number <= high:
            if kind == "float":
                return float(number)
            if int(number) == number:
                return choices[int(number)] if choices else int(number)
    except TypeError:
        pass
    raise UnreadableError(
        f"{describe_value(stored)} stands for no value of {describe_value(distribution)}"
    )


def list_param_rows(
    trial_id: int, params: Params, space: Mapping[str, Param]
) -> list[dict[str, object]]:
    """The ``trial_params`` rows of one trial's parameters, in the order of ``space``."""
    return [
        {
            "trial_id": trial_id,
            "param_name": name,
            "param_value": encode_value(param, params[name]),
            "distribution_json": write_distribution(param),
        }
        for name, param in space.items()
    ]


def select_params(
    connection: Connection, where: str, values: Mapping[str, object], *lists: str
) -> dict[int, dict[str, tuple[object, object]]]:
    """The stored number and distribution of every parameter, by trial id and name.

    Args:
        connection: A connection.
        where: SQL about trials ``t`` of studies ``s``.
        values: What its named values are.
        lists: Those of them that are lists, for ``IN``.

    Returns:
        A dictionary that gives an empty one for a trial without parameters.
    """
    found: dict[int, dict[str, tuple[object, object]]] = defaultdict(dict)
    for trial_id, name, value, distribution in connection.execute(
        _select_params(where, lists), values
    ):
        found[trial_id][name] = (value, distribution)
    return found


def read_params(
    connection: Connection, where: str, values: Mapping[str, object], *lists: str
) -> dict[int, dict[str, ParamValue]]:
    """The parameters of every trial that a condition chooses, by trial id.

    Arguments and form as :func:`select_params`.

    Raises:
        StoreError: A parameter cannot be read.
    """
    found: dict[int, dict[str, ParamValue]] = defaultdict(dict)
    for trial_id, name, value, distribution in connection.execute(
        _select_params(where, lists), values
    ):
        try:
            found[trial_id][name] = decode_value(name, value, distribution)
        except UnreadableError as error:
            raise _refuse_param(connection, trial_id, name, error) from error
    return found


def _select_params(where: str, lists: Sequence[str]) -> sa.TextClause:
    return bind_lists(
        "SELECT p.trial_id, p.param_name, p.param_value, p.distribution_json FROM trial_params p "
        "JOIN trials t ON t.trial_id = p.trial_id JOIN studies s ON s.study_id = t.study_id "
        f"WHERE {where} ORDER BY p.param_id",
        *lists,
    )


def _refuse_param(
    connection: Connection, trial_id: int, name: str, error: UnreadableError
) -> StoreError:
    trial = connection.execute(
        sa.text(
            "SELECT s.study_name, t.number FROM trials t JOIN studies s ON s.study_id = t.study_id "
            "WHERE t.trial_id = :trial"
        ),
        {"trial": trial_id},
    ).one()
    return refuse_trial(trial.study_name, trial.number, f"parameter {name}", error)


class _Distribution(NamedTuple):
    """What is needed to read a number: bounds, and the values of a category."""

    kind: str
    low: float
    high: float
    choices: tuple[str, ...]


KINDS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "participant": ("int", ()),
    "student": ("int", ()),
    "replicate": ("int", ()),
    "temperature": ("float", ()),
    "alpha": ("float", ()),
    "method": ("category", METHODS),
    "transfer_set": ("category", TRANSFER_SETS),
    "start": ("category", STARTS),
    "weighting": ("category", WEIGHTINGS),
    "initial_model": ("category", (*INITIAL_MODELS, *OWN_STARTS)),
}
"""What each parameter of a campaign's trials is, and the values that a category may have."""


@functools.lru_cache(maxsize=1024)
def _read_distribution(name: str, text: object) -> _Distribution:
    found = parse_json(text)
    attributes = found.get("attributes") if isinstance(found, dict) else None
    kind = _KIND_OF.get(str(found.get("name"))) if isinstance(found, dict) else None
    wanted, known = KINDS.get(name, (kind, ()))
    if kind is None or kind != wanted or not isinstance(attributes, dict):
        raise UnreadableError(f"{describe_value(text)} is no distribution of kind {wanted}")
    if kind == "category":
        choices = attributes.get("choices")
        if not isinstance(choices, list) or not all(isinstance(c, str) for c in choices):
            raise UnreadableError(f"{describe_value(text)} has no texts to choose from")
        # Later versions may have more to choose from: only a trial that has one is refused.
        bad = [i for i, choice in enumerate(choices) if known and choice not in known]
        return _Distribution(kind, 0, (min(bad) if bad else len(choices)) - 1, tuple(choices))
    low, high = (attributes.get(bound, math.nan) for bound in ("low", "high"))
    if not all(type(bound) in (int, float) and math.isfinite(bound) for bound in (low, high)):
        raise UnreadableError(f"{describe_value(text)} has no finite bounds")
    return _Distribution(kind, low, high, ())


_KIND_OF = {
    "CategoricalDistribution": "category",
    "IntDistribution": "int",
    "FloatDistribution": "float",
}
