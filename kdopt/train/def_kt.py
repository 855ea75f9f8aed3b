"""Def-KT: participants send whole models to each other, and fuse them by mutual learning.

Li et al. 2021, "Decentralized Federated Learning via Mutual Knowledge Transfer" (arXiv:2012.13063).
In every round participants are paired at random. The sender of a pair trains its model on its own
images and sends it. The receiver trains that model and its own at once, on its own images, each on
the labels and on the other's predictions, and keeps the received one, which now knows both. There
is no server.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from kdopt.train.losses import kl_divergence
from kdopt.train.models import ModelPair
from kdopt.train.peers import Peers
from kdopt.train.steps import LossFn

SenderReceiver = tuple[int, int]
"""Two participants: who sends its model, and who gets it."""


def draw_pairs(participants: int, generator: torch.Generator) -> list[SenderReceiver]:
    """Pair everybody at random, who sends and who receives too; of an odd number one sits out."""
    order = torch.randperm(participants, generator=generator).tolist()
    half = participants // 2
    return list(zip(order[:half], order[half : 2 * half], strict=True))


def run_def_kt_round(
    peers: Peers,
    pairs: Sequence[SenderReceiver],
    train: Callable[[int, nn.Module], None],
    exchange: Callable[[int, nn.Module], None],
) -> None:
    """Take the models of all pairs one round further.

    Where the two architectures of a pair differ, the receiver keeps its own model: what it is
    stays as the campaign says.

    Args:
        peers: The models.
        pairs: Nobody is in two of them.
        train: ``train(sender, model)`` trains the sender's model on the sender's images.
        exchange: ``exchange(receiver, both)`` trains a pair of models on the receiver's images, to
            minimise :func:`make_def_kt_loss`; the first is the one that was received.
    """
    for sender, receiver in pairs:
        model = peers.load(sender)
        train(sender, model)
        peers.keep(sender, model)
        received, own = peers.load(sender, 1), peers.load(receiver)
        exchange(receiver, ModelPair(received, own))
        peers.keep(receiver, received if peers.same_kind(sender, receiver) else own)


def make_def_kt_loss(labels: Tensor) -> LossFn:
    """``CE_1 + KL(p_2 || p_1) + CE_2 + KL(p_1 || p_2)``, of logits (2, batch, classes).

    No gradient flows into the first argument of a KL, so each model has its own loss's gradient.
    """

    def loss(index: Tensor, logits: Tensor) -> Tensor:
        received, own = logits[0], logits[1]
        right = labels[index]
        hard = functional.cross_entropy(received.float(), right)
        hard = hard + functional.cross_entropy(own.float(), right)
        return hard + kl_divergence(own, received, 1.0) + kl_divergence(received, own, 1.0)

    return loss
