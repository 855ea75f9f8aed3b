"""Who a worker is, and whether a worker of this machine is gone.

A lease names its worker as ``host/pid/start/machine``. Another process of the same machine can
then tell at once that a killed worker is dead, without waiting for its lease to lapse.
"""

from __future__ import annotations

import functools
import hashlib
import os
import socket
from pathlib import Path

import psutil


def worker_name() -> str:
    """The name of this process as a worker."""
    host = socket.gethostname().replace("/", "_")[:80]
    return f"{host}/{os.getpid()}/{_started(os.getpid())}/{_machine()}"


def is_dead(worker: str) -> bool:
    """Whether a worker is known to be gone; ``False`` also when it runs elsewhere or is unknown."""
    parts = worker.split("/")
    if len(parts) != 4 or parts[3] != _machine():
        return False
    try:
        number = int(parts[1])
        # A process number is used again; its start tells the two apart.
        return _started(number) != parts[2] or (
            psutil.Process(number).status() == psutil.STATUS_ZOMBIE
        )
    except psutil.NoSuchProcess:
        return True
    except (psutil.AccessDenied, ValueError):
        return False


def short(worker: str) -> str:
    """A worker's name as people read it: host and process number."""
    return ":".join(worker.split("/")[:2])


def _started(number: int) -> str:
    """When a process began, in a form that no setting of the clock changes.

    Linux counts clock ticks since boot (proc(5), field 22 of ``stat``); psutil's start time is
    that plus the present idea of when the machine booted, which moves with the clock.
    """
    stat = Path(f"/proc/{number}/stat")
    if not Path("/proc/self/stat").exists():
        return f"{psutil.Process(number).create_time():.0f}"
    try:
        # The program's name may hold spaces and brackets; it ends at the last bracket.
        return stat.read_text().rpartition(")")[2].split()[19]
    except (FileNotFoundError, ProcessLookupError) as error:
        raise psutil.NoSuchProcess(number) from error


@functools.cache
def _machine() -> str:
    """Changes with every boot and with every process-number namespace (containers share hosts)."""
    parts = [socket.gethostname()]
    boot, namespace = Path("/proc/sys/kernel/random/boot_id"), Path("/proc/self/ns/pid")
    if boot.exists() and namespace.is_symlink():
        parts += [boot.read_text().strip(), str(namespace.readlink())]
    else:
        parts.append(str(psutil.boot_time()))
    return hashlib.sha256("|".join(parts).encode()).hexdigest()[:16]
