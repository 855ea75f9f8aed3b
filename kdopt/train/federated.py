"""Federated algorithms: what participants send in a round, and what becomes of the models.

Federated averaging is the paper's (section V). FedDF has a global model too; with FedMD and Def-KT
every participant keeps a model of its own. How a model is trained, and on what, comes from outside.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from kdopt.train.engine import Images
from kdopt.train.losses import kl_divergence
from kdopt.train.models import ModelPair
from kdopt.train.steps import LossFn

State = Mapping[str, Tensor]

LOGIT_BYTES = 4
"""A logit on the wire: float32."""


class Average:
    """A weighted mean of states, added up one by one in float64, so that it needs one state."""

    def __init__(self) -> None:
        self._sum: dict[str, Tensor] = {}
        self._dtypes: dict[str, torch.dtype] = {}
        self._weight = 0.0

    def add(self, state: State, weight: float) -> None:
        """Add one state; ``weight`` > 0 is its number of images."""
        for key, value in state.items():
            self._dtypes[key] = value.dtype
            if not value.is_floating_point():
                # Batch norm's step counters, which no prediction depends on: the largest.
                known = self._sum.get(key)
                self._sum[key] = value.clone() if known is None else torch.maximum(known, value)
            elif key in self._sum:
                self._sum[key].add_(value.double(), alpha=weight)
            else:
                self._sum[key] = value.double() * weight
        self._weight += weight

    def result(self) -> dict[str, Tensor]:
        """The mean, in the types of the states."""
        return {
            key: (value / self._weight).to(self._dtypes[key])
            if self._dtypes[key].is_floating_point
            else value
            for key, value in self._sum.items()
        }


def run_round(
    model: nn.Module, shares: Iterable[Images], train: Callable[[int, nn.Module, Images], None]
) -> None:
    """Take the global model one round of federated averaging further, in place.

    Source: McMahan et al. 2017 (arXiv:1602.05629). Every participant starts from the global model,
    trains on its own images and sends its weights back; the new global model is their average,
    weighed by numbers of images. Batch norm's running means and variances are averaged like
    parameters: they are part of what a participant sends. (The average of the variances leaves out
    how far the participants' means lie apart; it is what the usual implementations do.)

    Args:
        model: The global model.
        shares: The images of every participant, in their order; read one at a time.
        train: ``train(participant, model, images)`` trains the model in place.
    """
    sent = {key: value.clone() for key, value in model.state_dict().items()}
    average = Average()
    for participant, images in enumerate(shares):
        model.load_state_dict(sent)
        train(participant, model, images)
        average.add(model.state_dict(), len(images))
    model.load_state_dict(average.result())


PlaceWeights = Callable[[int, Mapping[str, Tensor], int], nn.Module]
"""``place(participant, state, number)``: a model object of a participant's architecture with these
weights. Of each architecture there are objects 0 and 1; each is filled again on the next call."""


class Peers:
    """The weights of every participant's model, in few objects that they take turns in.

    Args:
        states: Weights by participant; they are copied.
        place: Puts weights into a model object.
        same_kind: Whether two participants have the same architecture.

    Attributes:
        states: The weights by participant.
    """

    def __init__(
        self,
        states: Iterable[Mapping[str, Tensor]],
        place: PlaceWeights,
        same_kind: Callable[[int, int], bool],
    ) -> None:
        self.states = [_copy_tensors(state) for state in states]
        self._place = place
        self.same_kind = same_kind

    def load(self, participant: int, number: int = 0) -> nn.Module:
        """A participant's model, in object 0 or 1 of its architecture."""
        return self._place(participant, self.states[participant], number)

    def keep(self, participant: int, model: nn.Module) -> None:
        """Take a model's present weights as the participant's."""
        self.states[participant] = _copy_tensors(model.state_dict())


def _copy_tensors(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {key: value.detach().clone() for key, value in state.items()}


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
    """Take the global model one round of FedDF further, in place.

    Source: Lin et al. 2020 (arXiv:2006.07242), Algorithm 1; the variant ``avg_logits`` of the
    published code (epfml/federated-learning-public-code). The server distils the mean of the
    participants' logits on a public set without labels into the average of their weights, so a
    round sends what one of federated averaging does.

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


def run_fedmd_round(
    peers: Peers,
    predict: Callable[[nn.Module], Tensor],
    digest: Callable[[int, nn.Module, Tensor], None],
    revisit: Callable[[int, nn.Module], None],
) -> None:
    """Take every participant's model one round of FedMD further.

    Source: Li & Wang 2019 (arXiv:1910.03581), Algorithm 1: communicate (logits up), aggregate
    (their mean, the consensus), distribute (down), digest (train towards the consensus on the
    public set), revisit (train on the own images).

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
    """The mean over images and classes of ``|logit - consensus|``.

    The paper names no distance; this is the published code's (diogenes0319/FedMD_clean).
    """
    return lambda index, logits: functional.l1_loss(logits.float(), consensus[index])


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
    """Take the models of all pairs one round of Def-KT further.

    Source: Li et al. 2021 (arXiv:2012.13063). The sender of a pair trains its model on its own
    images and sends it. The receiver trains that model and its own at once, on its own images, each
    on the labels and on the other's predictions, and keeps the received one, which now knows both.
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


def count_state_bytes(model: nn.Module) -> int:
    """What a model weighs on the wire: parameters and buffers, uncompressed."""
    return sum(v.numel() * v.element_size() for v in model.state_dict().values())


def count_logit_bytes(images: int, classes: int) -> int:
    """What logits of so many images weigh on the wire, uncompressed."""
    return images * classes * LOGIT_BYTES
