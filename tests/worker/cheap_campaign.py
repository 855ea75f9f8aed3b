"""A campaign that is planned without images, for workers without torch (see ``light_worker``)."""

from __future__ import annotations

import dataclasses

from kdopt.campaign.stages import plan_studies
from kdopt.store.artifacts import Artifacts
from kdopt.store.database import Store
from kdopt.store.planning import write_plan
from tests.conftest import make_campaign, make_record

TEMPERATURES = (0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0)
GRID: dict[str, object] = {"temperatures": TEMPERATURES, "alphas": (0.1, 0.5, 0.9)}
SMALL_GRID: dict[str, object] = {"temperatures": TEMPERATURES, "alphas": (0.5,)}
ADAPTIVE: dict[str, object] = {"sampler": "tpe", "budget": 30}


def plan_cheap(store: Store, artifacts: Artifacts, tune: dict[str, object]) -> int:
    """Plan six pairs, with a grid of 33 or 11 cells or a budget of 30 trials each; all trials."""
    base = make_campaign(participants=3)
    campaign = dataclasses.replace(base, tune=dataclasses.replace(base.tune, **tune))
    record = make_record(campaign)
    record = dataclasses.replace(record, splits={"uniform": artifacts.put(b"splits")})
    return write_plan(store, record, plan_studies).trials
