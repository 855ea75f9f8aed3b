"""Disks that fill up in mid-run: under real workers, their database and the database's server.

What came out stands in the table of faults (see ``tests.fault_table``).
"""

from __future__ import annotations

import os
import re
import sys

import pytest

from kdopt.campaign.spec import parse_spec
from kdopt.data.datasets import load_dataset
from kdopt.errors import ArtifactError
from kdopt.service.doctor import check_campaign
from kdopt.service.planner import draw_splits, plan_campaign
from kdopt.store.artifacts import Artifacts
from kdopt.store.database import open_store
from tests.disk import mounted
from tests.postgres import Postgres
from tests.started import start
from tests.waiting import wait_until
from tests.worker.cheap_campaign import GRID, plan_cheap
from tests.worker.fault_proof import only_diverged
from tests.worker.test_worker import SPEC

SEVERAL = SPEC.replace("participants = 2", "participants = 3").replace(
    '["uniform"]', '["uniform", "specialized"]'
)
FEW_CELLS = "temperatures = [1, 4]\nalphas = [0.5, 0.9]"


@pytest.fixture
def disk(tmp_path):
    with mounted(tmp_path / "small", 64 << 20) as made:
        yield made


def test_a_full_disk_stops_with_one_clear_message_and_loses_nothing(disk):
    shelf = Artifacts(disk.path / "artifacts")
    kept = shelf.put(b"a" * 200_000)
    disk.leave(400_000)
    with pytest.raises(ArtifactError, match="cannot be written: No space left"):
        shelf.put(b"b" * 600_000)
    assert [p for p in (disk.path / "artifacts").rglob("*") if p.name.endswith(".tmp")] == []
    assert shelf.get(kept) == b"a" * 200_000


def work_through(url, shelf, size):
    """Real workers until all have ended; their exit codes and what they said."""
    command = [sys.executable, "-m", "kdopt", "worker", "--artifacts", str(shelf.root)]
    workers = [start(command, env={**os.environ, "KDOPT_STORE": url}) for _ in range(size)]
    try:
        said = [w.communicate(timeout=600)[0] for w in workers]
    finally:
        for worker in workers:  # before the disk is taken away
            worker.kill()
    return [w.returncode for w in workers], said


@pytest.mark.parametrize("dialect", ["sqlite", "postgresql"])
def test_a_disk_that_fills_up_in_mid_campaign(request, disk, dialect, prove, opened):
    """SQLite: the database and the artifacts are on it. Postgres: the artifacts."""
    shelf = Artifacts(disk.path / "artifacts")
    if dialect == "sqlite":
        url = f"sqlite:///{disk.path / 'kdopt.db'}"
        open_store(url, create=True).close()
        fault, room = "disk of database and artifacts full", 700_000
    else:
        url = request.getfixturevalue("postgres_url")
        fault, room = "disk of artifacts full", 330_000  # three checkpoints
    store = opened(url)
    spec = parse_spec(SEVERAL.format(epochs=1, tune=FEW_CELLS, rate=1e-3))
    dataset = load_dataset(spec.campaign)
    splits = draw_splits(spec.campaign, dataset)
    planned = plan_campaign(spec, dataset, splits, store, shelf).trials
    disk.leave(room)
    codes, said = work_through(url, shelf, 2)
    assert codes == [2, 2], said
    for text in said:
        assert "Traceback" not in text
        assert "free space" in text
    before = check_campaign(store, shelf, "tiny")
    assert 0 < before.complete < planned == before.rows
    assert before.failed == 0
    disk.resize(64 << 20)
    codes, more = work_through(url, shelf, 1)
    assert codes == [0], more
    dropped = [re.search(r"(\d+) results? dropped", text) for text in [*said, *more]]
    found = prove(fault, store, shelf, planned, sum(int(d[1]) for d in dropped if d))
    assert found.complete == planned


def test_a_full_disk_under_the_database_server_is_waited_for(disk, shelf, prove, opened, crews):
    disk.resize(200 << 20)
    server = Postgres(disk.path / "data")
    try:
        url = server.url(server.new_database())
        store = opened(url, create=True)
        planned = plan_cheap(store, shelf, GRID)
        crew = crews(url, 3, may_end=20)
        wait_until(lambda: crew.count("finished") > 10)
        filler = disk.fill()
        crew.steer()
        wait_until(lambda: any("trying again" in line for line in crew.said))
        assert crew.count("finished") < planned
        assert [p.poll() for p in crew.running] == [None] * 3
        filler.unlink()
        server.restart()  # it gives itself up when it cannot write its log
        crew.finish()
        fault = "disk of the database server full"
        prove(fault, store, shelf, planned, crew.count("refused"))
        assert only_diverged(store)
    finally:
        server.stop()
