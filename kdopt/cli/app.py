"""The ``kdopt`` command line: its commands by purpose, each imported only when it is asked for.

So a command's module imports what it needs at its top, and still ``kdopt --help`` answers at once
and ``kdopt status`` does not wait for what draws reports. Only torch, which takes seconds, is
imported inside the functions that compute: a command may find that there is nothing to compute.
"""

from __future__ import annotations

import gc
import logging
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from importlib import import_module
from typing import Annotated, Any, NoReturn, get_args, get_type_hints

import typer
from typer.core import TyperCommand, TyperGroup

import kdopt
from kdopt.cli.announce import say_if_slow
from kdopt.cli.interrupts import INTERRUPTED, STOPPED_EARLY, leave_at_ctrl_c
from kdopt.cli.limits import NO_MORE_PROCESSES
from kdopt.cli.process import explain_os_error, finish_output, guard_streams, print_error
from kdopt.cli.suggestions import suggest_one_name
from kdopt.errors import KdoptError
from kdopt.typed import check_digits

COMMANDS = {
    "Run a campaign": {
        "new": "Write a campaign file to begin with, every line explained.",
        "run": "Plan a campaign, run it here and write its report.",
        "spec": "Show every setting of a campaign and its source.",
        "partitions": "Show each participant's images per class.",
        "images": "Write the images that a teacher given by its logits must answer.",
    },
    "Look at it": {
        "list": "List the campaigns of a store.",
        "status": "Show progress, workers, the ETA and failures.",
        "report": "Write a campaign's tables, figures and HTML page.",
        "best": "Say what is best for each measured pair.",
        "distill": "Write the best student of a pair to a file.",
        "recommend": "Advise what to do with a new pair.",
        "dashboard": "Browse the store in optuna-dashboard, read-only.",
    },
    "Run it on many machines": {
        "init": "Prepare a store: create its tables, or check their version.",
        "plan": "Write a campaign's studies and trials into the store.",
        "worker": "Run trials of a planned campaign until none is left.",
        "launch": "Start workers here, on Slurm or on Ray.",
        "features": "Measure pre-trained models on each other's images.",
    },
    "Look after the store": {
        "retry-failed": "Queue failed trials again.",
        "doctor": "Check that nothing was lost, done twice or changed by others.",
        "verify": "Run random finished trials again and compare.",
        "rename": "Give a campaign of the store another name.",
        "delete": "Delete a campaign from the store.",
        "cache": "Show how much room decoded images take, or clear it.",
        "backup": "Copy an SQLite store and its artifacts.",
        "merge": "Import another store's results of a campaign.",
    },
}
"""The commands by purpose. ``kdopt.cli.NAME`` holds ``NAME_command``, with ``_`` for ``-``. Its own
help begins with the same line, which is repeated here so that ``kdopt --help`` imports none."""

EXAMPLES = {
    "new": "kdopt new mine.toml && kdopt run mine.toml",
    "run": "kdopt run studies/quickstart.toml",
    "spec": "kdopt spec mine.toml",
    "partitions": "kdopt partitions mine.toml --html shares.html",
    "images": "kdopt images mine.toml --output images.npz",
    "list": "kdopt list",
    "status": "kdopt status --watch",
    "report": "kdopt report mine --figures pdf",
    "best": "kdopt best uniform/t00-s01",
    "distill": "kdopt distill uniform/t00-s01",
    "recommend": "kdopt recommend --pair uniform/t00-s01",
    "dashboard": "kdopt dashboard",
    "init": "kdopt init --store storage/kdopt.db",
    "plan": "kdopt plan mine.toml",
    "worker": "kdopt worker mine",
    "launch": "kdopt launch local --workers 4",
    "launch local": "kdopt launch local mine --workers 4",
    "launch slurm": "kdopt launch slurm mine --jobs 8 --job-time 4h",
    "launch ray": "kdopt launch ray mine --ray-address auto",
    "features": "kdopt features mine",
    "retry-failed": "kdopt retry-failed --reason memory",
    "doctor": "kdopt doctor --deep",
    "verify": "kdopt verify",
    "rename": "kdopt rename mine yours",
    "delete": "kdopt delete mine",
    "backup": "kdopt backup /mnt/backup",
    "merge": "kdopt merge other/kdopt.db",
    "cache": "kdopt cache",
    "cache clear": "kdopt cache clear",
}
"""How each command, and each below it, is typed; below its help."""

BEGINNING = "Begin with: kdopt new mine.toml && kdopt run mine.toml"

SETTINGS: dict[str, Any] = {
    "add_completion": False,
    "context_settings": {"help_option_names": ["-h", "--help"]},
    # Rich panels would import rich, and wrap by the terminal even in a pipe.
    "rich_markup_mode": None,
    "pretty_exceptions_enable": False,
}


