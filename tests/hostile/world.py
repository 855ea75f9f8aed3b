"""A small campaign that was run as far as its pre-training, for tests that then break something."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import sqlalchemy as sa

from kdopt.store import queries
from kdopt.store.artifacts import Artifacts
from kdopt.store.attributes import OUTCOME_KEY
from kdopt.store.database import Store, open_store
from kdopt.store.leases import claim_trial, fail_trial
from kdopt.train.engine import make_engine
from kdopt.worker.worker import run_trials
from tests.worker.test_worker import plan

ENGINE = make_engine("fp32", "cpu")
TUNE = "temperatures = [1]\nalphas = [0.5]"
CAMPAIGN = "tiny"


class World(NamedTuple):
    """A store and its artifacts in a folder."""

    folder: Path
    store: Store
    artifacts: Artifacts

    @property
    def states(self) -> Counter[str]:
        """How many trials are in each state."""
        return Counter(row.state for row in queries.read_trials(self.store, CAMPAIGN))

    def run(self) -> None:
        """Work here, as ``kdopt worker`` does."""
        run_trials(self.store, self.artifacts, CAMPAIGN, ENGINE)

    def list_complete(self) -> list[int]:
        """The rows of all trials with a result, in order."""
        sql = "SELECT trial_id FROM trials WHERE state = 'COMPLETE' ORDER BY trial_id"
        return [trial_id for (trial_id,) in self.store.select_rows(sql)]

    def change_outcome(self, trial_id: int, change: Callable[[dict[str, Any]], object]) -> None:
        """Edit the record of a complete trial."""
        where = {"trial": trial_id, "key": OUTCOME_KEY}
        sql = "FROM trial_user_attributes WHERE trial_id = :trial AND key = :key"
        (text,) = self.store.select_rows(f"SELECT value_json {sql}", where)[0]
        record = json.loads(text)
        change(record)
        with self.store.write() as connection:
            connection.execute(
                sa.text(
                    "UPDATE trial_user_attributes SET value_json = :value "
                    "WHERE trial_id = :trial AND key = :key"
                ),
                {**where, "value": json.dumps(record)},
            )

    def change_record(self, changes: Mapping[str, object]) -> None:
        """Edit the campaign's record, as an older version keeps it: only once."""
        with self.store.write() as connection:
            connection.execute(sa.text("DELETE FROM kdopt_meta WHERE key LIKE 'record:%'"))
            for value in connection.execute(
                sa.text("SELECT value_json FROM study_user_attributes WHERE key = 'kd:record'")
            ).scalars():
                record = {**json.loads(value), **changes}
                connection.execute(
                    sa.text(
                        "UPDATE study_user_attributes SET value_json = :v WHERE key = 'kd:record'"
                    ),
                    {"v": json.dumps(record)},
                )


def make_pretrained(folder: Path) -> Path:
    """Run the pre-training of the campaign in a folder; the rest waits."""
    store, artifacts = plan(folder, epochs=1, tune=TUNE)
    held = []
    for study in queries.read_study_counts(store, CAMPAIGN):
        if study.name.stage != "pretrain":
            while (claim := claim_trial(store, study.study_id, "nobody", 600)) is not None:
                held.append(claim)
    for claim in held:
        fail_trial(store, claim, "not yet")
    run_trials(store, artifacts, CAMPAIGN, ENGINE)
    with store.write() as connection:
        connection.execute(sa.text("UPDATE trials SET state = 'WAITING' WHERE state = 'FAIL'"))
        connection.execute(sa.text("DELETE FROM kdopt_lease"))
        connection.execute(sa.text("DELETE FROM trial_user_attributes WHERE key = 'kd:error'"))
        times = "datetime_start = NULL, datetime_complete = NULL"
        connection.execute(sa.text(f"UPDATE trials SET {times} WHERE state = 'WAITING'"))
    store.close()
    return folder


def copy_world(source: Path, target: Path) -> World:
    """A copy to break."""
    shutil.copytree(source, target)
    return World(target, open_store(str(target / "kdopt.db")), Artifacts(target / "artifacts"))


def kdopt(folder: Path, *arguments: object, **changes: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a folder as a user does."""
    return subprocess.run(
        [sys.executable, "-m", "kdopt", *map(str, arguments)],
        cwd=folder,
        env={**os.environ, **changes},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
