"""Start workers as Slurm jobs: submitit writes and submits a job array, each job is one worker.

A job is nothing but ``kdopt worker``: the batch shell replaces itself by submitit's process, and
that by the worker (``exec``). So Slurm's SIGTERM (preemption, ``scancel``, ``scontrol requeue``,
and :data:`GRACE_S` before the time limit) reaches the worker itself, which gives its trial back at
once. A process in between would have to pass signals on: bash does not, and submitit's handlers
swallow SIGTERM. submitit's process is not needed to bring results back either: they are in the
store. Slurm starts a requeued job from the same script, which needs only submitit's pickle of the
command line.

**Secrets.** The store's URL travels in the environment of ``sbatch``, which hands all of it to the
job (``--export=ALL``), credentials for artifacts included. It is in no script, pickle, log,
command line or ``scontrol show job``; of the other users, only the cluster's administrators can
get at it. A file with mode 0600 in the log folder would be the alternative, but it would have to
stay there for every requeue, on a shared file system, and would not hold the other credentials. If
your site keeps job environments in its accounting (``AccountingStoreFlags=job_env``) and you do
not want that, leave the password out of the URL and put it into ``~/.pgpass``, which libpq reads
on every node.
"""

from __future__ import annotations

import contextlib
import functools
import io
import math
import os
import re
import shlex
import shutil
import stat
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kdopt.errors import KdoptError
from kdopt.files import find_folder_fault, read_end, read_input
from kdopt.launch.call import WorkerCall
from kdopt.launch.local import LONGEST_LOG
from kdopt.shown import clean_line, format_count

GRACE_S = 60
"""Seconds before a job's time limit at which its worker is told to stop. Slurm looks every half a
minute, so it may come that much earlier."""

SQUEUE_S = 2.0
"""Seconds between two questions to the controller, which all users share."""

MAX_ARRAY_SIZE = 1001
"""Slurm's own default."""

_SET_BY_KDOPT = {
    "array": "--jobs",
    "cpus-per-task": "--cpus-per-job",
    "error": "--logs",
    "export": "nothing: all of the environment goes along",
    "gpus-per-node": "--gpus-per-job",
    "mem": "--job-memory",
    "ntasks": "--jobs",
    "output": "--logs",
    "partition": "--job-partition",
    "time": "--job-time",
    "wrap": "nothing: a job is one 'kdopt worker'",
}
"""Options of sbatch that ``--sbatch`` may not set, and what to use instead."""


@dataclass(frozen=True)
class JobRequest:
    """What every job asks Slurm for; what is ``None`` is left to the site's defaults.

    Attributes:
        time_s: Time limit in seconds; Slurm counts whole minutes, so it is rounded up.
        partition: Partition.
        gpus: GPUs of a job.
        cpus: Cores of a job.
        memory: Memory of a job as sbatch takes it, such as ``8G``.
        options: Further options of sbatch: ``KEY=VALUE``, or ``KEY`` for one without a value.
    """

    time_s: float | None = None
    partition: str | None = None
    gpus: int = 0
    cpus: int = 1
    memory: str | None = None
    options: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check what only Slurm would, when there is something to submit.

        Raises:
            KdoptError: A further option is none, or one that the launcher sets itself; a memory or
                a partition has a line break in it.
        """
        for option, text in (("memory", self.memory), ("partition", self.partition)):
            # A line break would end the comment in the script that holds it, as below.
            if text is not None and not text.isprintable():
                raise KdoptError(
                    f"--job-{option} '{text}': must be one line, as sbatch takes it after "
                    f"--{'mem' if option == 'memory' else option}"
                )
        for option in self.options:
            key, _, value = _split_option(option)
            # A line break would end the comment in the script that holds the option.
            if not re.fullmatch(r"[a-z][a-z-]*", key) or not value.isprintable():
                raise KdoptError(
                    f"sbatch option '{option}': must be KEY=VALUE or KEY, with KEY as sbatch "
                    "spells it, such as account=physics or exclusive"
                )
            if key in _SET_BY_KDOPT:
                raise KdoptError(
                    f"sbatch option '{option}': is set by kdopt; use {_SET_BY_KDOPT[key]}"
                )

    def parameters(self) -> dict[str, object]:
        """The request in submitit's words."""
        further = {
            key: value if equals else True
            for key, equals, value in map(_split_option, self.options)
        }
        return {
            "time": None if self.time_s is None else math.ceil(self.time_s / 60),
            "partition": self.partition,
            "gpus_per_node": self.gpus or None,
            "cpus_per_task": self.cpus,
            "mem": self.memory,
            # A preempted job goes back into the queue, also where that is not the site's default.
            # `B:` is the batch shell, whose place the worker has taken.
            "additional_parameters": {
                "requeue": True,
                "signal": f"B:TERM@{GRACE_S}",
                **further,
            },
        }


