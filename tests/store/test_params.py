from __future__ import annotations

import json

import pytest
from optuna.distributions import (
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
    distribution_to_json,
    json_to_distribution,
)

from kdopt.campaign.studies import Param
from kdopt.store.params import decode_value, encode_value, write_distribution

CASES = [
    (Param("float", 0.1, 7.0, log=True), FloatDistribution(0.1, 7.0, log=True), 2.5),
    (Param("float", 0.0, 1.0), FloatDistribution(0.0, 1.0), 0.25),
    (Param("int", 0, 9), IntDistribution(0, 9), 4),
    (Param("category", choices=("a", "b")), CategoricalDistribution(("a", "b")), "b"),
]


@pytest.mark.parametrize(("param", "distribution", "value"), CASES)
def test_params_are_stored_as_optuna_stores_them(param, distribution, value):
    text = write_distribution(param)
    assert json.loads(text) == json.loads(distribution_to_json(distribution))
    assert json_to_distribution(text) == distribution
    stored = encode_value(param, value)
    assert stored == distribution.to_internal_repr(value)
    assert decode_value("x", stored, text) == distribution.to_external_repr(stored) == value
    assert type(decode_value("x", stored, text)) is type(value)
