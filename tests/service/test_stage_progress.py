from __future__ import annotations

import random

import pytest

from kdopt.campaign.names import parse_study_name
from kdopt.service.stage_progress import (
    LEAST,
    PAUSE_S,
    RECENT_S,
    Pace,
    Queue,
    RecentTrials,
    Span,
    count_at_once,
    count_partitions,
    count_stages,
    estimate_campaign_eta,
    estimate_time_left_s,
    measure_pace,
)
from kdopt.store.queries import StudyCounts


def state(number, text, waiting=0, running=0, complete=0, failed=0):
    return StudyCounts(number, parse_study_name(text), text, waiting, running, complete, failed)


STATES = [
    state(1, "c/a/pretrain", complete=2),
    state(2, "c/b/pretrain", waiting=1, running=1),
    state(3, "c/a/tune/t00-s01", waiting=3, running=1, complete=4, failed=1),
    state(4, "c/a/tune/t01-s00", complete=8, failed=1),
    state(5, "c/b/tune/t00-s01", waiting=9),
    state(6, "c/a/compare/t00-s01", complete=2),
    state(7, "c/a/compare/t01-s00", waiting=2),
    state(8, "c/a/combine", waiting=1),
]


def steady(each_s, n=20):
    """Trials of one worker without a break, until now."""
    return [Span(each_s * (i + 1), each_s * i) for i in range(n)]


def test_stages_are_sums_of_their_studies_in_their_order():
    stages = count_stages(STATES, RecentTrials(), {})
    assert [s.stage for s in stages] == ["pretrain", "tune", "compare", "combine"]
    for s in stages:
        assert (
            s.trials
            == s.complete + s.failed + s.left
            == s.complete + s.failed + s.waiting + s.running
        )
        assert (s.per_minute, s.eta_s) == (0.0, None)
    assert sum(s.trials for s in stages) == sum(s.total for s in STATES)
    tune = stages[1]
    assert (tune.studies, tune.studies_complete) == (3, 0)
    assert (stages[0].studies, stages[0].studies_complete) == (2, 1)


def test_a_pair_is_finished_when_all_its_stages_are():
    a, b = count_partitions(STATES)
    # t01-s00 has its failed cell behind it, but not its comparison; t00-s01 the other way round.
    assert (a.partition, a.pairs, a.pairs_finished) == ("a", 2, 0)
    assert (b.partition, b.pairs, b.pairs_finished) == ("b", 1, 0)
    assert a.trials + b.trials == sum(s.total for s in STATES)
    (a, *_) = count_partitions([*STATES[:6], STATES[6]._replace(waiting=0, complete=2)])
    assert a.pairs_finished == 1
    (none,) = count_partitions([STATES[7]])
    assert (none.pairs, none.pairs_finished) == (0, 0)


def test_a_stage_at_work_has_a_pace_and_an_end():
    recent = RecentTrials(
        {"tune": steady(6.0), "compare": [Span(3000, 2000)]}, {"tune": [Span(3.0)]}
    )
    by_stage = {s.stage: s for s in count_stages(STATES, recent, {})}
    tune = by_stage["tune"]
    assert tune.per_minute == pytest.approx(10, rel=0.1)
    # 12 waiting ones, and half of the one that runs.
    assert tune.eta_s == pytest.approx(12.5 * 6, rel=0.1)
    # Not at work now: its pace of old is no pace of now.
    assert (by_stage["compare"].per_minute, by_stage["compare"].eta_s) == (0.0, None)


def test_what_lost_workers_hold_is_to_do_again():
    alive = RecentTrials({"tune": steady(6.0)}, {"tune": [Span(3.0)]})
    lost = RecentTrials({"tune": steady(6.0)}, {})
    (a,), (b,) = (count_stages(STATES[2:3], recent, {}) for recent in (alive, lost))
    assert a.eta_s == pytest.approx(3.5 * 6, rel=0.1)
    assert b.eta_s == pytest.approx(4 * 6, rel=0.1)


def test_the_campaigns_end_is_the_work_of_all_stages_over_the_workers():
    """Two workers, one on each stage; when one stage is done its worker helps the other."""
    states = [
        state(1, "c/a/tune/t00-s01", waiting=100),
        state(2, "c/a/compare/t00-s01", waiting=10),
    ]
    recent = RecentTrials(
        {"tune": steady(10.0), "compare": steady(10.0)}, {"tune": [], "compare": []}
    )
    stages = count_stages(states, recent, {})
    eta = estimate_campaign_eta(stages, recent, {})
    assert eta.unknown == ""
    assert eta.seconds == pytest.approx(110 * 10 / 2, rel=0.05)
    tune, compare = (s.eta_s for s in stages)
    assert compare < eta.seconds < tune


