import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdopt.campaign.record import CampaignRecord, SettingLine, _format_value, format_campaign
from kdopt.campaign.spec import load_spec, parse_spec

STUDIES = sorted((Path(__file__).parents[2] / "studies").glob("*.toml"))
SAMPLER = """
name = "x"
model = "mlp"
partitions = ["quantity_skew", "label_dirichlet"]
[data]
name = "digits"
[tune]
sampler = "{sampler}"
[partition.label_dirichlet]
concentration = [0.3]
"""


@pytest.mark.parametrize("path", STUDIES, ids=lambda p: p.stem)
def test_read_again_it_is_the_same_campaign(path):
    spec = load_spec(path)
    text = format_campaign(spec.campaign, spec.settings)
    again = parse_spec(text)
    assert again.campaign == spec.campaign
    # Nothing is left to a default but what no value can say.
    left = {line.key for line in again.settings if line.source != "spec"}
    assert left == {line.key for line in again.settings if line.value == "-"}


@pytest.mark.parametrize("sampler", ["grid", "sequential", "tpe", "random", "gp", "warm"])
def test_every_sampler_and_a_list_of_one_read_back(sampler):
    spec = parse_spec(SAMPLER.format(sampler=sampler))
    text = format_campaign(spec.campaign, spec.settings)
    assert parse_spec(text).campaign == spec.campaign
    assert ("# budget is not set" in text) == (sampler in ("grid", "sequential"))


def test_every_value_says_where_it_comes_from():
    spec = parse_spec(SAMPLER.format(sampler="tpe"))
    text = format_campaign(spec.campaign, spec.settings)
    assert 'sampler = "tpe"  # spec' in text
    assert "temperatures = [0.1, 0.5, 1.0," in text and "# paper, Table I" in text


@given(st.text())
def test_any_text_reads_back(text):
    assert tomllib.loads(f"x = {_format_value(text)}")["x"] == text


@given(st.floats(allow_nan=False), st.integers(-(2**63), 2**63 - 1), st.booleans())
def test_any_number_reads_back_exactly(real, whole, truth):
    read = tomllib.loads(f"x = {_format_value((real, whole, truth))}")["x"]
    assert read == [real, whole, truth]


def test_a_source_stays_within_its_comment():
    spec = parse_spec(SAMPLER.format(sampler="tpe"))
    lines = [SettingLine(s.key, s.value, "a\nname = 'other'") for s in spec.settings]
    text = format_campaign(replace(spec.campaign, name="mine"), lines)
    assert tomllib.loads(text)["name"] == "mine"


@pytest.mark.parametrize(
    "lines", ["", 'prior = ["a", "b-1"]', "warm_trials = 3", 'warm_then = "gp"\nbudget = 9']
)
def test_what_a_warm_search_learns_from_reads_back(lines):
    spec = parse_spec(SAMPLER.format(sampler='warm"\n' + lines + "\n#"))
    text = format_campaign(spec.campaign, spec.settings)
    assert parse_spec(text).campaign == spec.campaign
    assert ("# prior is not set" in text) == ("prior" not in lines)
    assert "warm_trials = " in text and "warm_then = " in text


def test_settings_of_a_warm_search_are_not_written_beside_another():
    spec = parse_spec(SAMPLER.format(sampler="tpe"))
    text = format_campaign(spec.campaign, spec.settings)
    for key in ("prior", "warm_trials", "warm_then"):
        assert f"# {key} is not set" in text and f"\n{key} =" not in text


@pytest.mark.parametrize(("kept", "curves"), [(False, "none"), (True, "all"), ("free", "free")])
def test_records_from_when_curves_were_all_or_none_are_read(kept, curves):
    record = CampaignRecord(load_spec(STUDIES[0]).campaign, (), "0" * 64, {})
    text = record.to_json()
    text["campaign"]["learning_curves"] = kept
    assert CampaignRecord.from_json(text).campaign.learning_curves == curves
