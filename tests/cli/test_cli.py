"""The command as a user runs it: real processes, exit codes, messages."""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import urllib.request
from collections import Counter
from contextlib import suppress

import psutil
import pytest

from kdopt import __version__
from kdopt.store import queries
from kdopt.store.database import open_store
from tests.launch.campaigns import FOR_EVER
from tests.postgres import find_free_port
from tests.small_campaigns import make_spec
from tests.started import start, wait_for_ends
from tests.waiting import wait_until


def write_tiny(epochs=1):
    """Two participants and four cells of each pair; ``epochs`` of every distillation."""
    return make_spec(
        control=False,
        distill={"epochs": epochs},
        tune={"temperatures": [1, 4], "alphas": [0.5, 0.9]},
    )


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "tiny.toml").write_text(write_tiny())
    return tmp_path


def command(*arguments):
    return [sys.executable, "-m", "kdopt", *map(str, arguments)]


def kdopt(folder, *arguments, **environment):
    return subprocess.run(
        command(*arguments),
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


def refused(end, *expected):
    """Exit code 2, one message with all the texts, no traceback, nothing on stdout."""
    assert end.returncode == 2, (end.returncode, end.stdout, end.stderr)
    assert "Traceback" not in end.stderr
    assert end.stdout == ""
    for text in expected:
        assert text in end.stderr
    return end.stderr


def test_run_goes_from_a_file_to_a_report_and_again_adds_nothing(folder):
    first = kdopt(folder, "run", "tiny.toml", "--workers", 1)
    assert first.returncode == 0, first.stderr
    assert "3 studies, 10 trials planned (3 studies and 10 trials new)" in first.stdout
    assert "10 of 10 trials done, 10 of them now" in first.stdout
    # What is done is said before it is done, and the last words are the answer and its page.
    steps = [line.split()[0] for line in first.stderr.splitlines() if line.endswith(" ...")]
    assert steps[:4] == ["reading", "sharing", "planning", "starting"], first.stderr
    answer, where = first.stdout.splitlines()[-2:]
    assert re.match(r"distilling pays in \d of 2 pairs: ", answer)
    assert where.endswith("open storage/reports/tiny/report.html")
    report = folder / "storage" / "reports" / "tiny"
    files = {p.name: p.read_bytes() for p in report.iterdir()}
    assert {"best_settings.csv", "best_settings.md", "best_settings.tex", "report.html"} <= set(
        files
    )
    assert len(files["best_settings.csv"].splitlines()) == 1 + 2

    again = kdopt(folder, "run", "tiny.toml", "--workers", 1, "--quiet")
    assert again.returncode == 0, again.stderr
    assert again.stderr == ""
    assert again.stdout.splitlines()[1:] == [answer, where]
    assert "10 of 10 trials done, 0 of them now" in again.stdout
    assert {p.name: p.read_bytes() for p in report.iterdir()}.keys() == files.keys()
    assert (report / "best_settings.csv").read_bytes() == files["best_settings.csv"]

    status = json.loads(kdopt(folder, "status", "--json").stdout)
    assert [s["complete"] for s in status["stages"]] == [2, 8]
    text = kdopt(folder, "status").stdout
    assert "tiny: 10 of 10 trials complete" in text
    elsewhere = kdopt(folder, "report", "--out", "elsewhere", "--store", "storage/kdopt.db")
    assert elsewhere.returncode == 0, elsewhere.stderr
    assert (folder / "elsewhere" / "best_settings.csv").read_bytes() == files["best_settings.csv"]


def children(process):
    """The worker processes of a launcher."""
    try:
        return [c for c in psutil.Process(process.pid).children() if c.is_running()]
    except psutil.NoSuchProcess:
        return []


def start_long_run(folder):
    (folder / "tiny.toml").write_text(write_tiny(FOR_EVER))
    run = start(command("run", "tiny.toml", "--workers", 2), cwd=folder, stderr=subprocess.PIPE)
    path = folder / "storage" / "kdopt.db"

    def distilling():
        if run.poll() is not None or not path.exists():
            assert run.poll() is None, run.communicate()
            return False
        with sqlite3.connect(path, timeout=600) as connection:
            try:
                sql = "SELECT count(*) FROM trials WHERE state = 'RUNNING' AND study_id > 2"
                return connection.execute(sql).fetchone()[0] == 2
            except sqlite3.OperationalError:
                return False  # the tables are being made

    wait_until(distilling)
    return run


def states(folder):
    store = open_store(str(folder / "storage" / "kdopt.db"))
    found = Counter(row.state for row in queries.read_trials(store, "tiny"))
    store.close()
    return found


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_stops_cleanly_and_says_how_to_go_on(folder, number):
    run = start_long_run(folder)
    workers = children(run)
    assert len(workers) == 2
    run.send_signal(number)
    _, said = run.communicate(timeout=600)
    assert run.returncode == 130
    assert re.search(r"^stop: (giving \d trials? back|stopping the workers) \.\.\.$", said, re.M)
    assert "stopped with 2 of 10 trials done; run the same command to go on" in said
    assert "Traceback" not in said
    assert not any(w.is_running() for w in workers)
    assert states(folder) == {"COMPLETE": 2, "WAITING": 8}


def test_a_killed_worker_is_replaced(folder):
    run = start_long_run(folder)
    first = children(run)
    first[0].kill()
    wait_until(lambda: len([c for c in children(run) if c.pid != first[0].pid]) == 2)
    run.send_signal(signal.SIGINT)
    run.communicate(timeout=600)
    assert states(folder) == {"COMPLETE": 2, "WAITING": 8}


def test_workers_of_a_killed_launcher_stop_by_themselves(folder):
    """Many short trials: a worker looks for its launcher between two of them."""
    text = write_tiny(40).replace("[1, 4]", str([1 + i / 100 for i in range(400)]))
    (folder / "tiny.toml").write_text(text)
    run = subprocess.Popen(
        command("run", "tiny.toml", "--workers", 2),
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    path = folder / "storage" / "kdopt.db"
    wait_until(lambda: path.exists() and len(children(run)) == 2)
    wait_until(lambda: states(folder)["COMPLETE"] > 4)
    workers = children(run)
    run.kill()
    run.wait()
    wait_for_ends(workers)
    found = states(folder)
    assert found["RUNNING"] == 0
    assert found["WAITING"] > 0


def test_help_and_version_are_there():
    assert kdopt(".", "--version").stdout == f"kdopt {__version__}\n"
    end = kdopt(".", "--help")
    assert end.returncode == 0
    for name in ("run", "plan", "worker", "status", "report", "dashboard", "partitions", "spec"):
        assert name in end.stdout


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (("alphas = [0.5, 0.9]", "alphas = [1000]"), "tune.alphas[0] = 1000"),
        (("temperatures = [1, 4]", "temperatures = [0]"), "tune.temperatures[0] = 0: "),
        (('name = "digits"', 'name = "folder"\nroot = "nowhere"'), "nowhere"),
        (("participants = 2", "participants = 500"), "uniform"),
        (('model = "mlp"', 'model = "resnet19"'), "resnet18"),
    ],
)
def test_bad_input_is_refused_before_anything_is_written(folder, change, expected):
    text = write_tiny()
    assert change[0] in text
    (folder / "tiny.toml").write_text(text.replace(*change))
    refused(kdopt(folder, "plan", "tiny.toml"), "kdopt: error: ", expected)
    assert not (folder / "storage").exists()


