"""Who a worker is, and whether a worker of this machine is gone.

A lease names its worker as ``host/pid/started/machine``. Another process of the same machine can
then tell at once that a killed worker is dead, without waiting for its lease to lapse.
"""

from __future__ import annotations

import functools
import hashlib
import socket
from pathlib import Path

import psutil


def worker_name() -> str:
    """The name of this process as a worker."""
    process = psutil.Process()
    host = socket.gethostname().replace("/", "_")[:80]
    return f"{host}/{process.pid}/{process.create_time():.2f}/{_machine()}"


def is_dead(worker: str) -> bool:
    """Whether a worker is known to be gone; ``False`` also when it runs elsewhere or is unknown."""
    parts = worker.split("/")
    if len(parts) != 4 or parts[3] != _machine():
        return False
    try:
        process = psutil.Process(int(parts[1]))
        # A process number is used again; its start time tells the two apart.
        same = abs(process.create_time() - float(parts[2])) < 1.0
        return not same or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
    except (psutil.AccessDenied, ValueError):
        return False


def short(worker: str) -> str:
    """A worker's name as people read it: host and process number."""
    return ":".join(worker.split("/")[:2])


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
