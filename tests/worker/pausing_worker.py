"""A worker that pauses: what a test does to it then, it does at that very moment.

``python -m tests.worker.pausing_worker FOLDER STEP`` is ``kdopt worker`` at the folder's store. Its
long trial waits, once it has reported STEP, for the file ``go-on`` in the folder. It holds no lock
of the database then; its heartbeat goes on.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from pathlib import Path

from kdopt.cli import main
from kdopt.worker.journal import StoreJournal


def pause_at(last: int, go_on: Path) -> None:
    """Let every long trial of this process wait at a step until there is a file."""
    report = StoreJournal.report

    def report_and_wait(journal: StoreJournal, values: Mapping[int, float]) -> None:
        report(journal, values)
        while max(values, default=-1) >= last and not go_on.exists():
            time.sleep(0.02)

    StoreJournal.report = report_and_wait  # type: ignore[method-assign]


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    pause_at(int(sys.argv[2]), folder / "go-on")
    sys.argv[1:] = ["worker", "--store", str(folder / "kdopt.db")]
    main()
