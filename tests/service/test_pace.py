from __future__ import annotations

import random

import pytest

from kdopt.service.pace import (
    LEAST,
    PAUSE_S,
    RECENT_S,
    Pace,
    Queue,
    Span,
    at_once,
    pace,
    time_left_s,
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
    found = pace(listed(ended), running)
    assert found.per_minute == pytest.approx(60 * workers / each_s, rel=0.05)
    assert found.each_s == pytest.approx(each_s)


@pytest.mark.parametrize("age_s", [10.0, 120.0, 599.0])
def test_long_trials_that_began_together_do_not_make_the_rate_jump(age_s):
    """All 40 ended ``age_s`` ago, at once, and 40 others run since."""
    together = [Span(age_s + 600.0, age_s)] * 40
    assert pace(together, [Span(age_s)] * 40).per_minute == pytest.approx(4.0, rel=0.01)


def test_the_first_trial_that_ends_tells_a_rate():
    found = pace([Span(63.0, 3.0)], [Span(63.0)] * 3 + [Span(3.0)])
    assert found.per_minute == pytest.approx(4.0, rel=0.01)


def test_nothing_ended_is_no_pace():
    assert pace([], [Span(1000.0)]) is None
    assert pace([Span(5.0, 5.0)], []) is None  # a trial without length tells nothing


def test_short_breaks_count_and_long_ones_do_not():
    ended, _ = history(1, 10.0, 300.0, rest_s=10.0)
    assert pace(listed(ended), []).per_minute == pytest.approx(3.0, rel=0.1)
    # The same work, then nothing for hours, then ten seconds of the next trial.
    night = 5 * 3600.0
    moved = [Span(s.began_ago_s + night, s.ended_ago_s + night) for s in ended]
    assert pace(listed(moved), [Span(10.0)]).per_minute == pytest.approx(3.0, rel=0.1)


def test_at_once_counts_overlap_over_the_time_at_work():
    assert at_once([Span(30, 20), Span(30, 10), Span(10)], 60) == pytest.approx(40 / 30)
    assert at_once([Span(100, 80), Span(20)], 30) == pytest.approx(1.0)
    assert at_once([Span(100, 80)], 50) == 0.0
    assert at_once([], 50) == 0.0
    gap = PAUSE_S + 1
    assert at_once([Span(20 + gap, 10 + gap), Span(10)], 1000) == pytest.approx(1.0)
    assert at_once([Span(20 + PAUSE_S, 10 + PAUSE_S), Span(10)], 1000) < 0.2


def test_at_once_is_the_mean_of_the_number_that_runs():
    chance = random.Random(1)
    for _ in range(20):
        spans = [Span(*sorted((chance.uniform(0, 80), chance.uniform(0, 80)), reverse=True))
                 for _ in range(12)]  # fmt: skip
        since = chance.uniform(20, 80)
        begin = min(since, max(s.began_ago_s for s in spans))
        times = [begin * (n + 0.5) / 20_000 for n in range(20_000)]
        mean = sum(sum(s.ended_ago_s < t < s.began_ago_s for s in spans) for t in times) / 20_000
        assert at_once(spans, since) == pytest.approx(mean, rel=0.01)


def test_time_left_is_work_over_workers():
    assert time_left_s([Queue(10, [], 6.0)], 2.0) == pytest.approx(30.0)
    assert time_left_s([Queue(10, [], 6.0), Queue(2, [], 60.0)], 2.0) == pytest.approx(90.0)
    # What runs has done part of its work.
    assert time_left_s([Queue(0, [2.0, 2.0], 6.0)], 2.0) == pytest.approx(4.0)


def test_fewer_trials_than_workers_leave_workers_idle():
    assert time_left_s([Queue(3, [], 10.0)], 8.0) == pytest.approx(10.0)
    # A long one that has just begun holds up the end, however many others there are.
    assert time_left_s([Queue(0, [1.0], 100.0), Queue(4, [], 1.0)], 50.0) == pytest.approx(99.0)


def test_overdue_trials_have_no_end_that_is_known():
    assert time_left_s([Queue(0, [20.0], 10.0)], 1.0) is None
    assert time_left_s([Queue(1, [20.0], 10.0)], 1.0) == pytest.approx(10.0)


def test_a_pace_is_at_once_over_each():
    assert Pace(4.0, 60.0).per_minute == pytest.approx(4.0)
