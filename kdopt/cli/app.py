"""The ``kdopt`` command line: its commands in the order of ``kdopt --help``.

Command modules import only typer and this room's options at the top. What a command needs is
imported inside its function, so that ``kdopt --help`` answers at once and commands that do not
train never load torch.
"""

from __future__ import annotations

import logging
import sys
from typing import Annotated

import typer

import kdopt
from kdopt.cli.backup import backup_command
from kdopt.cli.dashboard import dashboard_command
from kdopt.cli.doctor import doctor_command
from kdopt.cli.features import features_command
from kdopt.cli.init import init_command
from kdopt.cli.launch import launch_app
from kdopt.cli.merge import merge_command
from kdopt.cli.partitions import partitions_command
from kdopt.cli.plan import plan_command
from kdopt.cli.recommend import recommend_command
from kdopt.cli.report import report_command
from kdopt.cli.retry_failed import retry_failed_command
from kdopt.cli.run import run_command
from kdopt.cli.spec import spec_command
from kdopt.cli.status import status_command
from kdopt.cli.worker import worker_command
from kdopt.errors import KdoptError

app = typer.Typer(
    name="kdopt",
    help="Which distillation method, temperature and alpha, for every teacher-student pair.",
    no_args_is_help=True,
    add_completion=False,
    # Rich panels would import rich, and wrap by the terminal even in a pipe.
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

# From a campaign file to answers ...
app.command("run")(run_command)
app.command("status")(status_command)
app.command("report")(report_command)
app.command("recommend")(recommend_command)
app.command("dashboard")(dashboard_command)
# ... a look before it starts ...
app.command("spec")(spec_command)
app.command("partitions")(partitions_command)
# ... on many machines ...
app.command("init")(init_command)
app.command("plan")(plan_command)
app.command("worker")(worker_command)
app.add_typer(launch_app, name="launch")
# ... and upkeep.
app.command("retry-failed")(retry_failed_command)
app.command("features")(features_command)
app.command("doctor")(doctor_command)
app.command("backup")(backup_command)
app.command("merge")(merge_command)


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


def _print_version(asked: bool) -> None:
    if asked:
        print(f"kdopt {kdopt.__version__}")
        raise typer.Exit


@app.callback()
def _declare_root_options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    pass
