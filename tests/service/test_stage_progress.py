from __future__ import annotations

import pytest

from kdopt.campaign.names import parse_study_name
from kdopt.service.pace import Span
from kdopt.service.stage_progress import Recent, campaign_eta, count_partitions, count_stages
from kdopt.store.rows import StudyState


def state(number, text, waiting=0, running=0, complete=0, failed=0):
    return StudyState(number, parse_study_name(text), text, waiting, running, complete, failed)


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
    stages = count_stages(STATES, Recent(), {})
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
    recent = Recent({"tune": steady(6.0), "compare": [Span(3000, 2000)]}, {"tune": [Span(3.0)]})
    by_stage = {s.stage: s for s in count_stages(STATES, recent, {})}
    tune = by_stage["tune"]
    assert tune.per_minute == pytest.approx(10, rel=0.1)
    # 12 waiting ones, and half of the one that runs.
    assert tune.eta_s == pytest.approx(12.5 * 6, rel=0.1)
    # Not at work now: its pace of old is no pace of now.
    assert (by_stage["compare"].per_minute, by_stage["compare"].eta_s) == (0.0, None)


def test_what_lost_workers_hold_is_to_do_again():
    alive = Recent({"tune": steady(6.0)}, {"tune": [Span(3.0)]})
    lost = Recent({"tune": steady(6.0)}, {})
    (a,), (b,) = (count_stages(STATES[2:3], recent, {}) for recent in (alive, lost))
    assert a.eta_s == pytest.approx(3.5 * 6, rel=0.1)
    assert b.eta_s == pytest.approx(4 * 6, rel=0.1)


def test_the_campaigns_end_is_the_work_of_all_stages_over_the_workers():
    """Two workers, one on each stage; when one stage is done its worker helps the other."""
    states = [
        state(1, "c/a/tune/t00-s01", waiting=100),
        state(2, "c/a/compare/t00-s01", waiting=10),
    ]
    recent = Recent({"tune": steady(10.0), "compare": steady(10.0)}, {"tune": [], "compare": []})
    stages = count_stages(states, recent, {})
    eta = campaign_eta(stages, recent, {})
    assert eta.unknown == ""
    assert eta.seconds == pytest.approx(110 * 10 / 2, rel=0.05)
    tune, compare = (s.eta_s for s in stages)
    assert compare < eta.seconds < tune


def test_an_end_that_cannot_be_told_says_why():
    def unknown(states, recent, blocked=None):
        eta = campaign_eta(count_stages(states, recent, blocked or {}), recent, blocked or {})
        assert eta.seconds is None
        return eta.unknown

    waiting = [state(1, "c/a/tune/t00-s01", waiting=5), state(2, "c/a/compare/t00-s01", waiting=5)]
    old = [Span(5000, 4000)]
    assert unknown(waiting, Recent()) == "no worker is at work"
    assert unknown(waiting, Recent({"tune": old, "compare": old}, {})) == "no worker is at work"
    begun = Recent({}, {"tune": [Span(4.0)]})
    assert unknown(waiting, begun) == "no trial of tune has ended lately"
    begun = Recent({"tune": steady(1.0)}, {})
    assert unknown(waiting, begun) == "no trial of compare has ended lately"
    last = [state(1, "c/a/tune/t00-s01", running=1)]
    overdue = Recent({"tune": steady(1.0)}, {"tune": [Span(50.0)]})
    assert "longer than others" in unknown(last, overdue)
    assert unknown([state(1, "c/a/pretrain", complete=3)], Recent()) == ""
    assert unknown(waiting, Recent(), {"tune": 5, "compare": 5}) == ""


def test_trials_that_cannot_start_are_not_waited_for():
    states = [state(1, "c/a/tune/t00-s01", waiting=10)]
    recent = Recent({"tune": steady(6.0)}, {})
    (stage,) = count_stages(states, recent, {"tune": 6})
    assert stage.left == 10
    assert stage.eta_s == pytest.approx(4 * 6, rel=0.1)
    assert campaign_eta((stage,), recent, {"tune": 6}).seconds == pytest.approx(24, rel=0.1)