def test_stores_that_cannot_be_used_are_named(folder):
    missing = ("worker", "status", "report", "dashboard")
    for name in missing:
        refused(kdopt(folder, name), "storage/kdopt.db: there is none; run 'kdopt plan SPEC'")
    for name in (*missing, "plan"):
        spec = ["tiny.toml"] if name == "plan" else []
        refused(kdopt(folder, name, *spec, "--store", "tiny.toml"), "not a kdopt store")
    refused(kdopt(folder, "status", "--store", "mysql://me:s3cret@host/x"), "not supported")
    unreachable = "postgresql://me:s3cret@127.0.0.1:9/x"
    assert "s3cret" not in kdopt(folder, "status", KDOPT_STORE=unreachable).stderr


def test_a_store_that_may_not_be_written_is_a_clear_error(folder):
    """As another user, since root may write anything."""
    if os.geteuid() != 0:
        (folder / "locked").mkdir(mode=0o500)
        end = kdopt(folder, "plan", "tiny.toml", "--store", "locked/kdopt.db")
        refused(end, "no permission to write")
        return
    # Root's counterpart: a place where even root may not make files.
    refused(
        kdopt(folder, "plan", "tiny.toml", "--store", "/proc/kdopt/kdopt.db"),
        "/proc/kdopt/kdopt.db",
        "give another --store",
    )


