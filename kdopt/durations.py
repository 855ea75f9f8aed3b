"""Times as people write and read them."""

from __future__ import annotations

import math
import re

from kdopt.errors import KdoptError
from kdopt.shown import shorten

_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
LONGEST_S = 3650.0 * 86400
"""Ten years: what a system's timers take, and more than anybody waits."""


def parse_duration(text: str) -> float:
    """Seconds of a time such as ``90``, ``45s``, ``90m``, ``1.5h``, ``2d`` or ``1h30m``.

    A number without a unit is seconds when it stands alone; after another one (``1h30``) it could
    be minutes as well, and is refused.

    Raises:
        KdoptError: It is not such a time, or not above 0 and at most :data:`LONGEST_S`.
    """
    if re.fullmatch(r"[0-9]+(\.[0-9]+)?|([0-9]+(\.[0-9]+)?[smhd])+", text):
        parts = re.findall(r"([0-9]+(?:\.[0-9]+)?)([smhd]?)", text)
        seconds = sum(float(number) * _UNITS[unit] for number, unit in parts)
        if 0 < seconds <= LONGEST_S:
            return seconds
    raise KdoptError(
        f"time '{shorten(text, 100)}': must be above 0 and at most 3650d; write it as 45s, 90m, "
        "1.5h, 2d or 1h30m, each number with its unit"
    )


def precise_duration(seconds: float) -> str:
    """A computation's seconds for people, in three digits, and whole from 100 on.

    >>> precise_duration(0.00423), precise_duration(1.5), precise_duration(1234.5)
    ('0.00423 s', '1.5 s', '1,234 s')
    """
    return f"{seconds:.3g} s" if seconds < 100 else f"{seconds:,.0f} s"


def duration(seconds: float) -> str:
    """Seconds for people.

    >>> duration(59.4), duration(61), duration(7322), duration(180_000)
    ('59 s', '1 min 1 s', '2 h 2 min', '2 d 2 h')
    """
    if not math.isfinite(seconds):
        return "unknown"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    if whole < 172_800:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    return f"{whole // 86400} d {whole % 86400 // 3600} h"
