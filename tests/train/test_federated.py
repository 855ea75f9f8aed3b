"""FedDF, FedMD and Def-KT by hand: a linear model of two pixels, worked out in NumPy."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from kdopt.campaign.settings import TrainSettings
from kdopt.train.engine import Images, make_engine, seeded
from kdopt.train.evaluation import predict_logits
from kdopt.train.federated import (
    Peers,
    count_logit_bytes,
    count_state_bytes,
    draw_pairs,
    make_def_kt_loss,
    make_feddf_loss,
    make_fedmd_loss,
    run_def_kt_round,
    run_feddf_round,
    run_fedmd_round,
)
from kdopt.train.fit import fit

ENGINE = make_engine("fp32", "cpu")
RATE, SERVER_RATE, CLASSES = 0.1, 0.01, 3
PIXELS = {
    "a": [[0, 255], [255, 255]],
    "b": [[255, 0], [51, 102], [0, 51]],
    "public": [[255, 51], [0, 204]],
}
LABELS = {"a": [0, 2], "b": [1, 1, 0], "public": [0, 0]}
WEIGHTS = [np.array([[0.5, -1.0], [0.25, 1.0], [-0.5, 0.0]]), np.array([[1.0, 0], [0, 1], [1, 1]])]


def images_of(name):
    pixels = torch.tensor(PIXELS[name], dtype=torch.uint8).reshape(-1, 1, 1, 2)
    return Images(pixels, torch.tensor(LABELS[name]), (0.0,), (1.0,))


def inputs_of(name):
    return np.array(PIXELS[name]) / 255


class Linear(nn.Module):
    """Logits are weights times pixels, without a bias."""

    def __init__(self, weights):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(weights, dtype=torch.float32))

    def forward(self, images):
        return images.flatten(1) @ self.weight.T


def train(model, name, loss, optimizer="sgd", rate=RATE):
    """One step on all images at once."""
    images = images_of(name)
    settings = TrainSettings(
        epochs=1,
        patience=0,
        learning_rate=rate,
        weight_decay=0.0,
        batch_size=8,
        optimizer=optimizer,
    )
    with seeded(0, ENGINE.device) as generator:
        fit(model, images, loss, settings, ENGINE, generator, lambda _: pytest.fail("no patience"))


def train_on_labels(model, name):
    labels = images_of(name).labels
    train(model, name, lambda i, z: functional.cross_entropy(z, labels[i]))


def predict(model):
    return predict_logits(model, images_of("public"), ENGINE)


def softmax(logits):
    powers = np.exp(logits)
    return powers / powers.sum(axis=1, keepdims=True)


def step_on_labels(weights, name):
    """SGD on the cross-entropy, whose gradient by logits is (p - y) / n."""
    x, y = inputs_of(name), np.eye(CLASSES)[LABELS[name]]
    return weights - RATE * (softmax(x @ weights.T) - y).T @ x / len(x)


def step_of_adam(weights, gradient):
    """Adam's first step: the moments are the gradient and its square."""
    return weights - SERVER_RATE * gradient / (np.abs(gradient) + 1e-8)


def make_peers():
    objects = {(who, n): Linear(WEIGHTS[who]) for who in (0, 1) for n in (0, 1)}

    def place(participant, state, number):
        objects[participant, number].load_state_dict(state)
        return objects[participant, number]

    return place, [Linear(w).state_dict() for w in WEIGHTS]


def test_a_round_of_feddf():
    model, x = Linear(WEIGHTS[0]), inputs_of("public")

    def distil(average, mean):
        train(average, "public", make_feddf_loss(mean), "adam", SERVER_RATE)

    shares = [images_of("a"), images_of("b")]
    run_feddf_round(model, shares, lambda i, m, _: train_on_labels(m, "ab"[i]), predict, distil)

    locals_ = [step_on_labels(WEIGHTS[0], name) for name in "ab"]
    average = (2 * locals_[0] + 3 * locals_[1]) / 5
    taught = softmax(np.mean([x @ w.T for w in locals_], axis=0))
    gradient = (softmax(x @ average.T) - taught).T @ x / len(x)
    expected = step_of_adam(average, gradient)
    np.testing.assert_allclose(model.weight.detach().numpy(), expected, rtol=1e-4, atol=1e-6)
    assert not np.allclose(expected, average, atol=1e-3)