def test_an_end_that_cannot_be_told_says_why():
    def unknown(states, recent, blocked=None):
        eta = estimate_campaign_eta(
            count_stages(states, recent, blocked or {}), recent, blocked or {}
        )
        assert eta.seconds is None
        return eta.unknown

    waiting = [state(1, "c/a/tune/t00-s01", waiting=5), state(2, "c/a/compare/t00-s01", waiting=5)]
    old = [Span(5000, 4000)]
    assert unknown(waiting, RecentTrials()) == "no worker is at work"
    assert (
        unknown(waiting, RecentTrials({"tune": old, "compare": old}, {})) == "no worker is at work"
    )
    begun = RecentTrials({}, {"tune": [Span(4.0)]})
    assert unknown(waiting, begun) == "no trial of tune has ended lately"
    begun = RecentTrials({"tune": steady(1.0)}, {})
    assert unknown(waiting, begun) == "no trial of compare has ended lately"
    last = [state(1, "c/a/tune/t00-s01", running=1)]
    overdue = RecentTrials({"tune": steady(1.0)}, {"tune": [Span(50.0)]})
    assert "longer than others" in unknown(last, overdue)
    assert unknown([state(1, "c/a/pretrain", complete=3)], RecentTrials()) == ""
    assert unknown(waiting, RecentTrials(), {"tune": 5, "compare": 5}) == ""


def test_what_runs_longer_than_others_took_counts_for_what_waits():
    """Six trials of a small student ended in a second each; the first of a large one runs on."""
    states = [state(1, "c/a/tune/t01-s00", waiting=5, running=1)]
    for age_s, each_s in ((0.5, 1), (40, 46 / 7)):
        recent = RecentTrials({"tune": steady(1.0, 6)}, {"tune": [Span(age_s)]})
        eta = estimate_campaign_eta(count_stages(states, recent, {}), recent, {})
        assert eta.seconds == pytest.approx(5 * each_s, rel=0.15)


def test_a_stage_that_has_not_begun_is_guessed_by_the_epochs_of_the_most_alike():
    """Ten trials of 20 epochs, where one of 10 takes 3 s and one of 100 takes 50 s."""
    states = [
        state(1, "c/a/pretrain", waiting=1),
        state(2, "c/a/tune/t00-s01", waiting=1),
        state(3, "c/a/compare/t00-s01", waiting=10),
    ]
    recent = RecentTrials({"pretrain": steady(50.0), "tune": steady(3.0)})
    stages = count_stages(states, recent, {})
    epochs = {"pretrain": 100, "tune": 10, "compare": 20}
    eta = estimate_campaign_eta(stages, recent, {}, lambda: epochs)
    assert eta.guessed
    work_s = 50 + 3 + 10 * 3 * 20 / 10
    assert eta.seconds == pytest.approx(max(work_s / recent.count_at_once(), 0), rel=0.05)


def test_what_ended_before_these_workers_says_how_long_but_not_how_many():
    ended = [Span(20.0, 10.0)] * 8
    before = RecentTrials({"tune": ended}, {"tune": [Span(5.0)]})
    resumed = RecentTrials({"tune": ended}, {"tune": [Span(5.0)]}, since_s=8.0)
    assert before.measure_pace("tune").at_once > 2
    assert resumed.measure_pace("tune") == Pace(at_once=1.0, each_s=10.0)


def test_trials_that_cannot_start_are_not_waited_for():
    states = [state(1, "c/a/tune/t00-s01", waiting=10)]
    recent = RecentTrials({"tune": steady(6.0)}, {})
    (stage,) = count_stages(states, recent, {"tune": 6})
    assert stage.left == 10
    assert stage.eta_s == pytest.approx(4 * 6, rel=0.1)
    assert estimate_campaign_eta((stage,), recent, {"tune": 6}).seconds == pytest.approx(
        24, rel=0.1
    )


def history(workers, each_s, seconds, rest_s=0.0):
    """Trials of workers that began ``seconds`` ago, one after the other: ended, running."""
    ended, running = [], []
    for index in range(workers):
        # Workers out of step, as they are after a while.
        began = seconds - each_s * index / workers
        while began > 0:
            if began <= each_s:
                running.append(Span(began))
                break
            ended.append(Span(began, began - each_s))
            began -= each_s + rest_s
    return ended, running


def listed(ended):
    """What is asked of the store: all of late, and the last few at least."""
    latest = sorted(ended, key=lambda span: span.ended_ago_s)
    return [s for n, s in enumerate(latest) if n < LEAST or s.ended_ago_s <= RECENT_S]


