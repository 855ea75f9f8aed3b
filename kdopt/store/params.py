"""How a parameter value is written in Optuna's ``trial_params`` table, and read back.

Optuna stores a number per parameter (the index for a category) and the distribution as JSON
beside it. Written here without importing Optuna, so that planning and status stay quick; a test
holds every line of it against Optuna's own functions.
"""

from __future__ import annotations

import functools
import json
from collections import defaultdict
from collections.abc import Mapping

from sqlalchemy.engine import Connection

from kdopt.campaign.studies import Param, Params, ParamValue
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


def decode_value(stored: float, distribution: str) -> ParamValue:
    """The value that a stored number stands for."""
    kind, choices = _read_distribution(distribution)
    if kind == "CategoricalDistribution":
        return choices[int(stored)]
    return int(stored) if kind == "IntDistribution" else stored


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


def read_params(
    connection: Connection, where: str, values: Mapping[str, object], *lists: str
) -> dict[int, dict[str, ParamValue]]:
    """The parameters of every trial that a condition chooses, by trial id.

    Args:
        connection: A connection.
        where: SQL about trials ``t`` of studies ``s``.
        values: What its named values are.
        lists: Those of them that are lists, for ``IN``.

    Returns:
        A dictionary that gives an empty one for a trial without parameters.
    """
    sql = bind_lists(
        "SELECT p.trial_id, p.param_name, p.param_value, p.distribution_json FROM trial_params p "
        "JOIN trials t ON t.trial_id = p.trial_id JOIN studies s ON s.study_id = t.study_id "
        f"WHERE {where} ORDER BY p.param_id",
        *lists,
    )
    found: dict[int, dict[str, ParamValue]] = defaultdict(dict)
    for trial_id, name, value, distribution in connection.execute(sql, values):
        found[trial_id][name] = decode_value(value, distribution)
    return found


@functools.lru_cache(maxsize=256)
def _read_distribution(text: str) -> tuple[str, tuple[ParamValue, ...]]:
    distribution = json.loads(text)
    return distribution["name"], tuple(distribution["attributes"].get("choices", ()))
