"""Two stores of one campaign become one table: on both databases, in either direction.

Results come from a function of study and cell, as real ones do; only where and how fast they ran
differs between the sites.
"""

from __future__ import annotations

import dataclasses
import hashlib
import random
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import sqlalchemy as sa

from kdopt.errors import ArtifactError, LeaseLostError, StoreError
from kdopt.many import FederateSettings
from kdopt.outcome import RoundScore
from kdopt.plan import PartitionSettings
from kdopt.service.doctor import check
from kdopt.stages.registry import all_studies
from kdopt.store import claims, rows
from kdopt.store.artifacts import Artifacts
from kdopt.store.merge import Differing, Parted, Site, merge
from kdopt.store.open import open_store
from kdopt.store.planning import write_plan
from kdopt.store.publish import publish
from kdopt.store.retry import retry_failed
from kdopt.store.samplers import next_cell
from tests.conftest import make_campaign, make_outcome, make_record, optuna_study
from tests.store.test_publish import SUMMARY, contents

ROOT = Path(__file__).parents[2]
GRID = make_campaign(
    stages=("tune", "federate"),
    federate=FederateSettings(initial_models=("random",), rounds=3),
)
TPE = make_campaign(tune=dataclasses.replace(GRID.tune, sampler="tpe", budget=4))
PAIR = "tiny/uniform/tune/t00-s01"
KINDS = ("sqlite", "postgresql")


class Places:
    """Where new stores come from."""

    def __init__(self, request: pytest.FixtureRequest, folder: Path) -> None:
        self.request, self.folder, self.sites = request, folder, []

    def new(self, kind: str) -> Site:
        home = self.folder / f"site{len(self.sites)}"
        if kind == "sqlite":
            url = str(home / "kdopt.db")
        else:
            postgres = self.request.getfixturevalue("postgres")
            template = self.request.getfixturevalue("postgres_template")
            url = postgres.url(postgres.new_database(template))
        store = open_store(url, create=kind == "sqlite")
        self.sites.append(Site(store, Artifacts(home / "artifacts")))
        return self.sites[-1]


@pytest.fixture
def places(request, tmp_path):
    made = Places(request, tmp_path)
    yield made
    for site in made.sites:
        site.store.close()


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


@pytest.fixture
def here(places, kind):
    """The store that is written."""
    return places.new(kind)


@pytest.fixture
def there(places):
    """The store that is read."""
    return places.new("sqlite")


@pytest.fixture
def across(places, kind):
    """A store to read of the other kind, so that each is read and written."""
    return places.new(KINDS[1 - KINDS.index(kind)])


def url_of(site):
    return site.store.url.render_as_string(hide_password=False)


def plan(site, campaign):
    record = make_record(campaign)
    splits = {p.name: site.shelf.put(b"splits of " + p.name.encode()) for p in campaign.partitions}
    return write_plan(site.store, dataclasses.replace(record, splits=splits), all_studies)


def digest(*parts):
    return hashlib.sha256(repr(parts).encode())


def key(cell):
    return tuple(sorted(cell.items()))


def truth(site, study, cell, salt=""):
    """The result of a cell, the same wherever it is computed, its bookkeeping aside."""
    name = digest(salt, study, key(cell))
    chance = random.Random(name.digest())
    scores = dataclasses.replace(make_outcome(0.0).test, accuracy=chance.random())
    outcome = dataclasses.replace(
        make_outcome(chance.uniform(-5, 5)), test=scores, seconds=random.uniform(1, 9)
    )
    if "tune" not in study:
        outcome = dataclasses.replace(outcome, checkpoint=site.shelf.put(name.digest()))
    if "federate" in study:
        rounds = tuple(RoundScore(chance.random(), chance.random()) for _ in range(4))
        outcome = dataclasses.replace(outcome, rounds=rounds)
    return outcome


