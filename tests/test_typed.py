from __future__ import annotations

import itertools

import pytest

from kdopt.errors import KdoptError
from kdopt.typed import duration, parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("45s", 45), ("90m", 5400), ("1.5h", 5400), ("2d", 172_800), ("1h30m", 5400)],
)
def test_times_as_people_write_them(text, seconds):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "0", "-5", "1w", "h", "1 h", "90 90", "1h30x", "nan", "inf"])
def test_other_texts_are_refused_with_the_value_and_the_fix(text):
    with pytest.raises(KdoptError, match=f"time '{text}'.*write it as"):
        parse_duration(text)


@pytest.mark.parametrize("units", list(itertools.product("dhms", repeat=2)))
def test_each_unit_of_a_time_comes_once_and_the_larger_first(units):
    first, second = units
    text = f"1{first}1{second}"
    if "dhms".index(first) < "dhms".index(second):
        assert parse_duration(text) == parse_duration(f"1{first}") + parse_duration(f"1{second}")
        return
    with pytest.raises(KdoptError, match=f"time '{text}': .*each unit once, from d to s"):
        parse_duration(text)


def test_durations_for_people():
    texts = [duration(s) for s in (0.4, 59.4, 61, 7322, 180_000)]
    assert texts == ["0 s", "59 s", "1 min 1 s", "2 h 2 min", "2 d 2 h"]
