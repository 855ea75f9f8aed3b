"""Start workers on a Ray cluster: a task per worker, until all of them have finished.

A task runs the worker's own function inside Ray's process rather than ``kdopt worker`` as a child
of it. Ray counts, limits and kills the memory of its own processes; a child would outlive a Ray
worker that was killed, with its memory and its GPU. Ray's cancelling arrives as SIGINT, which the
worker handles as everywhere: the trial in hand is given back. When a process or its node is lost,
Ray runs the task again elsewhere, and the trial is taken back as any lost worker's.

**Secrets.** The store's URL is an argument of the task, which stays in memory. A runtime
environment (``env_vars``) would show it: Ray 2.60 puts those on a command line while a process
starts, and into a log.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import re
import secrets
import socket
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kdopt.errors import KdoptError
from kdopt.launch.call import WorkerCall
from kdopt.launch.local import RESTARTS_PER_WORKER, STOP_S
from kdopt.shown import shorten
from kdopt.store.artifacts import Artifacts
from kdopt.store.database import RETRY_S, open_store
from kdopt.typed import parse_duration
from kdopt.worker.stop_signals import postpone_ctrl_c, treat_sigterm_as_ctrl_c

LOCAL = "local"
"""Not an address of Ray's: a cluster on this machine, started for this run and ended with it."""

LISTENING_S = 10.0
"""Seconds to wait until the cluster's address accepts a connection."""


@dataclass(frozen=True)
class WorkerEnd:
    """How a worker ended.

    Attributes:
        error: Its message when it gave up; ``None`` when it did not.
        stopped: Whether it was told to stop.
    """

    error: str | None = None
    stopped: bool = False


def check_address(address: str) -> None:
    """Refuse what can be no cluster's address, before anything is opened for it.

    Raises:
        KdoptError: It is none of the forms that ``--ray-address`` takes.
    """
    if address in (LOCAL, "auto") or "://" in address:
        return
    port = address.rpartition(":")[2]
    if not re.fullmatch(r".+:[0-9]{1,5}", address) or not 0 < int(port) < 65_536:
        raise KdoptError(
            f"--ray-address '{shorten(address, 100)}': must be HOST:PORT, auto (a cluster that "
            "runs here) or local (one of this run's own)"
        )


class RayWorkers:
    """A group of workers of one campaign on a Ray cluster.

    Args:
        call: What the workers are told.
        workers: How many; ``None`` for one per GPU slot, or per core where there is no GPU.
        per_gpu: Workers that share a GPU.
        address: Ray's address of the cluster, ``auto`` for the one that runs on this machine, or
            :data:`LOCAL`.
    """

    def __init__(
        self, call: WorkerCall, workers: int | None = None, per_gpu: int = 1, address: str = LOCAL
    ) -> None:
        if address == LOCAL:
            # Ray listens beyond this machine whatever it is told, so that only a secret keeps
            # others out. Its own is a file that everybody may read; this one stays in memory. Ray
            # looks for it when it is imported.
            os.environ.setdefault("RAY_AUTH_MODE", "token")
            os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
        self._ray = _import_ray()
        self._call, self._workers, self._per_gpu = call, workers, per_gpu
        self._address = address
        self._restarts_left = 0

    def run(
        self,
        on_tick: Callable[[], None],
        on_stop: Callable[[], None] = lambda: None,
        tick_s: float = 1.0,
    ) -> None:
        """See :meth:`kdopt.launch.local.LocalWorkers.run`.

        Raises:
            KdoptError: The cluster cannot be used, or a worker gave up; the message is its own.
            KeyboardInterrupt: After Ctrl-C or SIGTERM, once the workers have stopped.
        """
        # In this order: Ray sets a handler of its own when it connects.
        with _connect_to_ray(self._ray, self._address), treat_sigterm_as_ctrl_c():
            tasks: list[object] = []
            try:
                resources = self._ray.cluster_resources()
                n_workers, gpu = divide_cluster(resources, self._call.device, self._per_gpu)
                start = self._make_starter(gpu)
                for _ in range(self._workers or n_workers):
                    with postpone_ctrl_c():  # or a task that was just started is not stopped
                        tasks.append(start())
                self._restarts_left = RESTARTS_PER_WORKER * len(tasks)
                while tasks:
                    done, _ = self._ray.wait(tasks, num_returns=1, timeout=tick_s)
                    for task in done:
                        tasks.remove(task)
                        if self._should_restart(task):
                            with postpone_ctrl_c():
                                tasks.append(start())
                    on_tick()
            except KeyboardInterrupt:
                on_stop()
                raise
            finally:
                self._stop_tasks(tasks)

    def _make_starter(self, gpu: float) -> Callable[[], Any]:
        """Make a function that starts one worker, with a share of a GPU."""
        remote = self._ray.remote(
            num_cpus=1,
            num_gpus=gpu or None,
            max_retries=RESTARTS_PER_WORKER,
            retry_exceptions=False,
            name=f"kdopt-{self._call.campaign}",
        )(run_ray_task)
        folder = str(Path.cwd())
        return lambda: remote.remote(self._call, folder)

    def _should_restart(self, task: Any) -> bool:
        """Whether a worker that ended is to be started again: its node was told to go."""
        exceptions = self._ray.exceptions
        try:
            ended: WorkerEnd = self._ray.get(task)
        except exceptions.RayTaskError:
            raise  # a bug, with the traceback of the worker
        except exceptions.RayError as error:
            raise KdoptError(
                f"Ray lost a worker {RESTARTS_PER_WORKER + 1} times; out of memory? "
                f"try fewer --workers. Ray says: {_read_first_line(error)}"
            ) from error
        if ended.error is not None:
            raise KdoptError(ended.error)
        if ended.stopped and self._call.time_limit is None and self._restarts_left:
            self._restarts_left -= 1
            return True
        return False

    def _stop_tasks(self, tasks: list[object]) -> None:
        """Have workers give their trials back; Ray kills those that take too long."""
        for task in tasks:
            self._ray.cancel(task, force=False)
        if tasks:
            self._ray.wait(tasks, num_returns=len(tasks), timeout=STOP_S)