def test_the_partitions_command_draws_the_classes(folder):
    end = kdopt(folder, "partitions", "tiny.toml", "--html", "out/p.html")
    assert end.returncode == 0, end.stderr
    assert "uniform" in end.stdout
    lines = [line.split() for line in end.stdout.splitlines()]
    totals = next(line for line in lines if line and line[0] == "all")
    assert int(totals[1]) + int(totals[2]) == int(totals[3])
    assert int(totals[1]) == int(totals[2])
    assert "Plotly.newPlot" in (folder / "out" / "p.html").read_text()
    unwritable = kdopt(folder, "partitions", "tiny.toml", "--html", "out")
    assert unwritable.returncode == 2
    assert "out: is there already and is no page of kdopt" in unwritable.stderr
    assert "Traceback" not in unwritable.stderr


def test_the_dashboard_shows_the_planned_studies(folder):
    assert kdopt(folder, "plan", "tiny.toml").returncode == 0
    port = find_free_port()
    server = subprocess.Popen(
        command("dashboard", "--port", port), cwd=folder, stdout=subprocess.PIPE, text=True
    )
    try:
        address = server.stdout.readline().split()[0]
        assert address == f"http://127.0.0.1:{port}"
        with urllib.request.urlopen(f"{address}/api/studies", timeout=600) as answer:
            names = {s["study_name"] for s in json.load(answer)["study_summaries"]}
        assert "tiny/uniform/tune/t00-s01" in names
        taken = kdopt(folder, "dashboard", "--port", port)
        assert taken.returncode == 2
        assert str(port) in taken.stderr
        assert "Traceback" not in taken.stderr
    finally:
        server.send_signal(signal.SIGINT)
        server.communicate(timeout=600)


def test_the_spec_command_shows_sources(folder):
    end = kdopt(folder, "spec", "tiny.toml")
    assert "ProxyFL" in end.stdout
    assert any(line.split() == ["participants", "2", "spec"] for line in end.stdout.splitlines())


def test_a_full_disk_loses_nothing(folder):
    """A real, tiny file system, where this user may mount one."""
    small = folder / "small"
    small.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(small)],
        capture_output=True,
        check=False,
    )
    if mounted.returncode != 0:
        pytest.skip("this user may not mount a tmpfs: " + mounted.stderr.decode().strip())
    try:
        planned = kdopt(folder, "plan", "tiny.toml", "--store", "small/kdopt.db")
        assert planned.returncode == 0, planned.stderr
        filler = small / "filler"
        with suppress(OSError), filler.open("wb", buffering=0) as file:
            while file.write(b"x" * 4096):
                pass
        end = kdopt(folder, "run", "tiny.toml", "--store", "small/kdopt.db", "--workers", 1)
        assert end.returncode == 2, (end.stdout, end.stderr)
        assert "Traceback" not in end.stderr
        assert "space" in end.stderr
        filler.unlink()
        subprocess.run(["mount", "-o", "remount,size=20m", str(small)], check=True)
        again = kdopt(folder, "run", "tiny.toml", "--store", "small/kdopt.db", "--workers", 1)
        assert again.returncode == 0, again.stderr
        assert "10 of 10 trials done" in again.stdout
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_run_says_when_trials_failed(folder):
    text = write_tiny().replace('stages = ["tune"]', 'stages = ["federate"]')
    # Plain SGD with such steps is beyond float32 at once.
    (folder / "tiny.toml").write_text(f"{text}[federate]\nrounds = 1\nlearning_rate = 1e6\n")
    end = kdopt(folder, "run", "tiny.toml", "--workers", 1)
    assert end.returncode == 1
    assert "2 trials failed and 0 cannot start" in end.stderr
    assert (folder / "storage" / "reports" / "tiny" / "report.html").exists()
    assert "loss became" in kdopt(folder, "status").stdout


def test_a_terminal_without_shades_still_shows_the_partitions(folder):
    end = kdopt(folder, "partitions", "tiny.toml", PYTHONIOENCODING="ascii")
    assert end.returncode == 0, end.stderr
    assert "#" in end.stdout
