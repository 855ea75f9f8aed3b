"""Devices that are not there are refused before anything is planned or tried on them."""

from __future__ import annotations

import pytest
import torch

from kdopt.errors import KdoptError
from kdopt.launch.local import assign_slots
from kdopt.train.engine import make_engine
from kdopt.typed import parse_device
from tests.hostile.world import kdopt

GOOD = {"cpu": ("cpu", None), "cuda": ("cuda", None), "cuda:12": ("cuda", 12)}
BAD = [
    *("meta", "xla", "mps", "hip", "vulkan", "privateuseone", "xpu", "cpu:0", "cpu:7", "cuda:"),
    *("", " ", "CPU", "cuda:-1", "cuda:00", "cuda:1.0", "cuda:99999", "cuda:\u0661", "cuda:0x1"),
    *("cuda0", "gpu", "cpu\n", "cuda:0;meta", "x" * 5000),
]


@pytest.mark.parametrize("text", GOOD)
def test_devices_that_kdopt_computes_on(text):
    assert parse_device(text) == GOOD[text]


@pytest.mark.parametrize("text", BAD, ids=lambda text: repr(text[:12]))
def test_all_other_devices_are_refused(text):
    for refuse in (
        lambda: make_engine("fp32", text),
        lambda: assign_slots(1, 1, text),
    ):
        with pytest.raises(KdoptError, match="use cpu, cuda or cuda:N") as found:
            refuse()
        assert f"device '{text[:100]}'" in str(found.value) and len(str(found.value)) < 2000


def test_a_gpu_beyond_those_that_are_there_is_refused():
    there = torch.cuda.device_count()
    with pytest.raises(KdoptError, match=f"this process sees {there} GPU"):
        make_engine("fp32", f"cuda:{there}")


@pytest.mark.parametrize("device", ["meta", "cuda:77"])
def test_nothing_is_planned_for_a_device_that_is_not_there(tmp_path, device):
    (tmp_path / "spec.toml").write_text(
        'name = "tiny"\nmodel = "mlp"\nparticipants = 2\npartitions = ["uniform"]\n'
        '[data]\nname = "digits"\n'
    )
    store = tmp_path / "store" / "kdopt.db"
    ended = kdopt(tmp_path, "run", "spec.toml", "--store", store, "--device", device)
    assert ended.returncode == 2 and "Traceback" not in ended.stderr
    assert f"kdopt: error: device '{device}'" in ended.stderr
    assert not store.parent.exists()


def test_no_trial_fails_by_a_device(world):
    before = world.states
    store = world.folder / "kdopt.db"
    for command in (["worker"], ["launch", "local"]):
        ended = kdopt(world.folder, *command, "--store", store, "--device", "meta")
        assert ended.returncode == 2 and "kdopt: error: device 'meta'" in ended.stderr, command
    assert world.states == before
