from __future__ import annotations

import os

import pytest

from kdopt.launch import local
from kdopt.launch.local import slots


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")


def test_without_gpus_there_is_a_worker_per_core():
    assert len(slots(None)) == len(os.sched_getaffinity(0))
    assert {s.device for s in slots(None)} == {"cpu"}
    assert len(slots(5)) == 5


def test_gpus_are_shared_out_in_turn(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,2")
    found = [s.environment["CUDA_VISIBLE_DEVICES"] for s in slots(None, per_gpu=2)]
    assert found == ["0", "2", "0", "2"]
    assert [s.environment["CUDA_VISIBLE_DEVICES"] for s in slots(3)] == ["0", "2", "0"]
    assert {s.device for s in slots(3)} == {"cuda"}


def test_the_url_of_the_store_is_no_part_of_a_workers_command_line(monkeypatch, tmp_path):
    seen = {}

    class Recorded:
        def __init__(self, command, env, **_):
            seen.update(command=command, env=env)

        def poll(self):
            return 0

    monkeypatch.setattr(local.subprocess, "Popen", Recorded)
    url = "postgresql+psycopg://me:s3cret@host/db"
    local.LocalWorkers(slots(1), url, tmp_path, "tiny", tmp_path / "logs").run(lambda: None)
    assert "s3cret" not in " ".join(seen["command"])
    assert seen["env"]["KDOPT_STORE"] == url
