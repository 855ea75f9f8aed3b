from dataclasses import replace

from kdopt.campaign.data_settings import DataSettings
from kdopt.campaign.partition_settings import PartitionSettings
from kdopt.campaign.record import CodeSource
from kdopt.features.measurements import PartitionMeasurements
from kdopt.report.blocks import ReportData
from kdopt.report.sections.run import (
    list_environment,
    list_facts,
    make_cost_block,
    make_participants_block,
)
from tests.analysis.synthetic import compare_campaign, make_campaign, make_rows

TWO = (PartitionSettings("uniform"), PartitionSettings("label_dirichlet"))
COUNTS = ((5, 0, 1), (2, 2, 2), (0, 9, 0))


def test_the_environment_names_every_device():
    rows = make_rows(make_campaign())
    rows[0] = replace(rows[0], outcome=replace(rows[0].outcome, device="cuda", precision="bf16"))
    assert list_environment(rows) == {
        "Ran on": "cpu (fp32), cuda (bf16)",
        "Versions": "kdopt 0.1.0, torch 2.6",
    }
    assert list_environment([]) == {}


def test_data_sizes_and_seeds_are_said():
    data = DataSettings("fashion_mnist", train_size=3600, validation_fraction=0.2)
    campaign = compare_campaign(participants=3, data=data, seed=11)
    rows = make_rows(campaign)
    facts = list_facts(ReportData(campaign, rows))
    assert facts["Data"] == (
        "fashion_mnist: 3,600 training images, of which 20 % for validation, and all test images"
    )
    assert facts["Participants"].startswith("3, and 6 ordered pairs of them in each of 5")
    assert facts["Seed"].startswith("11;")
    assert facts["Trials complete"].startswith(f"{len(rows)}, in ")
    assert "500 unlabeled large" in facts["Public sets"]
    assert "Public sets" not in list_facts(ReportData(make_campaign(), []))


def test_code_of_others_is_said_with_its_hash_and_what_is_used_of_it():
    mine, timm = ("file", "mine.py", "", "ab" * 32), ("package", "timm", "1.0", "cd" * 32)
    code = {"model net": mine, "method m": mine, "model timm:vit": timm}
    data = ReportData(make_campaign(), [], code={use: CodeSource(*s) for use, s in code.items()})
    assert list_facts(data)["Code of others"] == (
        "mine.py, sha256 abababababab (method m, model net); "
        "timm 1.0, sha256 cdcdcdcdcdcd (model timm:vit)"
    )
    assert "Code of others" not in list_facts(ReportData(make_campaign(), []))


def test_without_a_trial_cost_and_participants_say_what_is_missing():
    campaign = make_campaign()
    data = ReportData(campaign, [])
    assert "No data yet" in make_cost_block(data.tables).missing
    block = make_participants_block(data)
    assert "no participant is pre-trained" in block.missing
    assert "kdopt partitions SPEC" in block.missing
    assert block.figure is None and not block.tables


def test_sizes_are_those_of_the_facts_in_the_order_of_the_campaign():
    campaign = make_campaign(partitions=TWO[::-1])
    measurements = {name: PartitionMeasurements(COUNTS) for name in ("uniform", "label_dirichlet")}
    data = ReportData(campaign, make_rows(campaign), measurements=measurements)
    block = make_participants_block(data)
    assert block.missing == "" and block.figure.id == "run-sizes"
    table = block.tables[0]
    images = table.headings.index("Training images")
    assert [line[images].key for line in table.lines] == [6, 6, 9, 6, 6, 9]
    assert [line[images + 1].key for line in table.lines] == [2, 3, 1] * 2
    assert [line[0].text for line in table.lines] == ["Label dirichlet"] * 3 + ["Uniform"] * 3
    heat = block.figure.figure["data"]
    assert [tuple(map(tuple, trace["z"])) for trace in heat] == [COUNTS, COUNTS]
    assert {trace["zmax"] for trace in heat} == {9}
    assert block.figure.data["images"].sum() == 2 * (6 + 6 + 9)
