from __future__ import annotations

import sys

import pytest
import torch

from kdopt.campaign.participants import Architecture
from kdopt.errors import KdoptError
from kdopt.train.engine import seeded
from kdopt.train.models import make_model
from kdopt.train.rehearsal import rehearse_model

CPU = torch.device("cpu")


def test_models_of_timm_take_any_images_and_start_from_torchs_generator():
    pytest.importorskip("timm")
    for name in ("timm:test_vit", "timm:test_resnet"):
        states = []
        for seed in (0, 0, 1):
            with seeded(seed, CPU):
                states.append(make_model(name, (1, 32, 32), 7).state_dict())
        same, other = ([torch.equal(states[0][k], s[k]) for k in states[0]] for s in states[1:])
        assert all(same) and not all(other), name
    model = make_model("timm:test_vit", (3, 48, 48), 5)
    assert model(torch.zeros(2, 3, 48, 48)).shape == (2, 5)


def test_a_model_of_timm_stands_between_images_of_another_size():
    pytest.importorskip("timm")
    kind = Architecture("timm:test_vit", image_size=32, channels=3)
    rehearse_model(kind, (1, 8, 8), tuple("abc"), (0.5,), (0.5,))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("timm:test_vitt", "did you mean test_vit"),
        ("timm:test_vit.r160_in1k", "write timm:test_vit, and give weights by 'weights'"),
        ("timm:hf-hub:timm/test_vit", "no such model"),
        ("timm:local-dir:/tmp", "no such model"),
        ("timm:../../x", "no such model"),
    ],
)
def test_only_names_of_timms_registry_are_taken_and_nothing_is_downloaded(name, words):
    pytest.importorskip("timm")
    with pytest.raises(KdoptError) as caught:
        make_model(name, (1, 32, 32), 3)
    assert words in str(caught.value)


def test_images_that_a_model_cannot_cut_up_are_one_message():
    pytest.importorskip("timm")
    with pytest.raises(KdoptError, match="cannot classify images of 1x8x8"):
        make_model("timm:test_vit", (1, 8, 8), 3)


def test_vectors_are_refused():
    with pytest.raises(KdoptError, match="it takes images, and the data are vectors"):
        make_model("timm:test_vit", (64,), 3)


def test_an_extra_that_is_not_installed_is_named_with_its_pip_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(KdoptError) as caught:
        make_model("timm:test_vit", (1, 32, 32), 3)
    assert "timm is not installed" in str(caught.value)
    assert "pip install 'kdopt[timm]'" in str(caught.value)
