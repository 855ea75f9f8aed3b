"""Methods with parameters of their own: what a file may ask, and which studies come of it."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path

import pytest

from kdopt.api.tune import TuneOptions
from kdopt.campaign.method_spaces import SPACES, TUNED_METHODS, BudgetSpace, DkdSpace
from kdopt.campaign.method_studies import (
    get_published_setting,
    list_searched_methods,
    list_searched_values,
    make_method_space,
    plan_settings,
    uses_teacher,
)
from kdopt.campaign.names import parse_study_name
from kdopt.campaign.record import CampaignRecord, format_campaign
from kdopt.campaign.settings import TransferSettings
from kdopt.campaign.spec import load_spec, parse_spec
from kdopt.campaign.stage_settings import TuneSettings
from kdopt.campaign.stages import plan_points, plan_studies
from kdopt.campaign.studies import get_setting
from kdopt.errors import SpecError, StoreError
from kdopt.store import queries
from kdopt.store.planning import write_plan
from kdopt.train.methods.registry import METHODS_BY_NAME
from tests.conftest import make_campaign, make_record

ASKED = ("kd", *(method for method in TUNED_METHODS if method != "kd"))


def tuning(*methods, **changes):
    base = make_campaign(stages=("tune",), transfer=TransferSettings(100, 0, 0), control=True)
    return dataclasses.replace(
        base, tune=dataclasses.replace(base.tune, methods=methods, **changes)
    )


def studies(campaign):
    return [plan for plan in plan_studies(campaign) if plan.stage == "tune"]


def test_a_campaign_that_names_no_method_has_the_studies_it_always_had():
    campaign = make_campaign(stages=("tune",))
    assert campaign.tune.methods == ("kd",)
    assert list_searched_methods(campaign) == []
    names = [plan.name for plan in studies(campaign)]
    assert names == ["tiny/uniform/tune/t00-s01", "tiny/uniform/tune/t01-s00"]
    assert all(plan.method is None for plan in studies(campaign))


def test_every_pair_and_method_has_a_study():
    campaign = tuning(*ASKED)
    plans = studies(campaign)
    assert len({plan.name for plan in plans}) == len(plans) == 2 * len(ASKED)
    for plan in plans:
        name = parse_study_name(plan.name)
        assert (name.teacher, name.student) == (plan.teacher, plan.student)
        assert name.method == plan.method
        for cell in plan.cells:
            assert set(cell) == set(plan.space)
            for key, value in cell.items():
                param = plan.space[key]
                inside = value in param.choices if param.choices else param.low <= value
                assert inside and (param.choices or value <= param.high), (plan.name, cell)


@pytest.mark.parametrize("method", TUNED_METHODS)
def test_a_grid_is_small_and_has_every_combination_and_the_published_setting_first(method):
    campaign = tuning(method)
    settings, n_open = plan_settings(campaign, method)
    values = list_searched_values(campaign, method)
    assert n_open == 0
    assert settings[0] == get_published_setting(campaign, method)
    keys = [get_setting(setting) for setting in settings]
    grid = {
        get_setting(dict(zip(values, each, strict=True)))
        for each in itertools.product(*values.values())
    }
    assert len(set(keys)) == len(keys) and set(keys) == grid | {keys[0]}
    assert len(keys) <= 10


def test_other_samplers_start_at_the_published_setting_and_leave_the_rest_open():
    campaign = dataclasses.replace(
        tuning("dkd", sampler="tpe", budget=6),
        replicates=2,
    )
    (plan, _) = (plan for plan in studies(campaign) if plan.method)
    assert [c["beta"] for c in plan.cells] == [8.0, 8.0]
    assert (plan.open_trials, plan.n_trials) == (10, 12)


def test_without_kd_the_vanilla_point_stays_as_what_all_is_compared_with():
    assert plan_points(tuning("dkd")) == ([(1.0, 0.5)], 0)


def test_what_is_searched_besides_joins_every_method_and_plain_kd_gets_a_study_of_that_kind():
    search = BudgetSpace(learning_rate=(1e-3, 1e-2), epochs=(1, 3))
    campaign = tuning("kd", "dkd", search=search)
    assert list_searched_methods(campaign) == ["kd", "dkd"]
    assert plan_points(campaign) == ([(1.0, 0.5)], 0)
    for method in ("kd", "dkd"):
        space = make_method_space(campaign, method)
        assert (space["epochs"].kind, space["epochs"].low, space["epochs"].high) == ("int", 1, 3)
        assert space["learning_rate"].log
        published = get_published_setting(campaign, method)
        assert published["epochs"] == campaign.distill.epochs
        assert published["learning_rate"] == campaign.distill.learning_rate


def test_the_control_trains_on_with_every_budget_that_methods_search():
    search = BudgetSpace(learning_rate=(1e-3, 1e-2), epochs=(1, 3))
    (plan,) = (p for p in plan_studies(tuning("dkd", search=search)) if p.stage == "control")
    mine = [dict(cell) for cell in plan.cells if cell["student"] == 0]
    first = get_published_setting(tuning("dkd", search=search), "dkd")
    assert {key: mine[0][key] for key in ("learning_rate", "epochs")} == {
        key: first[key] for key in ("learning_rate", "epochs")
    }
    assert len(mine) == len({get_setting(cell) for cell in mine})
    assert {(c["learning_rate"], c["epochs"]) for c in mine} >= set(
        itertools.product((1e-3, 1e-2), (1, 3))
    )
    (plain,) = (p for p in plan_studies(tuning("dkd")) if p.stage == "control")
    assert set(plain.space) == {"student", "transfer_set", "replicate"}


def test_public_sets_without_images_are_left_out():
    campaign = tuning("public_kd")
    settings, _ = plan_settings(campaign, "public_kd")
    assert {setting["transfer_set"] for setting in settings} == {"public_unlabeled_small"}
    # Optuna's categories are all of them, so that the study may grow.
    assert len(make_method_space(campaign, "public_kd")["transfer_set"].choices) == 2


HEAD = """
name = "m"
participants = 3
model = "mlp"
stages = ["tune"]
partitions = ["uniform"]
[data]
name = "digits"
"""


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('methods = ["kd", "dkdd"]', ["tune.methods[1] = 'dkdd'", "'nkd'", "leave it out"]),
        ("methods = []", ["tune.methods"]),
        ('methods = ["kd", "kd"]', ["each value may be listed once only"]),
        ('methods = ["dkd"]\n[tune.dkd]\nbeta = [-1]', ["tune.dkd.beta[0] = -1", "0"]),
        ('methods = ["dkd"]\n[tune.dkd]\nbeta = []', ["tune.dkd.beta"]),
        (
            'methods = ["dkd"]\n[tune.dkd]\ngama = [1]',
            ["unknown key", "beta, temperature, label_weight"],
        ),
        ('methods = ["wttm"]\n[tune.wttm]\nexponent = [0]', ["exponent[0] = 0", "greater than 0"]),
        ('methods = ["dml"]\n[tune.dml]\nweight = [1.5]', ["tune.dml.weight[0] = 1.5", "1"]),
        ("[tune.dkd]\nbeta = [1]", ["'dkd' is not among tune.methods (kd)", "leave the table out"]),
        ('sampler = "warm"\nmethods = ["kd", "nkd"]', ["sampler 'warm' knows plain kd", "grid"]),
        ('sampler = "sequential"\nmethods = ["nkd"]', ["sampler 'sequential' knows plain kd"]),
        ('sampler = "warm"\n[tune.search]\nepochs = [2]', ["tune.search: sampler 'warm'"]),
        ("[tune.search]\nepochs = [0]", ["tune.search.epochs[0] = 0"]),
        ("[tune.search]\nmomentum = [1]", ["unknown key", "learning_rate, epochs, batch_size"]),
        ("alphas = [11]", ["tune.alphas[0] = 11", "10"]),
        (
            'methods = ["public_kd"]\n[transfer]\npublic_unlabeled_small = 0\n'
            "public_unlabeled_large = 0",
            ["tune.public_kd.transfer_set", "none of them has images"],
        ),
    ],
)
def test_a_mistake_gets_its_value_its_rule_and_a_fix(text, words):
    with pytest.raises(SpecError) as caught:
        parse_spec(f"{HEAD}[tune]\n{text}\n")
    for word in words:
        assert word in str(caught.value)


def test_temperatures_up_to_40_and_alphas_outside_0_and_1_may_be_asked_for():
    spec = parse_spec(f"{HEAD}[tune]\ntemperatures = [1, 40]\nalphas = [-0.5, 0.5, 1.5]\n")
    points, _ = plan_points(spec.campaign)
    assert {(40.0, -0.5), (40.0, 1.5)} <= set(points)
    space = studies(spec.campaign)[0].space
    assert (space["alpha"].low, space["alpha"].high) == (-0.5, 1.5)


def test_only_the_tables_of_tuned_methods_are_listed_and_the_list_reads_back():
    plain = parse_spec(HEAD)
    keys = [line.key for line in plain.settings]
    assert "tune.methods" in keys
    assert not any(key.startswith(("tune.dkd", "tune.search")) for key in keys)
    spec = parse_spec(f'{HEAD}[tune]\nmethods = ["kd", "dkd"]\n[tune.search]\nepochs = [2]\n')
    again = parse_spec(format_campaign(spec.campaign, spec.settings))
    assert again.campaign == spec.campaign


def test_methods_and_values_may_be_added_to_a_campaign_and_its_search_may_not_change(store):
    def plan(campaign):
        return write_plan(store, make_record(campaign), plan_studies).new_trials

    small = DkdSpace(beta=(1.0,), temperature=(4.0,))
    assert plan(tuning("kd")) > 0
    # Per pair: the published setting and one more.
    assert plan(tuning("dkd", dkd=small)) == 2 * 2
    assert plan(tuning("kd", "dkd", dkd=DkdSpace(beta=(2.0,), temperature=(4.0,)))) == 2
    assert plan(tuning("kd")) == 0
    merged = queries.read_record(store, "tiny").campaign.tune
    assert set(merged.methods) == {"kd", "dkd"} and set(merged.dkd.beta) == {1.0, 2.0}
    assert {row.method for row in queries.read_trials(store, "tiny")} == {None, "dkd"}
    with pytest.raises(StoreError, match=r"tune\.search"):
        plan(tuning("kd", search=BudgetSpace(epochs=(2, 3))))


def test_a_record_of_a_store_made_before_methods_existed_is_read():
    record = make_record(tuning("kd")).to_json()
    for key in ("methods", "search", *TUNED_METHODS):
        record["campaign"]["tune"].pop(key, None)
    assert CampaignRecord.from_json(record).campaign == tuning("kd")


@pytest.mark.parametrize(
    ("method", "params", "taught"),
    [
        (None, {"temperature": 1.0, "alpha": 0.0}, False),
        (None, {"method": "dml", "transfer_set": "student"}, True),
        ("kd", {"alpha": 0.0}, False),
        ("logit_std", {"alpha": 0.0}, False),
        ("dkd", {"alpha": 0.0, "beta": 1.0}, True),
        ("dkd", {"alpha": 0.0, "beta": 0.0}, False),
        ("wttm", {"weight": 0.0}, False),
        ("nkd", {"gamma": 0.0}, True),  # the true class is compared all the same
        ("of-another-version", {"alpha": 0.0}, True),
    ],
)
def test_no_teacher_has_a_part_where_its_terms_have_no_weight(method, params, taught):
    assert uses_teacher(params, method) is taught


def test_a_method_is_declared_wherever_methods_are_listed():
    names = {method for method in TUNED_METHODS if method != "kd"}
    assert names == set(SPACES)
    assert names <= {field.name for field in dataclasses.fields(TuneSettings)}
    assert names <= set(TuneSettings.listed_last)
    assert {*names, "kd"} <= METHODS_BY_NAME.keys()
    # What kdopt.tune is given has no public sets.
    assert names - {"public_kd"} <= TuneOptions.__annotations__.keys()


def test_the_campaign_that_compares_methods_gives_each_as_many_trials():
    campaign = load_spec(Path(__file__).parents[2] / "studies" / "methods.toml").campaign
    plans = studies(campaign)
    assert {plan.method for plan in plans} == {None, "dkd", "dist", "nkd"}
    assert len(plans) == 2 * 12 * 4
    assert {plan.n_trials for plan in plans} == {12}
