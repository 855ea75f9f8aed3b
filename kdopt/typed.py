"""Values as people type and read them: numbers, times, devices."""

from __future__ import annotations

import math
import re
from collections.abc import Collection

from kdopt.errors import InputError, KdoptError
from kdopt.shown import shorten

_NUMBER = r"[0-9]+(?:\.[0-9]+)?"
_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
LONGEST_S = 3650.0 * 86400
"""Ten years: what a system's timers take, and more than anybody waits."""


def parse_duration(text: str) -> float:
    """Seconds of a time such as ``90``, ``45s``, ``90m``, ``1.5h``, ``2d`` or ``1h30m``.

    A number without a unit is seconds when it stands alone; after another one (``1h30``) it could
    be minutes as well, and is refused. So is a unit that comes again or after a smaller one
    (``1h1h``, ``5m1h``): it is more likely a slip of the hand than a sum.

    Raises:
        KdoptError: It is not such a time, or not above 0 and at most :data:`LONGEST_S`.
    """
    if re.fullmatch(rf"{_NUMBER}|(?=.)({_NUMBER}d)?({_NUMBER}h)?({_NUMBER}m)?({_NUMBER}s)?", text):
        parts = re.findall(rf"({_NUMBER})([smhd]?)", text)
        seconds = sum(float(number) * _UNITS[unit] for number, unit in parts)
        if 0 < seconds <= LONGEST_S:
            return seconds
    raise KdoptError(
        f"time '{shorten(text, 100)}': must be above 0 and at most 3650d; write it as 45s, 90m, "
        "1.5h, 2d or 1h30m, each number with its unit, and each unit once, from d to s"
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


def check_digits(text: str, what: str) -> None:
    """Refuse a number in other digits than 0 to 9, or with underscores.

    Python reads both (``1_0`` is 10 to it, and so are Arabic digits), and few people expect that.

    Args:
        text: As it was typed; whether it is a number at all is for others to say.
        what: What it is, for the message.

    Raises:
        KdoptError: It has such digits.
    """
    if "_" in text or not text.isascii():
        raise KdoptError(
            f"{what}: '{shorten(text, 50)}' is no number; write it in the digits 0 to 9, such as "
            "10 or 2.5"
        )


def refuse_empty(**texts: object) -> None:
    """Refuse an empty text where a path or a name is asked for: as a path it would be the folder
    that one is in.

    Args:
        texts: By argument; what is no text is left alone.

    Raises:
        InputError: A text has nothing but spaces.
    """
    for name, text in texts.items():
        if isinstance(text, str) and not text.strip():
            raise InputError(
                f"{name} = '{text}': an empty text is no value; give one, or leave the argument "
                "out where it has a default"
            )


def check_choice(name: str, value: object, choices: Collection[str]) -> None:
    """Refuse what is none of the values that an argument may have.

    Raises:
        InputError: It is none of them.
    """
    refuse_empty(**{name: value})
    if not isinstance(value, str) or value not in choices:
        known = ", ".join(f"'{choice}'" for choice in choices)
        raise InputError(f"{name} = {shorten(repr(value), 100)}: must be one of {known}")


DEVICES = "use cpu, cuda or cuda:N"
"""What ``--device`` takes."""


def parse_device(text: str) -> tuple[str, int | None]:
    """``cpu`` or ``cuda``, and the number of the GPU if one is named.

    Torch knows many more (``meta``, ``xla``, ``mps``, ...), on most of which trials could only
    fail.

    Raises:
        KdoptError: It is no such device; whether it is there only torch can tell.
    """
    found = re.fullmatch(r"(cpu)|(cuda)(?::(0|[1-9][0-9]{0,3}))?", text)
    if found is None:
        raise KdoptError(f"device '{text[:100]}': kdopt computes on CPUs and CUDA GPUs; {DEVICES}")
    return found[1] or found[2], None if found[3] is None else int(found[3])
