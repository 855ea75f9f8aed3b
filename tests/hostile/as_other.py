"""``python -m tests.hostile.as_other``: run command lines as a user who owns nothing here.

In one process, which loads everything before it becomes that user: the interpreter itself may lie
where that user must not read. Reads JSON: command lines to begin with, and those to run then;
writes a line of JSON for each of the latter as it ends.
"""

from __future__ import annotations

import importlib
import json
import os
import pkgutil
import sys

import kdopt as package
from tests.hostile.commands import kdopt

NOBODY = 65534
"""A user without files."""


def run_all(warm: list[list[str]], lines: list[list[str]]) -> None:
    """Run some as who starts this, then the others as nobody, and say how each of those ended.

    Who may not become another user stays who it is.
    """
    for module in pkgutil.walk_packages(package.__path__, "kdopt."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    for line in warm:
        kdopt(*line)
    if os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
    with os.fdopen(os.dup(1), "w") as out:
        for line in lines:
            print(json.dumps(kdopt(*line)), file=out, flush=True)


if __name__ == "__main__":
    run_all(*json.load(sys.stdin))
