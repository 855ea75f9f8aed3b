"""Workers on a real Ray: done, killed, stopped; secrets kept."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

import psutil
import pytest

from kdopt.errors import KdoptError
from kdopt.launch.ray import _check_listening, divide_cluster
from tests.launch.campaigns import FOR_EVER, Titles, stop, worker_process
from tests.postgres import PASSWORD, PASSWORD_IN_URL
from tests.started import wait_for_ends
from tests.waiting import wait_until

# Not imported here: that puts Ray's own copies of packages before everybody's.
pytestmark = pytest.mark.skipif(
    find_spec("ray") is None, reason="no Ray here: pip install 'kdopt[ray]'"
)


@pytest.fixture
def environment(tmp_path):
    """Ray's files go to a place of their own; its sockets' paths must be short."""
    (tmp_path / "home").mkdir()
    with tempfile.TemporaryDirectory(prefix="kdopt-ray-") as folder:
        yield {"RAY_TMPDIR": folder, "HOME": str(tmp_path / "home")}


def test_a_cluster_for_this_run_finishes_a_campaign_and_shows_no_password(
    tmp_path, make_bench, environment, postgres
):
    bench = make_bench(url=postgres.url(postgres.new_database()), environment=environment)
    launched = bench.start("launch", "ray", "--workers", "2", "--time-limit", "10m")
    titles = Titles(bench, "ray", "gcs_server")
    family = set()
    while launched.poll() is None:
        titles.look()
        with contextlib.suppress(psutil.NoSuchProcess):
            family.update(psutil.Process(launched.pid).children(recursive=True))
        time.sleep(0.3)
    said, errors = launched.communicate()
    assert launched.returncode == 0, errors
    assert "10 of 10 trials done" in said
    bench.prove()
    # Ray's processes have ended with the command.
    wait_for_ends(family)

    assert any("raylet" in title for title in titles.seen)
    written = [
        p
        for p in (*tmp_path.rglob("*"), *Path(environment["RAY_TMPDIR"]).rglob("*"))
        if p.is_file()
    ]
    logged = "".join(p.read_bytes().decode(errors="replace") for p in written)
    assert "tiny/uniform/tune/t00-s01 #0: temperature" in logged  # a worker's line, in Ray's logs
    for secret in (PASSWORD, PASSWORD_IN_URL, "s3cret"):
        assert not any(secret in text for text in (said, errors, logged, *titles.seen))
    # What keeps others out of the cluster was in no file, which they might read.
    assert not (tmp_path / "home" / ".ray").exists()


HOLDER = """
import ray
here = ray.init(include_dashboard=False, num_cpus=4, num_gpus=1)
print(here.address_info["gcs_address"], flush=True)
input()
ray.shutdown()
"""


@pytest.fixture
def cluster(environment):
    """A Ray that runs already; its address."""
    environment |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER],
        env={**os.environ, **environment},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    yield holder.stdout.readline().strip()
    holder.communicate("\n", timeout=600)


def test_killed_workers_and_ctrl_c_lose_no_trial(make_bench, environment, cluster):
    bench = make_bench(epochs=FOR_EVER, environment=environment)
    # The cluster says that it has one GPU: two slots. The workers find out and take the CPU.
    options = ("--ray-address", cluster, "--slots-per-gpu", "2")
    launched = bench.start("launch", "ray", *options)
    wait_until(lambda: len(bench.running()) == 2 or launched.poll() is not None)
    first, second = bench.running()
    os.kill(worker_process(first), signal.SIGKILL)
    # Ray runs the task again in another process, which sees that the first one is dead. Which of
    # the waiting trials it takes then is not promised.
    wait_until(lambda: len(bench.running()) == 2 and worker_process(first) not in _workers(bench))
    assert worker_process(second) in _workers(bench)
    code, _, errors = stop(launched, signal.SIGINT)
    assert code == 130
    assert "stopped: launch again to go on" in errors and "Traceback" not in errors
    assert bench.states() == {"COMPLETE": 2, "WAITING": 8}
    # One loss counts, that of the killed worker; what a stopped one gave back does not.
    assert _losses(bench) == {(first.study, first.number): 1}
    bench.prove()


def test_an_address_where_no_cluster_is_is_refused(make_bench, environment):
    bench = make_bench(environment=environment)
    launched = bench.run("launch", "ray", "--ray-address", "auto")
    assert launched.returncode == 2
    assert "kdopt: error: Ray cluster 'auto': " in launched.stderr
    assert "Traceback" not in launched.stderr


@pytest.mark.parametrize("scheme", ["", "ray://"])
def test_nobody_at_the_address_is_found_out_at_once(scheme):
    """Ray itself tries for minutes."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"{scheme}127.0.0.1:{server.getsockname()[1]}"
        _check_listening(address)
    with pytest.raises(ConnectionRefusedError):
        _check_listening(address)
    _check_listening("auto")


def test_workers_are_shared_out_over_gpus_or_cores():
    assert divide_cluster({"CPU": 8.0}, None, 3) == (8, 0.0)
    assert divide_cluster({"CPU": 8.0, "GPU": 2.0}, "cpu", 3) == (8, 0.0)
    for per_gpu in range(1, 50):
        places, share = divide_cluster({"CPU": 8.0, "GPU": 2.0}, None, per_gpu)
        assert places == 2 * per_gpu
        # Ray counts in steps of 0.0001: so many fit on a GPU, and not one more.
        steps = round(share * 1e4)
        assert steps / 1e4 == share and per_gpu * steps <= 1e4 < (per_gpu + 1) * steps
    with pytest.raises(KdoptError, match="no node of the Ray cluster has a GPU"):
        divide_cluster({"CPU": 8.0}, "cuda", 1)


def _losses(bench):
    """How many workers were lost with each trial that waits."""
    rows = bench.store.select_rows(
        "SELECT s.study_name, t.number, l.attempt FROM kdopt_lease l "
        "JOIN trials t ON t.trial_id = l.trial_id JOIN studies s ON s.study_id = t.study_id "
        "WHERE t.state = 'WAITING' AND l.attempt > 0"
    )
    return {(study, number): attempt for study, number, attempt in rows}


def _workers(bench):
    return {worker_process(running) for running in bench.running()}
