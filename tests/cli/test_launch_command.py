"""``kdopt launch`` as a user runs it: on this machine, and what it refuses."""

from __future__ import annotations

import signal
import sys

import psutil
import pytest
import typer
from typer.testing import CliRunner

from kdopt.cli import app
from kdopt.cli.launch import _finish
from kdopt.errors import KdoptError
from kdopt.launch.call import WorkerCall
from tests.conftest import make_campaign, make_record, new_store
from tests.launch.campaigns import FOR_EVER, stop, wait_until


def test_workers_here_finish_a_planned_campaign(make_bench):
    bench = make_bench()
    done = bench.run("launch", "--on", "local", "--workers", "1")
    assert done.returncode == 0, done.stderr
    assert "10 of 10 trials done, 10 of them now" in done.stdout
    bench.prove()
    again = bench.run("launch", "--on", "local")
    assert (again.returncode, again.stdout) == (0, "tiny: nothing is left to do\n")


def test_they_stop_with_the_command(make_bench):
    bench = make_bench(epochs=FOR_EVER)
    launched = bench.start("launch", "--on", "local", "--workers", "1")
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
    call = WorkerCall(bench.url, str(bench.artifacts.root), "tiny", limit=limit)
    ended = 0
    try:
        _finish(bench.store, call, lambda on_tick: on_tick())
    except typer.Exit as end:
        ended = end.exit_code
    assert ended == code
    said = capsys.readouterr()
    assert "0 of 10 trials done" in said.out
    assert "0 trials failed and 10 are left" in said.err


@pytest.fixture
def launch(tmp_path):
    """The command inside this process, on a store with a planned campaign; its error."""
    from kdopt.campaign.stages import plan_studies
    from kdopt.store.planning import write_plan

    store = new_store(tmp_path / "kdopt.db")
    write_plan(store, make_record(make_campaign()), plan_studies)
    store.close()

    def run(*arguments: str) -> str:
        end = CliRunner().invoke(app, ["launch", "--store", str(tmp_path / "kdopt.db"), *arguments])
        assert isinstance(end.exception, KdoptError), (end.output, end.exception)
        return str(end.exception)

    return run


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("local --partition gpu", "--partition: means nothing with --on local; it belongs to --on"),
        ("ray --time 2h", "belongs to --on slurm"),
        ("slurm --gpus 0,1", "--gpus: means nothing with --on slurm; it belongs to --on local"),
        ("slurm --ray-address auto", "belongs to --on ray"),
        ("ray --logs here", "belongs to --on local or --on slurm"),
        ("slurm --time soon", "time 'soon': must be above 0"),
        ("ray --for 0", "time '0': must be above 0"),
        ("local --campaign other", "other"),
        ("slurm --sbatch array=3", "sbatch option 'array=3': is set by kdopt; use --workers"),
        ("slurm --sbatch Account=x", "sbatch option 'Account=x': must be KEY=VALUE or KEY"),
    ],
)
def test_what_cannot_be_done_is_refused(launch, arguments, expected):
    assert expected in launch("--on", *arguments.split())


@pytest.mark.parametrize("engine", ["slurm", "ray"])
def test_a_missing_extra_is_named_with_its_remedy(launch, engine, monkeypatch):
    monkeypatch.setitem(sys.modules, {"slurm": "submitit"}.get(engine, engine), None)
    assert f"pip install 'kdopt[{engine}]'" in launch("--on", engine)


def test_a_machine_that_cannot_submit_is_told_so(launch, monkeypatch):
    pytest.importorskip("submitit")
    monkeypatch.setenv("PATH", "")
    assert "no sbatch and srun found here" in launch("--on", "slurm")
