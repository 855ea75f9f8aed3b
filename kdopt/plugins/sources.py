"""Where code that is not kdopt's comes from: files that a user gave, and installed packages.

A file is named by its content. It is read when it is given and run only when something of it is
asked for, from the very bytes that were hashed. Paths come from the command line, the environment
or a script; nothing that reads a campaign file or a store ever adds one.

A package offers code as entry points. It is named by its version and by a hash of its Python files,
so that a changed checkout and another build are told apart. Nothing of it is imported to find this
out.
"""

from __future__ import annotations

import functools
import hashlib
import linecache
import sys
import types
from collections.abc import Iterable, Iterator
from importlib import metadata, util
from pathlib import Path
from typing import NamedTuple

from kdopt.campaign.record import CodeSource
from kdopt.errors import InputError, KdoptError
from kdopt.files import read_input
from kdopt.plugins.declare import DECLARED, CodeKind, Declared
from kdopt.typed import refuse_empty

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
        KdoptError: A file cannot be read, or is no Python file; or a single path is given.
    """
    if isinstance(paths, str | Path):
        refuse_empty(paths=paths)
        raise InputError(f"paths = '{paths}': must be a list of paths; write ['{paths}']")
    paths = list(paths)
    for path in paths:
        refuse_empty(path=path)
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


ENTRY_POINT_GROUPS: dict[CodeKind, str] = {
    "model": "kdopt.models",
    "method": "kdopt.methods",
    "dataset": "kdopt.datasets",
}
"""Groups of entry points; no other is ever looked at."""

BUILD_FILES = ("version.py", "_version.py")
"""Files that say how a package was built: they differ where nothing that runs does, as between
builds for CPUs and for GPUs."""


def find_offer(kind: CodeKind, name: str) -> metadata.EntryPoint | None:
    """The entry point by which an installed package offers something; ``None`` if none does.

    Raises:
        KdoptError: Several packages offer it.
    """
    found = {
        point.dist.name: point
        for point in metadata.entry_points(group=ENTRY_POINT_GROUPS[kind], name=name)
        if point.dist is not None
    }
    if len(found) > 1:
        raise KdoptError(
            f"{kind} '{name}': several installed packages offer it, {', '.join(sorted(found))}; "
            "uninstall all but one"
        )
    return next(iter(found.values()), None)


def load_offer(kind: CodeKind, point: metadata.EntryPoint) -> Declared:
    """Import what an entry point names.

    Raises:
        KdoptError: It cannot be imported, or was not offered under this name.
    """
    where = f"{kind} '{point.name}' of package {point.dist.name if point.dist else '?'}"
    try:
        function = point.load()
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        raise KdoptError(f"{where}: importing {point.value} failed: {reason}") from error
    for declared in DECLARED:
        if (declared.kind, declared.name) == (kind, point.name) and declared.function is function:
            return declared
    raise KdoptError(
        f"{where}: {point.value} is not decorated with register_{kind}('{point.name}') of "
        "kdopt.plugins; correct the package"
    )


@functools.cache
def describe_package(name: str) -> CodeSource | None:
    """An installed package as records name it; ``None`` where it is not installed."""
    try:
        package = metadata.distribution(name)
    except (metadata.PackageNotFoundError, ValueError):
        return None
    digest = hashlib.sha256()
    for key, path in sorted(_list_python_files(package)):
        content = path.read_bytes()
        digest.update(f"{key} {len(content)};".encode())
        digest.update(content)
    # Builds of one version (``+cpu``) do not count.
    version = package.version.partition("+")[0]
    return CodeSource("package", package.name, version, digest.hexdigest())


def _list_python_files(package: metadata.Distribution) -> Iterator[tuple[str, Path]]:
    """The Python files of a package, by their paths within it."""
    listed = [file for file in package.files or () if _is_code(str(file))]
    if listed:
        for file in listed:
            path = Path(str(file.locate()))
            if path.is_file():
                yield file.as_posix(), path
        return
    # Installed as a link to a checkout: its files are those of its modules.
    for top in sorted({point.module.partition(".")[0] for point in package.entry_points}):
        spec = util.find_spec(top)  # of a name without a dot, which imports nothing
        for folder in (spec and spec.submodule_search_locations) or ():
            for path in Path(folder).rglob("*.py"):
                if _is_code(path.name):
                    yield f"{top}/{path.relative_to(folder).as_posix()}", path
        if spec and spec.origin and not spec.submodule_search_locations:
            yield top, Path(spec.origin)


def _is_code(path: str) -> bool:
    return path.endswith(".py") and not path.startswith("..") and not path.endswith(BUILD_FILES)
