"""A fault of the device or the machine stops a worker; it never becomes a failed trial."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from kdopt.errors import KdoptError
from kdopt.store import leases
from kdopt.worker import worker as worker_module
from kdopt.worker.summary import BrokenDeviceError

STICKY = "CUDA error: an illegal memory access was encountered\nCUDA kernel errors might be ..."


@pytest.fixture
def break_trials(monkeypatch):
    def break_all(error):
        def fail(*_):
            raise error

        monkeypatch.setitem(
            worker_module.RUNNERS,
            "tune",
            dataclasses.replace(worker_module.RUNNERS["tune"], run=fail, run_together=None),
        )

    return break_all


@pytest.mark.parametrize(
    "error",
    [OSError(28, "No space left on device"), OSError(24, "Too many open files")],
    ids=["disk", "files"],
)
def test_a_fault_of_the_machine_gives_the_trial_back(world, break_trials, error):
    before = world.states
    break_trials(error)
    with pytest.raises(KdoptError, match=f"this machine failed a trial: .*{error.strerror}"):
        world.run()
    assert world.states == before


def test_a_broken_device_stops_its_worker_and_not_all_trials(world, break_trials):
    before = world.states
    break_trials(torch.AcceleratorError(STICKY))
    with pytest.raises(BrokenDeviceError, match="the device failed: CUDA error: an illegal"):
        world.run()
    assert world.states["FAIL"] == 0
    assert world.states["RUNNING"] == 1, "lost with its worker, which counts"
    # As other workers do, once the process has ended.
    assert leases.requeue_lost_trials(world.store, lambda worker: True) == 1
    assert world.states == before


def test_a_trial_that_breaks_every_device_fails_in_the_end(world, break_trials):
    break_trials(torch.AcceleratorError(STICKY))
    for _ in range(20):
        if world.states["FAIL"]:
            break
        with pytest.raises(BrokenDeviceError):
            world.run()
        leases.requeue_lost_trials(world.store, lambda worker: True)
    assert world.states["FAIL"] >= 1


def test_what_a_model_does_wrong_is_its_trials_own_fault(world, break_trials):
    break_trials(ZeroDivisionError("by its own code"))
    world.run()
    assert world.states["FAIL"] == 2
