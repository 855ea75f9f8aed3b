"""Federated rounds, from random and from trained weights: a study per partition and algorithm.

Federated averaging is the paper's (section V-B). The loop, what is recorded of a round, and the
state to resume from are the same for all algorithms (``kdopt.trials.global_model`` and
``kdopt.trials.peer_models``).
"""

from __future__ import annotations

import hashlib
import itertools
import json
import logging
import math
import time
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from kdopt.campaign.federated_algorithms import ALGORITHM_FACTS
from kdopt.campaign.plain import load_json
from kdopt.campaign.studies import Params, StudyPlan
from kdopt.errors import ArtifactError
from kdopt.outcome import Outcome, RoundScore, Scores
from kdopt.shown import format_count
from kdopt.train.evaluation import Evaluation
from kdopt.train.fit import DivergedError, Fit
from kdopt.train.weights import parse_tensors
from kdopt.trials.context import Context
from kdopt.trials.federations import Federation
from kdopt.trials.global_model import GlobalModel
from kdopt.trials.interfaces import Inputs, Journal
from kdopt.trials.outcomes import make_outcome
from kdopt.trials.peer_models import PeerModels

logger = logging.getLogger(__name__)


def run_federate(
    context: Context, plan: StudyPlan, params: Params, inputs: Inputs, journal: Journal
) -> Outcome:
    """Run all rounds of a federated algorithm.

    The seeds of a round are hashed from partition, replicate, round and participant, and no
    optimizer carries anything from one round to the next, so a run that resumes from a saved state
    gives bit for bit what an uninterrupted one gives.
    """
    assert plan.algorithm is not None
    settings = context.campaign.federate
    started = time.perf_counter()
    make = GlobalModel if ALGORITHM_FACTS[plan.algorithm].averages else PeerModels
    federation: Federation = make(context, plan.partition, plan.algorithm, params, inputs)
    progress = _load_saved_state(federation, journal, plan, params, settings.rounds)
    if progress is None:
        progress = _begin_rounds(federation)
    started -= progress.seconds
    journal.report({i: s.validation_accuracy for i, s in enumerate(progress.rounds)})
    for number in range(len(progress.rounds), settings.rounds + 1):
        try:
            federation.run_round(number)
            validation, test = federation.score()
        except DivergedError as error:
            raise DivergedError(f"round {number}, {error}") from error
        progress.rounds.append(RoundScore(validation.accuracy, test.accuracy))
        journal.report({number: validation.accuracy})
        if number % settings.save_every == 0 and number < settings.rounds:
            progress.seconds = time.perf_counter() - started
            journal.save(number, _pack_state(federation, progress, plan, params))
    epochs = settings.rounds * settings.local_epochs
    result = Evaluation(
        Fit(epochs, epochs, None), validation, test, validation.accuracy, test.accuracy
    )
    outcome = make_outcome(
        context,
        result,
        seconds=time.perf_counter() - started,
        before=progress,
        checkpoint=federation.save(),
    )
    return replace(
        outcome,
        value=validation.accuracy,
        participant=progress.participant,
        rounds=tuple(progress.rounds),
        round_bytes=federation.count_round_bytes(settings.rounds),
        start_bytes=federation.count_start_bytes(),
    )


@dataclass
class _Progress:
    """The state of a run besides its models.

    Attributes:
        validation: What the rounds start from, on validation.
        test: The same on test.
        participant: The student that the consolidated model started from.
        rounds: The accuracies at the start, then those after each round.
        seconds: Time spent, including that of lost workers up to their last saved state.
    """

    validation: Scores
    test: Scores
    participant: int | None
    rounds: list[RoundScore] = field(default_factory=list)
    seconds: float = 0.0


def _begin_rounds(federation: Federation) -> _Progress:
    federation.begin()
    validation, test = federation.score()
    first = RoundScore(validation.accuracy, test.accuracy)
    return _Progress(validation, test, federation.participant, [first])


def _pack_state(
    federation: Federation, progress: _Progress, plan: StudyPlan, params: Params
) -> bytes:
    """A state as safetensors: the models, and the rest as JSON.

    The study's name and the params are in it, so that no two trials ever share a state.
    """
    record = {**asdict(progress), "study": plan.name, "cell": dict(params)}
    text = torch.frombuffer(bytearray(json.dumps(record).encode()), dtype=torch.uint8)
    return safetensors.torch.save({**federation.pack(), "so_far": text})


def _load_saved_state(
    federation: Federation, journal: Journal, plan: StudyPlan, params: Params, most: int
) -> _Progress | None:
    """Go on from the last state; ``None`` without one, or where it cannot be this trial's.

    Starting again from nothing gives the same result, only later.
    """
    content = journal.saved()
    if content is None:
        return None
    try:
        tensors = parse_tensors(content)
        progress = _parse_progress(tensors.pop("so_far", None), plan, params, most)
        federation.restore(tensors)
    except ArtifactError as error:
        sha256 = hashlib.sha256(content).hexdigest()
        logger.warning(
            "%s: starts again from the beginning: saved state %s...: %s",
            plan.name,
            sha256[:12],
            error,
        )
        return None
    return progress


def _parse_progress(text: Tensor | None, plan: StudyPlan, params: Params, most: int) -> _Progress:
    try:
        record: dict[str, Any] = load_json(bytes([] if text is None else text.tolist()))
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
            f"it has {format_count(len(progress.rounds), 'round')} of {most}, or numbers that are "
            "not finite"
        )
    return progress