def end(site, claim, study, ending, salt=""):
    """Let a claimed trial end: 'COMPLETE', 'FAIL', 'RUNNING' (go on) or 'WAITING' (given back)."""
    if ending == "COMPLETE":
        outcome = truth(site, study, claim.cell, salt)
        if outcome.rounds:
            steps = {i: r.validation_accuracy for i, r in enumerate(outcome.rounds)}
            claims.report(site.store, claim, steps)
        claims.finish(site.store, claim, outcome)
    elif ending == "FAIL":
        claims.fail(site.store, claim, f"no memory for {key(claim.cell)}")
    elif ending == "WAITING":
        claims.release(site.store, claim)


def claim_all(site, study_id, worker="me"):
    found = []
    while (claim := claims.claim(site.store, study_id, worker, 60)) is not None:
        found.append(claim)
    return found


def work(site, choose, salt=""):
    """End every planned trial as ``choose(study, cell)`` says; the claims by study and cell."""
    found = {}
    for state in rows.read_states(site.store, "tiny"):
        for claim in claim_all(site, state.study_id):
            end(site, claim, state.text, choose(state.text, claim.cell), salt)
            found[state.text, key(claim.cell)] = claim
    return found


def everything(_study, _cell):
    return "COMPLETE"


def only(*words):
    """Complete what has one of these words in its study's name."""
    return lambda study, _: "COMPLETE" if any(w in study for w in words) else "WAITING"


def table(site, campaign="tiny"):
    """The results, by study and cell, and what else is known of the other cells."""
    return {
        (r.study, key(r.cell)): (r.state, r.error, result_of(r))
        for r in rows.read_trials(site.store, campaign)
        if r.cell
    }


def result_of(row):
    if row.outcome is None:
        return None
    return dataclasses.replace(row.outcome, seconds=0.0)


def states(site):
    return {place: line[0] for place, line in table(site).items()}


def sound(site, deep=True):
    found = check(site.store, site.shelf, "tiny", deep)
    assert found.problems == ()
    return found


def merged_twice(target, other, mix=False):
    """Merge; and once more, which changes no byte of any row."""
    done = merge(target, other, "tiny", mix)
    before = contents(target.store, indexes=True)
    again = merge(target, other, "tiny", mix)
    assert contents(target.store, indexes=True) == before
    assert (again.results, again.failures, again.artifacts) == (0, 0, 0)
    assert (again.new_studies, again.new_trials) == (0, 0)
    return done


RANK = ("WAITING", "FAIL", "COMPLETE")


@pytest.mark.parametrize("seed", range(3))
def test_any_two_stores_give_one_table_from_either_side(places, kind, seed):
    """Every cell ends in either store by chance; what comes out is the further of the two."""
    chance = random.Random(seed)
    endings = {}

    def choose(number):
        def of(study, cell):
            if "pretrain" in study:
                return "COMPLETE"
            where = (number, study, key(cell))
            return endings.setdefault(where, chance.choice(RANK))

        return of

    def site(number, of_kind):
        made = places.new(of_kind)
        plan(made, GRID)
        work(made, choose(number))
        return made

    other_kind = chance.choice(KINDS)
    pairs = [(site(0, kind), site(1, other_kind)), (site(1, kind), site(0, other_kind))]
    outcomes = []
    for target, other in pairs:
        before = table(other)
        merged_twice(target, other)
        assert table(other) == before
        sound(target)
        outcomes.append(table(target))
    first, second = outcomes
    # A failure in both keeps its reason, which is the same here.
    assert first == second
    for (study, cell), (state, _, result) in first.items():
        if "pretrain" not in study:
            assert state == max((endings[n, study, cell] for n in (0, 1)), key=RANK.index)
        if state == "COMPLETE":
            assert result == dataclasses.replace(truth(pairs[0][0], study, dict(cell)), seconds=0.0)


def test_an_empty_store_becomes_a_copy(here, there):
    plan(there, GRID)
    work(there, lambda study, cell: "FAIL" if cell.get("alpha") == 0.9 else "COMPLETE")
    done = merged_twice(here, there)
    assert table(here) == table(there)
    assert rows.read_record(here.store, "tiny") == rows.read_record(there.store, "tiny")
    assert (done.new_studies, done.new_trials) == (4, 11)
    assert (done.results, done.failures, done.artifacts) == (7, 4, 4)
    assert sound(here).artifacts == 4


