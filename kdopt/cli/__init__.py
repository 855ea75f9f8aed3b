"""The ``kdopt`` command: parse, call, print. The only room that prints.

- ``app``: the list of commands, and how one runs; ``options``: what several commands take
- ``process``: what every command begins and ends with: streams, errors, Ctrl-C
- ``limits``: what a shell lets a program take
- one module per command: ``run``, ``plan``, ``init``, ``worker``, ``launch``, ``status``,
  ``report``, ``recommend``, ``features``, ``dashboard``, ``spec``, ``partitions``, ``doctor``,
  ``backup``, ``merge``, ``retry_failed``
- ``inputs``: open the store and artifacts that a command was given; ``campaign_file``: the file
- ``progress``: a campaign's progress while its workers run
- ``status_view``, ``watch``: a campaign's status, once and again and again
- ``tables``: tables that fit a terminal
"""

from __future__ import annotations

import sys

from kdopt.cli.limits import check_limits
from kdopt.cli.process import leave_at_ctrl_c, print_error

__all__ = ["main"]


def main() -> None:
    """Run the command line; see :func:`kdopt.cli.app.run_command_line`."""
    if (refused := check_limits()) is not None:
        print_error(refused)
        sys.exit(2)
    with leave_at_ctrl_c():
        from kdopt.cli.app import run_command_line
    run_command_line()
