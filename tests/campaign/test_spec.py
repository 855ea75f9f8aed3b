from __future__ import annotations

import dataclasses
import json
from dataclasses import asdict
from pathlib import Path

import pytest

from kdopt.campaign.compatibility import fingerprint
from kdopt.campaign.method_spaces import SPACES
from kdopt.campaign.record import CampaignRecord
from kdopt.campaign.settings import Campaign
from kdopt.campaign.spec import list_settings, load_spec, parse_spec
from kdopt.campaign.stages import plan_studies
from kdopt.errors import SpecError

MINIMAL = 'name = "m"\n[data]\nname = "cifar10"\n'
WARM = MINIMAL + '[tune]\nsampler = "warm"\n'
STUDIES = sorted((Path(__file__).parents[2] / "studies").glob("*.toml"))


def problems(text):
    with pytest.raises(SpecError) as caught:
        parse_spec(text)
    return caught.value.problems


def test_the_defaults_are_the_papers_protocol():
    campaign = parse_spec(MINIMAL).campaign
    assert campaign.participants == 10
    assert len(campaign.partitions) == 5
    plans = plan_studies(campaign)
    tune = [p for p in plans if p.stage == "tune"]
    assert len(tune) == 450
    assert sum(p.n_trials for p in tune) == 24_750
    assert campaign.model == "resnet18"
    assert (campaign.pretrain.epochs, campaign.pretrain.patience) == (100, 10)
    assert campaign.select_on == "validation"


def test_every_setting_says_where_its_value_comes_from():
    lines = {line.key: line for line in parse_spec(MINIMAL + "train_size = 500\n").settings}
    assert lines["data.train_size"].source == "spec"
    assert lines["data.train_size"].value == "500"
    assert lines["participants"].source.startswith("paper")
    assert "ProxyFL" in lines["distill.learning_rate"].source
    assert lines["pretrain.learning_rate"].source.startswith("default")
    assert all(line.source for line in lines.values())


