"""FedDF: federated averaging whose server distils all participants into the average.

Lin et al. 2020, "Ensemble Distillation for Robust Model Fusion in Federated Learning"
(arXiv:2006.07242), Algorithm 1; the variant ``avg_logits`` of the published code
(epfml/federated-learning-public-code). Participants train as in federated averaging and send their
weights. The server starts from the weighted average of these and distils the mean of the
participants' logits on a public set without labels into it, so a round sends what one of federated
averaging does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from kdopt.train.engine import Images
from kdopt.train.fedavg import run_round
from kdopt.train.losses import kl_divergence
from kdopt.train.steps import LossFn


class MeanLogits:
    """The mean of models' logits, each counting the same; added up in float64."""

    def __init__(self) -> None:
        self._sum: Tensor | None = None
        self._models = 0

    def add(self, logits: Tensor) -> None:
        """Add those of one model, (n, classes)."""
        self._sum = logits.double() if self._sum is None else self._sum + logits.double()
        self._models += 1

    def result(self) -> Tensor:
        """The mean: float32, (n, classes)."""
        assert self._sum is not None
        return (self._sum / self._models).to(torch.float32)


def run_feddf_round(
    model: nn.Module,
    shares: Iterable[Images],
    train: Callable[[int, nn.Module, Images], None],
    predict: Callable[[nn.Module], Tensor],
    distil: Callable[[nn.Module, Tensor], None],
) -> None:
    """Take the global model one round further, in place.

    Args:
        model: The global model.
        shares: The images of every participant, in their order; read one at a time.
        train: ``train(participant, model, images)`` trains the model in place.
        predict: A model's logits on the public set, (n, classes).
        distil: ``distil(model, mean)`` trains the average in place, to minimise
            :func:`make_feddf_loss`.
    """
    mean = MeanLogits()

    def train_and_ask(participant: int, local: nn.Module, images: Images) -> None:
        train(participant, local, images)
        mean.add(predict(local))

    run_round(model, shares, train_and_ask)
    distil(model, mean.result())


def make_feddf_loss(mean: Tensor) -> LossFn:
    """``KL(softmax(mean of the participants' logits) || softmax(student))``, at temperature 1."""
    return lambda index, logits: kl_divergence(mean[index], logits, 1.0)
