"""Growing by the stages of many participants: what is asked for is added, and nothing else."""

from __future__ import annotations

import dataclasses
from collections import Counter

import pytest

from kdopt.campaign.settings import NO_PUBLIC_SETS, TransferSettings
from kdopt.campaign.stage_settings import CombineSettings, CompareSettings, FederateSettings
from kdopt.campaign.stages import plan_studies
from kdopt.errors import StoreError
from kdopt.store import queries
from kdopt.store.planning import write_plan
from tests.conftest import make_campaign, make_record

OWN = CombineSettings(("best",), ("student",), ("equal",))
RANDOM = FederateSettings(initial_models=("random",))
TUNE = make_campaign(stages=("tune",))


def plan(store, campaign):
    return write_plan(store, make_record(campaign), plan_studies).new_trials


def merged(store):
    return queries.read_record(store, "tiny").campaign


def change(**changes):
    return dataclasses.replace(TUNE, **changes)


def test_stages_add_what_they_ask_for_and_nothing_of_their_defaults(store):
    plan(store, TUNE)
    assert plan(store, change(stages=("tune", "combine"), combine=OWN)) == 1
    assert plan(store, change(stages=("federate",), federate=RANDOM)) == 1
    assert plan(store, change(stages=("compare",), compare=CompareSettings(("vanilla",)))) == 2
    counts = Counter(r.stage for r in queries.read_trials(store, "tiny"))
    assert counts == {"pretrain": 2, "tune": 8, "combine": 1, "federate": 1, "compare": 2}
    assert merged(store).combine == OWN
    assert merged(store).federate == RANDOM


def test_a_spec_without_the_stages_adds_nothing_and_forgets_nothing(store):
    whole = change(
        stages=("tune", "combine", "federate"),
        combine=dataclasses.replace(OWN, weight_terms="image"),
        federate=RANDOM,
    )
    plan(store, whole)
    assert plan(store, TUNE) == 0
    assert plan(store, change(stages=("combine",), combine=whole.combine)) == 0
    assert merged(store).combine == whole.combine
    assert merged(store).federate == RANDOM
    assert merged(store).tune == TUNE.tune


def test_lists_of_a_stage_that_both_have_are_united(store):
    plan(store, change(stages=("combine",), combine=OWN))
    wider = dataclasses.replace(OWN, starts=("worst",), weightings=("share",))
    assert plan(store, change(stages=("combine",), combine=wider)) == 3
    assert merged(store).combine.starts == ("worst", "best")
    assert merged(store).combine.weightings == ("share", "equal")


def test_settings_of_the_consolidated_model_matter_once_there_is_one(store):
    worst = FederateSettings(start="worst")
    plan(store, change(stages=("federate",), federate=RANDOM))
    assert plan(store, change(stages=("federate",), federate=worst)) == 1
    # A spec that makes no such model may say what it likes; that of the store stays.
    assert plan(store, change(stages=("federate",), federate=RANDOM)) == 0
    assert merged(store).federate.start == "worst"
    with pytest.raises(StoreError, match=r"other values of: federate\.start;"):
        plan(store, change(stages=("federate",), federate=FederateSettings(start="best")))


def test_rounds_may_not_change(store):
    plan(store, change(stages=("federate",), federate=RANDOM))
    longer = dataclasses.replace(RANDOM, rounds=RANDOM.rounds + 1)
    with pytest.raises(StoreError, match=r"other values of: federate\.rounds;"):
        plan(store, change(stages=("federate",), federate=longer))


def test_public_sets_cannot_be_held_out_afterwards_and_the_message_says_what_to_do(store):
    plan(store, TUNE)
    wants = change(stages=("tune", "compare"), transfer=TransferSettings(10, 10, 10))
    with pytest.raises(StoreError, match=r"Set all three sizes of \[transfer\] to 0"):
        plan(store, wants)
    assert plan(store, dataclasses.replace(wants, transfer=NO_PUBLIC_SETS)) == 2 * 3


WARM = change(tune=dataclasses.replace(TUNE.tune, sampler="warm", budget=3))
PRIOR, OTHER = "a" * 64, "b" * 64


def learn(store, campaign, prior):
    """Plan a campaign with what it learns from."""
    record = dataclasses.replace(make_record(campaign), prior=prior)
    return write_plan(store, record, plan_studies).new_trials


def test_another_prior_is_refused_and_nothing_changes(store):
    learn(store, WARM, PRIOR)
    before = queries.read_record(store, "tiny")
    larger = change(tune=dataclasses.replace(WARM.tune, budget=9))
    with pytest.raises(StoreError, match=r"other values of: tune\.prior \(the prior is not"):
        learn(store, larger, OTHER)
    assert queries.read_record(store, "tiny") == before
    assert before.prior == PRIOR


def test_other_teachers_are_named_once(store):
    learn(store, WARM, PRIOR)
    taught = change(tune=dataclasses.replace(WARM.tune, prior=("fashion",)))
    with pytest.raises(StoreError, match=r"other values of: tune\.prior;"):
        learn(store, taught, OTHER)


@pytest.mark.parametrize(
    ("key", "value"), [("warm_trials", 2), ("warm_then", "gp"), ("sampler", "tpe")]
)
def test_how_points_are_chosen_may_not_change(store, key, value):
    learn(store, WARM, PRIOR)
    other = change(tune=dataclasses.replace(WARM.tune, **{key: value}))
    with pytest.raises(StoreError, match=rf"other values of: tune\.{key};"):
        learn(store, other, PRIOR)


def test_a_campaign_that_grows_keeps_its_prior(store):
    learn(store, WARM, PRIOR)
    assert learn(store, WARM, PRIOR) == 0
    larger = change(tune=dataclasses.replace(WARM.tune, budget=5))
    assert learn(store, larger, PRIOR) == 2 * 2
    # A spec that does not tune says nothing of it.
    compare = CompareSettings(("vanilla",), ("student",))
    assert learn(store, change(stages=("compare",), compare=compare, tune=WARM.tune), None) == 2
    assert queries.read_record(store, "tiny").prior == PRIOR
    assert merged(store).tune.budget == 5


def test_a_comparison_that_is_added_changes_no_number_of_trials(store):
    """Vanilla is planned without it and not with it; the sum is the same."""
    learn(store, WARM, PRIOR)
    both = dataclasses.replace(
        WARM, stages=("tune", "compare"), compare=CompareSettings(("vanilla",), ("student",))
    )
    assert learn(store, both, PRIOR) == 2
    tuned = [r for r in queries.read_trials(store, "tiny") if r.stage == "tune"]
    assert len(tuned) == 2 * 3
    assert learn(store, both, PRIOR) == 0


def test_a_campaign_gets_its_prior_when_tuning_is_added(store):
    compare = CompareSettings(("vanilla",), ("student",))
    learn(store, dataclasses.replace(WARM, stages=("compare",), compare=compare), None)
    assert queries.read_record(store, "tiny").prior is None
    assert learn(store, WARM, PRIOR) == 2 * 3
    assert queries.read_record(store, "tiny").prior == PRIOR
