"""Checkpoints and index arrays as files named by the sha256 of their content.

The name is the check: a file is read only if its content still has the hash that the store
recorded, and writing the same content twice is harmless. The format is safetensors, which holds
arrays and nothing that runs.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import uuid
from pathlib import Path

from kdopt.errors import ArtifactError


class Artifacts:
    """A folder of content-addressed files.

    Args:
        root: The folder; it is made when the first file is written.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, sha256: str) -> Path:
        """Where the content of that hash lies.

        Raises:
            ArtifactError: The text is not a sha256 (which also keeps paths inside the folder).
        """
        if len(sha256) != 64 or not set(sha256) <= set("0123456789abcdef"):
            raise ArtifactError(f"artifact '{sha256}': not a sha256 (64 characters of 0-9a-f)")
        return self.root / sha256[:2] / f"{sha256}.safetensors"

    def put(self, content: bytes) -> str:
        """Write content and return its sha256.

        The file appears whole or not at all: it is written under a unique name, flushed to disk
        and then renamed.

        Raises:
            ArtifactError: The folder cannot be written (permissions, disk full).
        """
        sha256 = hashlib.sha256(content).hexdigest()
        target = self.path(sha256)
        if target.exists() and target.stat().st_size == len(content):
            with contextlib.suppress(ArtifactError):
                self.get(sha256)
                return sha256
        temporary = target.with_name(f".{sha256}.{uuid.uuid4().hex}.tmp")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with temporary.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(target)
        except OSError as error:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise ArtifactError(
                f"artifact folder {self.root}: cannot be written: {error.strerror}; free space "
                "or change permissions and run the same command again; nothing recorded is lost"
            ) from error
        return sha256

    def discard(self, sha256: str) -> None:
        """Remove content that nothing refers to any more; nothing happens if it is not there."""
        with contextlib.suppress(OSError):
            self.path(sha256).unlink(missing_ok=True)

    def get(self, sha256: str) -> bytes:
        """Read the content of that hash.

        Raises:
            ArtifactError: The file is missing, unreadable or altered.
        """
        path = self.path(sha256)
        try:
            content = path.read_bytes()
        except FileNotFoundError as error:
            raise ArtifactError(
                f"artifact {path}: missing; bring the folder back, or start the campaign "
                "under a new name"
            ) from error
        except OSError as error:
            raise ArtifactError(f"artifact {path}: cannot be read: {error.strerror}") from error
        found = hashlib.sha256(content).hexdigest()
        if found != sha256:
            raise ArtifactError(
                f"artifact {path}: damaged or altered: its sha256 is {found[:12]}..., the store "
                f"recorded {sha256[:12]}...; bring the original file back, or start the campaign "
                "under a new name"
            )
        return content
