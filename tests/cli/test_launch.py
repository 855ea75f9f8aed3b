"""``kdopt launch`` as a user runs it: on this machine, and what it refuses."""

from __future__ import annotations

import signal
import sys

import psutil
import pytest
import typer
from typer.testing import CliRunner

from kdopt.cli.app import app
from kdopt.cli.launch import _report_end, _Target
from kdopt.cli.progress import ProgressBar
from kdopt.errors import KdoptError
from kdopt.launch.call import WorkerCall
from tests.conftest import make_campaign, make_record, new_store
from tests.launch.campaigns import FOR_EVER, stop
from tests.waiting import wait_until


def test_workers_here_finish_a_planned_campaign(make_bench):
    bench = make_bench()
    done = bench.run("launch", "local", "--workers", "1", "--quiet")
    assert (done.returncode, done.stderr) == (0, "")
    assert "10 of 10 trials done, 10 of them now" in done.stdout
    bench.prove()
    again = bench.run("launch", "local")
    assert (again.returncode, again.stdout) == (0, "tiny: nothing is left to do\n")


def test_they_stop_with_the_command(make_bench):
    bench = make_bench(epochs=FOR_EVER)
    launched = bench.start("launch", "local", "--workers", "1")
    wait_until(bench.running)
    workers = psutil.Process(launched.pid).children()
    code, _, errors = stop(launched, signal.SIGTERM)
    assert code == 130
    assert "stopped: launch again to go on" in errors and "Traceback" not in errors
    assert not any(worker.is_running() for worker in workers)
    assert bench.states() == {"COMPLETE": 2, "WAITING": 8}
    bench.prove()


@pytest.mark.parametrize(("limit", "code"), [("1s", 0), (None, 1)])
def test_what_is_left_is_a_fault_only_where_there_was_time(make_bench, capsys, limit, code):
    """Workers that gave up at once, or that were to stop soon."""
    bench = make_bench()
    call = WorkerCall(bench.url, str(bench.artifacts.root), "tiny", time_limit=limit)
    ended = 0
    try:
        progress = ProgressBar(bench.store, "tiny")
        with progress:
            progress.update()
        _report_end(progress, _Target(bench.store, bench.artifacts, call))
    except typer.Exit as end:
        ended = end.exit_code
    assert ended == code
    said = capsys.readouterr()
    assert "0 of 10 trials done" in said.out
    assert "0 trials failed and 10 are left" in said.err


@pytest.fixture
def launch(tmp_path):
    """The command inside this process, on a store with a planned campaign."""
    from kdopt.campaign.stages import plan_studies
    from kdopt.store.planning import write_plan

    store = new_store(tmp_path / "kdopt.db")
    write_plan(store, make_record(make_campaign()), plan_studies)
    store.close()

    def run(engine: str, *arguments: str):
        where = ["--store", str(tmp_path / "kdopt.db")]
        return CliRunner().invoke(app, ["launch", engine, *where, *arguments])

    return run


def refusal(end) -> str:
    """The error that a command ended with."""
    assert isinstance(end.exception, KdoptError), (end.output, end.exception)
    return str(end.exception)


def test_a_campaign_that_is_not_there_is_refused(launch):
    assert "no campaign 'other'; it has: " in refusal(launch("local", "--campaign", "other"))


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("local --gpus 77", "GPU 77: "),
        ("local --workers 10000 --device cpu", "--workers 10,000: this machine has room for"),
        ("worker --gpus 77", "GPU 77: "),
        ("local --logs /dev/null", "/dev/null: is no folder; name another with --logs"),
        ("slurm --logs /dev/null/x", "/dev/null: is no folder; name another with --logs"),
        ("slurm --job-time soon", "time 'soon': must be above 0"),
        ("slurm --job-memory 8\nG", "--job-memory '8\nG': must be one line"),
        ("slurm --job-partition a\nb", "--job-partition 'a\nb': must be one line"),
        ("ray --ray-address here", "--ray-address 'here': must be HOST:PORT"),
        ("ray --ray-address here:0", "--ray-address 'here:0': must be HOST:PORT"),
        *(
            (f"{engine} {option}", expected)
            for engine in ("local", "slurm", "ray", "worker")
            for option, expected in (
                ("--time-limit 0", "time '0': must be above 0"),
                ("--device meta", "device 'meta': kdopt computes on CPUs"),
                ("--plugin nowhere.py", "--plugin nowhere.py: No such file"),
            )
        ),
        ("slurm --sbatch array=3", "sbatch option 'array=3': is set by kdopt; use --jobs"),
        ("slurm --sbatch time=3", "sbatch option 'time=3': is set by kdopt; use --job-time"),
        ("slurm --sbatch Account=x", "sbatch option 'Account=x': must be KEY=VALUE or KEY"),
    ],
)
def test_options_are_checked_before_the_store_is_looked_at(tmp_path, arguments, expected):
    """So a command that is wrong says so also when nothing is left to do."""
    typed = [*arguments.split(" "), "--store", str(tmp_path / "none.db")]
    typed = typed if typed[0] == "worker" else ["launch", *typed]
    assert expected in refusal(CliRunner().invoke(app, typed))


@pytest.mark.parametrize(
    "arguments",
    [
        "local --job-partition gpu",
        "local --ray-address auto",
        "ray --job-time 2h",
        "ray --logs here",
        "slurm --gpus 0,1",
        "slurm --workers 2",
        "slurm --ray-address auto",
    ],
)
def test_options_of_another_engine_are_unknown(launch, arguments):
    end = launch(*arguments.split())
    assert end.exit_code == 2
    assert f"No such option: {arguments.split()[1]}" in end.output


@pytest.mark.parametrize("engine", ["slurm", "ray"])
def test_a_missing_extra_is_named_with_its_remedy(launch, engine, monkeypatch):
    monkeypatch.setitem(sys.modules, {"slurm": "submitit"}.get(engine, engine), None)
    assert f"pip install 'kdopt[{engine}]'" in refusal(launch(engine))


def test_a_machine_that_cannot_submit_is_told_so(launch, monkeypatch):
    pytest.importorskip("submitit")
    monkeypatch.setenv("PATH", "")
    assert "no sbatch and srun found here" in refusal(launch("slurm"))


@pytest.mark.parametrize(
    ("arguments", "told", "cpus"),
    [
        ("", (None, None), 1),
        ("--cpus-per-job 3", (3, None), 3),
        ("--gpus-per-job 1", (None, None), 1),
        ("--gpus-per-job 2", (None, 1), 2),
        ("--gpus-per-job 2 --slots-per-gpu 3", (None, 3), 6),
        ("--gpus-per-job 1 --slots-per-gpu 2 --cpus-per-job 8", (None, 2), 8),
    ],
)
def test_a_slurm_job_runs_a_worker_for_each_core_or_share_of_a_gpu(
    launch, monkeypatch, arguments, told, cpus
):
    seen = {}

    def submit(call, jobs, request, log_dir):
        seen.update(call=call, jobs=jobs, request=request)
        return ["7"]

    monkeypatch.setattr("kdopt.launch.slurm.submit_jobs", submit)
    end = launch("slurm", "--jobs", "5", *arguments.split())
    assert end.exit_code == 0, end.output
    assert seen["jobs"] == 5
    assert (seen["call"].workers, seen["call"].slots_per_gpu) == told
    assert seen["request"].cpus == cpus
