"""Campaigns whose artifacts lie in S3: the same results as from a folder, whatever the network."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from kdopt.errors import ArtifactError
from kdopt.store import queries
from kdopt.store.database import open_store
from kdopt.train.engine import make_engine
from kdopt.worker.worker import run_trials
from tests.s3 import S3
from tests.small_campaigns import plan_text
from tests.worker.test_worker import SPEC, results

TEXT = SPEC.format(epochs=2, rate=1e-3, tune="temperatures = [1, 4]\nalphas = [0.5, 0.9]")
TRIALS = 2 + 2 * 4


@pytest.fixture(scope="module")
def endpoint() -> Iterator[S3]:
    pytest.importorskip("moto", reason="S3 IS NOT TESTED: pip install 'kdopt[dev]'")
    pytest.importorskip("s3fs", reason="S3 IS NOT TESTED: pip install 'kdopt[dev]'")
    server = S3()
    yield server
    server.stop()


@pytest.fixture
def s3(endpoint, monkeypatch) -> S3:
    for name, value in endpoint.environment.items():
        monkeypatch.setenv(name, value)
    return endpoint


@pytest.fixture
def bucket(s3, tmp_path) -> str:
    name = f"kdopt-{os.getpid()}-{abs(hash(tmp_path))}"
    s3.client.create_bucket(Bucket=name)
    return f"s3://{name}/campaigns/tiny"


def plan(folder, place):
    """A planned campaign, its artifacts in that place."""
    store, artifacts, _ = plan_text(TEXT, folder, place)
    return store, artifacts


@pytest.fixture(scope="module")
def on_a_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("folder")
    store, artifacts = plan(folder, folder / "artifacts")
    assert run_trials(store, artifacts, "tiny", make_engine("fp32", "cpu")).complete == TRIALS
    found = results(store)
    store.close()
    return found


def test_a_campaign_gives_the_same_results_as_on_a_folder(tmp_path, s3, bucket, on_a_folder):
    store, artifacts = plan(tmp_path, bucket)
    summary = run_trials(store, artifacts, "tiny", make_engine("fp32", "cpu"))
    assert (summary.complete, summary.failed, summary.lost) == (TRIALS, 0, 0)
    assert results(store) == on_a_folder
    assert not (tmp_path / "artifacts").exists()
    store.close()


def test_a_cut_network_delays_a_campaign_and_changes_nothing(tmp_path, s3, bucket, on_a_folder):
    store, artifacts = plan(tmp_path, bucket)
    s3.down()
    back = threading.Timer(2, s3.up)
    back.start()
    summary = run_trials(store, artifacts, "tiny", make_engine("fp32", "cpu"))
    back.join()
    assert (summary.complete, summary.failed, summary.lost) == (TRIALS, 0, 0)
    assert results(store) == on_a_folder
    store.close()


def test_a_network_that_stays_cut_gives_the_trial_back(
    tmp_path, s3, bucket, on_a_folder, monkeypatch
):
    monkeypatch.setattr("kdopt.store.remote_artifacts.REMOTE_RETRY_S", 0.5)
    store, artifacts = plan(tmp_path, bucket)
    s3.down()
    with pytest.raises(ArtifactError, match="did not pass within"):
        run_trials(store, artifacts, "tiny", make_engine("fp32", "cpu"))
    s3.up()
    assert {row.state for row in queries.read_trials(store, "tiny")} == {"WAITING"}
    assert run_trials(store, artifacts, "tiny", make_engine("fp32", "cpu")).complete == TRIALS
    assert results(store) == on_a_folder
    store.close()


def kdopt(folder, *arguments):
    return subprocess.run(
        [sys.executable, "-m", "kdopt", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )


def test_the_command_runs_a_campaign_and_its_workers_on_s3(tmp_path, s3, bucket, on_a_folder):
    (tmp_path / "tiny.toml").write_text(TEXT)
    planned = kdopt(tmp_path, "plan", "tiny.toml", "--store", "kdopt.db", "--artifacts", bucket)
    assert planned.returncode == 0, planned.stderr
    ran = kdopt(
        tmp_path, "run", "tiny.toml", "--store", "kdopt.db", "--artifacts", bucket, "--workers", "2"
    )
    assert ran.returncode == 0, ran.stderr
    store = open_store(str(tmp_path / "kdopt.db"))
    found = results(store)
    assert found == on_a_folder
    store.close()
    assert not (tmp_path / "artifacts").exists()

    bucket_name, _, prefix = bucket.removeprefix("s3://").partition("/")
    objects = s3.client.list_objects_v2(Bucket=bucket_name, Prefix=prefix)["Contents"]
    checkpoints = {record["checkpoint"] for _, _, record in found.values() if record["checkpoint"]}
    assert {o["Key"].rpartition("/")[2].partition(".")[0] for o in objects} > checkpoints

    key = next(o["Key"] for o in objects if sorted(checkpoints)[0] in o["Key"])
    s3.client.delete_object(Bucket=bucket_name, Key=key)
    doctor = kdopt(tmp_path, "doctor", "--store", "kdopt.db", "--artifacts", bucket)
    assert doctor.returncode == 1, doctor.stdout + doctor.stderr
    assert sorted(checkpoints)[0][:12] in doctor.stdout


def test_the_command_refuses_a_place_with_its_message(tmp_path, s3, bucket):
    (tmp_path / "tiny.toml").write_text(TEXT)
    place = bucket.replace("s3://", "s3://me:geheim@")
    ended = kdopt(tmp_path, "plan", "tiny.toml", "--store", "kdopt.db", "--artifacts", place)
    assert ended.returncode == 2
    assert "kdopt: error: artifacts s3://***@" in ended.stderr
    assert "geheim" not in ended.stdout + ended.stderr
    plan(tmp_path, bucket)[0].close()
    absent = kdopt(tmp_path, "worker", "--store", "kdopt.db", "--artifacts", "s3://not-there/x")
    assert absent.returncode == 2
    assert "The specified bucket does not exist" in absent.stderr
    assert "Traceback" not in absent.stderr