def test_all_problems_are_reported_together_each_with_key_value_rule_and_fix():
    found = problems(
        """
        name = "no spaces please"
        seeed = 1
        participants = "four"
        [data]
        name = "digitz"
        [tune]
        alphas = [0.5, 15.0]
        temperatures = [0, 1]
        sampler = "grid"
        budget = 5
        """
    )
    text = "\n".join(found)
    assert len(found) == 7
    assert "tune.alphas[1] = 15.0: input should be less than or equal to 10; change it" in text
    assert "tune.temperatures[0] = 0: input should be greater than 0" in text
    assert "seeed: unknown key; did you mean 'seed'?" in text
    assert "participants = 'four': input should be a valid integer" in text
    assert "data.name = 'digitz': one of digits, fashion_mnist," in text
    assert "tune.budget = 5: sampler 'grid' decides its own number of trials" in text
    assert "name = 'no spaces please'" in text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "data: missing; add it as a table"),
        ("x =", "not valid TOML"),
        ('name = "a"\ndata = 3', "data = 3: must be a table"),
        (MINIMAL + "root = 1", "data.root = 1"),
        (
            MINIMAL + "root = 2024-01-01",
            "data.root = {'date': '2024-01-01'}: input should be a valid",
        ),
        (MINIMAL + '[pretrain]\noptimizer = "sgd"', "pretrain.optimizer: unknown key"),
        (MINIMAL + "[partition]\nuniform = 3", "partition.uniform = 3: must be a table"),
        (MINIMAL + "[tune]\ntemperatures = []", "tune.temperatures"),
        (MINIMAL + "[tune]\nalphas = [0.5, 0.5]", "each value may be listed once only"),
        (MINIMAL + "[tune]\ntemperatures = [inf]", "finite"),
        (MINIMAL + "[tune]\ntemperatures = [nan]", "tune.temperatures[0]"),
        (MINIMAL + f"[tune]\ntemperatures = [{10**400}]", "tune.temperatures[0]"),
        (MINIMAL + f"[tune]\nbudget = {'9' * 5000}", "not valid TOML"),
        (MINIMAL + '[tune]\nsampler = "tpe"\nbudget = 200000000', "tune.budget"),
        (MINIMAL + "[tune]\nalphas = [2024-01-01]", "tune.alphas[0]"),
        ('name = "a\\n"\n[data]\nname = "digits"', "name = 'a\\n'"),
        (MINIMAL + "[pretrain]\nbatch_size = 1", "greater than or equal to 2"),
        (MINIMAL + "[pretrain]\nbatch_size = 32.5", "valid integer"),
        (MINIMAL + "[partition.uniform]\nconcentration = 1", "unknown key"),
        (MINIMAL + "[partition.dirichlet]\nconcentration = 1", "unknown key"),
        ('partitions = ["uniform", "uniform"]\n' + MINIMAL, "listed once only"),
        ('partitions = ["iid"]\n' + MINIMAL, "partitions[0] = 'iid'"),
        ("participants = true\n" + MINIMAL, "participants = True"),
        ('select_on = "train"\n' + MINIMAL, "'validation' or 'test'"),
        (
            'stages = ["federate"]\n' + MINIMAL + '[federate]\nstart = "untrained"',
            "federate.start = 'untrained': such a student has no data of its own",
        ),
        (
            'stages = ["combine"]\n' + MINIMAL + '[combine]\nstarts = ["untrained"]\n'
            'transfer_sets = ["student"]',
            "with the starts untrained none of them has images",
        ),
        (
            'stages = ["combine"]\n' + MINIMAL + '[combine]\nstarts = ["untrained"]\n'
            "[transfer]\npublic_unlabeled_large = 0",
            "combine.transfer_sets = public_unlabeled_large, student: with the starts untrained",
        ),
        (
            'stages = ["federate"]\n'
            + MINIMAL
            + '[federate]\ntransfer_set = "public_labeled"\n[transfer]\npublic_labeled = 0',
            "federate.transfer_set = 'public_labeled': this set has no images",
        ),
        (
            'stages = ["combine"]\n'
            + MINIMAL
            + '[combine]\ntransfer_sets = ["public_labeled"]\n[transfer]\npublic_labeled = 0',
            "combine.transfer_sets = public_labeled: with the starts",
        ),
        (MINIMAL + "[federate]\nrelative_targets = [1.5]", "relative_targets[0] = 1.5"),
        (MINIMAL + '[combine]\nweightings = ["best"]', "weightings[0] = 'best'"),
        ('name = "../up"\n[data]\nname = "digits"', "name = '../up'"),
        (WARM + "prior = []", "tune.prior"),
        (WARM + 'prior = ["a", "a"]', "each value may be listed once only"),
        (WARM + 'prior = ["../up"]', "tune.prior[0] = '../up'"),
        (WARM + 'prior = ["other", "m"]', "tune.prior = other, m: 'm' is this campaign"),
        (WARM + "warm_trials = 0", "tune.warm_trials = 0"),
        (WARM + 'warm_then = "random"', "tune.warm_then = 'random'"),
        (MINIMAL + "[tune]\nwarm_trials = 3", "sampler 'grid' learns from no other pairs"),
        (MINIMAL + '[tune]\nsampler = "tpe"\nprior = ["a"]', "sampler 'tpe' learns from no other"),
        (MINIMAL + '[tune]\nsampler = "gp"\nwarm_then = "gp"', "this goes with warm"),
        (MINIMAL + '[tune]\nsampler = "warn"', "tune.sampler = 'warn'"),
    ],
)
def test_bad_values_are_named(text, expected):
    assert any(expected in p for p in problems(text))


@pytest.mark.parametrize("text", ["", " ", "\t"])
@pytest.mark.parametrize(
    ("line", "key"),
    [
        ("data.root = '{}'", "data.root"),
        ("data.classes = ['a', '{}']", "data.classes[1]"),
        ("transfer.public_data = '{}'", "transfer.public_data"),
        ("participant = [{{name = 'a', weights = '{}'}}]", "participant[0].weights"),
        ("participant = [{{name = 'a', data = '{}'}}]", "participant[0].data"),
        ("participant = [{{name = 'a', logits = '{}'}}]", "participant[0].logits"),
    ],
)
def test_no_text_of_a_campaign_file_is_empty(line, key, text):
    found = problems(f"name = 'm'\ndata.name = 'arrays'\n{line.format(text)}")
    assert any(f"{key} = '{text}': an empty text is no value; give one" in p for p in found)


def test_a_bad_item_is_one_problem_not_two():
    assert len(problems(MINIMAL + "[tune]\ntemperatures = [0]")) == 1


def test_a_file_that_cannot_be_read_is_a_clear_error(tmp_path):
    with pytest.raises(SpecError, match="cannot be read: No such file"):
        load_spec(tmp_path / "none.toml")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SpecError, match="cannot be read"):
        load_spec(tmp_path / "binary.toml")


