"""A worker process without torch: the real claims, heartbeat and reaping; a nap for a trial.

``python -m tests.worker.light_worker URL LEASE_S CONTROL``. It prints what it finished. One trial
in 13 is failed with a reason, as a diverged one would be. CONTROL is a file of two numbers, which
may be replaced meanwhile: by how many seconds all clocks are off, that of this machine and that of
the database as it is asked; and how many trials may end before all wait within theirs, so that a
test which is slow misses nothing.
"""

from __future__ import annotations

import math
import random
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from kdopt.campaign.stages import plan_studies
from kdopt.campaign.studies import StudyPlan
from kdopt.errors import LeaseLostError
from kdopt.outcome import Outcome
from kdopt.store import leases, queries
from kdopt.store.database import RETRY_S, Store, open_store
from kdopt.store.leases import Lease
from kdopt.worker.heartbeat import Heartbeat
from kdopt.worker.worker_id import is_dead, name_worker
from tests.conftest import make_distilled, make_pretrained

DIVERGED = "the training loss became nan in epoch 1"
BEAT_S = 0.5
"""Far more often than real workers do, so that beats meet everything else."""


def diverges(number: int) -> bool:
    """Whether the trial of that number fails, whoever runs it."""
    return number % 13 == 5


def make_result(claim: Lease, weights: str) -> Outcome:
    """What a trial records; as weights of a participant any artifact will do."""
    if "participant" in claim.params:
        return make_pretrained(0.5, weights)
    return make_distilled(1.0, make_pretrained(0.5))


def follow(control: Path) -> None:
    """Let every clock be off by what the file says, from one statement to the next.

    Nobody may set a machine's clock for a test; every time in the store comes from these two.
    """
    now, utc, real = Store.now.fget, Store.utc.fget, time.time

    def off() -> float:
        return read_control(control)[0]

    def utc_off(store: Store) -> str:
        if store.dialect == "sqlite":
            return utc(store).replace("'now'", f"'now', '{off():+} seconds'")
        return f"({utc(store)} + make_interval(secs => {off()}))"

    Store.now = property(lambda store: f"({now(store)} + {off()})")
    Store.utc = property(utc_off)
    time.time = lambda: real() + off()


def read_control(control: Path) -> tuple[float, float]:
    """By how many seconds clocks are off, and how many trials may end."""
    off_s, may_end = control.read_text().split()
    return float(off_s), float(may_end)


def is_free(store: Store, control: Path) -> bool:
    """Whether trials may end now."""
    may_end = read_control(control)[1]
    if math.isinf(may_end):
        return True
    counts = queries.read_study_counts(store, "tiny")
    return sum(c.complete + c.failed for c in counts) < may_end


def main() -> None:
    url, lease_s = sys.argv[1], float(sys.argv[2])
    control = Path(sys.argv[3])
    follow(control)
    store = open_store(url, patience_s=RETRY_S)
    record = queries.read_record(store, "tiny")
    (splits,) = set(record.splits.values())
    plans = {p.name: p for p in plan_studies(record.campaign)}
    chance = random.Random()
    may_end = partial(is_free, store, control)
    while True:
        leases.requeue_lost_trials(store, is_dead, lease_s=lease_s)
        states = [s for s in queries.read_study_counts(store, "tiny") if s.waiting or s.running]
        if not states:
            return
        chance.shuffle(states)
        taken = ((s, take(store, s.study_id, lease_s, chance)) for s in states)
        state, claims = next(((s, c) for s, c in taken if c), (None, []))
        if not claims:
            time.sleep(0.05)
            continue
        with Heartbeat(store, claims, BEAT_S, lease_s):
            for claim in claims:
                try:
                    run(store, plans[state.study], claim, splits, chance, may_end)
                    print("finished", claim.trial_id, flush=True)
                except LeaseLostError:
                    print("refused", claim.trial_id, flush=True)


def take(store: Store, study_id: int, lease_s: float, chance: random.Random) -> list[Lease]:
    """Take one trial or a few, as a worker does whose trials are short."""
    return leases.claim_trials(store, study_id, name_worker(), lease_s, chance.choice([1, 3]))


def run(
    store: Store,
    plan: StudyPlan,
    claim: Lease,
    weights: str,
    chance: random.Random,
    may_end: Callable[[], bool],
) -> None:
    """Run a trial, which is to nap, and record how it ended."""
    if not claim.params:
        bounds = plan.space["temperature"]
        temperature = chance.uniform(bounds.low, bounds.high)
        params = {"temperature": temperature, "alpha": 0.5, "replicate": 0}
        claim = leases.record_params(store, claim, params, plan.space)
    time.sleep(chance.uniform(0.02, 0.15))
    while not may_end():
        time.sleep(0.02)
    if diverges(claim.number):
        leases.fail_trial(store, claim, DIVERGED)
    else:
        leases.finish_trial(store, claim, make_result(claim, weights))


if __name__ == "__main__":
    main()
