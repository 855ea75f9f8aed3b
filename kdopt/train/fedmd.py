"""FedMD: participants with models of their own agree on logits of a public set.

Li & Wang 2019, "FedMD: Heterogenous Federated Learning via Model Distillation" (arXiv:1910.03581),
Algorithm 1: communicate (logits up), aggregate (their mean, the consensus), distribute (down),
digest (train towards the consensus on the public set), revisit (train on the own images). The paper
does not name the distance to the consensus; the published code (diogenes0319/FedMD_clean) takes the
mean absolute difference of logits.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn import functional

from kdopt.train.feddf import MeanLogits
from kdopt.train.peers import Peers
from kdopt.train.steps import LossFn


def run_fedmd_round(
    peers: Peers,
    predict: Callable[[nn.Module], Tensor],
    digest: Callable[[int, nn.Module, Tensor], None],
    revisit: Callable[[int, nn.Module], None],
) -> None:
    """Take every participant's model one round further.

    Args:
        peers: The models.
        predict: A model's logits on the public set, (n, classes).
        digest: ``digest(participant, model, consensus)`` trains the model in place, to minimise
            :func:`make_fedmd_loss`.
        revisit: ``revisit(participant, model)`` trains it on the participant's images.
    """
    mean = MeanLogits()
    for participant in range(len(peers.states)):
        mean.add(predict(peers.load(participant)))
    consensus = mean.result()
    for participant in range(len(peers.states)):
        model = peers.load(participant)
        digest(participant, model, consensus)
        revisit(participant, model)
        peers.keep(participant, model)


def make_fedmd_loss(consensus: Tensor) -> LossFn:
    """The mean over images and classes of ``|logit - consensus|``."""
    return lambda index, logits: functional.l1_loss(logits.float(), consensus[index])
