"""Federated averaging: the average by hand, and one participant as plain training."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from kdopt.campaign.settings import TrainSettings
from kdopt.train.engine import Images, make_engine, seeded
from kdopt.train.federated import Average, count_state_bytes, run_round
from kdopt.train.fit import fit
from kdopt.train.models import make_model

ENGINE = make_engine("fp32", "cpu")
LOCAL = TrainSettings(
    epochs=2, patience=0, learning_rate=0.05, weight_decay=4e-4, batch_size=8, optimizer="sgd"
)


def new_model(seed):
    with seeded(seed, ENGINE.device):
        return ENGINE.move(make_model("cnn", (1, 8, 8), 3))


def new_images(n, seed):
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (n, 1, 8, 8), generator=generator, dtype=torch.uint8)
    labels = torch.randint(0, 3, (n,), generator=generator)
    return Images(pixels, labels, (0.5,), (0.25,))


def train(participant, model, images):
    with seeded(100 + participant, ENGINE.device) as generator:
        fit(
            model,
            images,
            lambda index, logits: functional.cross_entropy(logits, images.labels[index]),
            LOCAL,
            ENGINE,
            generator,
            monitor=lambda _: pytest.fail("nothing is monitored in a round"),
        )


def numpy_state(model):
    return {k: v.detach().numpy().copy() for k, v in model.state_dict().items()}


def test_the_average_is_the_one_that_numpy_gives():
    """As in Flower's `aggregate`: sum of layer * images, over all images."""
    models, sizes = [new_model(seed) for seed in range(3)], [10, 30, 5]
    train(0, models[0], new_images(20, 0))  # running statistics that differ from the initial ones
    average = Average()
    for model, size in zip(models, sizes, strict=True):
        average.add(model.state_dict(), size)
    found = average.result()
    states = [numpy_state(m) for m in models]
    for key, value in states[0].items():
        assert found[key].dtype == models[0].state_dict()[key].dtype
        if np.issubdtype(value.dtype, np.floating):
            total = sum(s[key].astype(np.float64) * n for s, n in zip(states, sizes, strict=True))
            np.testing.assert_allclose(found[key].numpy(), total / sum(sizes), rtol=1e-6)
        else:
            assert found[key] == max(s[key] for s in states)


def test_the_average_of_one_is_that_one_bit_for_bit():
    model = new_model(1)
    train(0, model, new_images(20, 0))
    average = Average()
    average.add(model.state_dict(), 17)
    for key, value in average.result().items():
        assert torch.equal(value, model.state_dict()[key]), key


def test_one_participant_and_one_round_are_plain_training():
    images = new_images(40, 3)
    federated, plain = new_model(5), new_model(5)
    run_round(federated, [images], train)
    train(0, plain, images)
    for key, value in plain.state_dict().items():
        assert torch.equal(value, federated.state_dict()[key]), key


def test_plain_sgd_is_used_without_momentum():
    """One step by hand: w - rate * (gradient + decay * w)."""
    images, model = new_images(8, 4), new_model(6)
    by_hand = new_model(6)
    by_hand.train()
    settings = TrainSettings(
        epochs=1, patience=0, learning_rate=0.05, weight_decay=0.1, batch_size=8, optimizer="sgd"
    )
    loss = functional.cross_entropy
    with seeded(0, ENGINE.device) as generator:
        fit(
            model, images, lambda i, z: loss(z, images.labels[i]), settings, ENGINE, generator, None
        )
    value = loss(by_hand(images.batch(slice(None))), images.labels)
    gradients = torch.autograd.grad(value, list(by_hand.parameters()))
    for after, before, gradient in zip(
        model.parameters(), by_hand.parameters(), gradients, strict=True
    ):
        expected = before - 0.05 * (gradient + 0.1 * before)
        torch.testing.assert_close(after, expected, rtol=1e-4, atol=1e-6)


def test_everybody_starts_from_the_global_model_and_large_shares_weigh_more():
    shares = [new_images(n, seed) for seed, n in enumerate((8, 24))]
    started, model = [], new_model(7)
    before = numpy_state(model)

    def watched(participant, local, images):
        started.append(numpy_state(local))
        train(participant, local, images)

    run_round(model, shares, watched)
    for state in started:
        for key, value in state.items():
            np.testing.assert_array_equal(value, before[key])
    alone = []
    for participant, images in enumerate(shares):
        local = new_model(7)
        train(participant, local, images)
        alone.append(numpy_state(local))
    for key, value in model.state_dict().items():
        if value.is_floating_point():
            expected = 0.25 * alone[0][key] + 0.75 * alone[1][key]
            np.testing.assert_allclose(value.numpy(), expected, rtol=1e-5, atol=1e-7)


def test_running_statistics_are_averaged_too():
    model = new_model(8)
    run_round(model, [new_images(8, 1), new_images(8, 2)], train)
    means = [b for k, b in model.named_buffers() if k.endswith("running_mean")]
    assert means and all(bool(m.abs().sum() > 0) for m in means)


def test_a_model_weighs_its_parameters_and_buffers():
    model = new_model(9)
    floats = sum(v.numel() for v in model.state_dict().values() if v.is_floating_point())
    counters = sum(v.numel() for v in model.state_dict().values() if not v.is_floating_point())
    assert count_state_bytes(model) == 4 * floats + 8 * counters
