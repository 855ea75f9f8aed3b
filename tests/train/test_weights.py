import os
import pickle

import pytest
import safetensors.torch
import torch

from kdopt.campaign.participants import Architecture
from kdopt.data.datasets import Dataset
from kdopt.errors import KdoptError
from kdopt.train.models import make_model
from kdopt.train.weights import parse_architecture, parse_tensors, read_weights

CLASSES = tuple("abcd")


@pytest.fixture(scope="module")
def dataset():
    images = torch.zeros(4, 1, 8, 8, dtype=torch.uint8).numpy()
    labels = torch.arange(4).numpy()
    return Dataset("toy", images, labels, images, labels, CLASSES, (0.5,), (0.5,))


@pytest.fixture
def state():
    return make_model("cnn", (1, 8, 8), 4).state_dict()


def read(path, dataset, kind=None):
    return read_weights("berlin", str(path), kind or Architecture("cnn"), dataset)


def write_safetensors(state, path):
    safetensors.torch.save_file(state, path)


WAYS = {
    "safetensors": write_safetensors,
    "state dict": torch.save,
    "inside a checkpoint": lambda s, p: torch.save({"epoch": 3, "state_dict": s}, p),
    "of DataParallel": lambda s, p: torch.save({f"module.{k}": v for k, v in s.items()}, p),
    "compiled": lambda s, p: torch.save({f"_orig_mod.{k}": v for k, v in s.items()}, p),
    "half precision": lambda s, p: torch.save(
        {k: v.half() if v.is_floating_point() else v for k, v in s.items()}, p
    ),
    "before zip files": lambda s, p: torch.save(s, p, _use_new_zipfile_serialization=False),
}


@pytest.mark.parametrize("way", WAYS)
def test_weights_come_from_whatever_people_save(way, tmp_path, state, dataset):
    path = tmp_path / "weights"
    WAYS[way](state, path)
    content = read(path, dataset)
    found = parse_tensors(content)
    assert found.keys() == state.keys()
    for key, value in found.items():
        torch.testing.assert_close(value, state[key], rtol=2e-3, atol=1e-3)
        assert value.dtype == state[key].dtype
    assert parse_architecture(content) is None


def test_a_checkpoint_says_what_stands_around_its_model(tmp_path, dataset):
    kind = Architecture("cnn", tuple("dcba"), 16, 3, (0.5,) * 3, (0.25,) * 3)
    write_safetensors(make_model("cnn", (3, 16, 16), 4).state_dict(), tmp_path / "w")
    assert parse_architecture(read(tmp_path / "w", dataset, kind)) == kind


class Bomb:
    def __reduce__(self):
        return (os.mkdir, ("exploded",))


@pytest.mark.parametrize("zipped", [True, False])
def test_code_in_a_file_is_refused_and_not_run(zipped, tmp_path, monkeypatch, dataset):
    monkeypatch.chdir(tmp_path)
    if zipped:
        torch.save({"w": Bomb()}, tmp_path / "w.pt")
    else:
        (tmp_path / "w.pt").write_bytes(pickle.dumps({"w": Bomb()}))
    with pytest.raises(KdoptError, match="was not run"):
        read(tmp_path / "w.pt", dataset)
    assert not (tmp_path / "exploded").exists()


def spoil(state, how):
    key = "0.weight"
    if how == "missing":
        del state[key]
    elif how == "unexpected":
        state["extra"] = torch.zeros(1)
    elif how == "shape":
        state[key] = state[key][:1].clone()
    elif how == "nan":
        state[key] = state[key] * float("nan")
    return state


SAID = {
    "missing": "it has no '0.weight', which the model has",
    "unexpected": "it has 'extra', which the model has not",
    "shape": "'0.weight' is 1x1x3x3, the model's is 16x1x3x3",
    "nan": "'0.weight' holds numbers that are not finite",
}


@pytest.mark.parametrize("how", SAID)
def test_weights_of_another_model_are_named(how, tmp_path, state, dataset):
    torch.save(spoil(dict(state), how), tmp_path / "w.pt")
    with pytest.raises(KdoptError, match="participant 'berlin': weights ") as caught:
        read(tmp_path / "w.pt", dataset)
    assert SAID[how] in str(caught.value) and "model 'cnn' for 4 classes" in str(caught.value)


@pytest.mark.parametrize(
    ("content", "said"),
    [(None, "No such file"), (b"", "not a safetensors"), (b"hello", "not a safetensors"),
     (b"PK\x03\x04no zip", "was not run"), ("a list", "it is no state dict")],
)  # fmt: skip
def test_what_is_no_file_of_weights_is_refused(content, said, tmp_path, dataset):
    path = tmp_path / "w"
    if content == "a list":
        torch.save([1, 2], path)
    elif content is not None:
        path.write_bytes(content)
    with pytest.raises(KdoptError, match="participant 'berlin': weights ") as caught:
        read(path, dataset)
    assert said in str(caught.value)


def test_a_header_whose_length_looks_like_a_pickle_is_no_pickle(tmp_path, state, dataset):
    padded = (safetensors.torch.save(state, {"note": "n" * n}) for n in range(400))
    content = next(content for content in padded if content[0] == 0x80)
    (tmp_path / "w").write_bytes(content)
    plain = tmp_path / "plain"
    plain.write_bytes(safetensors.torch.save(state))
    assert read(tmp_path / "w", dataset) == read(plain, dataset)
