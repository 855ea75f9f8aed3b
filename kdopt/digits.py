"""Numbers as people type them."""

from __future__ import annotations

from kdopt.errors import KdoptError
from kdopt.shown import shorten


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
