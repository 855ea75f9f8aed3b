"""A worker that is told to stop right after a result, however fast it is.

``python -m tests.worker.stopping_worker N ...`` is ``kdopt worker ...``, which gets SIGTERM once it
has recorded N results.
"""

from __future__ import annotations

import os
import signal
import sys

from kdopt.cli import main
from kdopt.store import leases


def stop_after(n: int) -> None:
    """Let this process be told to stop after so many results."""
    finish_trial, results = leases.finish_trial, []

    def finish_and_count(*arguments: object, **options: object) -> list[str]:
        dropped = finish_trial(*arguments, **options)  # type: ignore[arg-type]
        results.append(1)
        if len(results) == n:
            os.kill(os.getpid(), signal.SIGTERM)
        return dropped

    leases.finish_trial = finish_and_count


if __name__ == "__main__":
    stop_after(int(sys.argv[1]))
    sys.argv[1:] = ["worker", *sys.argv[2:]]
    main()
