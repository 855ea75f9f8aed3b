from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from kdopt.campaign.settings import TrainSettings
from kdopt.train.engine import Images, make_engine, seeded
from kdopt.train.evaluation import predict_logits
from kdopt.train.fit import DivergedError, cut_batches, fit

ENGINE = make_engine("fp32", "cpu")


@pytest.fixture
def images():
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(60) % 3
    pixels = torch.randint(0, 80, (60, 1, 4, 4), generator=generator, dtype=torch.uint8)
    pixels[torch.arange(60), 0, labels] += 120  # one bright row per class
    return Images(pixels, labels, (0.3,), (0.2,))


def new_model():
    return ENGINE.move(nn.Sequential(nn.Flatten(), nn.Linear(16, 3)))


def train(images, *, epochs=3, patience=0, monitor=lambda model: 0.0, seed=0, rate=1e-2):
    with seeded(seed, ENGINE.device) as generator:
        model = new_model()
        fitted = fit(
            model,
            images,
            lambda index, logits: functional.cross_entropy(logits, images.labels[index]),
            TrainSettings(
                epochs=epochs, patience=patience, learning_rate=rate, weight_decay=0.0, batch_size=8
            ),
            ENGINE,
            generator,
            monitor,
        )
    return model, fitted


def test_the_loop_is_adam_written_out(images):
    """Two epochs against the update rule of Kingma and Ba in float64."""
    model, _ = train(images, epochs=2)
    with seeded(0, ENGINE.device) as generator:
        reference = new_model()[1]
        weights = [p.detach().double() for p in (reference.weight, reference.bias)]
        orders = [torch.randperm(60, generator=generator) for _ in range(2)]
    x = ((images.pixels.double() / 255 - 0.3) / 0.2).flatten(1)
    moments = [(torch.zeros_like(w), torch.zeros_like(w)) for w in weights]
    step = 0
    for order in orders:
        for index in order.split(8):
            step += 1
            probabilities = functional.softmax(x[index] @ weights[0].T + weights[1], dim=1)
            error = probabilities - functional.one_hot(images.labels[index], 3)
            gradients = [error.T @ x[index] / len(index), error.mean(dim=0)]
            for i, gradient in enumerate(gradients):
                m = 0.9 * moments[i][0] + 0.1 * gradient
                v = 0.999 * moments[i][1] + 0.001 * gradient**2
                moments[i] = (m, v)
                rate = 1e-2 * (1 - 0.999**step) ** 0.5 / (1 - 0.9**step)
                weights[i] = weights[i] - rate * m / (v.sqrt() + 1e-8 * (1 - 0.999**step) ** 0.5)
    for found, expected in zip(model[1].parameters(), weights, strict=True):
        torch.testing.assert_close(found.detach().double(), expected, atol=1e-5, rtol=1e-4)


def test_it_learns_and_the_same_seed_gives_the_same_bits(images):
    first, _ = train(images, epochs=20)
    again, _ = train(images, epochs=20)
    other, _ = train(images, epochs=20, seed=1)
    weights = [m[1].weight for m in (first, again, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    accuracy = (predict_logits(first, images, ENGINE).argmax(1) == images.labels).float().mean()
    assert accuracy > 0.9


def test_early_stopping_keeps_the_best_epoch_and_leaves_the_last(images):
    values = iter([0.1, 0.5, 0.5, 0.2, 0.9])
    seen = []

    def monitor(model):
        seen.append(model[1].weight.detach().clone())
        return next(values)

    model, fitted = train(images, epochs=9, patience=2, monitor=monitor)
    assert (fitted.epochs, fitted.best_epoch) == (4, 2)
    assert torch.equal(fitted.best_state["1.weight"], seen[1])
    assert torch.equal(model[1].weight, seen[3])


def test_without_patience_nothing_is_monitored_and_the_last_epoch_is_kept(images):
    def monitor(model):
        raise AssertionError("not asked for")

    _, fitted = train(images, epochs=3, monitor=monitor)
    assert fitted == (type(fitted))(3, 3, None)


def test_a_loss_that_is_not_finite_ends_the_trial_at_once(images):
    epochs_seen = []
    with seeded(0, ENGINE.device) as generator, pytest.raises(DivergedError, match="epoch 1"):
        fit(
            new_model(),
            images,
            lambda index, logits: logits.sum() * float("nan"),
            TrainSettings(epochs=5, patience=1, learning_rate=1e-2, weight_decay=0.0, batch_size=8),
            ENGINE,
            generator,
            lambda model: epochs_seen.append(1) or 0.0,
        )
    assert epochs_seen == []


@pytest.mark.parametrize("n", [2, 31, 32, 33, 64, 65, 100])
def test_batches_use_every_image_once_and_never_one_alone(n):
    parts = cut_batches(torch.stack([torch.randperm(n), torch.randperm(n)]), 32)
    assert [sorted(order) for order in torch.cat(parts, 1).tolist()] == [list(range(n))] * 2
    assert all(p.shape[1] > 1 for p in parts)


def test_seeded_leaves_the_global_generator_as_it_was():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    with seeded(1, ENGINE.device):
        torch.rand(3)
    assert torch.equal(torch.get_rng_state(), before)


def test_batches_are_normalised_images(images):
    found = images.batch(torch.tensor([3, 1]))
    expected = (images.pixels[[3, 1]].float() / 255 - 0.3) / 0.2
    torch.testing.assert_close(found, expected)
    assert found.dtype == torch.float32


@pytest.mark.parametrize("how", ["index", "slice"])
def test_images_of_several_channels_keep_their_pixels(how):
    """Not square and of odd sides, so that no two axes can be mistaken for each other."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (9, 3, 5, 7), generator=generator).byte()
    mean, std = (0.2, 0.5, 0.7), (0.1, 0.2, 0.4)
    images = Images(pixels, torch.arange(9), mean, std)
    assert torch.equal(images.pixels, pixels)
    found = images.batch(torch.tensor([8, 0, 3]) if how == "index" else slice(6, 12))
    taken = pixels[[8, 0, 3] if how == "index" else [6, 7, 8]].float()
    shift = torch.tensor(mean).view(3, 1, 1) * 255
    scale = 1 / (torch.tensor(std).view(3, 1, 1) * 255)
    assert torch.equal(found, (taken - shift) * scale)
    assert found.is_contiguous(memory_format=torch.channels_last)
    some = images.take(torch.tensor([4, 4, 1]))
    assert torch.equal(some.pixels, pixels[[4, 4, 1]])
    assert torch.equal(images.pixels, pixels), "taking a batch changed the set"
