"""What a warm campaign learns from: frozen when it is planned, the same for every worker."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import pytest

from kdopt.campaign.partition_settings import PartitionSettings
from kdopt.campaign.spec import parse_spec
from kdopt.campaign.stage_settings import TuneSettings
from kdopt.campaign.stages import plan_studies
from kdopt.data.datasets import load_dataset
from kdopt.errors import KdoptError, LostArtifactError, StoreError
from kdopt.outcome import Scores
from kdopt.search.prior import Prior, get_point, list_grid_points, load_shipped_prior
from kdopt.search.samplers import choose_params
from kdopt.search.warm_start import PosteriorSource, freeze_prior, read_prior
from kdopt.service.doctor import check_campaign
from kdopt.service.planner import draw_splits, plan_campaign
from kdopt.store import leases, queries
from kdopt.store.artifacts import Artifacts
from kdopt.store.backup import back_up_store
from kdopt.store.database import open_store
from kdopt.store.merge import Site, merge_campaign
from kdopt.store.planning import write_plan
from kdopt.train.engine import make_engine
from kdopt.worker.scheduling import list_finished_before
from kdopt.worker.worker import run_trials
from tests.conftest import make_campaign, make_outcome, make_record, new_store, optuna_study
from tests.small_campaigns import make_spec
from tests.store.test_index_studies import contents
from tests.waiting import wait_for

SPEC = make_spec(
    participants=3, tune={"sampler": "warm", "warm_trials": 2, "temperatures": None, "alphas": None}
)
TAUGHT = make_campaign(
    name="taught",
    participants=4,
    tune=TuneSettings((0.5, 1.0, 2.0), (0.1, 0.5, 0.9), "grid", 9),
)


def add(store, artifacts, campaign, leave=0):
    """Plan a campaign and end its trials by a rule, this many of tuning without a result."""
    splits = {p.name: artifacts.put(p.name.encode()) for p in campaign.partitions}
    record = dataclasses.replace(make_record(campaign), splits=splits)
    write_plan(store, record, plan_studies)
    for state in queries.read_study_counts(store, campaign.name):
        while (claim := leases.claim_trial(store, state.study_id, "me", 60)) is not None:
            if state.name.stage == "pretrain":
                skill = 0.4 + 0.1 * claim.params["participant"]
                outcome = dataclasses.replace(
                    make_outcome(skill),
                    validation=Scores(skill, (skill, skill), 1.0),
                    checkpoint=artifacts.put(b"weights %d" % claim.params["participant"]),
                )
            elif leave:
                leave -= 1
                leases.fail_trial(store, claim, "diverged")
                continue
            else:
                gap = state.name.teacher - state.name.student
                outcome = make_outcome(gap * claim.params["alpha"] - claim.params["temperature"])
            leases.finish_trial(store, claim, outcome)


@pytest.fixture
def store(tmp_path):
    opened = new_store(tmp_path / "kdopt.db")
    yield opened
    opened.close()


@pytest.fixture
def artifacts(tmp_path):
    return Artifacts(tmp_path / "artifacts")


def warm(**changes):
    """A campaign that learns; changes go to its tune settings."""
    base = make_campaign()
    return dataclasses.replace(
        base, tune=dataclasses.replace(base.tune, sampler="warm", budget=3, **changes)
    )


def refusal(campaign, store, artifacts):
    with pytest.raises(KdoptError) as caught:
        freeze_prior(campaign, store, artifacts)
    return str(caught.value)


@pytest.mark.parametrize("change", [{"sampler": "tpe"}, {"sampler": "grid"}])
def test_a_search_that_does_not_learn_has_no_prior(store, artifacts, change):
    tune = dataclasses.replace(warm().tune, **change)
    assert freeze_prior(dataclasses.replace(warm(), tune=tune), store, artifacts) is None


def test_a_campaign_that_does_not_tune_has_no_prior(store, artifacts):
    assert freeze_prior(dataclasses.replace(warm(), stages=("compare",)), store, artifacts) is None


def test_without_a_name_it_is_what_comes_with_kdopt(store, artifacts):
    sha256 = freeze_prior(warm(), store, artifacts)
    assert Prior.from_bytes(artifacts.get(sha256)) == load_shipped_prior()
    assert freeze_prior(warm(), store, artifacts) == sha256


def test_a_named_campaign_teaches_its_finished_grids(store, artifacts):
    add(store, artifacts, TAUGHT)
    prior = Prior.from_bytes(artifacts.get(freeze_prior(warm(prior=("taught",)), store, artifacts)))
    assert prior == read_prior(store, ("taught",))
    assert prior.source == "taught"
    assert prior.points == list_grid_points(TAUGHT)
    assert len(prior.pairs) == 12
    names = {artifacts.put(b"weights %d" % number): number for number in range(4)}
    pair = next(p for p in prior.pairs if (names[p.teacher], names[p.student]) == (3, 1))
    assert pair.results[2.0, 0.9].gain == pytest.approx(2 * 0.9 - 2.0)


def test_an_unknown_campaign_is_refused_and_the_message_says_what_there_is(store, artifacts):
    none = refusal(warm(prior=("nobody",)), store, artifacts)
    assert "tune.prior: no campaign 'nobody'" in none
    assert "it has: none" in none
    add(store, artifacts, TAUGHT)
    some = refusal(warm(prior=("taught", "nobody")), store, artifacts)
    assert "no campaign 'nobody'" in some and "it has: taught" in some
    assert "Name one of these, or leave tune.prior out" in some


def test_too_few_finished_pairs_are_refused(store, artifacts):
    add(store, artifacts, TAUGHT, leave=1)
    message = refusal(warm(prior=("taught",)), store, artifacts)
    assert "tune.prior = taught: 11 pairs have a finished grid" in message
    assert "a prior needs 12;" in message
    assert "finish these campaigns, name others, or leave tune.prior out" in message


def test_points_that_mean_something_else_are_refused(store, artifacts):
    message = refusal(warm(t2_scale=False), store, artifacts)
    assert "tune.t2_scale = false" in message and "measured the other way round" in message
    assert "name campaigns in tune.prior that were tuned alike, or change tune.t2_scale" in message
    plain = dataclasses.replace(TAUGHT, tune=dataclasses.replace(TAUGHT.tune, t2_scale=False))
    add(store, artifacts, plain)
    assert "tune.t2_scale = true" in refusal(warm(prior=("taught",)), store, artifacts)
    assert freeze_prior(warm(prior=("taught",), t2_scale=False), store, artifacts)


def test_gains_on_test_choose_no_trial_of_a_campaign_that_reports_on_test(store, artifacts):
    add(store, artifacts, dataclasses.replace(TAUGHT, select_on="test"))
    message = refusal(warm(prior=("taught",)), store, artifacts)
    assert "tune.prior: 'taught' has select_on = 'test'" in message
    assert "name campaigns that select on validation, or set select_on = 'test'" in message
    both = dataclasses.replace(warm(prior=("taught",)), select_on="test")
    assert freeze_prior(both, store, artifacts)


def test_temperatures_of_which_nothing_is_known_are_refused(store, artifacts):
    hot = {"temperatures": (40.0, 80.0), "vanilla_temperature": 20.0}
    # The search always reaches down to temperature 1, of which the one that comes along knows.
    assert freeze_prior(warm(**hot), store, artifacts)
    hotter = dataclasses.replace(TAUGHT.tune, temperatures=(100.0, 200.0), vanilla_temperature=100)
    add(store, artifacts, dataclasses.replace(TAUGHT, tune=hotter))
    message = refusal(warm(prior=("taught",), **hot), store, artifacts)
    assert "tune.temperatures: the prior (taught) has no points between 1 and 80" in message
    assert "widen them, or name other campaigns in tune.prior" in message
    assert freeze_prior(warm(prior=("taught",), temperatures=(1.0, 100.0)), store, artifacts)


def plan(folder: Path, tune="", store=None, budget=4):
    """Plan the campaign of the spec in a folder of its own."""
    spec = parse_spec(f"{SPEC}budget = {budget}\n{tune}\n")
    dataset = load_dataset(spec.campaign)
    store = store or open_store(str(folder / "kdopt.db"), create=True)
    artifacts = Artifacts(folder / "artifacts")
    splits = draw_splits(spec.campaign, dataset)
    planned = plan_campaign(spec, dataset, splits, store, artifacts)
    return store, artifacts, planned


def test_a_campaign_that_is_planned_again_keeps_its_prior(tmp_path, store, artifacts):
    unfinished = dataclasses.replace(TAUGHT, participants=5)
    add(store, artifacts, unfinished, leave=3)
    named = 'prior = ["taught"]'
    plan(tmp_path, named, store)
    before = queries.read_record(store, "tiny")
    assert len(Prior.from_bytes(artifacts.get(before.prior)).pairs) == 19
    # Its teachers go on meanwhile, and know more than they did.
    grown = dataclasses.replace(
        unfinished, partitions=(*unfinished.partitions, PartitionSettings("specialized"))
    )
    add(store, artifacts, grown)
    assert len(read_prior(store, ("taught",)).pairs) == 39
    assert plan(tmp_path, named, store)[2].new_trials == 0
    assert queries.read_record(store, "tiny") == before
    assert plan(tmp_path, named, store, budget=5)[2].new_trials == 6
    assert queries.read_record(store, "tiny").prior == before.prior


def test_a_campaign_cannot_change_its_teachers(tmp_path, store, artifacts):
    add(store, artifacts, TAUGHT)
    plan(tmp_path, "", store)
    before = contents(store)
    with pytest.raises(StoreError, match=r"other values of: tune\.prior;"):
        plan(tmp_path, 'prior = ["taught"]', store)
    assert contents(store) == before


def test_a_refused_prior_leaves_no_trial_behind(tmp_path, store):
    with pytest.raises(StoreError, match="no campaign 'nobody'"):
        plan(tmp_path, 'prior = ["nobody"]', store)
    assert queries.list_campaigns(store) == []


def test_a_campaign_without_a_prior_cannot_be_worked_on_and_the_message_says_why(store, artifacts):
    record = make_record(warm())
    with pytest.raises(StoreError, match="campaign 'tiny' has no prior; plan it again"):
        PosteriorSource(store, artifacts, record)
    lost = dataclasses.replace(record, prior="3" * 64)
    with pytest.raises(LostArtifactError, match="333"):
        PosteriorSource(store, artifacts, lost)


def results(store):
    """What a campaign computed, without how long it took."""
    out = {}
    for row in queries.read_trials(store, "tiny"):
        record = row.outcome.to_json()
        del record["seconds"]
        out[row.study, row.number] = (row.state, tuple(row.params.items()), record)
    return out


def taught(folder):
    """Plan the campaign beside its teacher."""
    store, artifacts = new_store(folder / "kdopt.db"), Artifacts(folder / "artifacts")
    add(store, artifacts, TAUGHT)
    plan(folder, 'prior = ["taught"]\ntemperatures = [1, 2, 4]', store)
    return store, artifacts


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The campaign as one worker does it."""
    store, artifacts = taught(tmp_path_factory.mktemp("one"))
    summary = run_trials(store, artifacts, "tiny", make_engine("fp32", "cpu"))
    assert (summary.complete, summary.failed, summary.blocked) == (3 + 3 + 6 * 4, 0, [])
    yield store, artifacts
    store.close()


