"""Start workers on this machine and look after them; they do the work and hold the state.

The launcher only starts ``kdopt worker``, restarts one that was killed, passes a stop on, and
says what a worker said when it gave up.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from kdopt.errors import KdoptError
from kdopt.worker.worker_env import PARENT_VARIABLE

RESTARTS_PER_WORKER = 5
"""Killed workers that are replaced before the launcher gives up."""

STOP_S = 20.0
"""Seconds that workers get to give their trials back before they are killed."""


@dataclass(frozen=True)
class Slot:
    """A place for one worker: a core, or a share of a GPU."""

    device: str
    environment: dict[str, str]


def slots(
    workers: int | None,
    per_gpu: int = 1,
    device: str | None = None,
    gpus: Sequence[str] | None = None,
) -> list[Slot]:
    """One slot per core that this process may use, or ``per_gpu`` slots per GPU.

    Args:
        workers: Number of slots; ``None`` for as many as the machine has.
        per_gpu: Workers that share a GPU.
        device: Where all of them run; ``None`` takes the GPUs if there are any.
        gpus: The GPUs to use, as ``CUDA_VISIBLE_DEVICES`` names them; ``None`` for all.

    Raises:
        KdoptError: A GPU is not there, or GPUs and another device are asked for at once.
    """
    if gpus is not None and device is not None:
        raise KdoptError(
            f"device '{device}' and GPUs {', '.join(gpus)}: give --device or --gpus, not both"
        )
    chosen = _chosen(gpus) if device is None else []
    if chosen:
        # Round robin, so that fewer workers than slots still use every GPU.
        everywhere = [
            Slot("cuda", {"CUDA_VISIBLE_DEVICES": gpu}) for _ in range(per_gpu) for gpu in chosen
        ]
    else:
        everywhere = [Slot(device or "cpu", {}) for _ in range(_cores())]
    count = workers or len(everywhere)
    return [everywhere[i % len(everywhere)] for i in range(count)]


def _chosen(wanted: Sequence[str] | None) -> list[str]:
    """The GPUs that are wanted; all that this process may use by default."""
    there = _gpus()
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
            f"GPU {', '.join(repeated)}: named twice; --slots says how many workers share a GPU"
        )
    return list(wanted)


class LocalWorkers:
    """A group of worker processes of one campaign.

    Args:
        places: One worker is started per slot.
        store: Store URL; handed over in the environment, since process titles are public.
        artifacts: Artifact folder or URL; credentials reach the workers in the environment.
        campaign: Campaign name.
        log_dir: Folder of the workers' logs; ``None``: they write where this process writes.
        options: Further options of ``kdopt worker``.
    """

    def __init__(
        self,
        places: list[Slot],
        store: str,
        artifacts: Path | str,
        campaign: str,
        log_dir: Path | None,
        options: Sequence[str] = (),
    ) -> None:
        self._places = places
        self._environment = {
            **os.environ,
            "KDOPT_STORE": store,
            "KDOPT_ARTIFACTS": str(artifacts),
            PARENT_VARIABLE: str(os.getpid()),
            "OMP_NUM_THREADS": "1",
        }
        self._campaign = campaign
        self._log_dir = log_dir
        self._options = list(options)
        self._restarts_left = RESTARTS_PER_WORKER * len(places)
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        self._log_begins: dict[int, int] = {}

    def run(self, on_tick: Callable[[], None], tick_s: float = 1.0) -> None:
        """Work until every worker has finished.

        Args:
            on_tick: Called about every ``tick_s`` seconds, for progress.
            tick_s: Seconds between calls.

        Raises:
            KdoptError: A worker gave up; the message is the worker's own.
            KeyboardInterrupt: After Ctrl-C or SIGTERM, once the workers have stopped.
        """
        before = signal.signal(signal.SIGTERM, _interrupt)
        try:
            for index in range(len(self._places)):
                self._start(index)
            while self._processes:
                self._look_after()
                on_tick()
                self._pause(tick_s)
        finally:
            self._stop_all()
            signal.signal(signal.SIGTERM, before)

    def _pause(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end and all(p.poll() is None for p in self._processes.values()):
            time.sleep(0.05)

    def _start(self, index: int) -> None:
        place = self._places[index]
        command = [sys.executable, "-m", "kdopt", "worker", "--campaign", self._campaign]
        with self._open_log(index) as log:
            if log is not None:
                self._log_begins[index] = log.tell()
            self._processes[index] = subprocess.Popen(
                [*command, "--device", place.device, *self._options],
                env={**self._environment, **place.environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # Ctrl-C reaches the launcher, which passes it on once.
                start_new_session=True,
            )

    def _log(self, folder: Path, index: int) -> Path:
        return folder / f"worker-{index + 1}.log"

    def _open_log(self, index: int) -> AbstractContextManager[IO[bytes] | None]:
        if self._log_dir is None:
            return nullcontext()
        try:
            self._log_dir.mkdir(parents=True, exist_ok=True)
            return self._log(self._log_dir, index).open("ab")
        except OSError as error:
            raise KdoptError(
                f"log folder {self._log_dir}: cannot be written: {error.strerror}; "
                "free space or change permissions and run the same command again"
            ) from error

    def _look_after(self) -> None:
        for index, process in list(self._processes.items()):
            code = process.poll()
            if code is None:
                continue
            del self._processes[index]
            if code == 0:
                continue
            if code > 0:
                raise KdoptError(self._last_words(index, code))
            if self._restarts_left == 0:
                raise KdoptError(
                    f"workers were killed {RESTARTS_PER_WORKER * len(self._places)} times "
                    f"(the last by signal {-code}); out of memory? try fewer of them"
                    + (f". Logs: {self._log_dir}" if self._log_dir else "")
                )
            self._restarts_left -= 1
            self._start(index)

    def _last_words(self, index: int, code: int) -> str:
        """What a worker said when it gave up: the lines after its last 'kdopt: error:'."""
        if self._log_dir is None:
            return f"a worker stopped with exit code {code}; it says why above"
        path = self._log(self._log_dir, index)
        # Earlier runs wrote to the same file.
        text = path.read_bytes()[self._log_begins[index] :].decode(errors="replace")
        marker = "kdopt: error: "
        if code == 2 and marker in text:
            return text.rpartition(marker)[2].strip()
        tail = "\n".join(text.splitlines()[-15:])
        return f"a worker stopped with exit code {code}; the end of {path}:\n{tail}"

    def _stop_all(self) -> None:
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


def _interrupt(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _gpus() -> list[str]:
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