def test_all_that_a_trial_recorded_comes_along(here, across):
    for site in (here, across):
        plan(site, GRID)
    work(across, everything)
    merge(here, across, "tiny")
    url = url_of(here)
    for name in (PAIR, "tiny/uniform/federate"):
        with optuna_study(url, name) as mine, optuna_study(url_of(across), name) as theirs:
            for one, other in zip(mine.trials, theirs.trials, strict=True):
                assert one.state.name == "COMPLETE"
                for what in (
                    "number", "value", "params", "distributions", "user_attrs",
                    "intermediate_values", "datetime_start", "datetime_complete",
                ):  # fmt: skip
                    assert getattr(one, what) == getattr(other, what), what
    assert len(one.intermediate_values) == 4


def test_results_that_differ_are_measured_and_ours_stay(here, there):
    for site, salt in ((here, ""), (there, "another processor")):
        plan(site, GRID)
        work(site, lambda study, _: "COMPLETE" if "pretrain" not in study else "FAIL", salt)
    before = table(here)
    done = merged_twice(here, there)
    assert table(here) == before
    assert (done.results, done.same, len(done.differing)) == (0, 0, 9)
    theirs = table(there)
    for study, number, size in done.differing:
        cell = next(
            r.cell
            for r in rows.read_trials(here.store, "tiny")
            if (r.study, r.number) == (study, number)
        )
        mine, other = (t[study, key(cell)][2].test.accuracy for t in (before, theirs))
        assert size == pytest.approx(100 * abs(mine - other))
    assert isinstance(done.differing[0], Differing)


def test_results_on_other_weights_are_left_out_unless_asked_for(places, here, there):
    """Pre-trained on another processor: another teacher, so no result of the same grid."""
    for site, salt in ((here, ""), (there, "another processor")):
        plan(site, GRID)
        work(site, only("pretrain"), salt)
    work(there, only("tune", "federate"))
    work(here, only("t01-s00"))
    before = table(here)
    done = merged_twice(here, there)
    assert (done.results, done.other_weights, done.same) == (1, 4, 4)
    # Federated averaging from random weights rests on no pre-training.
    changed = {place for place, line in table(here).items() if line != before[place]}
    assert {study for study, _ in changed} == {"tiny/uniform/federate"}
    mixed = merged_twice(here, there, mix=True)
    assert (mixed.results, mixed.mixed, mixed.other_weights) == (4, 4, 0)
    assert set(states(here).values()) == {"COMPLETE"}
    sound(here)
    # The mark goes with them: for a third store they are no results of these weights either.
    third = places.new("sqlite")
    done = merged_twice(third, here)
    assert (done.other_weights, done.mixed) == (4, 0)
    assert Differing(PAIR, 0, 0.0) not in done.differing


def test_specs_that_grew_apart_are_united(here, there):
    hotter = dataclasses.replace(GRID.tune, temperatures=(1.0, 4.0))
    both = (PartitionSettings("uniform"), PartitionSettings("specialized"))
    plan(here, GRID)
    plan(there, dataclasses.replace(GRID, tune=hotter, partitions=both, stages=("tune",)))
    work(there, everything)
    work(here, only("pretrain", "federate"))
    done = merged_twice(here, there)
    found = sound(here)
    # Two pairs by two alphas at T = 4; a partition of 2 participants, 2 x 6 cells, 1 federation.
    assert done.new_trials == 2 * 2 + (2 + 2 * 6 + 1)
    # T = 2 was never theirs, nor was federating.
    assert found.complete == found.planned - 2 * (2 * 2) - 1
    assert set(rows.read_record(here.store, "tiny").splits) == {"uniform", "specialized"}
    assert plan(here, GRID).new_trials == 0
    merged_twice(there, here)
    assert table(here) == table(there)
    sound(there)


