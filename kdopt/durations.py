"""Times as people write and read them."""

from __future__ import annotations

import re

from kdopt.errors import KdoptError

_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}


def parse_duration(text: str) -> float:
    """Seconds of a time such as ``90``, ``45s``, ``90m``, ``1.5h``, ``2d`` or ``1h30m``.

    Raises:
        KdoptError: It is not such a time, or not above 0.
    """
    if re.fullmatch(r"(\d+(\.\d+)?[smhd]?)+", text):
        parts = re.findall(r"(\d+(?:\.\d+)?)([smhd]?)", text)
        seconds = sum(float(number) * _UNITS[unit] for number, unit in parts)
        if seconds > 0 and all(unit for _, unit in parts[:-1]):
            return seconds
    raise KdoptError(f"time '{text}': must be above 0; write it as 45s, 90m, 1.5h, 2d or 1h30m")


def duration(seconds: float) -> str:
    """Seconds for people.

    >>> duration(59.4), duration(61), duration(7322), duration(180_000)
    ('59 s', '1 min 1 s', '2 h 2 min', '2 d 2 h')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    if whole < 172_800:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    return f"{whole // 86400} d {whole % 86400 // 3600} h"
