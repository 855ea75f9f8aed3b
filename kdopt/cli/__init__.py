"""The ``kdopt`` command: parse, call, print. Everything heavy is imported where it is used."""

from __future__ import annotations

import logging
import sys

from kdopt.cli import advise, campaign, launch, look, upkeep, work  # noqa: F401  (they add their commands)
from kdopt.cli.app import app
from kdopt.errors import KdoptError

__all__ = ["app", "main"]


def main() -> None:
    """Run the command line; a :class:`KdoptError` becomes its message and exit code 2."""
    logging.basicConfig(
        format="%(asctime)s %(levelname)s %(message)s", datefmt="%H:%M:%S", level=logging.WARNING
    )
    try:
        app()
    except KdoptError as error:
        print(f"kdopt: error: {error}", file=sys.stderr)
        sys.exit(2)
