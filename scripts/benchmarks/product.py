"""Run campaigns as users do (plan, worker processes, store) and read how long it took."""

from __future__ import annotations

import time
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import sqlalchemy as sa

from kdopt.campaign.spec import parse_spec
from kdopt.data.datasets import load_dataset
from kdopt.launch.call import WorkerCall
from kdopt.launch.local import LocalWorkers, assign_slots
from kdopt.outcome import Outcome
from kdopt.service.planner import draw_splits, plan_campaign
from kdopt.store import queries
from kdopt.store.artifacts import Artifacts
from kdopt.store.database import Store, open_store


class Run(NamedTuple):
    """What one start of the workers took.

    Attributes:
        trials: Trials that were completed.
        working_s: From the first claim to the last result.
        wall_s: From the start of the workers to their end.
        computing_s: Sum over the trials of what they say they took.
    """

    trials: int
    working_s: float
    wall_s: float
    computing_s: float


class Bench:
    """A store of its own, and campaigns in it.

    Args:
        folder: Where store, artifacts and logs go.
        device: What the workers compute on.
    """

    def __init__(self, folder: Path, device: str = "cpu") -> None:
        self.folder, self.device = folder, device
        self.store: Store = open_store(str(folder / "kdopt.db"), create=True)
        self.artifacts = Artifacts(folder / "artifacts")

    def plan(self, text: str) -> str:
        """Plan a campaign, or let it grow; its name."""
        spec = parse_spec(text)
        dataset = load_dataset(spec.campaign)
        plan_campaign(
            spec, dataset, draw_splits(spec.campaign, dataset), self.store, self.artifacts
        )
        return spec.campaign.name

    def work(self, campaign: str, workers: int) -> Run:
        """Let so many worker processes finish a campaign; how long it took."""
        before = self._times(campaign).keys()
        done = {k for k, _ in self._outcomes(campaign)}
        started = time.perf_counter()
        LocalWorkers(
            assign_slots(workers, device=self.device),
            WorkerCall(
                self.store.url.render_as_string(hide_password=False),
                str(self.folder / "artifacts"),
                campaign,
            ),
            self.folder / "logs",
        ).run(lambda: None, tick_s=0.2)
        wall = time.perf_counter() - started
        new = [times for trial, times in self._times(campaign).items() if trial not in before]
        computing = [o.seconds for k, o in self._outcomes(campaign) if k not in done]
        if not new or len(new) != len(computing):
            raise SystemExit(f"{campaign}: trials failed or were not run; see {self.folder}/logs")
        first, last = min(start for start, _ in new), max(end for _, end in new)
        return Run(len(new), (last - first).total_seconds(), wall, sum(computing))

    def outcomes(self, campaign: str, study: str) -> list[Outcome]:
        """The outcomes of one study, by number of trial."""
        return [o for (name, _), o in self._outcomes(campaign) if name == study]

    def _outcomes(self, campaign: str) -> list[tuple[tuple[str, int], Outcome]]:
        found = queries.read_trials(self.store, campaign)
        return [((r.study, r.number), r.outcome) for r in found if r.outcome is not None]

    def _times(self, campaign: str) -> dict[int, tuple[datetime, datetime]]:
        """When each complete trial was claimed and recorded."""
        sql = sa.text(
            "SELECT t.trial_id, t.datetime_start, t.datetime_complete FROM trials t "
            "JOIN studies s ON s.study_id = t.study_id "
            "WHERE t.state = 'COMPLETE' AND s.study_name LIKE :names"
        ).columns(
            trial_id=sa.Integer(), datetime_start=sa.DateTime(), datetime_complete=sa.DateTime()
        )
        with self.store.read() as connection:
            return {
                trial: (start, end)
                for trial, start, end in connection.execute(sql, {"names": f"{campaign}/%"})
            }
