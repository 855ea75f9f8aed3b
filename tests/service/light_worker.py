"""A worker process without torch: the real claims, heartbeat and reaping; a nap for a trial.

``python -m tests.service.light_worker URL LEASE_S [slow-reap]``. It prints what it finished.
A trial whose number divides by 13 is failed with a reason, as a diverged one would be.
"""

from __future__ import annotations

import random
import sys
import time

from kdopt.errors import LeaseLostError
from kdopt.service.heartbeat import Heartbeat
from kdopt.service.identity import is_dead, worker_name
from kdopt.stages.registry import all_studies
from kdopt.store import claims, rows
from kdopt.store.open import RETRY_S, open_store
from tests.conftest import make_outcome


def main() -> None:
    url, lease_s = sys.argv[1], float(sys.argv[2])
    store = open_store(url, patience_s=RETRY_S)
    plans = {p.name: p for p in all_studies(rows.read_record(store, "tiny").campaign)}
    chance = random.Random()
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
                if claim.number % 13 == 5:
                    claims.fail(store, claim, "the training loss became nan in epoch 1")
                else:
                    claims.finish(store, claim, make_outcome(1.0))
            print("finished", claim.trial_id, flush=True)
        except LeaseLostError:
            print("refused", claim.trial_id, flush=True)


if __name__ == "__main__":
    main()
