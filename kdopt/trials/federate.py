"""Federated averaging, from random and from consolidated weights: one study per partition (V-B)."""

from __future__ import annotations

import hashlib
import itertools
import json
import logging
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from typing import Any, cast

import safetensors.torch
import torch
from torch import Tensor, nn
from torch.nn import functional

from kdopt.campaign.federated_algorithms import InitialModelName
from kdopt.campaign.names import seed_for
from kdopt.campaign.settings import Campaign, TrainSettings
from kdopt.campaign.stages import Combination
from kdopt.campaign.studies import Params, StudyPlan
from kdopt.errors import ArtifactError
from kdopt.outcome import Outcome, RoundScore, Scores
from kdopt.train.engine import Images, seeded
from kdopt.train.evaluation import Evaluation
from kdopt.train.fedavg import count_state_bytes, run_round
from kdopt.train.fit import DivergedError, Fit, fit
from kdopt.train.weights import check_weights, parse_tensors
from kdopt.trials.combine import consolidate
from kdopt.trials.context import Context
from kdopt.trials.interfaces import Inputs, Journal
from kdopt.trials.outcomes import make_outcome

logger = logging.getLogger(__name__)

LOGIT_BYTES = 4
"""A logit on the wire: float32."""


def run_federate(
    context: Context, plan: StudyPlan, params: Params, inputs: Inputs, journal: Journal
) -> Outcome:
    """Run all rounds of federated averaging.

    The seed of a participant's part of a round is hashed from partition, replicate, round and
    participant, and plain SGD carries nothing from one round to the next, so a run that resumes
    from a saved state gives bit for bit what an uninterrupted one gives.
    """
    settings, replicate = context.campaign.federate, int(params["replicate"])
    initial_model = cast("InitialModelName", params["initial_model"])
    started = time.perf_counter()
    found = _load_saved_state(context, journal, plan, params)
    if found is None:
        model, progress = _make_initial_model(
            context, plan.partition, initial_model, replicate, inputs
        )
    else:
        model, progress = found
    started -= progress.seconds
    journal.report({i: s.validation_accuracy for i, s in enumerate(progress.rounds)})
    for number in range(len(progress.rounds), settings.rounds + 1):
        where = (plan.partition, replicate, number)
        run_round(
            model, _iterate_shares(context, plan.partition), _make_local_training(context, where)
        )
        validation, test = context.score_model(model, context.get_validation(plan.partition))
        progress.rounds.append(RoundScore(validation.accuracy, test.accuracy))
        journal.report({number: validation.accuracy})
        if number % settings.save_every == 0 and number < settings.rounds:
            progress.seconds = time.perf_counter() - started
            journal.save(number, _pack_state(model, progress, plan, params))
    epochs = settings.rounds * settings.local_epochs
    result = Evaluation(
        Fit(epochs, epochs, None), validation, test, validation.accuracy, test.accuracy
    )
    outcome = make_outcome(
        context,
        result,
        seconds=time.perf_counter() - started,
        before=progress,
        checkpoint=context.save_model(model),
    )
    weight = count_state_bytes(model)
    return replace(
        outcome,
        value=validation.accuracy,
        participant=progress.participant,
        rounds=tuple(progress.rounds),
        # Every participant receives the global model and sends its own.
        round_bytes=2 * context.campaign.participants * weight,
        start_bytes=_count_start_bytes(context, plan.partition, weight, inputs)
        if initial_model == "consolidated"
        else 0,
    )


@dataclass
class _Progress:
    """The state of a run besides the global model.

    Attributes:
        validation: The initial model on validation.
        test: The initial model on test.
        participant: The student that the consolidated model started from.
        rounds: The initial model's accuracies, then those after each round.
        seconds: Time spent, including that of lost workers up to their last saved state.
    """

    validation: Scores
    test: Scores
    participant: int | None
    rounds: list[RoundScore] = field(default_factory=list)
    seconds: float = 0.0


