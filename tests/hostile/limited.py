"""``python -m tests.hostile.limited``: run command lines in little memory, one after the other.

In one process, as loading the libraries takes longer than any of them. Reads a JSON list of
command lines, and writes a line of JSON for each as it ends.
"""

from __future__ import annotations

import json
import os
import resource
import sys

from tests.hostile.commands import kdopt

MOST_BYTES = 6 * 2**30
"""Of address space: libraries reserve a part of it that they never use."""


def run_all(lines: list[str]) -> None:
    """Run them, and say how each ended on the stream that was stdout."""
    resource.setrlimit(resource.RLIMIT_AS, (MOST_BYTES, MOST_BYTES))
    with os.fdopen(os.dup(1), "w") as out:
        for line in lines:
            ended = kdopt(*line.split())
            print(json.dumps([line, ended.code, ended.err]), file=out, flush=True)


if __name__ == "__main__":
    run_all(json.load(sys.stdin))
