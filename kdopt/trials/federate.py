"""Federated averaging, from random and from consolidated weights: one study per partition (V-B)."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from typing import Any, cast

import safetensors.torch
import torch
from torch import nn
from torch.nn import functional

from kdopt.campaign.names import seed_for
from kdopt.campaign.settings import Campaign, TrainSettings
from kdopt.campaign.stage_settings import InitialModelName
from kdopt.campaign.stages import Combination
from kdopt.campaign.studies import Params, StudyPlan
from kdopt.outcome import Outcome, RoundScore, Scores
from kdopt.train.engine import Images, seeded
from kdopt.train.fedavg import federated_round, state_bytes
from kdopt.train.fit import DivergedError, Fit, fit
from kdopt.trials.base import Inputs, Journal
from kdopt.trials.combine import consolidate
from kdopt.trials.context import Context, Evaluation

LOGIT_BYTES = 4
"""A logit on the wire: float32."""


def run_federate(
    context: Context, plan: StudyPlan, params: Params, inputs: Inputs, journal: Journal
) -> Outcome:
    """All rounds of federated averaging.

    The seed of a participant's part of a round is hashed from partition, replicate, round and
    participant, and plain SGD carries nothing from one round to the next, so a run that goes on
    from a saved state gives bit for bit what an unbroken one gives.
    """
    settings, replicate = context.campaign.federate, int(params["replicate"])
    initial_model = cast("InitialModelName", params["initial_model"])
    started = time.perf_counter()
    found = _resume(context, journal)
    if found is None:
        model, so_far = _begin(context, plan.partition, initial_model, replicate, inputs)
    else:
        model, so_far = found
    started -= so_far.seconds
    journal.report({i: s.validation_accuracy for i, s in enumerate(so_far.rounds)})
    for number in range(len(so_far.rounds), settings.rounds + 1):
        where = (plan.partition, replicate, number)
        federated_round(model, _shares(context, plan.partition), _local_training(context, where))
        validation, test = context.scores(model)
        so_far.rounds.append(RoundScore(validation.accuracy, test.accuracy))
        journal.report({number: validation.accuracy})
        if number % settings.save_every == 0 and number < settings.rounds:
            so_far.seconds = time.perf_counter() - started
            journal.save(number, _pack(model, so_far, plan, params))
    epochs = settings.rounds * settings.local_epochs
    result = Evaluation(
        Fit(epochs, epochs, None), validation, test, validation.accuracy, test.accuracy
    )
    outcome = context.outcome(
        result,
        seconds=time.perf_counter() - started,
        before=so_far,
        checkpoint=context.keep(model),
    )
    weight = state_bytes(model)
    return replace(
        outcome,
        value=validation.accuracy,
        participant=so_far.participant,
        rounds=tuple(so_far.rounds),
        # Every participant receives the global model and sends its own.
        round_bytes=2 * context.campaign.participants * weight,
        start_bytes=_start_bytes(context, plan.partition, weight, inputs)
        if initial_model == "consolidated"
        else 0,
    )


@dataclass
class _SoFar:
    """What a run has to remember besides the global model.

    Attributes:
        validation: The initial model on validation.
        test: The initial model on test.
        participant: Whom the consolidated model started from.
        rounds: The initial model's accuracies, then those after each round.
        seconds: Time spent, lost workers' included up to what they saved.
    """

    validation: Scores
    test: Scores
    participant: int | None
    rounds: list[RoundScore] = field(default_factory=list)
    seconds: float = 0.0


def _begin(
    context: Context,
    partition: str,
    initial_model: InitialModelName,
    replicate: int,
    inputs: Inputs,
) -> tuple[nn.Module, _SoFar]:
    """The initial model; consolidated ones are distilled here.

    Distilling costs little beside the rounds, and this way the stage needs no other than
    pre-training: the same way of combining in stage ``combine`` gives the same weights.
    """
    if initial_model == "random":
        seed = seed_for(context.campaign.seed, partition, "federate", "initial", replicate)
        with seeded(seed, context.engine.device):
            model, participant = context.new_model(), None
    else:
        made = consolidate(context, partition, _way(context.campaign), replicate, inputs)
        model, participant = made.model, made.student
    validation, test = context.scores(model)
    first = RoundScore(validation.accuracy, test.accuracy)
    return model, _SoFar(validation, test, participant, [first])


def _way(campaign: Campaign) -> Combination:
    settings = campaign.federate
    return Combination(settings.start, settings.transfer_set, settings.weighting)


def _shares(context: Context, partition: str) -> Iterator[Images]:
    for participant in range(context.campaign.participants):
        yield context.share(partition, participant)


def _local_training(
    context: Context, where: tuple[str, int, int]
) -> Callable[[int, nn.Module, Images], None]:
    """One participant's local epochs, for a (partition, replicate, round)."""
    campaign, engine = context.campaign, context.engine
    settings = campaign.federate
    local = TrainSettings(
        epochs=settings.local_epochs,
        patience=0,
        learning_rate=settings.learning_rate,
        weight_decay=settings.weight_decay,
        batch_size=settings.batch_size,
        optimizer="sgd",
    )

    def train(participant: int, model: nn.Module, images: Images) -> None:
        partition, replicate, number = where
        seed = seed_for(
            campaign.seed, partition, "federate", replicate, "round", number, participant
        )
        with seeded(seed, engine.device) as generator:
            try:
                fit(
                    model,
                    images,
                    lambda i, logits: functional.cross_entropy(logits.float(), images.labels[i]),
                    local,
                    engine,
                    generator,
                    monitor=context.validation_accuracy,
                )
            except DivergedError as error:
                raise DivergedError(
                    f"round {number}, participant {participant}: {error}"
                ) from error

    return train