@pytest.mark.parametrize("workers", [1, 3, 40])
@pytest.mark.parametrize("each_s", [0.1, 7.0, 600.0, 5000.0])
def test_steady_work_has_the_rate_that_it_has(workers, each_s):
    ended, running = history(workers, each_s, 50 * max(each_s, 20.0))
    found = measure_pace(listed(ended), running)
    assert found.per_minute == pytest.approx(60 * workers / each_s, rel=0.05)
    assert found.each_s == pytest.approx(each_s)


@pytest.mark.parametrize("age_s", [10.0, 120.0, 599.0])
def test_long_trials_that_began_together_do_not_make_the_rate_jump(age_s):
    """All 40 ended ``age_s`` ago, at once, and 40 others run since."""
    together = [Span(age_s + 600.0, age_s)] * 40
    assert measure_pace(together, [Span(age_s)] * 40).per_minute == pytest.approx(4.0, rel=0.01)


def test_the_first_trial_that_ends_tells_a_rate():
    found = measure_pace([Span(63.0, 3.0)], [Span(63.0)] * 3 + [Span(3.0)])
    assert found.per_minute == pytest.approx(4.0, rel=0.01)


def test_nothing_ended_is_no_pace():
    assert measure_pace([], [Span(1000.0)]) is None
    assert measure_pace([Span(5.0, 5.0)], []) is None  # a trial without length tells nothing


def test_short_breaks_count_and_long_ones_do_not():
    ended, _ = history(1, 10.0, 300.0, rest_s=10.0)
    assert measure_pace(listed(ended), []).per_minute == pytest.approx(3.0, rel=0.1)
    # The same work, then nothing for hours, then ten seconds of the next trial.
    night = 5 * 3600.0
    moved = [Span(s.began_ago_s + night, s.ended_ago_s + night) for s in ended]
    assert measure_pace(listed(moved), [Span(10.0)]).per_minute == pytest.approx(3.0, rel=0.1)


def test_at_once_counts_overlap_over_the_time_at_work():
    assert count_at_once([Span(30, 20), Span(30, 10), Span(10)], 60) == pytest.approx(40 / 30)
    assert count_at_once([Span(100, 80), Span(20)], 30) == pytest.approx(1.0)
    assert count_at_once([Span(100, 80)], 50) == 0.0
    assert count_at_once([], 50) == 0.0
    gap = PAUSE_S + 1
    assert count_at_once([Span(20 + gap, 10 + gap), Span(10)], 1000) == pytest.approx(1.0)
    assert count_at_once([Span(20 + PAUSE_S, 10 + PAUSE_S), Span(10)], 1000) < 0.2


def test_at_once_is_the_mean_of_the_number_that_runs():
    chance = random.Random(1)
    for _ in range(20):
        spans = [Span(*sorted((chance.uniform(0, 80), chance.uniform(0, 80)), reverse=True))
                 for _ in range(12)]  # fmt: skip
        since = chance.uniform(20, 80)
        begin = min(since, max(s.began_ago_s for s in spans))
        times = [begin * (n + 0.5) / 20_000 for n in range(20_000)]
        mean = sum(sum(s.ended_ago_s < t < s.began_ago_s for s in spans) for t in times) / 20_000
        assert count_at_once(spans, since) == pytest.approx(mean, rel=0.01)


def test_time_left_is_work_over_workers():
    assert estimate_time_left_s([Queue(10, [], 6.0)], 2.0) == pytest.approx(30.0)
    assert estimate_time_left_s([Queue(10, [], 6.0), Queue(2, [], 60.0)], 2.0) == pytest.approx(
        90.0
    )
    # What runs has done part of its work.
    assert estimate_time_left_s([Queue(0, [2.0, 2.0], 6.0)], 2.0) == pytest.approx(4.0)


def test_fewer_trials_than_workers_leave_workers_idle():
    assert estimate_time_left_s([Queue(3, [], 10.0)], 8.0) == pytest.approx(10.0)
    # A long one that has just begun holds up the end, however many others there are.
    assert estimate_time_left_s([Queue(0, [1.0], 100.0), Queue(4, [], 1.0)], 50.0) == pytest.approx(
        99.0
    )


def test_overdue_trials_have_no_end_that_is_known():
    assert estimate_time_left_s([Queue(0, [20.0], 10.0)], 1.0) is None
    assert estimate_time_left_s([Queue(1, [20.0], 10.0)], 1.0) == pytest.approx(10.0)


def test_a_pace_is_at_once_over_each():
    assert Pace(4.0, 60.0).per_minute == pytest.approx(4.0)
