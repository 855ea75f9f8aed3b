from __future__ import annotations

import itertools

from kdopt.campaign.spec import parse_spec
from kdopt.campaign.starter import write_starter


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
