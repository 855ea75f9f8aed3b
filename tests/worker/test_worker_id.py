from __future__ import annotations

import subprocess
import sys

import psutil

from kdopt.worker.worker_id import is_dead, name_worker, parse_worker_name

SHOW = "from kdopt.worker.worker_id import name_worker; print(name_worker(), flush=True); input()"


def test_a_live_worker_is_not_dead_and_a_killed_one_is():
    process = subprocess.Popen(
        [sys.executable, "-c", SHOW], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    name = process.stdout.readline().strip()
    assert not is_dead(name)
    process.kill()
    process.communicate()
    assert is_dead(name)


def test_a_process_number_that_is_used_again_does_not_revive_a_worker():
    host, pid, started, machine = name_worker().split("/")
    assert not is_dead(name_worker())
    assert is_dead(f"{host}/{pid}/{int(started) - 100}/{machine}")


def test_a_step_of_the_clock_kills_nobody(monkeypatch):
    """psutil works start times out from the time of boot, which follows the clock."""
    name = name_worker()
    actual = psutil._pslinux.boot_time()
    monkeypatch.setattr(psutil._pslinux, "boot_time", lambda: actual + 3600)
    assert name_worker() == name
    assert not is_dead(name)


def test_workers_of_other_machines_are_never_declared_dead():
    host, _, started, _ = name_worker().split("/")
    assert not is_dead(f"{host}/999999/{started}/elsewhere")
    for odd in ("", "me", "a/b/c/d", name_worker() + "/x"):
        assert not is_dead(odd)


def test_a_name_that_says_the_device_is_as_alive_as_one_that_does_not():
    named = name_worker("cuda:1")
    assert named.startswith(name_worker() + "/")
    assert not is_dead(named)
    host, pid, started, machine, device = named.split("/")
    assert is_dead("/".join([host, pid, f"{int(started) - 100}", machine, device]))


def test_people_read_host_process_and_device():
    assert parse_worker_name("node7/123/4.5/abc/cpu") == ("node7", "123", "cpu")
    assert parse_worker_name("node7/123/4.5/abc") == ("node7", "123", "")
    assert parse_worker_name("?") == ("?", "", "")
    assert parse_worker_name(name_worker("a/b")).device == "a_b"


def test_a_gpu_goes_by_the_number_that_the_machine_knows(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    assert (
        parse_worker_name(name_worker("cuda")).device
        == parse_worker_name(name_worker("cuda:0")).device
        == "cuda:3"
    )
    assert parse_worker_name(name_worker("cpu")).device == "cpu"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    assert parse_worker_name(name_worker("cuda:1")).device == "cuda:1"
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert parse_worker_name(name_worker("cuda")).device == "cuda"