def test_a_campaign_that_learns_ends_sound(finished):
    store, artifacts = finished
    found = check_campaign(store, artifacts, "tiny", deep=True)
    assert found.problems == ()
    assert (found.complete, found.planned) == (30, 30)
    # Splits, three models and the prior.
    assert found.artifacts == 1 + 3 + 1


def test_two_workers_of_which_one_is_killed_learn_the_same_and_keep_to_the_rounds(
    tmp_path, finished
):
    store, artifacts = taught(tmp_path)
    command = [sys.executable, "-m", "kdopt", "worker", "--campaign", "tiny"]
    workers = [
        subprocess.Popen(
            [*command, "--store", str(tmp_path / "kdopt.db")],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},  # as launchers start them
        )
        for _ in range(2)
    ]
    killed, other = workers
    # Within the first round: three pairs, whose first trials are vanilla.
    wait_for(store, complete=3 + 3 + 2)
    killed.kill()
    killed.communicate()
    said = other.communicate(timeout=600)[0]
    assert other.returncode == 0, said
    assert results(store) == results(finished[0])
    assert all(dict(was) == dict(now) for was, now in replayed(store, artifacts))
    times = {}
    for name, of in plans_of(store).items():
        with optuna_study(f"sqlite:///{tmp_path / 'kdopt.db'}", name) as study:
            for trial in study.trials:
                span = trial.datetime_start, trial.datetime_complete
                times.setdefault(of.round, []).append(span)
    assert sorted(times) == [0, 1]
    assert max(end for _, end in times[0]) <= min(start for start, _ in times[1])
    store.close()


