"""Start workers on this machine and look after them; the store holds all state.

The launcher only starts ``kdopt worker``, restarts one that was killed, passes a stop on, and
repeats a worker's own message when it gave up.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

from kdopt.errors import KdoptError
from kdopt.files import open_log, read_end
from kdopt.launch.call import WorkerCall
from kdopt.typed import parse_device
from kdopt.worker.stop_signals import postpone_ctrl_c, treat_sigterm_as_ctrl_c
from kdopt.worker.worker_id import PARENT_VARIABLE

RESTARTS_PER_WORKER = 5
"""Killed workers that are replaced before the launcher gives up."""

LONGEST_LOG = 1_000_000
"""Bytes at the end of a log in which a worker's message is looked for."""

STOP_S = 20.0
"""Seconds that workers get to give their trials back before they are killed."""


@dataclass(frozen=True)
class Slot:
    """Room for one worker: a core, or a share of a GPU.

    Attributes:
        device: What the worker computes on, as ``--device`` takes it.
        environment: Variables that the worker gets, which show it one GPU only.
    """

    device: str
    environment: dict[str, str]


WORKERS_PER_SLOT = 64
"""Workers for each core or GPU that are refused beyond: each takes some hundred megabytes."""


def assign_slots(
    workers: int | None,
    per_gpu: int = 1,
    device: str | None = None,
    gpus: Sequence[str] | None = None,
) -> list[Slot]:
    """Make a slot for each worker: a core that this process may use, or a share of a GPU.

    Args:
        workers: Number of slots; ``None`` for as many as the machine has.
        per_gpu: Workers that share a GPU.
        device: Where all of them run; ``None`` takes the GPUs if there are any.
        gpus: The GPUs to use, as ``CUDA_VISIBLE_DEVICES`` names them; ``None`` for all.

    Raises:
        KdoptError: A GPU is not there, the device is none that kdopt computes on, or GPUs and a
            device are asked for at once.
    """
    if device is not None:
        parse_device(device)
    if gpus is not None and device is not None:
        raise KdoptError(
            f"device '{device}' and GPUs {', '.join(gpus)}: give --device or --gpus, not both"
        )
    chosen = _choose_gpus(gpus) if device is None else []
    if chosen:
        # Round robin, so that fewer workers than slots still use every GPU.
        everywhere = [
            Slot("cuda", {"CUDA_VISIBLE_DEVICES": gpu}) for _ in range(per_gpu) for gpu in chosen
        ]
    else:
        everywhere = [Slot("cpu" if device is None else device, {}) for _ in range(_count_cores())]
    count = workers or len(everywhere)
    most = WORKERS_PER_SLOT * max(len(everywhere), _count_cores())
    if count > most:
        raise KdoptError(
            f"--workers {count:,}: this machine has room for {len(everywhere):,} at a time, and "
            f"more than {most:,} would fill its memory; give fewer"
        )
    return [everywhere[i % len(everywhere)] for i in range(count)]


def _choose_gpus(wanted: Sequence[str] | None) -> list[str]:
    """The GPUs that are wanted; all that this process may use by default."""
    there = _list_gpus()
    if wanted is None:
        return there
    # A GPU may also go by its unique name (GPU-..., MIG-...), which only CUDA can check.
    missing = [g for g in wanted if g not in there and not g.startswith(("GPU-", "MIG-"))]
    if missing or not wanted:
        raise KdoptError(
            f"GPU {', '.join(missing) or '(none)'}: "
            + (f"this process may use {', '.join(there)}" if there else "none is seen here")
            + "; leave --gpus out for all there are, or give --device cpu"
        )
    repeated = sorted({g for g in wanted if wanted.count(g) > 1})
    if repeated:
        raise KdoptError(
            f"GPU {', '.join(repeated)}: named twice; --slots-per-gpu lets workers share it"
        )
    return list(wanted)