def divide_cluster(
    resources: Mapping[str, float], device: str | None, per_gpu: int
) -> tuple[int, float]:
    """Count the workers that a cluster has room for, and the share of a GPU that each asks for.

    Args:
        resources: What Ray counts: ``CPU``, and ``GPU`` where there are any.
        device: Where workers compute; ``None`` takes the GPUs if there are any.
        per_gpu: Workers that share a GPU.

    Raises:
        KdoptError: A GPU is asked for and there is none.
    """
    gpus = int(resources.get("GPU", 0))
    if device is not None and device.startswith("cuda") and not gpus:
        raise KdoptError(
            f"device '{device}': no node of the Ray cluster has a GPU now; leave --device out or "
            "add one"
        )
    if not gpus or device == "cpu":
        return max(1, int(resources.get("CPU", 1))), 0.0
    # Ray counts in steps of 0.0001; rounded up, the last worker of a GPU would find no room.
    return gpus * per_gpu, math.floor(1e4 / per_gpu) / 1e4


def run_ray_task(call: WorkerCall, folder: str) -> WorkerEnd:
    """Work as ``kdopt worker`` does, in a process of Ray's on one of its nodes.

    Args:
        call: What the worker is told.
        folder: Where the launcher runs; relative paths of data sets start there, if it is here.
    """
    # In the task only: the launcher itself needs no torch.
    from kdopt.worker.worker import run_worker

    # What is logged and printed goes to Ray's own log of this process.
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", datefmt="%H:%M:%S")
    logging.getLogger("kdopt").setLevel(logging.INFO)
    os.environ.update(
        {k: v for k, v in call.environment().items() if k not in ("KDOPT_STORE", "KDOPT_ARTIFACTS")}
    )
    # A node need not have the folder; then data are looked for at absolute paths only.
    with contextlib.suppress(OSError):
        os.chdir(folder)
    try:
        with contextlib.closing(open_store(call.store, patience_s=RETRY_S)) as store:
            time_limit_s = None if call.time_limit is None else parse_duration(call.time_limit)
            summary = run_worker(
                store,
                Artifacts(call.artifacts),
                call.campaign,
                call.device,
                time_limit_s,
                call.same_versions,
            )
    except KdoptError as error:
        return WorkerEnd(error=str(error))
    return WorkerEnd(stopped=summary.stopped)


@contextlib.contextmanager
def _connect_to_ray(ray: Any, address: str) -> Iterator[None]:
    """Be connected to a cluster; one of this run's own is ended with it."""
    quiet: dict[str, object] = {"logging_level": logging.ERROR, "log_to_driver": False}
    if address == LOCAL:
        # Nothing of ours goes through Ray's object store, which takes a third of memory by default.
        quiet |= {"include_dashboard": False, "object_store_memory": 100 * 2**20}
    try:
        _check_listening(address)
        ray.init(address=address, **quiet)
    except Exception as error:  # Ray raises that itself when its processes come up too slowly
        raise KdoptError(
            f"Ray cluster '{address}': {_read_first_line(error)}; "
            "give --ray-address (or RAY_ADDRESS) as HOST:PORT, or auto for a cluster that runs here"
            if address != LOCAL
            else f"Ray could not be started here: {_read_first_line(error)}"
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


def _check_listening(address: str) -> None:
    """Fail at once where nobody listens; Ray would try for minutes."""
    host, colon, port = address.rpartition("://")[2].rpartition(":")
    if colon and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), LISTENING_S).close()


def _read_first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def _import_ray() -> Any:
    try:
        import ray
    except ImportError as error:
        raise KdoptError("kdopt launch ray needs Ray: pip install 'kdopt[ray]'") from error
    return ray
