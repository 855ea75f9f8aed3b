from __future__ import annotations

import itertools

from kdopt.campaign.spec import parse_spec
from kdopt.campaign.starter import write_starter
from kdopt.outcome import TRAINED
from scripts.student_line_table import LINE


def test_every_line_of_the_starter_is_explained_just_above_it():
    lines = write_starter("mine", "mine.toml").splitlines()
    for before, line in itertools.pairwise(lines):
        if "=" in line and not line.startswith("#"):
            assert before.startswith("# "), f"{line}: nothing above it says what it means"


def test_the_starter_is_a_campaign_that_needs_no_download():
    spec = parse_spec(write_starter("mine", "mine.toml"))
    assert spec.campaign.name == "mine"
    assert spec.campaign.data.name == "digits"
    assert spec.campaign.runs_control


def test_the_starter_tries_the_places_that_were_measured_to_pay():
    campaign = parse_spec(write_starter("mine", "mine.toml")).campaign
    assert {*campaign.student_line, TRAINED} == {*LINE}


def test_the_starter_searches_as_was_measured_to_pay_and_says_what_the_grid_would_take():
    """Better than a cold Gaussian process of equal cost, or as good: docs/few-trials/wide.md."""
    text = write_starter("mine", "mine.toml")
    tune = parse_spec(text).campaign.tune
    assert tune.sampler == "warm"
    assert f"values below takes {len(tune.temperatures) * len(tune.alphas)}." in text
