"""The grids of many partitions: how they are made, and what is said of them."""

from __future__ import annotations

import pytest

from kdopt.campaign.spec import parse_spec
from kdopt.search.prior import STUDIES_PRIOR, WIDE_PRIOR, load_shipped_prior
from kdopt.store.queries import read_study_counts, read_trials
from scripts import line_grids, unseen, wide_bench, wide_grids, wide_prior
from tests.worker.test_worker import plan


@pytest.fixture(scope="module")
def wide():
    return wide_grids.read_wide_pairs()


@pytest.fixture(scope="module")
def bench(wide):
    return wide_bench.make_bench(
        wide, [line_grids.LineGrid(*p[:2]) for p in unseen.read_unseen_pairs()]
    )


def test_they_are_the_wide_part_of_the_prior_that_comes_with_kdopt(wide):
    prior = load_shipped_prior([WIDE_PRIOR])
    assert prior == wide_prior.make_prior(wide)
    assert load_shipped_prior().pairs == load_shipped_prior([STUDIES_PRIOR]).pairs + prior.pairs


def test_they_are_of_many_partitions_of_every_kind_and_of_no_test_campaign(wide):
    made = {c.name: c for c in wide_grids.CAMPAIGNS}
    assert len(made) == len(wide_grids.CAMPAIGNS)
    campaigns = {pair.line.campaign.name for pair in wide}
    assert campaigns <= set(made) and len(campaigns) >= 12
    found = [made[name] for name in campaigns]
    assert {c.data for c in found} == {"fashion_mnist", "cifar10"}
    assert len({c.kind for c in found}) == 5
    # The campaign that nothing may know stays unknown.
    known = {pair.student for pair in load_shipped_prior().pairs}
    assert not known & {pair.line.known.student for pair in unseen.read_unseen_pairs()}


def test_a_campaign_file_says_what_its_row_says():
    for wide in wide_grids.CAMPAIGNS:
        campaign = parse_spec(wide_grids.format_spec(wide)).campaign
        assert campaign.participants == wide.participants
        assert [p.kind for p in campaign.partitions] == [wide.kind]
        share = campaign.data.validation_fraction * campaign.data.train_size
        assert round(share) == wide_grids.VALIDATION_IMAGES
        assert (campaign.learning_curves == "all") == wide.curves


def test_the_page_says_what_the_grids_say(wide, bench):
    page = wide_prior.PAGE.read_text("utf-8")
    for part in (wide_prior.format_grids(wide), wide_prior.format_ranks(wide)):
        assert part in page
    # One line of those that take long.
    gains = bench.replay("the wide grids", wide_prior.DATA)
    row = [wide_prior.DATA, "the wide grids", *wide_prior.format_shares(bench.judge, gains)]
    assert wide_prior.format_rows([row]) in page


SPEC = """
name = "wide-test"
participants = 5
model = "mlp"
partitions = ["uniform"]
precision = "fp32"
stages = ["tune"]
[data]
name = "digits"
validation_fraction = 0.2
[tune]
temperatures = [1, 2]
alphas = [0.5]
"""


def test_pairs_that_are_not_drawn_are_given_up_for_good(tmp_path):
    store, _ = plan(tmp_path, text=SPEC)
    location = str(tmp_path / "kdopt.db")
    for _ in range(2):
        wide_grids.draw_pairs(location, "wide-test")
        tune = [s for s in read_study_counts(store, "wide-test") if s.name.stage == "tune"]
        assert len(tune) == 20 and sum(s.waiting > 0 for s in tune) == wide_grids.MOST_PAIRS
        assert {s.waiting for s in tune} == {0, 2}
    rows = read_trials(store, "wide-test")
    assert sum(row.state == "FAIL" for row in rows) == 16
    # A worker plans again what other programs ended, and not these.
    plan(tmp_path, text=SPEC)
    assert sum(row.state == "FAIL" for row in read_trials(store, "wide-test")) == 16
    assert not wide_grids.is_through(location, "wide-test")
    store.close()
