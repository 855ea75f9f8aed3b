"""The ``kdopt`` command: parse, call, print. The only room that prints.

- ``app``: the list of commands, and :func:`main`; ``options``: what several commands take
- one module per command: ``run``, ``plan``, ``init``, ``worker``, ``launch``, ``status``,
  ``report``, ``recommend``, ``features``, ``dashboard``, ``spec``, ``partitions``, ``doctor``,
  ``backup``, ``merge``, ``retry_failed``
- ``inputs``: open the store and artifacts that a command was given; ``campaign_file``: the file
- ``progress``: a campaign's progress while its workers run
- ``status_view``, ``watch``: a campaign's status, once and again and again
- ``tables``: tables that fit a terminal
"""

from __future__ import annotations

from kdopt.cli.app import app, main

__all__ = ["app", "main"]