def test_specs_that_mean_something_else_are_refused_with_all_that_differs(here, there):
    plan(here, GRID)
    plan(
        there,
        dataclasses.replace(
            GRID, seed=1, distill=dataclasses.replace(GRID.distill, epochs=7), model="cnn"
        ),
    )
    work(there, everything)
    before = contents(here.store)
    with pytest.raises(StoreError, match=r"other values of: distill, model, seed; .* nothing was"):
        merge(here, there, "tiny")
    assert contents(here.store) == before


@pytest.mark.parametrize("what", ["data", "splits"])
def test_other_images_or_shares_are_refused(here, there, what):
    plan(here, GRID)
    record = make_record(GRID)
    change = {"data_sha256": "2" * 64} if what == "data" else {"splits": {"uniform": "2" * 64}}
    write_plan(there.store, dataclasses.replace(record, **change), all_studies)
    with pytest.raises(StoreError, match=r"data \(the images|partition.uniform \(who gets"):
        merge(here, there, "tiny")


def test_a_store_is_not_merged_into_itself(here):
    plan(here, GRID)
    same = Site(open_store(url_of(here)), here.shelf)
    with pytest.raises(StoreError, match="this is the store itself"):
        merge(here, same, "tiny")
    same.store.close()


def test_a_running_trial_is_taken_from_its_worker_by_a_result(here, there):
    for site in (here, there):
        plan(site, GRID)
        work(site, only("pretrain"))
    work(there, only("tune", "federate"))
    held = work(here, lambda *_: "RUNNING")
    fed = next(c for (study, _), c in held.items() if "federate" in study)
    claims.report(here.store, fed, {0: 0.1, 9: 0.1})
    state = here.shelf.put(b"half way")
    claims.save_state(here.store, fed, 9, state)
    done = merged_twice(here, there)
    assert (done.results, done.from_workers) == (9, 9)
    assert table(here) == table(there)
    assert not here.shelf.has(state)
    for (study, _), claim in held.items():
        assert not claims.beat(here.store, claim, 60)
        with pytest.raises(LeaseLostError):
            claims.report(here.store, claim, {1: 0.5})
        with pytest.raises(LeaseLostError):
            claims.finish(here.store, claim, truth(here, study, claim.cell, "late"))
        claims.release(here.store, claim)
    assert claims.reap(here.store, lambda worker: True) == 0
    assert table(here) == table(there)
    with optuna_study(url_of(here), "tiny/uniform/federate") as study:
        assert sorted(study.trials[0].intermediate_values) == [0, 1, 2, 3]
    sound(here)


def test_a_running_trial_is_left_to_its_worker_by_a_failure(here, there):
    for site in (here, there):
        plan(site, GRID)
    work(there, lambda *_: "FAIL")
    held = work(here, lambda *_: "RUNNING")
    done = merged_twice(here, there)
    assert (done.results, done.failures) == (0, 0)
    for (study, _), claim in held.items():
        claims.finish(here.store, claim, truth(here, study, claim.cell))
    assert set(states(here).values()) == {"COMPLETE"}


def test_a_state_that_a_lost_worker_left_goes_with_the_trial(here, there):
    for site in (here, there):
        plan(site, GRID)
    work(there, everything)
    study = next(s for s in rows.read_states(here.store, "tiny") if s.name.stage == "federate")
    claim = claims.claim(here.store, study.study_id, "lost", 60)
    state = here.shelf.put(b"half way")
    claims.save_state(here.store, claim, 1, state)
    claims.reap(here.store, lambda worker: True)
    merged_twice(here, there)
    assert not here.shelf.has(state)
    attributes = contents(here.store)["trial_user_attributes"]
    assert "kd:state" not in {a["key"] for a in attributes}
    sound(here)


def test_a_failed_cell_gets_its_result_in_a_row_of_its_own(here, there):
    for site in (here, there):
        plan(site, GRID)
        work(site, only("pretrain"))
    work(here, lambda *_: "FAIL")
    work(there, everything)
    done = merged_twice(here, there)
    assert (done.results, done.after_failures) == (9, 9)
    assert table(here) == table(there)
    assert sound(here).retried == 9
    with optuna_study(url_of(here), PAIR) as study:
        found = [(t.state.name, t.number) for t in study.trials]
    assert found == [("FAIL", n) for n in range(4)] + [("COMPLETE", n) for n in range(4, 8)]