def _split_option(option: str) -> tuple[str, str, str]:
    return option.strip().removeprefix("--").partition("=")


def submit_jobs(call: WorkerCall, jobs: int, request: JobRequest, log_dir: Path) -> list[str]:
    """Submit jobs, each of which runs one worker.

    Args:
        call: What the workers are told.
        jobs: Number of jobs. They are an array, or several where the site's arrays are smaller.
        request: What each of them asks for.
        log_dir: Folder of logs and of what submitit keeps; the nodes must reach it.

    Returns:
        The number of each array.

    Raises:
        KdoptError: submitit or Slurm is missing, or sbatch refused; the message says what was
            submitted before.
    """
    submitit = _import_submitit()
    parameters = request.parameters()
    if shutil.which("sbatch") is None or shutil.which("srun") is None:
        raise KdoptError(
            "kdopt launch slurm: no sbatch and srun found here; run it on a machine that "
            "submits to Slurm"
        )
    make_log_folder(log_dir)
    submitted: list[str] = []
    for size in split_jobs(jobs, _read_max_array_size()):
        mark = f"kdopt-submission-{uuid.uuid4().hex}"
        try:
            submitted.append(_submit_array(submitit, call, size, parameters, log_dir, mark))
        except (
            submitit.core.utils.FailedJobError,
            submitit.core.utils.FailedSubmissionError,
            OSError,
        ) as error:
            _remove_submission(log_dir, mark)
            reason = f"sbatch refused: {_explain_refusal(str(error), size)}"
            if submitted:
                reason += f"; submitted before that, and going on: job {', '.join(submitted)}"
            raise KdoptError(reason) from error
    return submitted


