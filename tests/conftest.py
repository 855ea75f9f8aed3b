"""What several test folders share: small campaigns, stores, and outcomes made by hand."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest

from kdopt.campaign.data_settings import DataSettings
from kdopt.campaign.partition_settings import PartitionSettings
from kdopt.campaign.record import CampaignRecord
from kdopt.campaign.settings import NO_PUBLIC_SETS, Campaign, TrainSettings
from kdopt.campaign.stage_settings import TuneSettings
from kdopt.outcome import Outcome, Scores, TrialRow, measure_change, measure_gain
from kdopt.store import queries
from kdopt.store.database import Store, open_store
from tests.browser import browser, visit  # noqa: F401  (pytest finds them here)
from tests.fault_table import (  # noqa: F401  (pytest finds them here)
    fault_table,
    pytest_addoption,
    pytest_terminal_summary,
)
from tests.finished import finished  # noqa: F401
from tests.launchers import make_bench, slurm  # noqa: F401
from tests.postgres import Postgres
from tests.started import nobody_stays_behind  # noqa: F401

# Worker processes that tests start must find the package of this checkout.
os.environ["PYTHONPATH"] = os.pathsep.join(
    [str(Path(__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
)
# Started in the background a suite ignores Ctrl-C, and so would every process that it starts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
for variable in ("KDOPT_STORE", "KDOPT_ARTIFACTS"):
    os.environ.pop(variable, None)
PYTHON = sys.executable


def pytest_configure() -> None:
    """Let Hypothesis try the same examples in every run, however slow the machine is."""
    # Here, as worker processes of tests import this module too.
    from hypothesis import HealthCheck, settings

    settings.register_profile(
        "kdopt",
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=[HealthCheck.too_slow],
    )
    settings.load_profile("kdopt")


def make_campaign(**changes: object) -> Campaign:
    """A tiny campaign: digits, two participants, four cells."""
    values: dict[str, object] = {
        "name": "tiny",
        "seed": 0,
        "participants": 2,
        "replicates": 1,
        "precision": "fp32",
        "select_on": "validation",
        "model": "mlp",
        "data": DataSettings("digits", validation_fraction=0.2),
        "partitions": (PartitionSettings("uniform"),),
        "stages": ("tune",),
        "transfer": NO_PUBLIC_SETS,
        "control": False,  # its own tests have it
        "pretrain": TrainSettings(
            epochs=2, patience=0, learning_rate=1e-3, weight_decay=1e-4, batch_size=32
        ),
        "distill": TrainSettings(
            epochs=1, patience=0, learning_rate=1e-3, weight_decay=1e-4, batch_size=32
        ),
        "tune": TuneSettings((1.0, 2.0), (0.5, 0.9), "grid", 6),
    }
    return Campaign(**{**values, **changes})  # type: ignore[arg-type]


def make_record(campaign: Campaign) -> CampaignRecord:
    """The record of a campaign whose images and splits nobody will open."""
    return CampaignRecord(campaign, (), "0" * 64, {p.name: "1" * 64 for p in campaign.partitions})


def make_outcome(value: float) -> Outcome:
    """An outcome with the given objective."""
    scores = Scores(0.5, (0.5, 0.5), 0.7)
    return Outcome(value, scores, scores, 1, 1, 0.5, 0.5, 0.01, "cpu", "fp32")


def make_pretrained(accuracy: float, checkpoint: str | None = None) -> Outcome:
    """What a participant's own training may record, as one that agrees with itself."""
    scores = Scores(accuracy, (accuracy, accuracy), 0.7)
    trained = (scores, scores, 1, 1, accuracy, accuracy, 0.01, "cpu", "fp32")
    return Outcome(accuracy, *trained, checkpoint=checkpoint)


def make_distilled(gain: float, before: Outcome) -> Outcome:
    """What a trial may record that gains so many pp on what pre-training recorded."""
    after = make_pretrained(before.test.accuracy + gain / 100)
    scores = {"validation_before": before.validation, "test_before": before.test}
    change = measure_change(after.test, before.test)
    gain = measure_gain(after.test, before.test)
    return dataclasses.replace(
        after, value=gain, validation_gain=gain, test_gain=gain, **scores, **change._asdict()
    )


def drop_record(scores: Scores) -> Scores:
    """Scores as an outcome keeps those of the untouched student: without single images."""
    return dataclasses.replace(scores, right=None)


@pytest.fixture(autouse=True)
def log_level():
    """Commands that a test calls in this process set the level of kdopt's log; others follow."""
    log = logging.getLogger("kdopt")
    level = log.level
    yield
    log.setLevel(level)


@pytest.fixture
def store_path(tmp_path: Path) -> Path:
    return tmp_path / "store" / "kdopt.db"


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A real PostgreSQL, started when the first test asks for it."""
    # Not below pytest's own folder, which every session makes private again: the server runs as
    # another user when the tests run as root.
    with tempfile.TemporaryDirectory(
        prefix="kdopt-postgres-", ignore_cleanup_errors=True
    ) as folder:
        server = Postgres(Path(folder) / "data")
        yield server
        server.stop()


@pytest.fixture(scope="session")
def postgres_template(postgres: Postgres) -> str:
    """A database with an empty store in it: a copy takes a tenth of the time of a new one."""
    name = postgres.new_database()
    open_store(postgres.url(name), create=True).close()
    return name


@pytest.fixture
def postgres_url(postgres: Postgres, postgres_template: str) -> str:
    """Where an empty store of the real PostgreSQL is."""
    return postgres.url(postgres.new_database(postgres_template))


@pytest.fixture(params=["sqlite", "postgresql"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where an empty store is: what is tested with it holds on both databases."""
    if request.param == "sqlite":
        path = tmp_path / "store" / "kdopt.db"
        open_store(str(path), create=True).close()
        return f"sqlite:///{path}"
    url: str = request.getfixturevalue("postgres_url")
    return url


@pytest.fixture
def store(store_url: str) -> Iterator[Store]:
    opened = open_store(store_url)
    yield opened
    opened.close()


@pytest.fixture
def campaign() -> Campaign:
    return make_campaign()


@contextlib.contextmanager
def optuna_study(url: str, name: str) -> Iterator[optuna.Study]:
    """A study as Optuna itself reads it."""
    storage = optuna.storages.RDBStorage(url)
    try:
        yield optuna.load_study(study_name=name, storage=storage)
    finally:
        storage.remove_session()
        storage.engine.dispose()


def new_store(path: Path) -> Store:
    return open_store(str(path), create=True)


def list_failures(store: Store, name: str) -> list[TrialRow]:
    """The failed trials of a campaign that nobody tries again, in order of planning."""
    return [row for row in queries.read_trials(store, name) if row.state == "FAIL"]
