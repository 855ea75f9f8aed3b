"""What a campaign may ask of federated algorithms, what it plans, and how it grows by them."""

from __future__ import annotations

import dataclasses

import pytest

from kdopt.campaign.compatibility import fingerprint, unite_records
from kdopt.campaign.federated_algorithms import ALGORITHM_FACTS, FedDfSettings, FedMdSettings
from kdopt.campaign.settings import NO_PUBLIC_SETS
from kdopt.campaign.spec import parse_spec
from kdopt.campaign.stage_settings import FederateSettings
from kdopt.campaign.stages import plan_studies
from kdopt.errors import SpecError, StoreError
from kdopt.store import queries
from kdopt.store.planning import write_plan
from tests.conftest import make_campaign, make_record

HEAD = 'name = "f"\nstages = ["federate"]\npartitions = ["uniform"]\n'
DATA = '[data]\nname = "digits"\n'
MIXED = HEAD + 'model = ["cnn", "mlp"]\nparticipants = 4\n' + DATA


def ask(settings, text=HEAD + DATA, **transfer):
    sizes = "".join(f"{key} = {value}\n" for key, value in transfer.items())
    return parse_spec(f"{text}[transfer]\n{sizes}[federate]\n{settings}")


@pytest.mark.parametrize(
    ("settings", "text", "said"),
    [
        ('algorithms = ["fedmd"]\npublic_set = "public_unlabeled_small"', HEAD + DATA,
         "fedmd asks models about public images, and federate.public_set = "
         "'public_unlabeled_small' has none; give transfer.public_unlabeled_small some"),
        ('algorithms = ["fedavg", "feddf"]\npublic_set = "public_unlabeled_small"', HEAD + DATA,
         "choose fedavg or def_kt"),
        ('algorithms = ["feddf", "fedmd"]', MIXED, "feddf averages weights"),
        ('algorithms = ["fedavg", "feddf"]', MIXED, "fedavg and feddf average weights"),
        ('algorithms = ["fedavg"]', MIXED, "Choose fedmd or def_kt, which work between different"),
        ('algorithms = ["fedavg"]\n[federate.fedmd]\nepochs = 2', HEAD + DATA,
         "federate.fedmd: 'fedmd' is not among federate.algorithms (fedavg)"),
        ('own_starts = ["random"]', HEAD + DATA, "all algorithms have a global model"),
        ('public_set = "public_unlabeled_small"', HEAD + DATA, "asks about public images"),
        ('algorithms = ["def_kt"]\ninitial_models = ["random"]', HEAD + DATA,
         "no algorithm has a global model"),
        ('algorithms = ["scaffold"]', HEAD + DATA, "algorithms[0] = 'scaffold'"),
        ("algorithms = []", HEAD + DATA, "federate.algorithms"),
        ('algorithms = ["fedmd", "fedmd"]', HEAD + DATA, "may be listed once only"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_before_anything_is_planned(settings, text, said):
    with pytest.raises(SpecError) as caught:
        ask(settings, text, public_unlabeled_small=0)
    assert said in str(caught.value)


def test_different_models_may_agree_on_logits_and_exchange_models():
    campaign = ask('algorithms = ["fedmd", "def_kt"]', MIXED).campaign
    names = [plan.name for plan in plan_studies(campaign) if plan.stage == "federate"]
    assert names == ["f/uniform/federate/fedmd", "f/uniform/federate/def_kt"]


@pytest.mark.parametrize("name", sorted(ALGORITHM_FACTS))
def test_public_images_are_held_out_where_an_algorithm_asks_about_them(name):
    settings = f'algorithms = ["{name}"]' + ('\ninitial_models = ["random"]' * (name == "fedavg"))
    transfer = ask(settings).campaign.transfer
    assert (transfer != NO_PUBLIC_SETS) == ALGORITHM_FACTS[name].asks_public


def change(**federate):
    return make_campaign(stages=("federate",), federate=FederateSettings(**federate))


def test_every_algorithm_has_a_study_and_every_start_a_trial():
    campaign = change(algorithms=tuple(ALGORITHM_FACTS), own_starts=("pretrained", "random"))
    plans = {p.algorithm: p for p in plan_studies(campaign) if p.stage == "federate"}
    assert {name: plan.name for name, plan in plans.items()} == {
        "fedavg": "tiny/uniform/federate",
        "feddf": "tiny/uniform/federate/feddf",
        "fedmd": "tiny/uniform/federate/fedmd",
        "def_kt": "tiny/uniform/federate/def_kt",
    }
    starts = {name: [c["initial_model"] for c in plan.cells] for name, plan in plans.items()}
    assert starts["feddf"] == starts["fedavg"] == ["random", "consolidated"]
    assert starts["fedmd"] == starts["def_kt"] == ["pretrained", "random"]
    at_random = change(algorithms=("def_kt",), own_starts=("random",))
    (plan,) = [p for p in plan_studies(at_random) if p.stage == "federate"]
    assert plan.needs == () != plans["def_kt"].needs


def grow(store, campaign):
    return write_plan(store, make_record(campaign), plan_studies).new_trials


def test_an_algorithm_adds_trials_and_touches_none(store):
    grow(store, change())
    before = {(r.study, r.number): r for r in queries.read_trials(store, "tiny")}
    assert grow(store, change(algorithms=("feddf", "def_kt"))) == 2 + 1
    after = {(r.study, r.number): r for r in queries.read_trials(store, "tiny")}
    assert {key: after[key] for key in before} == before
    assert {r.algorithm for r in after.values()} == {None, "fedavg", "feddf", "def_kt"}
    assert grow(store, change(algorithms=("feddf",), own_starts=("random",))) == 1, "def_kt's"
    assert grow(store, change()) == 0


def test_settings_that_no_algorithm_uses_mean_nothing_and_others_may_not_change(store):
    odd = FedMdSettings(epochs=7)
    assert fingerprint(change(fedmd=odd)) == fingerprint(change())
    grow(store, change(fedmd=odd))
    grow(store, change(algorithms=("fedmd",)))
    kept = queries.read_record(store, "tiny").campaign.federate
    assert (kept.fedmd, kept.algorithms) == (FedMdSettings(), ("fedmd", "fedavg"))
    grow(store, change(fedmd=odd))
    assert queries.read_record(store, "tiny").campaign.federate.fedmd == FedMdSettings()
    for key, other in (("fedmd", odd), ("public_set", "public_unlabeled_small")):
        with pytest.raises(StoreError, match=rf"other values of: federate\.{key};"):
            grow(store, change(algorithms=("fedmd",), **{key: other}))
    with pytest.raises(StoreError, match=r"other values of: federate\.rounds;"):
        grow(store, change(algorithms=("def_kt",), rounds=3))


def test_a_spec_without_the_stage_keeps_what_was_asked_of_it():
    asked = make_record(change(algorithms=("feddf",), feddf=FedDfSettings(epochs=3)))
    without = make_record(dataclasses.replace(asked.campaign, stages=("tune",)))
    without = dataclasses.replace(
        without, campaign=dataclasses.replace(without.campaign, federate=FederateSettings())
    )
    for united in (unite_records(asked, without), unite_records(without, asked)):
        assert united.campaign.federate == asked.campaign.federate
