"""What a campaign learns from goes with it."""

from __future__ import annotations

import dataclasses

import pytest

from kdopt.campaign.stages import plan_studies
from kdopt.errors import ArtifactError, StoreError
from kdopt.store import queries
from kdopt.store.merge import merge_campaign
from kdopt.store.planning import write_plan
from tests.conftest import make_campaign, make_record
from tests.store.merge.sites import (
    PAIR,
    TPE,
    merged_twice,
    only,
    sound,
    step,
    table,
    work,
)
from tests.store.test_index_studies import contents

WARM = dataclasses.replace(TPE.tune, sampler="warm", budget=4)


def plan_warm(site, prior=b"prior"):
    """Plan a campaign that learns, with what it learns from."""
    campaign = make_campaign(tune=WARM)
    record = dataclasses.replace(
        make_record(campaign),
        splits={"uniform": site.artifacts.put(b"splits of uniform")},
        prior=site.artifacts.put(prior),
    )
    write_plan(site.store, record, plan_studies)
    work(site, only("pretrain"))
    return record.prior


def test_what_a_campaign_learns_from_comes_along(here, there):
    prior = plan_warm(there)
    for _ in range(3):
        step(there, PAIR)
    merged_twice(here, there)
    assert here.artifacts.get(prior) == b"prior"
    assert queries.read_record(here.store, "tiny") == queries.read_record(there.store, "tiny")
    assert table(here) == table(there)
    # Splits, two models and the prior.
    assert sound(here).artifacts == 4


def test_stores_that_learn_from_different_things_are_refused(here, there):
    plan_warm(here)
    plan_warm(there, b"another")
    before = contents(here.store)
    with pytest.raises(StoreError, match=r"other values of: tune\.prior \(the prior"):
        merge_campaign(here, there, "tiny")
    assert contents(here.store) == before


def test_a_prior_that_is_missing_stops_the_merge_before_anything_is_planned(here, there):
    prior = plan_warm(there)
    there.artifacts.discard(prior)
    with pytest.raises(ArtifactError, match=r"tune\.prior"):
        merge_campaign(here, there, "tiny")
    assert queries.list_campaigns(here.store) == []
