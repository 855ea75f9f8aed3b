"""One worker of ``bench.py campaign``: what ``kdopt worker`` does, and where its time went."""

from __future__ import annotations

import json
import sys
import time

STARTED = time.time()


def main() -> None:
    """Work on the campaign of a store until nothing is left; print the summary as JSON."""
    location, artifacts, campaign = sys.argv[1:]
    from kdopt.store.artifacts import Artifacts
    from kdopt.store.database import open_store
    from kdopt.store.queries import read_record
    from kdopt.train.engine import make_engine
    from kdopt.worker.worker import run_trials

    store = open_store(location)
    engine = make_engine(read_record(store, campaign).campaign.precision, "cpu")
    ready, cpu_s = time.time(), time.process_time()
    summary = run_trials(store, Artifacts(artifacts), campaign, engine)
    print(
        json.dumps(
            {
                "trials": summary.complete,
                "starting": ready - STARTED,
                "working": time.time() - ready,
                "cpu": time.process_time() - cpu_s,
                "caches": summary.caches,
                **{f"in {what}": seconds for what, seconds in summary.seconds.items()},
            }
        )
    )


if __name__ == "__main__":
    main()
