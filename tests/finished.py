"""A small campaign with every stage, run once for all tests that only read it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.small_campaigns import Planned, make_spec, run_campaign

FINISHED_SPEC = (
    make_spec(
        name="home",
        partitions=["label_dirichlet"],
        stages=["tune", "compare", "combine", "federate"],
        replicates=2,
        keep="best",
        data={"train_size": 600},
        transfer={
            "public_unlabeled_small": 40,
            "public_unlabeled_large": 0,
            "public_labeled": 0,
        },
        pretrain={"epochs": 2, "patience": 1},
        tune={"temperatures": [1, 4], "alphas": [0.5, 0.9]},
        compare={
            "methods": ["vanilla", "dml"],
            "transfer_sets": ["student", "public_unlabeled_small"],
        },
        combine={"starts": ["best"], "transfer_sets": ["student"], "weightings": ["equal"]},
        federate={"rounds": 2, "local_epochs": 1},
    )
    + "[partition.label_dirichlet]\nconcentration = [0.3]\n"
)


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Planned]:
    """A store with one finished campaign, ``home``, that no test may change."""
    made = run_campaign(FINISHED_SPEC, tmp_path_factory.mktemp("finished"))
    yield made
    made.store.close()
