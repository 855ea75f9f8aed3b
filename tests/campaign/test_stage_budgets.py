"""Settings that the paper's text lost: each changes what it says and nothing else by default."""

from __future__ import annotations

import dataclasses

import pytest

from kdopt.campaign.compatibility import check_same_meaning, fingerprint, unite_records
from kdopt.campaign.settings import NO_PUBLIC_SETS, Campaign, TransferSettings
from kdopt.campaign.spec import parse_spec
from kdopt.errors import SpecError, StoreError
from kdopt.trials.combine import make_combine_budget
from tests.conftest import make_record

HEAD = 'name = "mine"\nparticipants = 4\n'
DATA = '[data]\nname = "digits"\n'


def read(top="", tables=""):
    return parse_spec(HEAD + top + DATA + tables)


@pytest.mark.parametrize(
    ("top", "tables", "changed"),
    [
        ('initial_weights = "shared"\n', "", ["initial_weights"]),
        ("", "[compare]\ndml_temperature = 2\n", ["compare.dml_temperature"]),
        ("", "[compare]\ndp_kd_temperature = 2\n", ["compare.dp_kd_temperature"]),
        ("", "[compare]\ndp_kd_label_weight = 0.5\n", ["compare.dp_kd_label_weight"]),
        ("", '[distill]\nmonitor = "loss"\n', ["distill"]),
        ('stages = ["combine"]\n', "[combine]\nepochs = 9\n", ["combine.epochs"]),
        ('stages = ["federate"]\n', "[combine]\npatience = 0\n", ["combine.patience"]),
    ],
)
def test_each_is_part_of_what_a_campaign_means(top, tables, changed):
    stages = top if top.startswith("stages") else ""
    before, now = fingerprint(read(stages).campaign), fingerprint(read(top, tables).campaign)
    assert [key for key in before if before[key] != now[key]] == changed


def test_records_of_older_versions_mean_the_defaults():
    campaign = read().campaign
    old = dataclasses.asdict(campaign)
    for key in ("control", "draws", "initial_weights", "deterministic"):
        del old[key]
    for key in ("dml_temperature", "dp_kd_temperature", "dp_kd_label_weight"):
        del old["compare"][key]
    for key in ("epochs", "patience"):
        del old["combine"][key]
    for budget in ("pretrain", "distill"):
        del old[budget]["monitor"]
    del old["data"]["validation"]
    for partition in old["partitions"]:
        for key in ("family", "classes", "cuts"):
            del partition[key]
    again = Campaign.from_json(old)
    assert again == campaign
    assert fingerprint(again) == fingerprint(campaign)


def test_combined_models_have_the_budget_of_distill_unless_told_otherwise():
    campaign = read('stages = ["combine"]\n').campaign
    assert make_combine_budget(campaign) == campaign.distill
    own = read('stages = ["combine"]\n', "[combine]\nepochs = 9\npatience = 0\n").campaign
    budget = make_combine_budget(own)
    assert (budget.epochs, budget.patience) == (9, 0)
    assert budget.learning_rate == own.distill.learning_rate


def test_public_images_are_held_out_only_where_a_stage_uses_them():
    own = '[compare]\ntransfer_sets = ["student"]\n'
    assert read('stages = ["tune"]\n').campaign.transfer == NO_PUBLIC_SETS
    assert read("", own).campaign.transfer == NO_PUBLIC_SETS
    assert read().campaign.transfer.n_public == 5000
    # Told so, a campaign of an older version keeps its split.
    assert read("", own + "[transfer]\npublic_labeled = 20\n").campaign.transfer.n_public == 5000


def test_a_setting_is_shown_as_it_is_in_force():
    spec = read('stages = ["tune"]\n')
    shown = {line.key: line.value for line in spec.settings}
    for name in ("public_unlabeled_small", "public_unlabeled_large", "public_labeled"):
        assert shown[f"transfer.{name}"] == "0"
    sources = {line.source for line in spec.settings if line.key.startswith("transfer.")}
    assert sources == {"no stage uses a public set, so none is held out"}


@pytest.mark.parametrize(
    ("tables", "problem"),
    [
        ('[compare]\nmethods = ["vanilla"]\ndml_temperature = 2\n', "no stage runs dml"),
        ("[combine]\nepochs = 9\n", "no stage combines models"),
        ('[distill]\npatience = 0\nmonitor = "loss"\n', "watches nothing"),
    ],
)
def test_what_nothing_uses_is_refused(tables, problem):
    with pytest.raises(SpecError, match=problem):
        read("", tables)


def test_the_budget_of_combined_models_outlives_a_campaign_that_grows():
    own = read('stages = ["federate"]\n', "[combine]\nepochs = 9\npatience = 0\n").campaign
    other = read('stages = ["tune"]\n').campaign
    for before, now in ((own, other), (other, own)):
        united = unite_records(make_record(before), make_record(now)).campaign
        assert (united.combine.epochs, united.combine.patience) == (9, 0)


def test_an_older_store_with_held_out_images_says_how_to_go_on():
    own = '[compare]\ntransfer_sets = ["student"]\n'
    now = read("", own).campaign
    before = dataclasses.replace(now, transfer=TransferSettings())
    with pytest.raises(StoreError, match=r"public_unlabeled_large = 5000"):
        check_same_meaning(make_record(before), make_record(now))
    sizes = "[transfer]\npublic_unlabeled_small = 500\n"
    check_same_meaning(make_record(before), make_record(read("", own + sizes).campaign))
