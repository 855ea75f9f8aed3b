"""A worker process without torch: the real claims, heartbeat and reaping; a nap for a trial.

``python -m tests.service.light_worker URL LEASE_S [CLOCK]``. It prints what it finished. One trial
in 13 is failed with a reason, as a diverged one would be. CLOCK is a file that says by how many
seconds all clocks are off: that of this machine, and that of the database as it is asked. On
SIGUSR1 it stops itself (SIGSTOP) within its next trial: never within a transaction, which would
stop all who write to an SQLite file.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from pathlib import Path

from kdopt.errors import LeaseLostError
from kdopt.service.heartbeat import Heartbeat
from kdopt.service.identity import is_dead, worker_name
from kdopt.stages.registry import all_studies
from kdopt.store import claims, rows
from kdopt.store.open import RETRY_S, Store, open_store
from tests.conftest import make_outcome


def diverges(number: int) -> bool:
    """Whether the trial of that number fails, whoever runs it."""
    return number % 13 == 5


def follow(clock: Path) -> None:
    """Let every clock be off by what the file says, from one statement to the next.

    Nobody may set a machine's clock for a test; every time in the store comes from these two.
    """
    now, utc, real = Store.now.fget, Store.utc.fget, time.time

    def off() -> float:
        return float(clock.read_text())

    def utc_off(store: Store) -> str:
        if store.dialect == "sqlite":
            return utc(store).replace("'now'", f"'now', '{off():+} seconds'")
        return f"({utc(store)} + make_interval(secs => {off()}))"

    Store.now = property(lambda store: f"({now(store)} + {off()})")
    Store.utc = property(utc_off)
    time.time = lambda: real() + off()


def main() -> None:
    url, lease_s = sys.argv[1], float(sys.argv[2])
    if len(sys.argv) > 3:
        follow(Path(sys.argv[3]))
    store = open_store(url, patience_s=RETRY_S)
    plans = {p.name: p for p in all_studies(rows.read_record(store, "tiny").campaign)}
    chance = random.Random()
    told: list[int] = []
    signal.signal(signal.SIGUSR1, lambda number, _frame: told.append(number))
    print("ready", flush=True)
    while True:
        claims.reap(store, is_dead)
        states = [s for s in rows.read_states(store, "tiny") if s.waiting or s.running]
        if not states:
            return
        chance.shuffle(states)
        found = ((s, claims.claim(store, s.study_id, worker_name(), lease_s)) for s in states)
        state, claim = next(((s, c) for s, c in found if c is not None), (None, None))
        if claim is None:
            time.sleep(0.05)
            continue
        try:
            with Heartbeat(store, claim, lease_s / 6, lease_s):
                if not claim.cell:
                    temperature = chance.uniform(0.5, 4.0)
                    cell = {"temperature": temperature, "alpha": 0.5, "replicate": 0}
                    claim = claims.choose(store, claim, cell, plans[state.text].params)
                time.sleep(chance.uniform(0.02, 0.15))
                if told:
                    told.clear()
                    print("frozen", claim.trial_id, flush=True)
                    os.kill(os.getpid(), signal.SIGSTOP)
                if diverges(claim.number):
                    claims.fail(store, claim, "the training loss became nan in epoch 1")
                else:
                    claims.finish(store, claim, make_outcome(1.0))
            print("finished", claim.trial_id, flush=True)
        except LeaseLostError:
            print("refused", claim.trial_id, flush=True)


if __name__ == "__main__":
    main()