def test_partition_settings_reach_their_partition():
    campaign = parse_spec(
        MINIMAL
        + "[pretrain]\nbatch_size = 16\n"
        + "[partition.quantity_skew]\nconcentration = 2\n"
        + "[partition.label_dirichlet]\nconcentration = [1, 2, 3]\nmin_size = 5\n"
    ).campaign
    assert campaign.get_partition("quantity_skew").concentration == (2.0,)
    assert campaign.get_partition("quantity_skew").min_size == 16
    assert campaign.get_partition("label_dirichlet").concentration == (1.0, 2.0, 3.0)
    assert campaign.get_partition("label_dirichlet").min_size == 5


def test_a_campaign_survives_json():
    campaign = parse_spec(MINIMAL).campaign
    assert Campaign.from_json(json.loads(json.dumps(asdict(campaign)))) == campaign


def test_the_fingerprint_holds_what_decides_results_and_nothing_else():
    campaign = parse_spec(MINIMAL).campaign
    same = dataclasses.replace(
        campaign,
        name="other",
        replicates=3,
        partitions=campaign.partitions[:2],
        data=dataclasses.replace(campaign.data, root="/elsewhere", download=True),
        tune=dataclasses.replace(campaign.tune, temperatures=(1.0,), budget=99),
        deterministic=False,
    )
    first, second = fingerprint(campaign), fingerprint(same)
    assert all(first[key] == second[key] for key in first.keys() & second.keys())
    for change in (
        {"seed": 1},
        {"precision": "bf16"},
        {"select_on": "test"},
        {"student_line": (0.5,)},
        {"batch_norm": "both"},
        {"transfer": dataclasses.replace(campaign.transfer, public_labeled=9)},
        {"tune": dataclasses.replace(campaign.tune, t2_scale=False)},
        {"compare": dataclasses.replace(campaign.compare, dml_weight=0.5)},
    ):
        assert fingerprint(dataclasses.replace(campaign, **change)) != first


def test_settings_of_stages_that_a_campaign_lacks_mean_nothing():
    campaign = parse_spec(MINIMAL).campaign
    fewer = dataclasses.replace(campaign.federate, rounds=7)
    other = dataclasses.replace(campaign, federate=fewer)
    assert fingerprint(other) == fingerprint(campaign)
    stages = (*campaign.stages, "federate")
    with_stage = [fingerprint(dataclasses.replace(c, stages=stages)) for c in (campaign, other)]
    assert with_stage[0] != with_stage[1]
    # How often a state is saved and which targets are reported decide no result.
    free = dataclasses.replace(campaign.federate, save_every=1, targets=(0.3,))
    same = dataclasses.replace(campaign, stages=stages, federate=free)
    assert fingerprint(same) == with_stage[0]


@pytest.mark.parametrize(
    ("stages", "tables", "taken"),
    [
        ("tune", "", 0),
        ("compare", "", 5000),
        ("combine", "", 5000),
        ("combine", '[combine]\ntransfer_sets = ["student"]', 0),
        ("federate", "", 0),
        ("federate", '[federate]\ntransfer_set = "public_labeled"', 5000),
        (
            "federate",
            '[federate]\ntransfer_set = "public_labeled"\ninitial_models = ["random"]',
            0,
        ),
    ],
)
def test_public_images_are_taken_out_only_where_a_stage_uses_them(stages, tables, taken):
    campaign = parse_spec(f'stages = ["{stages}"]\n' + MINIMAL + tables).campaign
    assert campaign.transfer.n_public == taken


def test_what_no_initial_model_uses_is_not_checked():
    text = '[federate]\ninitial_models = ["random"]\nstart = "untrained"'
    parse_spec('stages = ["federate"]\n' + MINIMAL + text)


def test_section_five_is_fifty_and_ten_runs():
    plans = plan_studies(
        parse_spec('stages = ["combine", "federate"]\n' + MINIMAL).campaign,
    )
    runs = dict.fromkeys(("combine", "federate"), 0)
    for plan in plans:
        if plan.stage in runs:
            runs[plan.stage] += plan.n_trials
    assert runs == {"combine": 50, "federate": 10}


@pytest.mark.parametrize("path", STUDIES, ids=lambda p: p.stem)
def test_the_shipped_studies_are_valid(path):
    assert load_spec(path).campaign.name == path.stem
    assert STUDIES


