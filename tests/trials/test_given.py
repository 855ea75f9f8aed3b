"""Models and data that a process was given: copied, never changed, and named by what they hold."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from kdopt.train.engine import Images, make_engine
from kdopt.trials.given import (
    Examples,
    GivenContext,
    GivenPair,
    GivenSet,
    list_tensors,
    restore_student,
)


class Counting(nn.Module):
    """A model with all that a copy may miss: shared weights, a buffer not saved, an attribute."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.second = nn.Linear(4, 4)
        self.second.weight = self.first.weight
        self.register_buffer("seen", torch.zeros(()), persistent=False)
        self.calls = 0

    def forward(self, x):
        if self.training:
            self.seen += 1
            self.calls += 1
        return self.second(self.first(x)) * (1 + self.seen + self.calls)


def make_pair(teacher, student, inputs=None):
    inputs = torch.rand(6, 4) if inputs is None else inputs
    data = GivenSet(inputs, torch.arange(6) % 3)
    return GivenPair(teacher, student, data, data, data, 4)


@pytest.mark.parametrize("shape", [(), (5,), (2, 3), (2, 3, 4), (2, 3, 4, 5)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.int64, torch.uint8])
def test_inputs_of_any_shape_and_type_are_given_as_they_are(shape, dtype):
    inputs = (torch.rand(7, *shape) * 100).to(dtype)
    examples = Examples(inputs, torch.arange(7))
    some = torch.tensor([4, 0, 4])
    for taken, wanted in (
        (examples.batch(some), inputs[some]),
        (examples.batch(slice(2, 5)), inputs[2:5]),
        (examples.take(some).batch(slice(None)), inputs[some]),
    ):
        assert taken.dtype == dtype and torch.equal(taken, wanted)
    assert len(examples) == examples.positions == 7


def test_images_lie_in_memory_as_those_of_campaigns_do():
    pixels = torch.randint(0, 256, (6, 3, 5, 5), dtype=torch.uint8)
    images = Images(pixels, torch.arange(6), (0.0,) * 3, (1.0,) * 3)
    examples = Examples(pixels / 255, torch.arange(6))
    for index in (slice(0, 4), torch.tensor([3, 1])):
        assert examples.batch(index).stride() == images.batch(index).stride()


def test_files_of_models_differ_by_role_and_layers_and_are_the_same_again():
    module = Counting()
    first, again = (make_pair(module, module).pack_models() for _ in range(2))
    assert first == again and first["teacher"] != first["student"]
    frozen = copy.deepcopy(module)
    frozen.first.requires_grad_(False)
    other = make_pair(module, frozen).pack_models()
    assert other["teacher"] == first["teacher"] and other["student"] != first["student"]


def test_a_student_is_restored_with_all_that_it_holds():
    student = Counting()
    trained = copy.deepcopy(student)
    with torch.no_grad():
        trained.first.weight += 1
        trained.seen += 3
    restored = restore_student(make_pair(student, student), list_tensors(trained))
    assert restored.second.weight is restored.first.weight
    assert torch.equal(restored.first.weight, trained.first.weight) and restored.seen == 3
    assert not restored.training and student.seen == 0


@pytest.fixture
def context(tmp_path):
    from kdopt.api.tune import _plan_pair, _read_options
    from kdopt.store.artifacts import Artifacts
    from kdopt.store.database import open_store
    from kdopt.store.queries import read_record

    given = make_pair(Counting(), Counting())
    store = open_store(str(tmp_path / "kdopt.db"), create=True)
    artifacts = Artifacts(tmp_path / "artifacts")
    _plan_pair(_read_options("tune", {"precision": "fp32"}, given), given, store, artifacts)
    record = read_record(store, "tune")
    store.close()
    return GivenContext(given, record, given.dataset, artifacts, make_engine("fp32", "cpu"))


def test_every_trial_starts_from_a_copy_that_knows_nothing_of_the_last(context):
    sha256 = context.find_given_weights(1)
    x = torch.rand(2, 4)
    wanted = context.load_checkpoint(sha256).eval()(x)
    context.load_checkpoint(sha256).train()(x)
    again = context.load_checkpoint(sha256).eval()
    assert torch.equal(again(x), wanted) and again.calls == 0
    assert context.together == 1


def test_where_the_same_object_is_filled_again_its_buffers_are_too(context):
    from kdopt.trials.given import _fill_model

    given = Counting()
    model = copy.deepcopy(given).train()
    model(torch.rand(2, 4))
    with torch.no_grad():
        model.first.weight += 1
    _fill_model(model, given)
    assert torch.equal(model.first.weight, given.first.weight) and model.seen == 0


def test_models_of_volumes_are_copied_too(context):
    module = nn.Conv3d(1, 2, 3)
    assert torch.equal(context.engine_copy(module).weight, module.weight)
