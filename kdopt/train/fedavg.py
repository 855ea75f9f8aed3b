"""Federated averaging: one round, and the average itself (McMahan et al. 2017; paper, section V).

Every participant starts from the global model, trains on its own images for some epochs, and
sends its weights back; the new global model is their average, weighed by numbers of images. Batch
norm's running means and variances are averaged in the same way as the parameters: they are part
of what a participant sends. (Averaging the variances leaves out how far the participants' means
lie apart; it is what the usual implementations do.)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor, nn

from kdopt.train.engine import Images

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
    """Take the global model one round further, in place.

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


def count_state_bytes(model: nn.Module) -> int:
    """What a model weighs on the wire: parameters and buffers, uncompressed."""
    return sum(v.numel() * v.element_size() for v in model.state_dict().values())


def count_logit_bytes(images: int, classes: int) -> int:
    """What logits of so many images weigh on the wire, uncompressed."""
    return images * classes * LOGIT_BYTES
