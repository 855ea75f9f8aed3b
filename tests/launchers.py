"""A Slurm that several tests share, and campaigns that end with their tests."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests import slurm as real
from tests.launch.campaigns import Bench
from tests.slurm import Slurm


@pytest.fixture
def make_bench(tmp_path: Path) -> Iterator[Callable[..., Bench]]:
    """Plans a campaign in the test's folder."""
    made = []

    def make(**settings) -> Bench:
        made.append(Bench(tmp_path, **settings))
        return made[-1]

    yield make
    for bench in made:
        bench.close()


@pytest.fixture(scope="session")
def slurm() -> Iterator[Slurm]:
    """A real Slurm, started when the first test asks for it; a skip where there can be none."""
    reason = real.missing()
    if reason:
        pytest.skip(reason)
    # Not below pytest's own folder, which is private: munge wants its socket to be reachable.
    with tempfile.TemporaryDirectory(prefix="kdopt-slurm-") as folder:
        try:
            server = Slurm(Path(folder))
        except RuntimeError as error:
            pytest.skip(str(error))
        yield server
        server.stop()
