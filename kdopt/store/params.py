"""How a parameter value is written in Optuna's ``trial_params`` table, and read back.

Optuna stores a number per parameter (the index for a category) and the distribution as JSON
beside it. Written here without importing Optuna, so that planning and status stay quick; a test
holds every line of it against Optuna's own functions.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from typing import Any

from kdopt.campaign.studies import Param, Params, ParamValue


def distribution_json(param: Param) -> str:
    """The JSON of Optuna's distribution for a parameter."""
    if param.kind == "category":
        return json.dumps(
            {"name": "CategoricalDistribution", "attributes": {"choices": list(param.choices)}}
        )
    if param.kind == "int":
        attributes: dict[str, Any] = {
            "log": False,
            "step": 1,
            "low": int(param.low),
            "high": int(param.high),
        }
        return json.dumps({"name": "IntDistribution", "attributes": attributes})
    attributes = {"step": None, "low": param.low, "high": param.high, "log": param.log}
    return json.dumps({"name": "FloatDistribution", "attributes": attributes})


def stored_value(param: Param, value: ParamValue) -> float:
    """The number that stands for a value."""
    return float(param.choices.index(str(value)) if param.kind == "category" else value)


def read_value(stored: float, distribution: str) -> ParamValue:
    """The value that a stored number stands for."""
    kind, choices = _distribution(distribution)
    if kind == "CategoricalDistribution":
        return choices[int(stored)]
    return int(stored) if kind == "IntDistribution" else stored


def param_rows(trial_id: int, params: Params, space: Mapping[str, Param]) -> list[dict[str, Any]]:
    """The ``trial_params`` rows of one trial's parameters, in the order of ``space``."""
    return [
        {
            "trial_id": trial_id,
            "param_name": name,
            "param_value": stored_value(param, params[name]),
            "distribution_json": distribution_json(param),
        }
        for name, param in space.items()
    ]


@functools.lru_cache(maxsize=256)
def _distribution(text: str) -> tuple[str, tuple[ParamValue, ...]]:
    distribution = json.loads(text)
    return distribution["name"], tuple(distribution["attributes"].get("choices", ()))
