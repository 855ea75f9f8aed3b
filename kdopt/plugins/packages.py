"""Installed packages: what they offer as entry points, and which code of theirs it is.

A package is named by its version and by a hash of its Python files, so that a changed checkout and
another build are told apart. Nothing of a package is imported to find this out.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterator
from importlib import metadata, util
from pathlib import Path

from kdopt.campaign.record import CodeSource
from kdopt.errors import KdoptError
from kdopt.plugins.declare import DECLARED, CodeKind, Declared

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
