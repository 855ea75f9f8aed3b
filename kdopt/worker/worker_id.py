"""Who a worker is, and whether a worker of this machine is gone.

A lease names its worker as ``host/pid/start/machine/device``. Another process of the same machine
can then tell at once that a killed worker is dead, without waiting for its lease to lapse.
"""

from __future__ import annotations

import functools
import hashlib
import os
import socket
from pathlib import Path
from typing import NamedTuple

import psutil

PARENT_VARIABLE = "KDOPT_PARENT"
"""Process number of the launcher that started a worker here; see :func:`is_orphan`."""


class WorkerParts(NamedTuple):
    """A worker as people know it; ``pid`` and ``device`` are empty where its name has none."""

    host: str
    pid: str
    device: str


def name_worker(device: str = "") -> str:
    """The name of this process as a worker.

    Args:
        device: Where it computes, such as ``cpu`` or ``cuda``; for people only.
    """
    host = socket.gethostname().replace("/", "_")[:80]
    name = f"{host}/{os.getpid()}/{_read_start(os.getpid())}/{_identify_machine()}"
    return f"{name}/{_name_device(device)}" if device else name


def is_dead(worker: str) -> bool:
    """Whether a worker is known to be gone; ``False`` also when it runs elsewhere or is unknown."""
    parts = worker.split("/")
    # By boot and namespace, not by the host's name: containers and machines that were set up alike
    # share names, and a living worker must not be taken for a dead one.
    if len(parts) not in (4, 5) or parts[3] != _identify_machine():
        return False
    try:
        number = int(parts[1])
        # A process number is used again; its start tells the two apart.
        return _read_start(number) != parts[2] or (
            psutil.Process(number).status() == psutil.STATUS_ZOMBIE
        )
    except psutil.NoSuchProcess:
        return True
    except (psutil.AccessDenied, ValueError):
        return False


def is_orphan() -> bool:
    """Whether the launcher that started this process is gone.

    A launcher that is killed cannot stop its workers, which would then go on unseen. The parent
    is compared rather than looked up, since a process number is used again.
    """
    parent = os.environ.get(PARENT_VARIABLE)
    return parent is not None and str(os.getppid()) != parent


def parse_worker_name(worker: str) -> WorkerParts:
    """Take a worker's name apart."""
    parts = [*worker.split("/"), "", "", "", ""]
    return WorkerParts(parts[0], parts[1], parts[4])


def _name_device(device: str) -> str:
    """The GPU by the number that the machine knows it by, where the worker sees a single one."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    alone = device in ("cuda", "cuda:0") and visible and "," not in visible
    return (f"cuda:{visible}" if alone else device).replace("/", "_")[:40]


def _read_start(number: int) -> str:
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
def _identify_machine() -> str:
    """Changes with every boot and with every process-number namespace (containers share hosts)."""
    parts = [socket.gethostname()]
    boot, namespace = Path("/proc/sys/kernel/random/boot_id"), Path("/proc/self/ns/pid")
    if boot.exists() and namespace.is_symlink():
        parts += [boot.read_text().strip(), str(namespace.readlink())]
    else:
        parts.append(str(psutil.boot_time()))
    return hashlib.sha256("|".join(parts).encode()).hexdigest()[:16]
