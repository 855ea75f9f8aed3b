"""``kdopt new``: a campaign file to begin with."""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path
from typing import Annotated

import typer

from kdopt.campaign.names import CAMPAIGN_NAME
from kdopt.campaign.starter import write_starter
from kdopt.errors import KdoptError


def new_command(
    file: Annotated[
        Path, typer.Argument(help="The file to write, such as mine.toml.", metavar="FILE")
    ],
) -> None:
    """Write a campaign file to begin with, every line explained.

    The campaign is named after the file. It runs as it is, in a minute or two on a laptop.
    """
    path = file if file.suffix or not file.name else file.with_suffix(".toml")
    name = re.sub(r"[^A-Za-z0-9_.-]+", "-", path.stem).lstrip("._-")[:64]
    if not CAMPAIGN_NAME.match(name):
        raise KdoptError(
            f"'{file}' gives a campaign no name: that starts with a letter or digit; call the file "
            "mine.toml, say"
        )
    if not str(path).isprintable():
        raise KdoptError(
            f"{str(path)!r}: its name holds characters that no line can show; call the file "
            "mine.toml, say"
        )
    # What begins with a dash would be an option.
    shown = shlex.quote(f"./{path}" if str(path).startswith("-") else str(path))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Exclusively: what is there may be hours of somebody's work.
        with path.open("x", encoding="utf-8") as stream:
            stream.write(write_starter(name, shown))
    except FileExistsError as error:
        raise KdoptError(f"{path}: is there already; give another name, or remove it") from error
    except OSError as error:
        raise KdoptError(
            f"{path}: cannot be written: {os.strerror(error.errno or 0)}; give another path"
        ) from error
    # On a line of its own, which a terminal copies as one.
    print(f"{path}: written; look at it, then:\n  kdopt run {shown}")
