"""Plugin files: the files that a user gave by path, each named by its content.

A file is read when it is given and run only when something of it is asked for, from the very bytes
that were hashed. Paths come from the command line, the environment or a script; nothing that reads
a campaign file or a store ever adds one.
"""

from __future__ import annotations

import hashlib
import linecache
import sys
import types
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from kdopt.campaign.record import CodeSource
from kdopt.errors import KdoptError
from kdopt.files import read_input
from kdopt.plugins.declare import DECLARED, Declared

LARGEST_PLUGIN = 10_000_000
"""Bytes of a plugin file."""


class PluginFile(NamedTuple):
    """A file that a user gave.

    Attributes:
        path: Where it is, absolute.
        content: What it was when it was given.
        source: How records name it.
    """

    path: Path
    content: bytes
    source: CodeSource


_given: list[PluginFile] = []
_ran: dict[str, list[Declared]] = {}


def give_plugins(paths: Iterable[str | Path]) -> None:
    """Let kdopt run these files in this process, and no others that were given before.

    Raises:
        KdoptError: A file cannot be read, or is no Python file.
    """
    files = [_read_file(Path(path)) for path in paths]
    _given[:] = {file.source.sha256: file for file in files}.values()


def list_given_plugins() -> list[PluginFile]:
    """The files that were given."""
    return list(_given)


def run_plugin(file: PluginFile) -> list[Declared]:
    """Run a file that was given, once in a process; what it offers.

    Raises:
        KdoptError: It fails, or offers nothing, or two things under one name.
    """
    if file not in _given:
        raise KdoptError(f"{file.path}: it was not given by --plugin, so it is not run")
    key = file.source.sha256
    if key not in _ran:
        _ran[key] = _run_file(file)
    return _ran[key]


def _run_file(file: PluginFile) -> list[Declared]:
    module = types.ModuleType(f"kdopt_plugin_{file.source.sha256[:16]}")
    module.__file__ = str(file.path)
    # Dataclasses and pickles of its classes look for the module by name.
    sys.modules[module.__name__] = module
    try:
        code = compile(file.content, str(file.path), "exec")
        exec(code, module.__dict__)  # noqa: S102  # the user gave this file to be run
    except KdoptError as error:
        raise KdoptError(f"--plugin {file.path}: {error}") from error
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        line = _find_line(error, str(file.path))
        raise KdoptError(
            f"--plugin {file.path}: running it failed{line}: {reason}; correct the file"
        ) from error
    finally:
        linecache.checkcache(str(file.path))
        # What it imported may have offered things of its own: these are a package's.
        found = [declared for declared in DECLARED if declared.module == module.__name__]
    names = [(declared.kind, declared.name) for declared in found]
    for kind, name in names:
        if names.count((kind, name)) > 1:
            raise KdoptError(f"--plugin {file.path}: it offers {kind} '{name}' twice; rename one")
    if not found:
        raise KdoptError(
            f"--plugin {file.path}: it offers nothing; decorate a function with register_model, "
            "register_method or register_dataset of kdopt.plugins"
        )
    return found


def _read_file(path: Path) -> PluginFile:
    try:
        whole = path.expanduser().absolute()
        content = read_input(whole, LARGEST_PLUGIN)
    except (OSError, RuntimeError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise KdoptError(f"--plugin {path}: {reason}; give the path of a Python file") from error
    sha256 = hashlib.sha256(content).hexdigest()
    return PluginFile(whole, content, CodeSource("file", whole.name, "", sha256))


def _find_line(error: BaseException, path: str) -> str:
    line = None
    if isinstance(error, SyntaxError):
        line = error.lineno
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == path:
            line = trace.tb_lineno
        trace = trace.tb_next
    return "" if line is None else f" in line {line}"
