"""What trials need of the world around them, so that they know neither a database nor a worker."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol, TypeVar

from kdopt.outcome import Outcome, Scores

T = TypeVar("T")
Inputs = Mapping[int, Outcome]
"""The pre-training outcome of each participant of the study's partition."""


class Journal(Protocol):
    """What a long trial records while it runs. Its result must not depend on the answers."""

    def saved(self) -> bytes | None:
        """The last state that this trial saved, in this worker or in one that was lost."""
        ...

    def save(self, step: int, state: bytes) -> None:
        """Keep a state to resume from; it replaces the one before."""
        ...

    def report(self, values: Mapping[int, float]) -> None:
        """Show the objective at these steps; a later value of a step replaces the earlier one."""
        ...


class NoJournal:
    """A journal that keeps nothing, for a trial that nobody watches or resumes."""

    def saved(self) -> bytes | None:
        """Nothing was saved."""
        return None

    def save(self, step: int, state: bytes) -> None:
        """See :class:`Journal`."""

    def report(self, values: Mapping[int, float]) -> None:
        """See :class:`Journal`."""


class ArtifactFolder(Protocol):
    """Content by hash, as ``kdopt.store.artifacts`` gives it."""

    def read(self, sha256: str, purpose: str, parse: Callable[[bytes], T]) -> T:
        """Read content as what it is for; raise ``ArtifactError`` when it cannot be that."""
        ...

    def put(self, content: bytes) -> str:
        """Write content and return its sha256."""
        ...


class Scored(Protocol):
    """A model that was scored, as an outcome is."""

    @property
    def validation(self) -> Scores:
        """On validation."""
        ...

    @property
    def test(self) -> Scores:
        """On test."""
        ...
