"""What ``kdopt.tune`` cannot work with is one message with value, rule and fix, before training."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import IterableDataset, TensorDataset

import kdopt
from kdopt.errors import InputError, KdoptError

RNG = np.random.default_rng(0)
X = RNG.normal(size=(12, 4)).astype("float32")
Y = np.arange(12) % 3


class Net(nn.Module):
    """A linear model, with whatever is wrong with it."""

    def __init__(self, width=4, classes=3, change=lambda logits: logits):
        super().__init__()
        self.layer = nn.Linear(width, classes)
        self.change = change

    def forward(self, x):
        return self.change(self.layer(x))


def with_buffer(value):
    module = Net()
    module.register_buffer("extra", value)
    return module


def with_nan(module):
    with torch.no_grad():
        module.layer.bias[0] = torch.nan
    return module


def replace(array, value):
    changed = array.copy()
    changed.flat[0] = value
    return changed


class Odd(torch.utils.data.Dataset):
    def __len__(self):
        return 3

    def __getitem__(self, index):
        return torch.zeros(index + 1), 0


class Stream(IterableDataset):
    def __iter__(self):
        return iter([])


CASES = {
    "labels of another length": (
        {"train": (X, Y[:-1])},
        "train: 12 inputs and 11 labels; give one",
    ),
    "one-hot labels": ({"train": (X, np.eye(3)[Y])}, r"labels of shape \(12, 3\); .*argmax"),
    "labels in a column": ({"test": (X, Y[:, None])}, r"test: labels of shape \(12, 1\); .*ravel"),
    "labels of floats": (
        {"train": (X, Y * 1.0)},
        r"labels are torch.float64; .*astype\('int64'\)",
    ),
    "names as labels": (
        {"train": (X, Y.astype(str))},
        "array of <U21; torch computes with numbers",
    ),
    "a class beyond the logits": ({"test": (X, Y + 1)}, "run from 1 to 3, and the models have 3"),
    "a class below 0": ({"train": (X, Y - 1)}, "run from -1 to 1, .* number the classes"),
    "one class": ({"train": (X, Y * 0 + 2)}, "train: all 12 inputs are of class 2"),
    "NaN in the data": (
        {"validation": (replace(X, np.nan), Y)},
        "infinity in 1 of 12 inputs",
    ),
    "no data": ({"test": (X[:0], Y[:0])}, "test: 0 inputs; give 1 or more"),
    "another shape": ({"test": (X[:, :3], Y)}, r"torch.float32 \(3,\), those of train .*\(4,\)"),
    "another type": ({"test": (X.astype("float64"), Y)}, "test: inputs are torch.float64"),
    "inputs alone": ({"train": X}, r"train: a ndarray; give \(inputs, class numbers\)"),
    "a stream": ({"train": Stream()}, "train: a Stream; give"),
    "items of many shapes": ({"train": Odd()}, "its items are not pairs of .* all of one shape"),
    "a sparse tensor": ({"train": (torch.tensor(X).to_sparse(), Y)}, "not a dense tensor"),
    "brain floats": (
        {"train": (torch.tensor(X).bfloat16(), Y)},
        "bfloat16 is not kept",
    ),
    "no module": ({"student": "resnet18"}, "student: a str; give a torch.nn.Module"),
    "a class of modules": ({"student": Net}, r"student: a type \(a class: call it\)"),
    "NaN in weights": ({"teacher": with_nan(Net())}, "teacher: 'layer.bias' holds NaN"),
    "lazy layers": (
        {"student": nn.LazyLinear(3)},
        "lazy layers without a shape; run it on a batch",
    ),
    "no weights in memory": (
        {"student": Net().to("meta")},
        "no dense tensor with values .*; load its weights",
    ),
    "weights of 8 bits": (
        {"teacher": Net().to(torch.float8_e4m3fn)},
        "no dense tensor with values of 16 bits or more",
    ),
    "a sparse buffer": (
        {"student": with_buffer(torch.eye(3).to_sparse())},
        "'extra' of its state is no dense tensor",
    ),
    "inputs of 8 bits": (
        {"train": (torch.tensor(X).to(torch.float8_e4m3fn), Y)},
        "train: inputs: not a dense tensor with values of 16 bits or more",
    ),
    "no teacher": ({"teacher": None}, "teacher: logits of nothing; give those of 'train'"),
    "no logits of train": (
        {"teacher": {"train": None, "test": X}},
        "teacher: logits of test; give those of 'train'",
    ),
    "a callback that is none": ({"callbacks": [print, 3]}, "callbacks: a int; give a list of fun"),
    "callbacks in no list": ({"callbacks": print}, "callbacks: a builtin_function_or_method; give"),
    "frozen": ({"student": Net().requires_grad_(False)}, "no trainable parameters; unfreeze"),
    "half precision": ({"student": Net().half()}, "parameters are torch.float16; .* student.float"),
    "another width": (
        {"student": Net(width=5)},
        r"student: Net does not take a batch of train, .*5x3",
    ),
    "inputs of doubles": (
        {name: (X.astype("float64"), Y) for name in ("train", "validation", "test")},
        r"does not take a batch of train, torch.float64 \(2, 4\)",
    ),
    "no logits": (
        {"student": Net(change=lambda z: z[:, 0])},
        r"gives torch.float32 \(2,\) for a batch of 2; it must give logits",
    ),
    "a table of outputs": ({"teacher": Net(change=lambda z: {"logits": z})}, "gives a dict"),
    "logits without a gradient": (
        {"student": Net(change=lambda z: z.detach())},
        "does not take a batch of train|no trainable parameter of Net",
    ),
    "infinite logits": ({"teacher": Net(change=lambda z: z / 0)}, "logits that are not finite on"),
    "other classes": ({"teacher": Net(classes=4)}, "teacher and student: 4 and 3 logits"),
    "logits of other data": ({"teacher": np.ones((11, 3))}, "11 rows of logits for the 12 inputs"),
    "logits of other classes": (
        {"teacher": np.ones((12, 4))},
        "teacher and student: 4 and 3 logits",
    ),
    "logits in a row": ({"teacher": np.ones(12)}, r"float64 \(12,\); give floats \(12, classes\)"),
    "infinite given logits": ({"teacher": np.full((12, 3), -np.inf)}, "hold NaN or infinity"),
    "logits by unknown names": ({"teacher": {"training": X}}, "teacher: logits of training; give"),
    "an unknown option": ({"epoch": 3}, "epoch: no such option; did you mean 'epochs'"),
    "no epochs": ({"epochs": 0}, r"epochs = 0: input should be greater than or equal to 1"),
    "an unknown method": ({"methods": ["kd", "hinton"]}, r"methods\[1\] = 'hinton'"),
    "a budget for a grid": ({"sampler": "grid", "budget": 3}, "budget"),
    "a public set": ({"methods": ["public_kd"]}, "public_kd distils on public sets"),
    "an unknown device": ({"device": "tpu"}, "device 'tpu'"),
    "a bad name": ({"name": "a/b"}, "name = 'a/b': a name has 1 to 64 letters"),
}


@pytest.mark.parametrize("case", CASES)
def test_bad_input_is_refused_before_anything_is_trained(case, tmp_path):
    changes, message = CASES[case]
    data = dict.fromkeys(("train", "validation", "test"), (X, Y))
    call = {
        "teacher": Net(),
        "student": Net(),
        **data,
        "device": "cpu",
        "progress": False,
        **changes,
    }
    with pytest.raises(KdoptError, match=message) as error:
        kdopt.tune(call.pop("teacher"), call.pop("student"), **call, store=tmp_path / "kdopt.db")
    assert isinstance(error.value, ValueError) or case == "an unknown device"
    assert not any(tmp_path.iterdir())


def test_what_can_be_used_is_not_refused():
    from kdopt.api.inputs import read_given

    big_endian = X.astype(">f4")
    big_endian.flags.writeable = False
    data = TensorDataset(torch.tensor(X), torch.tensor(Y))
    given = read_given(Net(), Net(), data, (big_endian, Y.tolist()), [X, Y.astype("int8")])
    for found in (given.train, given.validation, given.test):
        assert found.inputs.dtype == torch.float32 and found.inputs.shape == (12, 4)
        assert found.labels.dtype == torch.int64
    assert isinstance(InputError("x"), ValueError)