def split_jobs(jobs: int, limit: int) -> list[int]:
    """Sizes of the fewest arrays of at most so many jobs, about equally large."""
    n_arrays = math.ceil(jobs / limit)
    return [jobs // n_arrays + (i < jobs % n_arrays) for i in range(n_arrays)]


def _submit_array(
    submitit: Any,
    call: WorkerCall,
    jobs: int,
    parameters: dict[str, object],
    log_dir: Path,
    mark: str,
) -> str:
    executor = submitit.SlurmExecutor(log_dir, python=f"exec {shlex.quote(sys.executable)}")
    executor.update_parameters(
        job_name=f"kdopt-{call.campaign}",
        array_parallelism=jobs,
        stderr_to_stdout=True,
        use_srun=False,
        wckey=None,
        # A line of the script, by which it is known when it has to be removed.
        setup=[f"# {mark}"],
        **parameters,
    )
    # An SBATCH_EXPORT of the site's or the user's would otherwise go before the default.
    environment = {**call.environment(), "SBATCH_EXPORT": "ALL"}
    with (
        submitit.helpers.environment_variables(**environment),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        submitted = executor.submit_array(
            [functools.partial(_become_worker, call.command(), mark)] * jobs
        )
    number: str = submitted[0].job_id.partition("_")[0]
    return number


def _read_max_array_size() -> int:
    """The most jobs of an array here; Slurm's default where the site does not say."""
    said = ""
    with contextlib.suppress(OSError):  # no scontrol
        command = ["scontrol", "show", "config"]
        said = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    # An index must be smaller than that, and the first is 0.
    found = re.search(r"^MaxArraySize\s*=\s*(\d+)", said, re.MULTILINE)
    return max(1, int(found[1])) if found else MAX_ARRAY_SIZE


def make_log_folder(log_dir: Path) -> None:
    """Make the folder of submitit's files and of logs; refuse one of another user, or of everybody.

    A folder that its group may write is taken, see :func:`describe_trusted_group`; none is made so.

    Raises:
        KdoptError: It cannot be made or written, belongs to another user, or everybody
            may write it.
    """
    try:
        for folder in (*reversed(log_dir.parents), log_dir):
            # Its maker's alone, also where the user's new folders are their group's by default.
            folder.mkdir(mode=0o755, exist_ok=True)
    except OSError as error:
        raise KdoptError(
            f"log folder {log_dir}: cannot be made: {error.strerror}; give another --logs"
        ) from error
    if fault := find_folder_fault(log_dir):
        raise KdoptError(f"log folder {fault}; give another --logs")
    # Jobs load submitit's pickle from there, and Slurm opens their logs by names to guess.
    found = log_dir.stat()
    if found.st_uid not in (0, os.geteuid()):
        raise KdoptError(
            f"log folder {log_dir}: it belongs to another user, and jobs run what lies in it; "
            "give another --logs"
        )
    if found.st_mode & stat.S_IWOTH:
        raise KdoptError(
            f"log folder {log_dir}: everybody may write it, and jobs run what lies in it; "
            f"chmod o-w {shlex.quote(str(log_dir))}, or give another --logs"
        )


def describe_trusted_group(log_dir: Path) -> str | None:
    """Which group may change what jobs run, and how to end that; ``None`` where none may.

    To be said and not refused: the folders of a project are often its group's on purpose, which
    may then change its store and its plugins too, and not every user can change such a folder.
    """
    try:
        if not log_dir.stat().st_mode & stat.S_IWGRP:
            return None
        group = log_dir.group()
        if group == log_dir.owner():
            return None  # many systems give each user a group of the same name, without others
    except FileNotFoundError:
        return None
    except KeyError:
        group = str(log_dir.stat().st_gid)  # without a name
    return (
        f"log folder {log_dir}: all of group '{clean_line(group)}' may write it, and jobs run what "
        f"lies in it; if you do not trust all of them, chmod g-w {shlex.quote(str(log_dir))}, or "
        "give another --logs"
    )


def wait_for_jobs(jobs: Sequence[str], on_tick: Callable[[], None], tick_s: float = 1.0) -> None:
    """Wait until no job of some arrays is in Slurm's queue any more.

    Args:
        jobs: Their numbers.
        on_tick: Called about every ``tick_s`` seconds, for progress.
        tick_s: Seconds between calls.
    """
    next_look, left = 0.0, list(jobs)
    while True:
        if time.monotonic() >= next_look:
            next_look = time.monotonic() + SQUEUE_S
            # One by one: squeue refuses them all when it has forgotten one.
            while left and _is_gone(left[0]):
                left.pop(0)
            if not left:
                return
        on_tick()
        time.sleep(tick_s)


def read_errors(jobs: Sequence[str], log_dir: Path) -> list[str]:
    """Workers' messages when they gave up: the lines after 'kdopt: error:', each once."""
    found: dict[str, None] = {}
    for log in sorted(path for job in jobs for path in log_dir.glob(f"{job}_*_log.out")):
        with contextlib.suppress(OSError):
            text = read_end(log, LONGEST_LOG)
            found.update(dict.fromkeys(re.findall(r"^kdopt: error: (.+)$", text, re.MULTILINE)))
    return list(found)


def _remove_submission(log_dir: Path, mark: str) -> None:
    """Remove what submitit wrote for jobs that were refused; other launches write there too."""
    for path in (*log_dir.glob("*.pkl"), *log_dir.glob(".submission_file_*.sh")):
        with contextlib.suppress(OSError):
            if mark.encode() in read_input(path, LONGEST_LOG):
                path.unlink()


def _become_worker(command: list[str], _mark: str = "") -> None:
    """What submitit runs in the job: turn into the worker."""
    if "KDOPT_STORE" not in os.environ:
        # Without it the worker would look for another store, in the folder that it starts in. This
        # function is all that runs in the job, so it prints by itself.
        print(
            "kdopt: error: this job came without the environment it was submitted with; "
            "does the site change sbatch's --export?",
            file=sys.stderr,
        )
        raise SystemExit(2)
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(command[0], command)  # noqa: S606  (no shell is what is wanted)


def _is_gone(job: str) -> bool:
    asked = subprocess.run(
        ["squeue", "--noheader", "--jobs", job, "--format", "%T"],
        capture_output=True,
        text=True,
        check=False,
    )
    if asked.returncode:
        # Slurm forgets jobs some minutes after their end. A controller that restarts comes back.
        return "Invalid job id" in asked.stderr
    return not asked.stdout.strip()


def _explain_refusal(text: str, jobs: int) -> str:
    lines = (line.strip().removeprefix("sbatch: error: ") for line in text.splitlines())
    said = "; ".join(line for line in lines if line) or "it did not say why"
    if "Invalid job array specification" in said:
        said += (
            f"; {format_count(jobs, 'job')} may be above the site's MaxArraySize: launch fewer, "
            "several times"
        )
    return said


def _import_submitit() -> Any:
    try:
        import submitit
    except ImportError as error:
        raise KdoptError("kdopt launch slurm needs submitit: pip install 'kdopt[slurm]'") from error
    return submitit
