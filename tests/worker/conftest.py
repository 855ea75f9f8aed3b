"""What the tests of faults share."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kdopt.store.artifacts import Artifacts
from kdopt.store.database import Store, open_store
from tests.crew import crews  # noqa: F401  (pytest finds them here)
from tests.worker.fault_proof import prove  # noqa: F401


@pytest.fixture
def opened() -> Iterator[Callable[..., Store]]:
    """Opens stores that are closed after the test, also when it fails."""
    with contextlib.ExitStack() as after:
        yield lambda url, **how: after.enter_context(contextlib.closing(open_store(url, **how)))


@pytest.fixture
def shelf(tmp_path: Path) -> Artifacts:
    return Artifacts(tmp_path / "artifacts")
