"""Checkpoints, index arrays and states of long trials, named by the sha256 of their content.

The name is the check: content is used only if it still has the hash that the store recorded, and
writing the same content twice is harmless. The format is safetensors, which holds arrays and
nothing that runs; what a warm campaign learns from is JSON under a name of the same form.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, TypeVar

from kdopt.errors import ArtifactError, LostArtifactError
from kdopt.files import open_input
from kdopt.store.location import parse_place
from kdopt.store.remote_artifacts import RemoteFiles

T = TypeVar("T")


class Artifacts:
    """Content-addressed files in a folder or below a URL.

    Args:
        place: A folder, ``s3://BUCKET/PREFIX``, ``gs://BUCKET/PREFIX`` or another URL that fsspec
            can write; a folder is made when the first file is written.

    Raises:
        ArtifactError: The URL cannot be used; see
            :func:`kdopt.store.location.parse_place`.
    """

    def __init__(self, place: str | Path) -> None:
        parsed = parse_place(place)
        self._files: Files = _Folder(parsed) if isinstance(parsed, Path) else RemoteFiles(parsed)

    @property
    def root(self) -> Path | str:
        """The folder or the URL, which holds no secrets; as text it opens the same artifacts."""
        return self._files.root

    def path(self, sha256: str) -> Path | str:
        """Where the content of that hash lies, as messages name it.

        Raises:
            ArtifactError: The text is not a sha256.
        """
        return self._files.place(_name_file(sha256))

    def put(self, content: bytes) -> str:
        """Write content and return its sha256; content that is there already is left alone.

        It appears whole or not at all.

        Raises:
            ArtifactError: It cannot be written (permissions, disk full, no network).
        """
        sha256 = hash_content(content)
        self._files.write(_name_file(sha256), content)
        return sha256

    def has(self, sha256: str) -> bool:
        """Whether content of that hash is there; only reading it tells whether it is whole.

        Raises:
            ArtifactError: The place cannot be asked.
        """
        return self._files.exists(_name_file(sha256))

    def discard(self, sha256: str) -> None:
        """Remove content that nothing refers to any more; nothing happens if it is not there."""
        self._files.remove(_name_file(sha256))

    def get(self, sha256: str) -> bytes:
        """Read the content of that hash.

        Raises:
            ArtifactError: It is missing, unreadable or altered.
        """
        name = _name_file(sha256)
        try:
            content = self._files.read(name)
        except (MemoryError, OverflowError) as error:
            raise LostArtifactError(
                f"artifact {self._files.place(name)}: larger than this machine's memory, so it was "
                "altered; bring the original back, or start the campaign under a new name"
            ) from error
        found = hashlib.sha256(content).hexdigest()
        if found != sha256:
            raise LostArtifactError(
                f"artifact {self._files.place(name)}: damaged or altered: its sha256 is "
                f"{found[:12]}..., the store recorded {sha256[:12]}...; bring the original back, "
                "or start the campaign under a new name"
            )
        return content

    def read(self, sha256: str, purpose: str, parse: Callable[[bytes], T]) -> T:
        """Read the content of that hash as what it is for.

        A right hash says only that the content is what somebody put there once.

        Args:
            sha256: The hash.
            purpose: What it is, as messages say it, such as ``splits of uniform``.
            parse: Makes the value; it raises ``ArtifactError`` with what is wrong.

        Raises:
            ArtifactError: It is missing, unreadable or altered, or cannot be what it is for.
        """
        content = self.get(sha256)
        try:
            return parse(content)
        except ArtifactError as error:
            raise ArtifactError(
                f"artifact {self.path(sha256)} ({purpose}, sha256 {sha256[:12]}...): {error}; "
                "bring the right file back, or start the campaign under a new name"
            ) from error


def hash_content(content: bytes) -> str:
    """What names a content: its sha256."""
    return hashlib.sha256(content).hexdigest()


class Files(Protocol):
    """Named content in one place; names are relative paths with forward slashes."""

    @property
    def root(self) -> Path | str:
        """The place."""
        ...

    def place(self, name: str) -> Path | str:
        """Where one content lies, as messages show it."""
        ...

    def read(self, name: str) -> bytes:
        """The content; raise ``ArtifactError`` when it is missing or cannot be read."""
        ...

    def exists(self, name: str) -> bool:
        """Whether there is content of that name; raise ``ArtifactError`` if that is not known."""
        ...

    def write(self, name: str, content: bytes) -> None:
        """Make content appear whole, unless it is there; raise ``ArtifactError`` if that fails."""
        ...

    def remove(self, name: str) -> None:
        """Remove content if it is there; never fails."""
        ...


class _Folder:
    def __init__(self, root: Path) -> None:
        self.root = root

    def place(self, name: str) -> Path:
        return self.root / name

    def read(self, name: str) -> bytes:
        path = self.place(name)
        try:
            with open_input(path) as file:
                return file.read()
        except FileNotFoundError as error:
            raise LostArtifactError(
                f"artifact {path}: missing; give the place that has it by --artifacts, bring it "
                "back (kdopt merge copies it from another store of the campaign), or start the "
                "campaign under a new name"
            ) from error
        except OSError as error:
            raise ArtifactError(f"artifact {path}: cannot be read: {error.strerror}") from error

    def exists(self, name: str) -> bool:
        path = self.place(name)
        try:
            return path.is_file()
        except OSError as error:
            raise ArtifactError(
                f"artifact {path}: cannot be looked for: {error.strerror}; change the permissions "
                "of its folder"
            ) from error

    def write(self, name: str, content: bytes) -> None:
        """Write under a unique name, flush to disk, then rename."""
        target = self.place(name)
        with contextlib.suppress(OSError):
            # By its bytes, not its size: one that was altered is put right here.
            if target.stat().st_size == len(content) and target.read_bytes() == content:
                return
        temporary = target.with_name(f".{target.stem}.{uuid.uuid4().hex}.tmp")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with temporary.open("wb") as file:
                file.write(content)
                file.flush()
                # Or a power cut could keep the new name and lose what it names.
                os.fsync(file.fileno())
            temporary.replace(target)
        except OSError as error:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise ArtifactError(
                f"artifact folder {self.root}: cannot be written: {error.strerror}; free space "
                "or change permissions and run the same command again; nothing recorded is lost"
            ) from error

    def remove(self, name: str) -> None:
        with contextlib.suppress(OSError):
            self.place(name).unlink(missing_ok=True)


def _name_file(sha256: str) -> str:
    """The file of a hash; that it is one keeps names inside the place."""
    if len(sha256) != 64 or not set(sha256) <= set("0123456789abcdef"):
        raise ArtifactError(f"artifact '{sha256}': not a sha256 (64 characters of 0-9a-f)")
    return f"{sha256[:2]}/{sha256}.safetensors"
