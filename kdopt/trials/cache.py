"""A cache that forgets what was used longest ago when it grows beyond its size."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, NamedTuple, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


def _weigh_one(_value: object) -> int:
    return 1


class CacheUse(NamedTuple):
    """How a cache was used."""

    asked: int
    hits: int


class Cache(Generic[K, V]):
    """Values by key, made when they are asked for.

    Args:
        size: Total weight that is kept; the newest value is kept whatever it weighs.
        weigh: The weight of a value, such as its bytes; every value weighs 1 by default.

    Attributes:
        asked: How often a value was asked for.
        made: How often it had to be made for that; the rest were hits.
    """

    def __init__(self, size: int, weigh: Callable[[V], int] = _weigh_one) -> None:
        self._size, self._weigh = size, weigh
        self._kept: OrderedDict[K, V] = OrderedDict()
        self._weight = 0
        self.asked = 0
        self.made = 0

    def get(self, key: K, make: Callable[[], V]) -> V:
        """The value of a key, made now if it is not there."""
        self.asked += 1
        if key not in self._kept:
            value = make()
            self.made += 1
            self._kept[key] = value
            self._weight += self._weigh(value)
            while self._weight > self._size and len(self._kept) > 1:
                _, forgotten = self._kept.popitem(last=False)
                self._weight -= self._weigh(forgotten)
        self._kept.move_to_end(key)
        return self._kept[key]

    def __len__(self) -> int:
        return len(self._kept)
