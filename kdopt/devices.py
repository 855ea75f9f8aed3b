"""Where kdopt computes, as people write it."""

from __future__ import annotations

import re

from kdopt.errors import KdoptError

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