class LazyCommands(Mapping[str, object]):
    """All commands by name; looking one up imports its module."""

    def __getitem__(self, name: str) -> object:
        if not any(name in group for group in COMMANDS.values()):
            raise KeyError(name)
        stem = name.replace("-", "_")
        with leave_at_ctrl_c(), say_if_slow(f"loading kdopt {name}"):
            found = getattr(import_module(f"kdopt.cli.{stem}"), f"{stem}_command")
        if isinstance(found, typer.Typer):
            found.info.context_settings = SETTINGS["context_settings"]
            command = typer.main.get_command(found)
        else:
            alone = typer.Typer(**SETTINGS)
            alone.command(name)(found)
            command = typer.main.get_command(alone)
        _adapt(command, name)
        return command

    def __iter__(self) -> Iterator[str]:
        return (name for group in COMMANDS.values() for name in group)

    def __len__(self) -> int:
        return sum(map(len, COMMANDS.values()))


def _adapt(command: Any, typed: str) -> None:
    """Let a command, and those below it, check values and answer typing errors as kdopt does.

    Empty texts, and numbers not in plain digits, are refused; an unknown name gets one suggestion.
    The help ends with an example.
    """
    command.epilog = f"Example: {EXAMPLES[typed]}"
    suggest_one_name(command)
    for name, below in getattr(command, "commands", {}).items():
        _adapt(below, f"{typed} {name}")
    types = get_type_hints(command.callback) if command.callback else {}
    for param in command.params:
        kind = types.get(param.name)
        is_number = bool({kind, *get_args(kind)} & {int, float})
        param.process_value = partial(_process_value, param, is_number, param.process_value)


def _process_value(
    param: Any, is_number: bool, process: Callable[..., Any], ctx: Any, value: Any
) -> Any:
    is_option = param.param_type_name == "option"
    name = param.opts[0] if is_option else (param.metavar or param.name.upper()).strip("[].")
    for text in value if isinstance(value, list | tuple) else [value]:
        # An empty path would be taken as the folder that one is in.
        if isinstance(text, str) and not text.strip():
            raise KdoptError(
                f"{name} '{text}': an empty text is no value; give one"
                + (", or leave the option out" if is_option else "")
            )
        if isinstance(text, str) and is_number:
            check_digits(text, name)
    return process(ctx, value)


class CommandGroup(TyperGroup):
    """``kdopt`` itself: its help needs no command's module."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.commands = LazyCommands()  # type: ignore[assignment]  # nothing is ever added to it
        suggest_one_name(self)

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was typed; one that says nothing of Ctrl-C is spoken for."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            print("stopped", file=sys.stderr)
            raise typer.Exit(INTERRUPTED) from None

    def shell_complete(self, ctx: Any, incomplete: str) -> list[Any]:
        """Complete the name of a command, which need not import it."""
        texts = {name: text for group in COMMANDS.values() for name, text in group.items()}
        lazy, self.commands = self.commands, {n: TyperCommand(n, help=t) for n, t in texts.items()}
        try:
            return super().shell_complete(ctx, incomplete)
        finally:
            self.commands = lazy

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the commands under their purposes; the classes of both are private in Typer."""
        width = max(map(len, self.commands))
        for purpose, group in COMMANDS.items():
            with formatter.section(purpose):
                formatter.write_dl([(name.ljust(width), text) for name, text in group.items()])


app = typer.Typer(
    cls=CommandGroup,
    name="kdopt",
    help="Which distillation method, temperature and alpha, for every teacher-student pair.",
    epilog=BEGINNING,
    no_args_is_help=True,
    **{**SETTINGS, "add_completion": True},
)


def run_command_line() -> NoReturn:
    """Run the command that was typed, and end the process.

    A :class:`KdoptError` becomes its message and exit code 2, and so does what the system refuses
    (a path, memory, a full disk); any other exception is a bug and keeps its traceback.
    """
    with guard_streams(sys.argv[1:], os.environ):
        logging.basicConfig(
            format="%(asctime)s %(levelname)s %(message)s",
            datefmt="%H:%M:%S",
            level=logging.WARNING,
        )
        code = _run_app()
    code = finish_output(code)
    if "torch" in sys.modules:
        # As it ends Python looks through all objects for some that hold each other. With torch's
        # that takes a second, and ten where others compute; nothing of kdopt needs it.
        gc.freeze()
    sys.exit(code)


def _run_app() -> int:
    try:
        app()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0
    except KeyboardInterrupt:
        print(STOPPED_EARLY, file=sys.stderr)
        code = INTERRUPTED
    except KdoptError as error:
        print_error(str(error))
        code = 2
    except OSError as error:
        print_error(explain_os_error(error))
        code = 2
    except UnicodeEncodeError as error:
        name = error.object[max(0, error.start - 100) : error.end + 100]
        print_error(f"'{name}': a name that is not UTF-8 cannot be used here; rename it")
        code = 2
    except (MemoryError, ImportError) as error:
        # A library that does not fit into the memory cannot be imported.
        if isinstance(error, ImportError) and "failed to map segment" not in str(error):
            raise
        print_error("the memory is not enough; use a smaller campaign or a larger machine")
        code = 2
    except RuntimeError as error:
        if "can't start new thread" not in str(error):
            raise
        print_error(f"no more threads can be started here; {NO_MORE_PROCESSES}")
        code = 2
    return code


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
