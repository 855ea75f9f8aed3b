"""What a worker says of a result, and of its work: what it did, and where its time went."""

from __future__ import annotations

import logging
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch

from kdopt.campaign.names import StageName
from kdopt.errors import (
    ArtifactError,
    DataError,
    KdoptError,
    LeaseLostError,
    StoreError,
    TrialGoneError,
)
from kdopt.outcome import Outcome
from kdopt.shown import format_count
from kdopt.store.leases import Lease
from kdopt.trials.cache import CacheUse
from kdopt.typed import precise_duration

logger = logging.getLogger(__name__)


@dataclass
class WorkerSummary:
    """What a worker did.

    Attributes:
        complete: Trials with a result.
        failed: Trials that failed.
        given_back: Trials given back unfinished, as it was told to stop.
        lost: Results dropped, since another worker had the trial by then, or nobody.
        gone: The trials among them that were deleted from the store meanwhile.
        stopped: Whether it was told to stop.
        blocked: Studies left whose participants could not be pre-trained.
        caches: How often what was asked for was in memory, by cache.
        seconds: Where the time went.
    """

    complete: int = 0
    failed: int = 0
    given_back: int = 0
    lost: int = 0
    gone: list[str] = field(default_factory=list)
    stopped: bool = False
    blocked: list[str] = field(default_factory=list)
    caches: dict[str, CacheUse] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    def add_cache_uses(self, uses: Mapping[str, CacheUse]) -> None:
        """Add up how the caches of a campaign's images, weights and logits were used."""
        for name, use in uses.items():
            before = self.caches.get(name, CacheUse(0, 0))
            self.caches[name] = CacheUse(before.asked + use.asked, before.hits + use.hits)

    def count_lost(self, label: str, error: LeaseLostError) -> None:
        """Count a result that was dropped, and log it.

        Args:
            label: Study and number of the trial.
            error: Why.
        """
        logger.warning("%s: result dropped: %s", label, error)
        self.lost += 1
        if isinstance(error, TrialGoneError):
            self.gone.append(label)

    def refuse_losses(self) -> WorkerSummary:
        """Itself, if every result had a place in the store.

        Raises:
            StoreError: Trials were deleted while they ran; others may have been as well.
        """
        if self.gone:
            named = ", ".join(self.gone[:5]) + (", ..." if len(self.gone) > 5 else "")
            raise StoreError(
                f"{format_count(len(self.gone), 'result is', 'results are')} lost ({named}): "
                "another program deleted their studies from the store while they ran; 'kdopt "
                "run' and 'kdopt plan' plan them again"
            )
        return self


class Stopwatch:
    """Adds up seconds by what a worker was doing.

    Attributes:
        seconds: Wall time by name, in the order of first use.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def add(self, name: str, seconds: float) -> None:
        """Count seconds that were measured elsewhere."""
        self.seconds[name] = self.seconds.get(name, 0.0) + seconds

    @contextmanager
    def timing(self, name: str) -> Iterator[None]:
        """Count the block."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.add(name, time.perf_counter() - started)


def describe_result(stage: StageName, claim: Lease, outcome: Outcome) -> str:
    """A result as the worker's log has it."""
    params = ", ".join(
        f"{k} {v:g}" if isinstance(v, float) else f"{k} {v}" for k, v in claim.params.items()
    )
    if outcome.validation.images == 0:
        result = "validation accuracy not known"
    elif stage not in ("tune", "compare") or outcome.validation_gain is None:
        result = f"validation accuracy {100 * outcome.validation.accuracy:.1f} %"
    else:
        result = f"gain {outcome.validation_gain:+.2f} pp on validation"
    source = f", taken from {outcome.taken_from}" if outcome.taken_from else ""
    took = precise_duration(outcome.seconds)
    epochs = format_count(outcome.epochs, "epoch")
    return f"{params}: {result}, {epochs}, {took}{source}"


class BrokenDeviceError(KdoptError):
    """The device failed: nothing can be computed on it any more in this process."""


def explain_failure(error: Exception) -> str:
    """The reason that the store keeps of a trial's own failure: what it was, then where.

    Raises:
        KdoptError: It is a fault of the store, the files, the machine or the device, which other
            trials would meet too: the trial did not fail.
    """
    if isinstance(error, StoreError | ArtifactError | DataError | LeaseLostError):
        raise error
    text = f"{type(error).__name__}: {error}"
    if isinstance(error, torch.AcceleratorError):
        # Every later call of this process would fail likewise, and so all trials that it takes.
        raise BrokenDeviceError(
            f"the device failed: {' '.join(str(error).split())[:300]}; look at it (nvidia-smi, "
            "dmesg) and start the worker again. Its trial is taken over, and failed if it takes "
            "down several workers"
        ) from error
    if isinstance(error, OSError):
        raise KdoptError(
            f"this machine failed a trial: {text[:300]}; mend that and run the same command "
            "again: the trial was given back"
        ) from error
    if isinstance(error, KdoptError):
        return str(error)
    where = "".join(traceback.format_tb(error.__traceback__)[-3:])
    return f"{text}\n{where}"