def test_retries_on_either_side_are_one_cell_each(here, there):
    """Failed there, tried again there, and done; here failed and queued again."""
    for site in (here, there):
        plan(site, GRID)
        work(site, only("pretrain"))
    for site in (here, there):
        work(site, lambda study, _: "FAIL" if study == PAIR else "WAITING")
        retry_failed(site.store, "tiny")
    merged_twice(here, there)
    assert set(states(here).values()) == {"COMPLETE", "WAITING"}
    work(there, lambda _, cell: "COMPLETE" if cell.get("alpha") == 0.5 else "FAIL")
    done = merged_twice(here, there)
    # Their second failures are no news for what is queued again here.
    found = {cell["alpha"]: state for (s, c), state in states(here).items() if s == PAIR
             for cell in [dict(c)]}  # fmt: skip
    assert found == {0.5: "COMPLETE", 0.9: "WAITING"}
    assert done.after_failures == 0
    assert sound(here).retried == 4
    merged_twice(there, here)
    assert sound(there).duplicates == 0


def step(site, study, salt="", ending="COMPLETE"):
    """Let the real sampler choose the next trial of an adaptive study, and end it."""
    record = rows.read_record(site.store, "tiny")
    state = next(s for s in rows.read_states(site.store, "tiny") if s.text == study)
    of = next(p for p in all_studies(record.campaign) if p.name == study)
    claim = claims.claim(site.store, state.study_id, "me", 60)
    if not claim.cell:
        history = rows.read_trials(site.store, "tiny", state.study_id)
        cell = next_cell(record.campaign, of, claim.number, history)
        claim = claims.choose(site.store, claim, cell, of.params)
    end(site, claim, study, ending, salt)
    return claim


def adaptive(site, steps, salt="", campaign=TPE, study=PAIR):
    plan(site, campaign)
    work(site, only("pretrain"))
    for _ in range(steps):
        step(site, study, salt)


@pytest.mark.parametrize(
    ("sampler", "mine", "theirs"),
    [("tpe", 0, 4), ("gp", 3, 2), ("random", 2, 2), ("sequential", 1, 3)],
)
def test_of_two_adaptive_pasts_the_longer_is_kept(places, kind, sampler, mine, theirs):
    campaign = dataclasses.replace(TPE, tune=dataclasses.replace(TPE.tune, sampler=sampler))
    tables = []
    for steps in ((mine, theirs), (theirs, mine)):
        sites = [places.new(kind if tables else "sqlite"), places.new("sqlite")]
        for site, n in zip(sites, steps, strict=True):
            adaptive(site, n, campaign=campaign)
        done = merged_twice(*sites)
        assert done.results == max(0, steps[1] - steps[0])
        assert done.parted == []
        sound(sites[0])
        tables.append(table(sites[0]))
    assert tables[0] == tables[1]
    # And it goes on as if nothing had happened.
    unbroken = places.new("sqlite")
    adaptive(unbroken, 3 if sampler == "sequential" else 4, campaign=campaign)
    while next(s for s in rows.read_states(sites[0].store, "tiny") if s.text == PAIR).waiting:
        step(sites[0], PAIR)
    assert table(sites[0]) == table(unbroken)
    assert sound(sites[0]).waiting == 3 if sampler == "sequential" else 4


def test_adaptive_pasts_that_part_are_reported_and_ours_stays(here, there):
    adaptive(here, 2)
    adaptive(there, 4, salt="another processor")
    before = table(here)
    done = merged_twice(here, there)
    assert table(here) == before
    assert done.parted == [Parted(PAIR, 0)]
    assert done.results == 0
    step(here, PAIR)
    sound(here)


