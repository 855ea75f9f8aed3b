"""A model of each participant: FedMD and Def-KT."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import safetensors.torch
import torch
from torch import Tensor, nn

from kdopt.campaign.federated_algorithms import AlgorithmName
from kdopt.campaign.studies import Params
from kdopt.errors import ArtifactError
from kdopt.outcome import Scores
from kdopt.train.evaluation import predict_logits
from kdopt.train.federated import (
    Peers,
    count_logit_bytes,
    count_state_bytes,
    draw_pairs,
    make_def_kt_loss,
    make_fedmd_loss,
    run_def_kt_round,
    run_fedmd_round,
)
from kdopt.train.weights import check_weights
from kdopt.trials.context import Context
from kdopt.trials.federations import Federation, add_prefix, average_scores, make_public_budget
from kdopt.trials.interfaces import Inputs


class PeerModels(Federation):
    """A model of each participant, as ``fedmd`` and ``def_kt`` have them."""

    def __init__(
        self,
        context: Context,
        partition: str,
        algorithm: AlgorithmName,
        params: Params,
        inputs: Inputs,
    ) -> None:
        super().__init__(context, partition, algorithm, params, inputs)
        self._everyone = range(context.campaign.participants)
        self._peers = Peers([], self._place_weights, self._are_alike)

    def _place_weights(
        self, participant: int, state: Mapping[str, Tensor], number: int
    ) -> nn.Module:
        return self._context.load_state(state, participant, number)

    def _are_alike(self, one: int, other: int) -> bool:
        campaign = self._context.campaign
        return campaign.get_architecture(one) == campaign.get_architecture(other)

    def begin(self) -> None:
        """Take everybody's pre-trained model, or draw weights for each."""
        states = (self._make_model(i).state_dict() for i in self._everyone)
        self._peers = Peers(states, self._place_weights, self._are_alike)

    def _make_model(self, participant: int) -> nn.Module:
        if self._start == "pretrained":
            return self._context.load_model(self._inputs[participant])
        return self._draw_model(participant)

    def run_round(self, number: int) -> None:
        """See :class:`Federation`."""
        if self._algorithm == "fedmd":
            self._run_fedmd(number)
        else:
            self._run_def_kt(number)

    def _run_fedmd(self, number: int) -> None:
        """A round of FedMD."""
        public = self._get_public()
        budget = make_public_budget(self._context.campaign.federate.fedmd)

        def digest(participant: int, model: nn.Module, consensus: Tensor) -> None:
            who, loss = f"participant {participant}", make_fedmd_loss(consensus)
            self._training.train((number, "digest", participant), who, model, public, loss, budget)

        predict = partial(predict_logits, images=public, engine=self._context.engine)
        revisit = partial(self._training.train_locally, number)
        run_fedmd_round(self._peers, predict, digest, revisit)

    def _run_def_kt(self, number: int) -> None:
        """A round of Def-KT."""

        def exchange(receiver: int, both: nn.Module) -> None:
            images = self._context.get_share(self._partition, receiver)
            self._training.train(
                (number, "exchange", receiver),
                f"participant {receiver}",
                both,
                images,
                make_def_kt_loss(images.labels),
                self._training.local,
            )

        train = partial(self._training.train_locally, number)
        run_def_kt_round(self._peers, self._draw_pairs(number), train, exchange)

    def _draw_pairs(self, number: int) -> Sequence[tuple[int, int]]:
        generator = torch.Generator().manual_seed(self._training.seed(number, "pairs"))
        return draw_pairs(len(self._everyone), generator)

    def score(self) -> tuple[Scores, Scores]:
        """See :class:`Federation`; everybody is judged on the same images."""
        context, validation = self._context, self._context.get_validation(self._partition)
        found = [context.score_model(self._peers.load(i), validation) for i in self._everyone]
        on_validation, on_test = zip(*found, strict=True)
        return average_scores(on_validation), average_scores(on_test)

    def pack(self) -> dict[str, Tensor]:
        """See :class:`Federation`."""
        found: dict[str, Tensor] = {}
        for participant, state in enumerate(self._peers.states):
            found |= add_prefix(_name_model(participant), state)
        return found

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """See :class:`Federation`."""
        rest, states = dict(tensors), []
        for participant in self._everyone:
            prefix = f"{_name_model(participant)}."
            own = {k.removeprefix(prefix): rest.pop(k) for k in list(rest) if k.startswith(prefix)}
            check_weights(own, self._context.get_weights(participant))
            states.append({k: v.to(self._context.engine.device) for k, v in own.items()})
        if rest:
            raise ArtifactError(f"it has '{min(rest)}', which no participant's model has")
        self._peers = Peers(states, self._place_weights, self._are_alike)

    def save(self) -> str:
        """One file with everybody's weights, each under its participant's name."""
        return self._context.save_content(safetensors.torch.save(self.pack()))

    def count_round_bytes(self, rounds: int) -> int:
        """FedMD: logits of the public set up, and their mean down. Def-KT: one model per pair."""
        if self._algorithm == "fedmd":
            logits = count_logit_bytes(self._get_public().positions, self._context.n_classes)
            return 2 * len(self._everyone) * logits
        weights = [count_state_bytes(self._peers.load(i)) for i in self._everyone]
        sent = sum(
            weights[sender]
            for number in range(1, rounds + 1)
            for sender, _ in self._draw_pairs(number)
        )
        return round(sent / rounds)

    def count_start_bytes(self) -> int:
        """None: everybody starts at home."""
        return 0


def _name_model(participant: int) -> str:
    return f"model-{participant:03d}"
