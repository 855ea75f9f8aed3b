from __future__ import annotations

import os
import re
import signal

import pytest

from kdopt.errors import KdoptError
from kdopt.launch import local
from kdopt.launch.call import WorkerCall
from kdopt.launch.local import assign_slots


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")


def test_without_gpus_there_is_a_worker_per_core():
    assert len(assign_slots(None)) == len(os.sched_getaffinity(0))
    assert {s.device for s in assign_slots(None)} == {"cpu"}
    assert len(assign_slots(5)) == 5


def test_gpus_are_shared_out_in_turn(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,2")
    found = [s.environment["CUDA_VISIBLE_DEVICES"] for s in assign_slots(None, per_gpu=2)]
    assert found == ["0", "2", "0", "2"]
    assert [s.environment["CUDA_VISIBLE_DEVICES"] for s in assign_slots(3)] == ["0", "2", "0"]
    assert {s.device for s in assign_slots(3)} == {"cuda"}


def test_gpus_can_be_chosen(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2,3")
    found = [
        s.environment["CUDA_VISIBLE_DEVICES"]
        for s in assign_slots(None, per_gpu=2, gpus=["3", "1"])
    ]
    assert found == ["3", "1", "3", "1"]
    # By its unique name too, which this process cannot look up.
    assert assign_slots(1, gpus=["GPU-1f2e"])[0].environment == {"CUDA_VISIBLE_DEVICES": "GPU-1f2e"}


@pytest.mark.parametrize(
    ("visible", "gpus", "device", "said"),
    [
        ("0,1", ["2"], None, "GPU 2: this process may use 0, 1"),
        ("", ["0"], None, "GPU 0: none is seen here"),
        ("0,1", [], None, "GPU (none)"),
        ("0,1", ["1", "1"], None, "GPU 1: named twice"),
        ("0,1", ["1"], "cpu", "give --device or --gpus, not both"),
    ],
)
def test_a_wrong_choice_of_gpus_is_refused(monkeypatch, visible, gpus, device, said):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    with pytest.raises(KdoptError, match=re.escape(said)):
        assign_slots(None, device=device, gpus=gpus)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_worker_that_is_just_being_started_is_stopped_with_the_others(
    monkeypatch, tmp_path, number
):
    told = []

    class Starting:
        def __init__(self, *_, **__):
            os.kill(os.getpid(), number)
            sum(range(10_000))  # time for Python to look for signals
            self.alive = True

        def poll(self):
            return None if self.alive else 0

        def send_signal(self, signal_number):
            told.append(signal_number)
            self.alive = False

        def wait(self, _timeout_s):
            return 0

    monkeypatch.setattr(local.subprocess, "Popen", Starting)
    call = WorkerCall("sqlite:///x.db", str(tmp_path), "tiny")
    with pytest.raises(KeyboardInterrupt):
        local.LocalWorkers(assign_slots(2), call, tmp_path / "logs").run(lambda: None)
    assert told == [signal.SIGTERM]


def test_the_url_of_the_store_is_no_part_of_a_workers_command_line(monkeypatch, tmp_path):
    seen = {}

    class Recorded:
        def __init__(self, command, env, **_):
            seen.update(command=command, env=env)

        def poll(self):
            return 0

    monkeypatch.setattr(local.subprocess, "Popen", Recorded)
    url = "postgresql+psycopg://me:s3cret@host/db"
    call = WorkerCall(url, str(tmp_path), "tiny", time_limit="90m")
    local.LocalWorkers(assign_slots(1), call, tmp_path / "logs").run(lambda: None)
    assert seen["command"][-4:] == ["--device", "cpu", "--time-limit", "90m"]
    assert "s3cret" not in " ".join(seen["command"])
    assert seen["env"]["KDOPT_STORE"] == url