def test_an_open_trial_that_runs_is_filled_and_its_worker_refused(here, there):
    adaptive(here, 1)
    adaptive(there, 3)
    study = next(s for s in rows.read_states(here.store, "tiny") if s.text == PAIR)
    held = claims.claim(here.store, study.study_id, "me", 60)
    assert held.cell == {}
    done = merged_twice(here, there)
    assert (done.results, done.from_workers) == (2, 1)
    plans = {p.name: p for p in all_studies(TPE)}
    cell = {"temperature": 1.5, "alpha": 0.1, "replicate": 0}
    with pytest.raises(LeaseLostError):
        claims.choose(here.store, held, cell, plans[PAIR].params)
    step(here, PAIR)
    step(there, PAIR)
    assert table(here) == table(there)
    sound(here)


def test_a_failure_at_the_end_of_our_past_is_overtaken(here, there):
    adaptive(here, 1)
    step(here, PAIR, ending="FAIL")
    adaptive(there, 3)
    done = merged_twice(here, there)
    assert (done.results, done.after_failures) == (2, 1)
    assert sound(here).retried == 1
    step(here, PAIR)
    assert sound(here).complete == 2 + 4


def test_a_larger_budget_there_is_ours_too(here, there):
    adaptive(here, 4)
    larger = dataclasses.replace(TPE, tune=dataclasses.replace(TPE.tune, budget=6))
    adaptive(there, 4)
    plan(there, larger)
    step(there, PAIR)
    done = merged_twice(here, there)
    assert (done.new_trials, done.results, done.same) == (4, 1, 6)
    sound(here)


def test_an_artifact_that_is_missing_or_altered_stops_it_before_any_row_refers_to_it(here, there):
    for site in (here, there):
        plan(site, GRID)
    work(there, everything)
    place = next(r for r in rows.read_trials(there.store, "tiny") if "federate" in r.study)
    sha256 = place.outcome.checkpoint
    path = there.shelf.path(sha256)
    content = path.read_bytes()
    for damage in (path.unlink, lambda: path.write_bytes(b"other")):
        damage()
        with pytest.raises(ArtifactError, match=rf"federate #0: artifact .*{sha256[:8]}"):
            merge(here, there, "tiny")
        assert states(here)[place.study, key(place.cell)] == "WAITING"
        sound(here)
    path.write_bytes(content)
    assert merged_twice(here, there).results > 0
    assert table(here) == table(there)
    sound(here)


def test_published_summaries_stay_where_they_are(here, there):
    for site in (here, there):
        plan(site, GRID)
    work(there, everything)
    publish(there.store, [SUMMARY])
    publish(here.store, [SUMMARY._replace(note="ours")])
    before = contents(here.store, indexes=True)["study_system_attributes"]
    merged_twice(here, there)
    assert contents(here.store, indexes=True)["study_system_attributes"] == before
    assert len(contents(here.store)["trials"]) == 2 + 2 * 4 + 1


def test_other_campaigns_are_left_alone(here, there):
    for site in (here, there):
        plan(site, dataclasses.replace(GRID, name="tiny2"))
        plan(site, GRID)
    work(there, everything)
    study = next(s for s in rows.read_states(there.store, "tiny2"))
    for claim in claim_all(there, study.study_id):
        end(there, claim, study.text, "COMPLETE")
    before = table(here, "tiny2")
    merged_twice(here, there)
    assert table(here, "tiny2") == before


SLOW = """
import logging, sys, time
from kdopt.store import merge as module
from kdopt.store.artifacts import Artifacts
from kdopt.store.open import open_store
module.BATCH = 1
original = module.end_rows
def slow(*arguments):
    original(*arguments)
    print("written, not committed", flush=True)
    time.sleep(0.05)
module.end_rows = slow
sites = [module.Site(open_store(u), Artifacts(a)) for u, a in zip(sys.argv[1::2], sys.argv[2::2])]
module.merge(*sites, "tiny")
"""