def plans_of(store):
    record = queries.read_record(store, "tiny")
    return {plan.name: plan for plan in plan_studies(record.campaign) if plan.stage == "tune"}


def replayed(store, artifacts):
    """Every trial of tuning beside the cell that is chosen for it now, from the store alone."""
    record = queries.read_record(store, "tiny")
    start = PosteriorSource(store, artifacts, record)
    plans, states = plans_of(store), queries.read_study_counts(store, "tiny")
    found = queries.read_trials(store, "tiny")
    trained = {r.params["participant"]: r.outcome for r in found if r.stage == "pretrain"}
    for name, of in plans.items():
        history = [r for r in found if r.study == name]
        earlier = list_finished_before(of, states, plans)

        def get_posterior(of=of, earlier=earlier):
            return start.get_posterior(of, earlier, trained)

        for row in history[1:]:
            past = history[: row.number]
            yield row.params, choose_params(record.campaign, of, row.number, past, get_posterior)


def test_every_cell_follows_from_the_store_alone(finished):
    store, artifacts = finished
    found = list(replayed(store, artifacts))
    assert len(found) == 6 * 3
    assert all(dict(was) == dict(now) for was, now in found)


def test_a_pair_tries_vanilla_then_what_was_learnt_then_what_it_likes(finished):
    store, _ = finished
    points = set(list_grid_points(TAUGHT))
    for name in plans_of(store):
        found = [get_point(r.params) for r in queries.read_trials(store, "tiny") if r.study == name]
        assert found[0] == (1.0, 0.5)
        assert set(found[1:3]) <= points
        assert found[3] not in points
        assert len(set(found)) == 4


