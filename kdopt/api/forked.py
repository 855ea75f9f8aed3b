"""Several workers of one campaign as copies of this process, which have its models and data."""

from __future__ import annotations

import contextlib
import gc
import multiprocessing
import os
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.context import ForkProcess

from kdopt.errors import InputError, KdoptError
from kdopt.launch.local import RESTARTS_PER_WORKER, STOP_S
from kdopt.worker.stop_signals import postpone_ctrl_c, treat_sigterm_as_ctrl_c
from kdopt.worker.worker_id import PARENT_VARIABLE


def check_forking(workers: int) -> None:
    """Refuse several workers where a process cannot be copied.

    Raises:
        InputError: It cannot be done here.
    """
    if not hasattr(os, "fork") or sys.platform == "darwin":
        raise InputError(
            f"workers={workers}: this system cannot copy a process with its models; leave workers "
            "out, or make a campaign of it for 'kdopt run'"
        )


class ForkedWorkers:
    """Copies of this process that work until nothing is left.

    Args:
        count: How many.
        work: What each does.
        before_fork: Gives up what two processes must not share, such as connections.
    """

    def __init__(
        self, count: int, work: Callable[[], object], before_fork: Callable[[], None]
    ) -> None:
        self._count, self._work, self._before_fork = count, work, before_fork
        self._restarts_left = RESTARTS_PER_WORKER * count
        self._running: list[tuple[ForkProcess, Connection]] = []

    def run(self, on_tick: Callable[[], None], tick_s: float = 0.5) -> None:
        """Work until every worker has finished.

        Args:
            on_tick: Called about every ``tick_s`` seconds.
            tick_s: Seconds between calls.

        Raises:
            KdoptError: A worker gave up; the message is the worker's own.
            KeyboardInterrupt: After Ctrl-C or SIGTERM, once the workers have stopped.
        """
        with treat_sigterm_as_ctrl_c():
            try:
                self._start_workers(self._count)
                while self._running:
                    self._wait_for_end(tick_s)
                    self._look_after()
                    on_tick()
            finally:
                self._stop_workers()

    def _start_workers(self, count: int) -> None:
        self._before_fork()
        # What nobody refers to any more may hold a connection, which would be closed later, in the
        # middle of the workers' work.
        gc.collect()
        for _ in range(count):
            here, there = multiprocessing.Pipe(duplex=False)
            process = multiprocessing.get_context("fork").Process(
                target=_work_alone, args=(self._work, there), daemon=True
            )
            with warnings.catch_warnings():
                # Python warns of threads, as notebooks have; the copies use none of them.
                warnings.simplefilter("ignore", DeprecationWarning)
                with postpone_ctrl_c():  # or a worker that was just started is not stopped
                    process.start()
                    self._running.append((process, here))
            there.close()

    def _wait_for_end(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end and all(p.is_alive() for p, _ in self._running):
            time.sleep(0.02)

    def _look_after(self) -> None:
        killed = 0
        for process, messages in list(self._running):
            if process.is_alive():
                continue
            self._running.remove((process, messages))
            code = process.exitcode
            if code is not None and code < 0:
                killed += 1
            elif code:
                reason = f"a worker stopped with exit code {code}"
                with contextlib.suppress(EOFError, OSError):
                    reason = messages.recv() if messages.poll() else reason
                raise KdoptError(reason)
        if killed > self._restarts_left:
            raise KdoptError(
                f"workers were killed {RESTARTS_PER_WORKER * self._count} times; out of memory? "
                "try fewer of them: workers=1"
            )
        if killed:
            self._restarts_left -= killed
            self._start_workers(killed)

    def _stop_workers(self) -> None:
        # All are told before any is waited for: they have the same time, not one after the other.
        for process, _ in self._running:
            process.terminate()
        end = time.monotonic() + STOP_S
        for process, messages in self._running:
            process.join(max(0.1, end - time.monotonic()))
            if process.is_alive():
                process.kill()
                process.join()
            messages.close()
        self._running.clear()


def _work_alone(work: Callable[[], object], messages: Connection) -> None:
    # A terminal sends Ctrl-C to its whole group; workers must get it from their parent only.
    os.setsid()
    for number in (signal.SIGINT, signal.SIGTERM):
        # The copy has its parent's handlers, which postpone.
        if callable(signal.getsignal(number)):
            signal.signal(number, signal.default_int_handler)
    os.environ[PARENT_VARIABLE] = str(os.getppid())
    try:
        work()
    except KdoptError as error:
        messages.send(str(error))
        sys.exit(2)
    except Exception:
        messages.send(traceback.format_exc())
        sys.exit(1)
