"""One global model: federated averaging and FedDF."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial

from torch import Tensor, nn

from kdopt.campaign.settings import Campaign
from kdopt.campaign.stages import Combination
from kdopt.outcome import Scores
from kdopt.train.engine import Images
from kdopt.train.evaluation import predict_logits
from kdopt.train.federated import (
    count_logit_bytes,
    count_state_bytes,
    make_feddf_loss,
    run_feddf_round,
    run_round,
)
from kdopt.train.weights import check_weights
from kdopt.trials.combine import consolidate
from kdopt.trials.context import Context
from kdopt.trials.federations import Federation, add_prefix, make_public_budget
from kdopt.trials.interfaces import Inputs


class GlobalModel(Federation):
    """The one model of ``fedavg`` and ``feddf``."""

    _model: nn.Module | None = None

    @property
    def model(self) -> nn.Module:
        """The global model, once it is made."""
        assert self._model is not None
        return self._model

    def begin(self) -> None:
        """Make the initial model; a consolidated one is distilled here.

        Distilling costs little beside the rounds, and this way the stage needs no other than
        pre-training: the same combination in stage ``combine`` gives the same weights.
        """
        if self._start == "random":
            self._model = self._draw_model()
            return
        context, replicate = self._context, self._training.replicate
        combination = _read_combination(context.campaign)
        made = consolidate(context, self._partition, combination, replicate, self._inputs)
        self._model, self.participant = made.model, made.student

    def run_round(self, number: int) -> None:
        """See :class:`Federation`."""
        shares, train = self._iterate_shares(), partial(self._training.train_locally, number)
        if self._algorithm == "fedavg":
            run_round(self.model, shares, train)
            return
        public = self._get_public()
        server = make_public_budget(self._context.campaign.federate.feddf)

        def distil(model: nn.Module, mean: Tensor) -> None:
            loss = make_feddf_loss(mean)
            self._training.train((number, "server"), "server", model, public, loss, server)

        predict = partial(predict_logits, images=public, engine=self._context.engine)
        run_feddf_round(self.model, shares, train, predict, distil)

    def _iterate_shares(self) -> Iterator[Images]:
        for participant in range(self._context.campaign.participants):
            yield self._context.get_share(self._partition, participant)

    def score(self) -> tuple[Scores, Scores]:
        """See :class:`Federation`."""
        return self._context.score_model(self.model, self._context.get_validation(self._partition))

    def pack(self) -> dict[str, Tensor]:
        """See :class:`Federation`."""
        return add_prefix("model", self.model.state_dict())

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """See :class:`Federation`."""
        weights = {key.removeprefix("model."): value for key, value in tensors.items()}
        check_weights(weights, self._context.get_weights())
        self._model = self._context.load_state(weights)

    def save(self) -> str:
        """See :class:`Federation`."""
        return self._context.save_model(self.model)

    def count_round_bytes(self, rounds: int) -> int:
        """Every participant receives the global model and sends its own."""
        return 2 * self._context.campaign.participants * count_state_bytes(self.model)

    def count_start_bytes(self) -> int:
        """None from random weights."""
        if self._start == "random":
            return 0
        weight = count_state_bytes(self.model)
        return _count_combining(self._context, self._partition, weight, self._inputs)


def _read_combination(campaign: Campaign) -> Combination:
    settings = campaign.federate
    return Combination(settings.start, settings.transfer_set, settings.weighting)


def _count_combining(context: Context, partition: str, model_bytes: int, inputs: Inputs) -> int:
    """Bytes that consolidation sends and receives.

    On the student's data every teacher's model goes up and down to the student, and the result
    goes up. On a public set, which all participants have, logits go instead where they are
    smaller, and an untrained student neither receives them nor sends the result.
    """
    combination = _read_combination(context.campaign)
    payload = model_bytes
    if combination.transfer_set != "student":
        images = context.get_transfer_set(partition, 0, combination.transfer_set)
        classes = len(next(iter(inputs.values())).validation.per_class)
        payload = min(model_bytes, count_logit_bytes(images.positions, classes))
    if combination.start == "untrained":
        return payload * len(inputs)
    # The student's own copy, where it teaches too, is at home.
    return 2 * payload * (len(inputs) - 1) + model_bytes
