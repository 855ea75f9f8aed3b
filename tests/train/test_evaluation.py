from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from kdopt.campaign.settings import TrainSettings
from kdopt.outcome import measure_change, measure_gain
from kdopt.train.engine import Images, make_engine, seeded
from kdopt.train.evaluation import (
    fuse_layers,
    pool_by_two,
    predict_logits,
    score_logits,
)
from kdopt.train.fit import fit
from kdopt.train.models import make_model

ENGINE = make_engine("fp32", "cpu")


def some_images(n: int, channels: int, side: int) -> Images:
    generator = torch.Generator().manual_seed(n)
    pixels = torch.randint(0, 256, (n, channels, side, side), generator=generator)
    labels = torch.randint(0, 10, (n,), generator=generator)
    return Images(pixels.byte(), labels, (0.3,) * channels, (0.2,) * channels)


@torch.no_grad()
def plainly(model: nn.Module, images: Images) -> torch.Tensor:
    """Logits as the layers themselves give them."""
    model.eval()
    size = ENGINE.choose_evaluation_batch(1)
    return torch.cat(
        [model(images.batch(slice(start, start + size))) for start in range(0, len(images), size)]
    )


@pytest.mark.parametrize(
    ("name", "channels", "side"),
    [("cnn", 1, 28), ("cnn", 3, 32), ("cnn", 1, 8), ("mlp", 1, 28), ("resnet18", 1, 28)],
)
def test_logits_are_those_of_the_layers_bit_for_bit(name, channels, side):
    train, shown = some_images(96, channels, side), some_images(200, channels, side)
    with seeded(0, ENGINE.device) as generator:
        model = ENGINE.move(make_model(name, (channels, side, side), 10))
        settings = TrainSettings(
            epochs=2, patience=0, learning_rate=1e-2, weight_decay=1e-4, batch_size=32
        )
        fit(
            model,
            train,
            lambda index, logits: functional.cross_entropy(logits, train.labels[index]),
            settings,
            ENGINE,
            generator,
            monitor=lambda model: 0.0,
        )
        # Falling and flat lines too, which few epochs do not lead to.
        for norm in (m for m in model.modules() if isinstance(m, nn.BatchNorm2d)):
            with torch.no_grad():
                norm.weight[::3] *= -1
                norm.weight[1] = 0
                norm.bias.normal_()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    assert torch.equal(predict_logits(model, shown, ENGINE), plainly(model, shown))
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert list(model.state_dict()) == list(before)


@pytest.mark.parametrize("side", [2, 5, 14])
def test_halving_is_pooling_bit_for_bit(side):
    torch.manual_seed(0)
    values = torch.randn(3, 16, side, side).round(decimals=1)  # some ties
    values[0, 0, 0, 0] = float("nan")
    values[0, 1, 1, 1] = float("-inf")
    for images in (values, values.contiguous(memory_format=torch.channels_last)):
        assert torch.equal(
            pool_by_two(images).nan_to_num(9e9), functional.max_pool2d(images, 2).nan_to_num(9e9)
        )


def test_only_rows_that_are_known_are_made_one_layer():
    row = [nn.Conv2d(1, 4, 3, bias=False), nn.BatchNorm2d(4), nn.MaxPool2d(2)]
    assert len(fuse_layers(nn.Sequential(*row, nn.ReLU()).eval())) == 2
    others = [
        nn.Sequential(*row[:2], nn.MaxPool2d(3)),
        nn.Sequential(*row[:2], nn.MaxPool2d(2, padding=1)),
        nn.Sequential(*row[:2], nn.MaxPool2d(2, stride=1)),
        nn.Sequential(nn.Conv2d(1, 4, 3), *row[1:]),
        nn.Sequential(row[0], nn.BatchNorm2d(4, affine=False), row[2]),
        nn.Sequential(row[0], nn.BatchNorm2d(4, track_running_stats=False), row[2]),
    ]
    for model in others:
        assert list(fuse_layers(model.eval())) == list(model)
    other = make_model("resnet18", (1, 8, 8), 10)
    assert fuse_layers(other) is other


@pytest.mark.parametrize("name", ["cnn", "mlp"])
def test_logits_do_not_depend_on_the_size_of_a_batch_but_for_rounding(name):
    shown = some_images(
        ENGINE.choose_evaluation_batch(1) + 1, 1, 28
    )  # the last batch is of one image
    with seeded(0, ENGINE.device):
        model = ENGINE.move(make_model(name, (1, 28, 28), 10)).eval()
    with torch.no_grad():
        at_once = model(shown.batch(slice(None)))
    assert predict_logits(model, shown, ENGINE) == pytest.approx(at_once, abs=1e-5)


def logits_for(predictions, n_classes):
    return torch.nn.functional.one_hot(torch.tensor(predictions), n_classes).float()


def test_scores_by_hand():
    found = score_logits(logits_for([0, 0, 1, 2], 4), torch.tensor([0, 1, 1, 2]), 4)
    assert found.accuracy == 0.75
    assert found.per_class == (1.0, 0.5, 1.0, None)
    wrong, right = 1.0 / (3 + torch.e), torch.e / (3 + torch.e)
    expected = -(3 * torch.tensor(right).log() + torch.tensor(wrong).log()) / 4
    assert found.loss == pytest.approx(float(expected), rel=1e-6)


@settings(max_examples=50, deadline=None)
@given(st.data(), st.integers(2, 6), st.integers(1, 8))
def test_gain_is_learning_minus_forgetting_on_a_balanced_set(data, n_classes, per_class):
    labels = torch.arange(n_classes).repeat_interleave(per_class)
    guess = st.lists(st.integers(0, n_classes - 1), min_size=len(labels), max_size=len(labels))
    before, after = (
        score_logits(logits_for(data.draw(guess), n_classes), labels, n_classes) for _ in "ab"
    )
    change = measure_change(after, before)
    assert change.learning >= 0
    assert change.forgetting >= 0
    assert change.learning - change.forgetting == pytest.approx(measure_gain(after, before))


def test_a_class_without_images_counts_for_nothing():
    labels = torch.tensor([0, 0])
    before, after = (score_logits(logits_for(p, 3), labels, 3) for p in ([1, 1], [0, 0]))
    assert measure_change(after, before) == (100.0, 0.0)
    assert measure_change(before, after) == (0.0, 100.0)