def _start_bytes(context: Context, partition: str, model_bytes: int, inputs: Inputs) -> int:
    """What consolidation sends and receives.

    On the student's data every teacher's model goes up and down to the student, and the result
    goes up. On a public set, which everybody has, logits go instead where they weigh less, and
    an untrained student needs neither their way down nor the way up of the result.
    """
    way = _way(context.campaign)
    payload = model_bytes
    if way.transfer_set != "student":
        images = context.transfer_set(partition, 0, way.transfer_set)
        classes = len(next(iter(inputs.values())).validation.per_class)
        payload = min(model_bytes, len(images) * classes * LOGIT_BYTES)
    if way.start == "untrained":
        return payload * len(inputs)
    # The student's own copy, where it teaches too, is at home.
    return 2 * payload * (len(inputs) - 1) + model_bytes


def _pack(model: nn.Module, so_far: _SoFar, plan: StudyPlan, params: Params) -> bytes:
    """A state as safetensors: the global model, and the rest as JSON.

    The study's name and the cell are in it, so that no two trials ever share a state.
    """
    record = {**asdict(so_far), "study": plan.name, "cell": dict(params)}
    text = torch.frombuffer(bytearray(json.dumps(record).encode()), dtype=torch.uint8)
    state = {f"model.{k}": v.detach().cpu().contiguous() for k, v in model.state_dict().items()}
    return safetensors.torch.save({**state, "so_far": text})


def _resume(context: Context, journal: Journal) -> tuple[nn.Module, _SoFar] | None:

    content = journal.saved()
    if content is None:
        return None
    tensors = safetensors.torch.load(content)
    record: dict[str, Any] = json.loads(bytes(tensors.pop("so_far").tolist()))
    model = context.filled({k.removeprefix("model."): v for k, v in tensors.items()})
    return model, _SoFar(
        Scores.from_json(record["validation"]),
        Scores.from_json(record["test"]),
        record["participant"],
        [RoundScore(*pair) for pair in record["rounds"]],
        record["seconds"],
    )