class LocalWorkers:
    """A group of worker processes of one campaign.

    Args:
        slots: One worker is started per slot.
        call: What the workers are told; each computes on its slot's device.
        log_dir: Folder of the workers' logs; ``None``: they write where this process writes.
    """

    def __init__(self, slots: Sequence[Slot], call: WorkerCall, log_dir: Path | None) -> None:
        self._slots, self._call, self._log_dir = slots, call, log_dir
        self._environment = {
            **os.environ,
            **call.environment(),
            PARENT_VARIABLE: str(os.getpid()),
        }
        self._restarts_left = RESTARTS_PER_WORKER * len(slots)
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        self._log_begins: dict[int, int] = {}

    def check_logs(self) -> None:
        """Open every worker's log, rather than when some workers were started.

        Raises:
            KdoptError: One cannot be written, as one of another user.
        """
        for index in range(len(self._slots)):
            with self._open_log(index):
                pass

    def run(
        self,
        on_tick: Callable[[], None],
        on_stop: Callable[[], None] = lambda: None,
        tick_s: float = 1.0,
    ) -> None:
        """Work until every worker has finished.

        Args:
            on_tick: Called about every ``tick_s`` seconds, for progress.
            on_stop: Called at once after Ctrl-C or SIGTERM, before the workers are told.
            tick_s: Seconds between calls.

        Raises:
            KdoptError: A worker gave up; the message is the worker's own.
            KeyboardInterrupt: After Ctrl-C or SIGTERM, once the workers have stopped.
        """
        # Around `finally` too: by default a second SIGTERM would end this process while its workers
        # still give their trials back.
        with treat_sigterm_as_ctrl_c():
            try:
                for index in range(len(self._slots)):
                    self._start_worker(index)
                while self._processes:
                    self._look_after_workers()
                    on_tick()
                    self._wait_for_an_end(tick_s)
            except KeyboardInterrupt:
                on_stop()
                raise
            finally:
                self._stop_workers()

    def _wait_for_an_end(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end and all(p.poll() is None for p in self._processes.values()):
            time.sleep(0.05)

    def _start_worker(self, index: int) -> None:
        slot = self._slots[index]
        # Interrupted between the start and this note of it, it would go on unseen.
        with self._open_log(index) as log, postpone_ctrl_c():
            if log is not None:
                self._log_begins[index] = log.tell()
            self._processes[index] = subprocess.Popen(
                replace(self._call, device=slot.device).command(),
                env={**self._environment, **slot.environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # A terminal sends Ctrl-C to its whole group. Workers must get it from the launcher
                # only: a second signal would find them at giving their trials back.
                start_new_session=True,
            )

    def _log_path(self, folder: Path, index: int) -> Path:
        return folder / f"worker-{index + 1}.log"

    def _open_log(self, index: int) -> AbstractContextManager[IO[bytes] | None]:
        if self._log_dir is None:
            return nullcontext()
        path = self._log_path(self._log_dir, index)
        try:
            self._log_dir.mkdir(parents=True, exist_ok=True)
            return open_log(path)
        except OSError as error:
            place = error.filename or path
            if not self._log_dir.exists():
                raise KdoptError(
                    f"log folder {place}: cannot be made: {error.strerror}; change the permissions "
                    "of the folder that it is in or free space, and run the same command again"
                ) from error
            raise KdoptError(
                f"log {place}: cannot be written: {error.strerror}; remove it, change its "
                "permissions or free space, and run the same command again"
            ) from error

    def _look_after_workers(self) -> None:
        for index, process in list(self._processes.items()):
            code = process.poll()
            if code is None:
                continue
            del self._processes[index]
            if code == 0:
                continue
            # Negative: killed by a signal, which may pass (out of memory, a careless user). An
            # exit code is the worker's own decision, and would be the same again.
            if code > 0:
                raise KdoptError(self._explain_end(index, code))
            if self._restarts_left == 0:
                raise KdoptError(
                    f"workers were killed {RESTARTS_PER_WORKER * len(self._slots)} times "
                    f"(the last by signal {-code}); out of memory? try fewer of them"
                    + (f". Logs: {self._log_dir}" if self._log_dir else "")
                )
            self._restarts_left -= 1
            self._start_worker(index)

    def _explain_end(self, index: int, code: int) -> str:
        """A worker's own message when it gave up: the lines after its last 'kdopt: error:'."""
        if self._log_dir is None:
            return f"a worker stopped with exit code {code}; it says why above"
        path = self._log_path(self._log_dir, index)
        try:
            # Earlier runs wrote to the same file.
            text = read_end(path, LONGEST_LOG, self._log_begins[index])
        except OSError as error:
            return f"a worker stopped with exit code {code}; {path} says why ({error.strerror})"
        marker = "kdopt: error: "
        if code == 2 and marker in text:
            return text.rpartition(marker)[2].strip()
        tail = "\n".join(text.splitlines()[-15:])
        return f"a worker stopped with exit code {code}; the end of {path}:\n{tail}"

    def _stop_workers(self) -> None:
        # All are told before any is waited for: they have the same time, not one after the other.
        for process in self._processes.values():
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        end = time.monotonic() + STOP_S
        for process in self._processes.values():
            try:
                process.wait(max(0.1, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _count_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _list_gpus() -> list[str]:
    """Identifiers of the GPUs this process may use, without importing torch."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [g.strip() for g in visible.split(",") if g.strip() not in ("", "-1")]
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return []
    try:
        listed = subprocess.run(
            [tool, "--query-gpu=index", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            check=False,
            timeout=20,
        )
    except (OSError, subprocess.TimeoutExpired):
        return []
    return listed.stdout.split() if listed.returncode == 0 else []
