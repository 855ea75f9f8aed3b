from __future__ import annotations

import pytest

from kdopt.worker import stopwatch
from kdopt.worker.stopwatch import Stopwatch


def test_seconds_add_up_by_name_also_when_a_block_fails(monkeypatch):
    times = iter([0.0, 1.0, 10.0, 12.0, 20.0, 24.0])
    monkeypatch.setattr(stopwatch.time, "perf_counter", lambda: next(times))
    watch = Stopwatch()
    with watch.timing("store"):
        pass
    with watch.timing("store"):
        pass
    with pytest.raises(ZeroDivisionError), watch.timing("waiting"):
        1 / 0  # noqa: B018
    watch.add("training", 0.5)
    watch.add("training", 0.25)
    assert watch.seconds == {"store": 3.0, "waiting": 4.0, "training": 0.75}
