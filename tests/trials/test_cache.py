from __future__ import annotations

from kdopt.trials.cache import Cache


def test_values_are_made_once_and_the_longest_unused_is_forgotten():
    made = []
    cache = Cache[str, str](2)

    def get(key):
        return cache.get(key, lambda: made.append(key) or key.upper())

    assert [get(k) for k in "abab"] == ["A", "B", "A", "B"]
    assert made == ["a", "b"]
    get("a")
    get("c")  # b goes
    assert len(cache) == 2
    get("a")
    get("b")
    assert made == ["a", "b", "c", "b"]


def test_the_size_is_a_weight_that_many_values_share():
    cache = Cache[int, bytes](100, weigh=len)
    for key in range(50):
        cache.get(key, lambda: b"x" * 10)
        assert len(cache) <= 10
    cache.get(99, lambda: b"x" * 95)
    assert len(cache) == 1
    # One that is larger than the cache is used all the same, and kept until the next.
    assert len(cache.get(100, lambda: b"x" * 1000)) == 1000
    assert len(cache) == 1
    cache.get(101, lambda: b"x")
    assert len(cache) == 1