def test_pairs_of_earlier_rounds_teach_the_later_ones(finished):
    store, artifacts = finished
    start = PosteriorSource(store, artifacts, queries.read_record(store, "tiny"))
    plans, states = plans_of(store), queries.read_study_counts(store, "tiny")
    found = queries.read_trials(store, "tiny")
    trained = {r.params["participant"]: r.outcome for r in found if r.stage == "pretrain"}
    later = next(p for p in plans.values() if p.round == 1)
    earlier = list_finished_before(later, states, plans)
    assert len(earlier) == 3
    alone, knowing = (start.get_posterior(later, some, trained) for some in ([], earlier))
    assert knowing.points == alone.points
    assert abs(knowing.gains[0] - alone.gains[0]).max() > 0.01
    assert (knowing.gains[1] <= alone.gains[1] + 1e-9).all()
    # It keeps to what the campaign searches.
    low, high = later.space["temperature"].low, later.space["temperature"].high
    assert 0 < len(knowing.points) < len(list_grid_points(TAUGHT))
    assert all(low <= temperature <= high for temperature, _ in knowing.points)


def test_a_backup_and_a_merge_take_the_prior_along(tmp_path, finished):
    store, artifacts = finished
    back_up_store(store, artifacts, tmp_path / "copy")
    copy, site = (
        Site(opened, Artifacts(tmp_path / name / "artifacts"))
        for name, opened in (
            ("copy", open_store(str(tmp_path / "copy" / "kdopt.db"))),
            ("site", new_store(tmp_path / "site" / "kdopt.db")),
        )
    )
    done = merge_campaign(site, copy, "tiny")
    assert (done.results, done.parted) == (30, [])
    for other in (copy, site):
        assert check_campaign(other.store, other.artifacts, "tiny", deep=True).problems == ()
        assert queries.read_record(other.store, "tiny") == queries.read_record(store, "tiny")
        assert results(other.store) == results(store)
        assert all(dict(was) == dict(now) for was, now in replayed(other.store, other.artifacts))
        other.store.close()
