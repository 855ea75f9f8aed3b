"""Which campaigns are one, and which are refused."""

from __future__ import annotations

import dataclasses

import pytest

from kdopt.campaign.partition_settings import PartitionSettings
from kdopt.campaign.stages import plan_studies
from kdopt.errors import StoreError
from kdopt.store import queries
from kdopt.store.database import open_store
from kdopt.store.merge import Site, merge_campaign
from kdopt.store.planning import write_plan
from tests.conftest import make_record
from tests.store.merge.sites import (
    GRID,
    everything,
    merged_twice,
    only,
    plan,
    sound,
    table,
    url_of,
    work,
)
from tests.store.test_index_studies import contents


def test_specs_that_grew_apart_are_united(here, there):
    hotter = dataclasses.replace(GRID.tune, temperatures=(1.0, 4.0))
    both = (PartitionSettings("uniform"), PartitionSettings("specialized"))
    plan(here, GRID)
    plan(there, dataclasses.replace(GRID, tune=hotter, partitions=both, stages=("tune",)))
    work(there, everything)
    work(here, only("pretrain", "federate"))
    done = merged_twice(here, there)
    found = sound(here)
    # Two pairs by two alphas at T = 4; a partition of 2 participants, 2 x 6 cells, 1 federation.
    assert done.new_trials == 2 * 2 + (2 + 2 * 6 + 1)
    # T = 2 was never theirs, nor was federating.
    assert found.complete == found.planned - 2 * (2 * 2) - 1
    assert set(queries.read_record(here.store, "tiny").splits) == {"uniform", "specialized"}
    assert plan(here, GRID).new_trials == 0
    merged_twice(there, here)
    assert table(here) == table(there)
    sound(there)


def test_specs_that_mean_something_else_are_refused_with_all_that_differs(here, there):
    plan(here, GRID)
    plan(
        there,
        dataclasses.replace(
            GRID, seed=1, distill=dataclasses.replace(GRID.distill, epochs=7), model="cnn"
        ),
    )
    work(there, everything)
    before = contents(here.store)
    with pytest.raises(StoreError, match=r"other values of: distill, model, seed; .* nothing was"):
        merge_campaign(here, there, "tiny")
    assert contents(here.store) == before


@pytest.mark.parametrize("what", ["data", "splits"])
def test_other_images_or_shares_are_refused(here, there, what):
    plan(here, GRID)
    record = make_record(GRID)
    change = {"data_sha256": "2" * 64} if what == "data" else {"splits": {"uniform": "2" * 64}}
    write_plan(there.store, dataclasses.replace(record, **change), plan_studies)
    with pytest.raises(
        StoreError, match=r"data \(the images|partition.uniform \(the participants'"
    ):
        merge_campaign(here, there, "tiny")


def test_a_store_is_not_merged_into_itself(here):
    plan(here, GRID)
    same = Site(open_store(url_of(here)), here.artifacts)
    with pytest.raises(StoreError, match="this is the store itself"):
        merge_campaign(here, same, "tiny")
    same.store.close()
