"""``kdopt cache``: decoded images that are kept between runs."""

from __future__ import annotations

import typer

from kdopt.data.sources.image_files import clear_decoded, list_decoded, locate_decoded
from kdopt.shown import format_count

cache_command = typer.Typer(
    help="""Show how much room decoded images take, or clear it.

    The images of folders are decoded once and kept, so that each worker need not do it again.""",
    invoke_without_command=True,
    add_completion=False,
    rich_markup_mode=None,
)


@cache_command.callback()
def _show_cache(context: typer.Context) -> None:
    if context.invoked_subcommand is not None:
        return
    files = list_decoded()
    size = sum(file.stat().st_size for file in files)
    print(f"{locate_decoded()}: {format_count(len(files), 'data set')}, {size / 2**20:,.0f} MiB")


@cache_command.command("clear")
def clear_cache_command() -> None:
    """Remove all decoded images.

    They are decoded again when a campaign needs them. Workers that run have read theirs.
    """
    print(f"{locate_decoded()}: {clear_decoded() / 2**20:,.0f} MiB removed")
