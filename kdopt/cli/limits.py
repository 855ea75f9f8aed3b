"""Limits that a shell or a container sets, checked before the libraries that cannot bear them load.

OpenBLAS, which comes with NumPy and SciPy, starts a thread per core as it is loaded, and takes
memory for each. For memory that it does not get it asks again for ever, so that nothing can end the
process; where a thread is not to be had it sends the process SIGINT, like somebody's Ctrl-C.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path

LEAST_MEMORY = 1_000_000_000
"""Bytes of address space that kdopt is not begun without: libraries reserve more than they use."""

THREAD_MEMORY = 250_000_000
"""Bytes of it that the libraries reserve for every core."""

FEW_PROCESSES = 10_000
"""Where a user or a container may have more processes and threads, some more are no question."""

NO_MORE_PROCESSES = "end other programs, or let this user start more processes (ulimit -u)"
"""What to do where a process or a thread was not to be had."""


def check_limits() -> str | None:
    """Why the libraries cannot be loaded under this shell's limits; ``None`` where they can.

    Where they can with a thread each and not with one per core, they get one.
    """
    try:
        import resource
    except ModuleNotFoundError:  # Windows has no such limits
        return None
    cores = os.cpu_count() or 1
    limits = [resource.getrlimit(kind)[0] for kind in (resource.RLIMIT_AS, resource.RLIMIT_DATA)]
    memory = min((n for n in limits if n != resource.RLIM_INFINITY), default=None)
    if memory is not None and memory < LEAST_MEMORY + cores * THREAD_MEMORY:
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
        if memory < LEAST_MEMORY:
            return (
                f"this shell lets a program take {memory / 1e9:.2f} GB of memory (ulimit -v or "
                f"-d), and the libraries need {LEAST_MEMORY / 1e9:.1f} GB to be loaded; raise the "
                "limit, or use another machine"
            )
    processes = resource.getrlimit(resource.RLIMIT_NPROC)[0]
    few = processes != resource.RLIM_INFINITY and processes < FEW_PROCESSES
    if (few or _is_small_container()) and not can_start_threads(2 * cores):
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    return None


def can_start_threads(n: int) -> bool:
    """Whether so many threads can be started here, besides those that run."""
    end = threading.Event()
    started: list[threading.Thread] = []
    try:
        for _ in range(n):
            thread = threading.Thread(target=end.wait, daemon=True)
            thread.start()
            started.append(thread)
    except RuntimeError:
        return False
    finally:
        end.set()
        for thread in started:
            thread.join()
    return True


def _is_small_container() -> bool:
    try:
        text = Path("/sys/fs/cgroup/pids.max").read_text("ascii").strip()
    except (OSError, ValueError):
        return False
    return text.isdecimal() and int(text[:18]) < FEW_PROCESSES
