"""The federated algorithms that a campaign may run, and the settings that are one's own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal, NamedTuple

from kdopt.campaign.fields import BatchSize, Count, Positive, Settings, Source

AlgorithmName = Literal["fedavg", "feddf", "fedmd", "def_kt"]
InitialModelName = Literal["random", "consolidated"]
OwnStartName = Literal["pretrained", "random"]

FEDAVG: AlgorithmName = "fedavg"
RANDOM: InitialModelName = "random"
CONSOLIDATED: InitialModelName = "consolidated"
INITIAL_MODELS: tuple[InitialModelName, ...] = (RANDOM, CONSOLIDATED)
OWN_STARTS: tuple[OwnStartName, ...] = ("pretrained", "random")


class AlgorithmFacts(NamedTuple):
    """What is known of an algorithm before anything runs.

    Attributes:
        label: How people call it.
        averages: Whether it averages weights into one global model, so that all participants
            need the same architecture. Otherwise each participant has a model of its own.
        asks_public: Whether models are asked about a public set.
        sends: What travels in a round.
    """

    label: str
    averages: bool
    asks_public: bool
    sends: str


ALGORITHM_FACTS: Mapping[AlgorithmName, AlgorithmFacts] = {
    "fedavg": AlgorithmFacts("FedAvg", True, False, "weights down and up"),
    "feddf": AlgorithmFacts("FedDF", True, True, "weights down and up"),
    "fedmd": AlgorithmFacts("FedMD", False, True, "logits up, their mean down"),
    "def_kt": AlgorithmFacts("Def-KT", False, False, "one model per pair"),
}


@dataclass(frozen=True)
class FedDfSettings(Settings):
    """``[federate.feddf]``: the server's distillation after each average (Lin et al. 2020).

    Attributes:
        epochs: Passes over the public set per round; the last weights are kept.
        learning_rate: Adam's step size, which stays as it is within a round.
        batch_size: Images per step.
    """

    epochs: Annotated[
        Count,
        Source("default: kdopt (Lin et al. 2020: up to 10,000 steps, stopped early on validation)"),
    ] = 10
    learning_rate: Annotated[
        Positive, Source("default: Lin et al. 2020 (there on a cosine to 0)")
    ] = 1e-3
    batch_size: Annotated[BatchSize, Source("default: Lin et al. 2020, published code")] = 128


@dataclass(frozen=True)
class FedMdSettings(Settings):
    """``[federate.fedmd]``: how a participant digests the consensus (Li & Wang 2019).

    Attributes:
        epochs: Passes over the public set per round.
        learning_rate: Adam's step size.
        batch_size: Images per step.
    """

    epochs: Annotated[Count, Source("default: Li & Wang 2019, published code")] = 1
    learning_rate: Annotated[Positive, Source("default: Li & Wang 2019, published code")] = 1e-3
    batch_size: Annotated[BatchSize, Source("default: Li & Wang 2019, published code")] = 256


ALGORITHM_TABLES = ("feddf", "fedmd")
"""Algorithms with settings of their own, in a table of that name within ``[federate]``."""
