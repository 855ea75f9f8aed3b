"""What a worker computes with, where the settings of a campaign do not say it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from kdopt.campaign.record import CampaignRecord
from kdopt.data.datasets import Dataset
from kdopt.store.artifacts.artifacts import Artifacts
from kdopt.train.engine import Engine
from kdopt.trials.context import Context


def do_nothing() -> None:
    """What is called after a trial, where nobody wants to know."""


@dataclass(frozen=True)
class Materials:
    """Images and models of a process.

    Attributes:
        dataset: The images; ``None``: those that the campaign's settings name.
        make_context: Makes what trials run in.
        after_trials: Called when trials have ended and nothing is in hand.
    """

    dataset: Dataset | None = None
    make_context: Callable[[CampaignRecord, Dataset, Artifacts, Engine], Context] = Context
    after_trials: Callable[[], None] = do_nothing