def _make_initial_model(
    context: Context,
    partition: str,
    initial_model: InitialModelName,
    replicate: int,
    inputs: Inputs,
) -> tuple[nn.Module, _Progress]:
    """Make the initial model; a consolidated one is distilled here.

    Distilling costs little beside the rounds, and this way the stage needs no other than
    pre-training: the same combination in stage ``combine`` gives the same weights.
    """
    if initial_model == "random":
        seed = seed_for(context.campaign.seed, partition, "federate", "initial", replicate)
        with seeded(seed, context.engine.device):
            model, participant = context.new_model(), None
    else:
        made = consolidate(
            context, partition, _read_combination(context.campaign), replicate, inputs
        )
        model, participant = made.model, made.student
    validation, test = context.score_model(model, context.get_validation(partition))
    first = RoundScore(validation.accuracy, test.accuracy)
    return model, _Progress(validation, test, participant, [first])


def _read_combination(campaign: Campaign) -> Combination:
    settings = campaign.federate
    return Combination(settings.start, settings.transfer_set, settings.weighting)


def _iterate_shares(context: Context, partition: str) -> Iterator[Images]:
    for participant in range(context.campaign.participants):
        yield context.get_share(partition, participant)


def _make_local_training(
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
                    monitor=_monitor_nothing,
                    steps=context.steps,
                    first_epoch=(number - 1) * local.epochs + 1,
                )
            except DivergedError as error:
                raise DivergedError(
                    f"round {number}, participant {participant}: {error}"
                ) from error

    return train


def _monitor_nothing(_model: nn.Module) -> float:
    raise AssertionError("local training has no patience, so nothing is monitored")


def _count_start_bytes(context: Context, partition: str, model_bytes: int, inputs: Inputs) -> int:
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
        payload = min(model_bytes, images.positions * classes * LOGIT_BYTES)
    if combination.start == "untrained":
        return payload * len(inputs)
    # The student's own copy, where it teaches too, is at home.
    return 2 * payload * (len(inputs) - 1) + model_bytes


def _pack_state(model: nn.Module, progress: _Progress, plan: StudyPlan, params: Params) -> bytes:
    """A state as safetensors: the global model, and the rest as JSON.

    The study's name and the params are in it, so that no two trials ever share a state.
    """
    record = {**asdict(progress), "study": plan.name, "cell": dict(params)}
    text = torch.frombuffer(bytearray(json.dumps(record).encode()), dtype=torch.uint8)
    state = {f"model.{k}": v.detach().cpu().contiguous() for k, v in model.state_dict().items()}
    return safetensors.torch.save({**state, "so_far": text})


def _load_saved_state(
    context: Context, journal: Journal, plan: StudyPlan, params: Params
) -> tuple[nn.Module, _Progress] | None:
    """The last state; ``None`` without one, or where it cannot be this trial's.

    Starting again from nothing gives the same result, only later.
    """
    content = journal.saved()
    if content is None:
        return None
    try:
        tensors = parse_tensors(content)
        progress = _parse_progress(
            tensors.pop("so_far", None), plan, params, context.campaign.federate.rounds
        )
        weights = {k.removeprefix("model."): v for k, v in tensors.items()}
        check_weights(weights, context.get_weights())
    except ArtifactError as error:
        sha256 = hashlib.sha256(content).hexdigest()
        logger.warning(
            "%s: starts again from the beginning: saved state %s...: %s",
            plan.name,
            sha256[:12],
            error,
        )
        return None
    return context.load_state(weights), progress


def _parse_progress(text: Tensor | None, plan: StudyPlan, params: Params, most: int) -> _Progress:
    try:
        record: dict[str, Any] = json.loads(bytes([] if text is None else text.tolist()))
        progress = _Progress(
            Scores.from_json(record["validation"]),
            Scores.from_json(record["test"]),
            record["participant"],
            [RoundScore(*pair) for pair in record["rounds"]],
            float(record["seconds"]),
        )
        found = (record["study"], record["cell"])
        numbers = [progress.seconds, *itertools.chain(*progress.rounds)]
        fine = all(map(math.isfinite, numbers))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ArtifactError(f"its record cannot be read ({error!r:.100})") from error
    if found != (plan.name, dict(params)):
        raise ArtifactError(f"it is of another trial ({found[0]!r:.100})")
    if not fine or not 0 < len(progress.rounds) <= most:
        raise ArtifactError(
            f"it has {len(progress.rounds)} rounds of {most}, or numbers that are not finite"
        )
    return progress