def test_killed_at_any_moment_it_is_simply_done_again(here, there):
    for site in (here, there):
        plan(site, dataclasses.replace(GRID, participants=3))
    work(there, lambda _, cell: "FAIL" if cell.get("alpha") == 0.9 else "COMPLETE")
    arguments = [x for site in (here, there) for x in (url_of(site), str(site.shelf.root))]
    chance = random.Random(0)
    kills = 0
    while True:
        process = subprocess.Popen(
            [sys.executable, "-c", SLOW, *arguments], stdout=subprocess.PIPE, text=True, cwd=ROOT
        )
        for _ in range(chance.randint(2, 3)):  # within the transaction of a batch
            said = process.stdout.readline()
        if not said:
            process.communicate()
            assert process.returncode == 0
            break
        process.kill()
        process.communicate()
        kills += 1
        assert sound(here).duplicates == 0
        half = states(here)
        assert all(half[place] in ("WAITING", state) for place, state in states(there).items())
    assert kills >= 3
    assert table(here) == table(there)
    sound(here)
    assert merge(here, there, "tiny").results == 0


def test_workers_go_on_in_both_stores_meanwhile(here, across):
    """Real claims and leases race the merge for the same rows; nothing is lost or done twice."""
    for site in (here, across):
        plan(site, dataclasses.replace(GRID, participants=3))
        work(site, only("pretrain"))
    errors, finished, refused = [], [], []

    def keep_working(site, seed):
        chance = random.Random(seed)
        own = Site(open_store(url_of(site)), site.shelf)
        try:
            while ready := [s for s in rows.read_states(own.store, "tiny") if s.waiting]:
                study = chance.choice(ready)
                claim = claims.claim(own.store, study.study_id, f"worker{seed}", 60)
                if claim is None:
                    continue
                try:
                    threading.Event().wait(chance.uniform(0, 0.02))
                    end(own, claim, study.text, "FAIL" if chance.random() < 0.1 else "COMPLETE")
                    finished.append(claim)
                except LeaseLostError:
                    refused.append(claim)
        except (StoreError, sa.exc.SQLAlchemyError) as error:
            errors.append(error)
        finally:
            own.store.close()

    threads = [
        threading.Thread(target=keep_working, args=(site, seed), daemon=True)
        for seed, site in enumerate((here, here, across, across))
    ]
    for thread in threads:
        thread.start()
    taken = 0
    while any(thread.is_alive() for thread in threads):
        taken += merge(here, across, "tiny").results
        assert check(here.store, here.shelf, "tiny").duplicates == 0
    for thread in threads:
        thread.join()
    assert errors == []
    merged_twice(here, across)
    merged_twice(across, here)
    found = sound(here)
    assert (found.running, found.waiting, found.duplicates) == (0, 0, 0)
    assert found.rows == found.planned == 3 + 6 * 4 + 1
    assert taken + len(finished) > 0
    results = [{p: line[2] for p, line in table(s).items() if line[2]} for s in (here, across)]
    assert results[0] == results[1]


WARM = dataclasses.replace(TPE.tune, sampler="warm", budget=4)


def plan_warm(site, prior=b"prior"):
    """Plan a campaign that learns, with what it learns from."""
    campaign = make_campaign(tune=WARM)
    record = dataclasses.replace(
        make_record(campaign),
        splits={"uniform": site.shelf.put(b"splits of uniform")},
        prior=site.shelf.put(prior),
    )
    write_plan(site.store, record, all_studies)
    work(site, only("pretrain"))
    return record.prior


def test_what_a_campaign_learns_from_comes_along(here, there):
    prior = plan_warm(there)
    for _ in range(3):
        step(there, PAIR)
    merged_twice(here, there)
    assert here.shelf.get(prior) == b"prior"
    assert rows.read_record(here.store, "tiny") == rows.read_record(there.store, "tiny")
    assert table(here) == table(there)
    # Splits, two models and the prior.
    assert sound(here).artifacts == 4


def test_stores_that_learn_from_different_things_are_refused(here, there):
    plan_warm(here)
    plan_warm(there, b"another")
    before = contents(here.store)
    with pytest.raises(StoreError, match=r"other values of: tune\.prior \(what was learnt"):
        merge(here, there, "tiny")
    assert contents(here.store) == before


def test_a_prior_that_is_missing_stops_the_merge_before_anything_is_planned(here, there):
    prior = plan_warm(there)
    there.shelf.discard(prior)
    with pytest.raises(ArtifactError, match=r"tune\.prior"):
        merge(here, there, "tiny")
    assert rows.campaigns(here.store) == []