def test_a_round_of_fedmd():
    place, states = make_peers()
    peers = Peers(states, place, lambda *_: True)

    def digest(_, model, consensus):
        train(model, "public", make_fedmd_loss(consensus), "adam", SERVER_RATE)

    run_fedmd_round(peers, predict, digest, lambda i, m: train_on_labels(m, "ab"[i]))

    x = inputs_of("public")
    consensus = np.mean([x @ w.T for w in WEIGHTS], axis=0)
    for participant, weights in enumerate(WEIGHTS):
        signs = np.sign(x @ weights.T - consensus) / consensus.size
        digested = step_of_adam(weights, signs.T @ x)
        expected = step_on_labels(digested, "ab"[participant])
        found = peers.states[participant]["weight"].numpy()
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


def step_mutually(weights, other, name):
    """SGD on the labels and on the other's predictions: (p - y) + (p - q), over n."""
    x, y = inputs_of(name), np.eye(CLASSES)[LABELS[name]]
    p, q = softmax(x @ weights.T), softmax(x @ other.T)
    return weights - RATE * ((p - y) + (p - q)).T @ x / len(x)


@pytest.mark.parametrize("alike", [True, False])
def test_a_round_of_def_kt(alike):
    """The receiver keeps the model that it got, or its own where architectures differ."""
    place, states = make_peers()
    peers = Peers(states, place, lambda *_: alike)

    def exchange(receiver, both):
        train(both, "ab"[receiver], make_def_kt_loss(images_of("ab"[receiver]).labels))

    run_def_kt_round(peers, [(0, 1)], lambda i, m: train_on_labels(m, "ab"[i]), exchange)

    sent = step_on_labels(WEIGHTS[0], "a")
    kept = step_mutually(sent, WEIGHTS[1], "b") if alike else step_mutually(WEIGHTS[1], sent, "b")
    for participant, expected in enumerate((sent, kept)):
        found = peers.states[participant]["weight"].numpy()
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


def test_who_agrees_already_learns_nothing_from_the_others():
    logits = torch.randn(4, 3, generator=torch.Generator().manual_seed(0)).requires_grad_()
    index = torch.arange(4)
    for make in (make_feddf_loss, make_fedmd_loss):
        value = make(logits.detach())(index, logits)
        (gradient,) = torch.autograd.grad(value, logits)
        assert value.item() == pytest.approx(0, abs=1e-6)
        assert gradient.abs().max() < 1e-6


def test_pairs_are_of_different_participants_and_depend_on_the_seed_alone():
    def draw(n, seed):
        return draw_pairs(n, torch.Generator().manual_seed(seed))

    for n in (2, 5, 8):
        met = [who for pair in draw(n, 1) for who in pair]
        assert len(met) == len(set(met)) == n // 2 * 2 and set(met) <= set(range(n))
    assert draw(8, 1) == draw(8, 1) != draw(8, 2)
    assert {who for seed in range(20) for who in draw(3, seed)[0]} == {0, 1, 2}


def test_peers_do_not_share_weights():
    place, states = make_peers()
    before = copy.deepcopy(states)
    peers = Peers(states, place, lambda *_: True)
    model = peers.load(0)
    with torch.no_grad():
        model.weight.add_(1)
    assert torch.equal(peers.states[0]["weight"], before[0]["weight"])
    peers.keep(1, model)
    with torch.no_grad():
        model.weight.add_(1)
    np.testing.assert_allclose(peers.states[1]["weight"], before[0]["weight"] + 1)


def test_what_travels_weighs_four_bytes_a_number():
    assert count_state_bytes(Linear(WEIGHTS[0])) == 6 * 4
    assert count_logit_bytes(500, 10) == 20_000
