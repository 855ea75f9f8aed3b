from __future__ import annotations

import dataclasses

import pytest

from kdopt.store.leases import Lease
from kdopt.worker.summary import describe_result
from tests.conftest import make_outcome


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.004217, "0.00422 s"), (0.6, "0.6 s"), (12.345, "12.3 s"), (4321.0, "4,321 s")],
)
def test_a_result_says_how_long_it_took_however_short(seconds, said):
    claim = Lease(1, 1, 0, "me", 1, {"temperature": 2.5, "replicate": 0})
    outcome = dataclasses.replace(make_outcome(1.25), seconds=seconds)
    text = describe_result("tune", claim, outcome)
    assert text.startswith("temperature 2.5, replicate 0: ")
    assert text.endswith(f", 1 epoch, {said}")
