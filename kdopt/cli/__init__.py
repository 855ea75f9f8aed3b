"""The ``kdopt`` command: parse, call, print. The only room that prints.

- ``app``: the list of commands, and how one runs; ``options``: what several commands take
- ``process``: what every command begins and ends with: streams, errors; ``interrupts``: Ctrl-C
- ``announce``: what a command says before a step that takes a while
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

from kdopt.cli.interrupts import leave_at_ctrl_c

__all__ = ["main"]


def main() -> None:
    """Run the command line; see :func:`kdopt.cli.app.run_command_line`."""
    with leave_at_ctrl_c():
        import sys

        from kdopt.cli.announce import say_if_slow
        from kdopt.cli.limits import check_limits
        from kdopt.cli.process import print_error

        if (refused := check_limits()) is not None:
            print_error(refused)
            sys.exit(2)
        with say_if_slow("loading kdopt"):
            from kdopt.cli.app import run_command_line
    run_command_line()