def test_the_quickstart_is_24_studies_of_55_cells():
    campaign = next(load_spec(p).campaign for p in STUDIES if p.stem == "quickstart")
    tune = [p for p in plan_studies(campaign) if p.stage == "tune"]
    assert len(tune) == 24
    assert sum(p.n_trials for p in tune) == 1_320


def test_a_warm_search_is_eight_learnt_trials_unless_it_says_more():
    tune = parse_spec(WARM).campaign.tune
    assert (tune.budget, tune.warm_trials, tune.warm_then, tune.prior) == (8, 8, "tpe", ())
    more = 'budget = 20\nwarm_trials = 5\nwarm_then = "gp"\nprior = ["a", "b.2"]'
    tune = parse_spec(WARM + more).campaign.tune
    assert (tune.budget, tune.warm_trials, tune.warm_then, tune.prior) == (
        20,
        5,
        "gp",
        ("a", "b.2"),
    )
    # The others spend what they always did.
    for sampler in ("tpe", "random", "gp"):
        other = parse_spec(MINIMAL + f'[tune]\nsampler = "{sampler}"').campaign.tune
        assert (other.budget, other.prior) == (20, ())


def test_a_warm_search_says_where_its_settings_come_from():
    lines = {line.key: line for line in parse_spec(WARM + "warm_trials = 5").settings}
    assert lines["tune.warm_trials"].source == "spec"
    assert "come with kdopt" in lines["tune.prior"].source
    assert lines["tune.warm_then"].source.startswith("default")


@pytest.mark.parametrize(
    "change", [{"prior": ("a",)}, {"warm_trials": 2}, {"warm_then": "gp"}, {"sampler": "tpe"}]
)
def test_what_a_warm_search_learns_and_how_decides_results(change):
    campaign = parse_spec(WARM).campaign
    tune = dataclasses.replace(campaign.tune, **change)
    assert fingerprint(dataclasses.replace(campaign, tune=tune)) != fingerprint(campaign)


def test_campaigns_of_stores_made_before_warm_searches_read_as_they_were():
    campaign = parse_spec(MINIMAL).campaign
    record = json.loads(json.dumps(asdict(campaign)))
    for key in ("prior", "warm_trials", "warm_then"):
        del record["tune"][key]
    assert Campaign.from_json(record) == campaign
    whole = CampaignRecord(campaign, (), "0" * 64, {"uniform": "1" * 64}).to_json()
    del whole["prior"]
    assert CampaignRecord.from_json(whole).prior is None


def test_a_record_names_the_artifacts_that_it_needs():
    record = CampaignRecord(parse_spec(WARM).campaign, (), "0" * 64, {"uniform": "1" * 64})
    assert record.artifacts == {"1" * 64: "splits of uniform"}
    learnt = dataclasses.replace(record, prior="2" * 64)
    assert learnt.artifacts == {"1" * 64: "splits of uniform", "2" * 64: "tune.prior"}
    assert CampaignRecord.from_json(json.loads(json.dumps(learnt.to_json()))) == learnt


def test_a_bad_list_is_shown_as_it_is_written():
    (problem,) = problems(MINIMAL + '[tune]\nsampler = "grid"\nprior = ["finished"]')
    assert "tune.prior = ['finished']" in problem
    assert "(-)" not in problem


def test_the_reference_lists_every_setting_once_with_its_rule_source_and_meaning():
    entries = list(list_settings())
    keys = [entry.key for entry in entries]
    assert len(set(keys)) == len(keys)
    # A campaign's own list leaves out the tables of methods and algorithms that it does not use,
    # and those that a file may repeat.
    tables = [*(f"tune.{n}." for n in (*SPACES, "search")), "federate.feddf.", "federate.fedmd."]
    others = ("participant.", *tables)
    shown = [key for key in keys if not key.startswith(others)]
    assert shown == [line.key for line in parse_spec(MINIMAL).settings]
    assert all(entry.rule and entry.description for entry in entries)
    by_key = {entry.key: entry for entry in entries}
    assert by_key["tune.alphas"][1:4] == (
        "list of: number, >= -10 and <= 10; not empty; each value may be listed once only",
        "0.1, 0.25, 0.5, 0.75, 0.9",
        "paper, Table I",
    )
    assert by_key["data.name"].default == "-"
    assert by_key["data.name"].source == ""
    assert by_key["tune.budget"].default == "-"
    assert by_key["distill.epochs"].default == "30"
    assert by_key["distill.epochs"].description == "Most epochs."
