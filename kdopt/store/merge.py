"""Merge another store of the same campaign into this one: two sites, one table.

What is taken is decided by :mod:`kdopt.store.merge_rules`. The order makes it safe to be cut off
and repeated, and to run while workers run on either store: artifacts are copied (and verified)
first, then a batch of studies is written in one transaction, decided once more from the rows as
that transaction sees them. Pre-training goes first, since what rests on it asks which weights it
gave. The other store is only read; a reader's rights are enough.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from sqlalchemy.engine import URL, Connection

from kdopt.campaign import compatibility
from kdopt.campaign.names import StageName
from kdopt.campaign.plain import load_json
from kdopt.campaign.record import CampaignRecord
from kdopt.campaign.stages import plan_studies
from kdopt.campaign.studies import StudyPlan
from kdopt.errors import ArtifactError, StoreError
from kdopt.store import queries
from kdopt.store.artifacts import Artifacts
from kdopt.store.database import Store
from kdopt.store.merge_rows import (
    EndedRow,
    Ending,
    add_results,
    end_rows,
    lock_studies,
    read_endings,
)
from kdopt.store.merge_rules import Decision, decide
from kdopt.store.planning import add_copy, write_plan
from kdopt.store.queries import Row, read_rows
from kdopt.store.scope import scope_of, select_scope

BATCH = 2000
"""Trials of the other store that are merged in one transaction, give or take a study: more would
keep workers waiting."""

STAGES_WITH_MODELS: tuple[StageName, ...] = ("pretrain", "combine", "federate")
"""Stages whose trials keep checkpoints."""

logger = logging.getLogger(__name__)


class Site(NamedTuple):
    """A store and its artifacts."""

    store: Store
    artifacts: Artifacts


class Differing(NamedTuple):
    """Two results of one cell: its trial here, and the difference of test accuracy, pp."""

    study: str
    number: int
    accuracy_pp: float


class Parted(NamedTuple):
    """An adaptive study whose pasts part at a trial; ours was kept."""

    study: str
    number: int


@dataclass
class MergeSummary:
    """What merging did.

    Attributes:
        campaign: The campaign.
        new_studies: Studies added, because only the other store had planned them.
        new_trials: Trials added likewise.
        results: Results taken over.
        failures: Failures taken over, with their reasons.
        from_workers: Of both, trials that a worker was at here.
        after_failures: Of the results, those of cells that had failed here.
        mixed: Of the results, those that rest on other pre-trained weights than ours.
        same: Results that both have alike.
        differing: Results that both have and that differ; ours were kept.
        other_weights: Results left out because they rest on other pre-trained weights.
        parted: Adaptive studies left out because another past decided what they tried.
        unknown: Ended trials left out because no spec asks for their cells.
        artifacts: Artifacts copied, those too that our rows named and our place lacked.
    """

    campaign: str
    new_studies: int = 0
    new_trials: int = 0
    results: int = 0
    failures: int = 0
    from_workers: int = 0
    after_failures: int = 0
    mixed: int = 0
    same: int = 0
    differing: list[Differing] = field(default_factory=list)
    other_weights: int = 0
    parted: list[Parted] = field(default_factory=list)
    unknown: int = 0
    artifacts: int = 0

    def count(self, plan: StudyPlan, found: Decision) -> None:
        """Add what was done with a study."""
        complete = [t for t in found.take if t.theirs.state == "COMPLETE"]
        self.results += len(complete)
        self.failures += len(found.take) - len(complete)
        self.from_workers += sum(t.mine.state == "RUNNING" for t in found.take)
        self.after_failures += sum(t.mine.state == "FAIL" for t in complete)
        self.mixed += sum(t.mixed for t in complete)
        self.same += found.same
        self.differing += [Differing(plan.name, *d) for d in found.differences]
        self.other_weights += found.other_weights
        self.unknown += found.unknown
        if found.parted is not None:
            self.parted.append(Parted(plan.name, found.parted))


def merge_campaign(target: Site, other: Site, campaign: str, mix: bool = False) -> MergeSummary:
    """Take over what the other store has of a campaign and the target lacks.

    Args:
        target: What is written; it need not have the campaign yet.
        other: What is read.
        campaign: The campaign's name, the same in both.
        mix: Also take results that rest on other pre-trained weights than the target's.

    Raises:
        StoreError: The stores are one and the same, the campaigns are not comparable, or a
            database cannot be used.
        ArtifactError: An artifact that a result needs is missing or altered, or cannot be written.
            What was merged before stays; merging again goes on.
    """
    if _locate_database(target.store.url) == _locate_database(other.store.url):
        raise StoreError(
            f"store {other.store.label}: this is the store itself; name another one to merge from"
        )
    return _Merge(target, other, campaign, mix).run()


class _Study(NamedTuple):
    """A study of the other store: its id and its rows."""

    study_id: int
    rows: Sequence[Row]


class _Judged(NamedTuple):
    """What is to be done with a study of ours that has so many rows."""

    plan: StudyPlan
    study_id: int
    n_rows: int
    decision: Decision


class _Merge:
    def __init__(self, target: Site, other: Site, campaign: str, mix: bool) -> None:
        self.target, self.other, self.mix = target, other, mix
        self.done = MergeSummary(campaign)
        self.same_weights: set[tuple[str, int]] = set()
        self.ours: Mapping[str, int] = {}
        self.theirs: Mapping[str, _Study] = {}

    def run(self) -> MergeSummary:
        # Their rows before their record: a campaign only grows, so the record asks for all of them.
        self.theirs = self.other.store.run_read(self._read_theirs)
        record = self._plan_both(queries.read_record(self.other.store, self.done.campaign))
        scope = self.target.store.run_read(lambda c: scope_of(c, record))
        self.ours = {name: study_id for study_id, (name, _) in scope.studies.items()}
        plans = [plan for plan in plan_studies(record.campaign) if plan.name in self.theirs]
        first = [plan for plan in plans if plan.stage == "pretrain"]
        self._merge_all(first)
        self._compare_weights(first)
        self._merge_all([plan for plan in plans if plan.stage != "pretrain"])
        self._copy_lost_artifacts(record, [p for p in plans if p.stage in STAGES_WITH_MODELS])
        return self.done

    def _read_theirs(self, connection: Connection) -> dict[str, _Study]:
        """Their studies with ended trials, as of one moment."""
        scope = select_scope(connection, self.done.campaign)
        rows = read_rows(connection, scope.where, scope.values)
        return {
            name: _Study(study_id, rows[study_id])
            for study_id, (name, _) in scope.studies.items()
            if any(row.state in ("COMPLETE", "FAIL") for row in rows.get(study_id, []))
        }

    def _plan_both(self, theirs: CampaignRecord) -> CampaignRecord:
        """Grow our campaign by what only theirs asks for."""
        store, name = self.target.store, self.done.campaign
        ours = queries.read_record(store, name) if name in queries.list_campaigns(store) else None
        union = theirs
        if ours is not None:
            different = compatibility.list_differences(theirs, ours)
            if different:
                raise StoreError(
                    f"campaign '{name}': the stores {self.other.store.label} and {store.label} "
                    f"have other values of: {', '.join(different)}; their results are not "
                    "comparable, and nothing was merged"
                )
            union = compatibility.unite_records(theirs, ours)
        if union == ours:
            return union
        known = {} if ours is None else ours.artifacts
        for sha256, purpose in sorted(union.artifacts.items(), key=lambda item: item[1]):
            if sha256 not in known:
                self._copy_artifact(sha256, purpose)
        planned = write_plan(store, union, plan_studies)
        self.done.new_studies, self.done.new_trials = planned.new_studies, planned.new_trials
        return queries.read_record(store, name)

    def _compare_weights(self, pretraining: Sequence[StudyPlan]) -> None:
        """Note the participants whose pre-trained weights are the same in both stores."""
        mine = self.target.store.run_read(lambda c: self._read_our_rows(c, pretraining))
        theirs = self._read_their_rows(pretraining)
        for plan in pretraining:
            here, there = (_list_checkpoints(rows[plan.name]) for rows in (mine, theirs))
            self.same_weights |= {(plan.partition, i) for i, _ in here.items() & there.items()}

    def _read_our_rows(
        self, connection: Connection, plans: Sequence[StudyPlan]
    ) -> dict[str, list[Row]]:
        ids = {plan.name: self.ours[plan.name] for plan in plans}
        values = {"studies": list(ids.values())}
        rows = read_rows(connection, "t.study_id IN :studies", values, "studies")
        complete = add_results(connection, rows)
        return {name: complete.get(study_id, []) for name, study_id in ids.items()}

    def _read_their_rows(self, plans: Sequence[StudyPlan]) -> dict[str, list[Row]]:
        """Their rows as they were found, with results now: these never change any more."""
        found = dict(self.theirs[plan.name] for plan in plans)
        complete = self.other.store.run_read(lambda connection: add_results(connection, found))
        return {plan.name: complete[self.theirs[plan.name].study_id] for plan in plans}

    def _merge_all(self, plans: Sequence[StudyPlan]) -> None:
        for batch in self._split_into_batches(plans):
            for study in self._merge_batch(batch):
                self.done.count(study.plan, study.decision)
                for take in study.decision.take:
                    if take.mine.saved is not None:
                        # What was saved to go on with a trial that is ended now.
                        self.target.artifacts.discard(take.mine.saved)
            logger.info("%s: %d studies merged", self.done.campaign, len(batch))

    def _split_into_batches(self, plans: Sequence[StudyPlan]) -> Iterator[list[StudyPlan]]:
        batch: list[StudyPlan] = []
        for plan in plans:
            batch.append(plan)
            if sum(len(self.theirs[p.name].rows) for p in batch) >= BATCH:
                yield batch
                batch = []
        if batch:
            yield batch

    def _merge_batch(self, plans: Sequence[StudyPlan]) -> list[_Judged]:
        """Merge a batch of studies: prepare what will be taken, then write it in one transaction.

        Workers go on meanwhile. Should the transaction find that something else is to be taken
        (a trial was queued again), that is prepared too, and tried once more.
        """
        theirs = self._read_their_rows(plans)
        prepared: dict[int, Ending] = {}

        def write(connection: Connection) -> tuple[list[_Judged], list[int]]:
            """What was judged, and the trials still to prepare; writes nothing if there are any."""
            lock_studies(self.target.store, connection, [self.ours[plan.name] for plan in plans])
            judged = self._judge_studies(connection, plans, theirs)
            takes = [take.theirs.trial_id for study in judged for take in study.decision.take]
            missing = [trial_id for trial_id in takes if trial_id not in prepared]
            if takes and not missing:
                ended = [e for s in judged for e in _make_ended_rows(connection, s, prepared)]
                end_rows(connection, ended)
            return judged, missing

        judged, missing = self.target.store.run_write(write)
        while missing:
            self._copy_checkpoints(judged)
            prepared |= self._read_endings(missing)
            judged, missing = self.target.store.run_write(write)
        return judged

    def _judge_studies(
        self,
        connection: Connection,
        plans: Sequence[StudyPlan],
        theirs: Mapping[str, Sequence[Row]],
    ) -> list[_Judged]:
        mine = self._read_our_rows(connection, plans)
        judged = []
        for plan in plans:
            same = all((plan.partition, i) in self.same_weights for i in plan.needs)
            decision = decide(plan, mine[plan.name], theirs[plan.name], same, self.mix)
            n_rows = len(mine[plan.name])
            judged.append(_Judged(plan, self.ours[plan.name], n_rows, decision))
        return judged

    def _read_endings(self, trials: Sequence[int]) -> dict[int, Ending]:
        return self.other.store.run_read(lambda connection: read_endings(connection, trials))

    def _copy_lost_artifacts(self, record: CampaignRecord, plans: Sequence[StudyPlan]) -> None:
        """Copy what rows of ours name and our artifacts lack, as when their place was changed."""
        found = dict(record.artifacts)
        ours = self.target.store.run_read(lambda c: self._read_our_rows(c, plans)) if plans else {}
        for name, rows in ours.items():
            named = ((_find_checkpoint(row), f"{name} #{row.number}") for row in rows)
            found |= {sha256: purpose for sha256, purpose in named if sha256 is not None}
        for sha256, purpose in found.items():
            # What is lost in both stays lost: the doctor names it.
            if not self.target.artifacts.has(sha256) and self.other.artifacts.has(sha256):
                self._copy_artifact(sha256, purpose)

    def _copy_checkpoints(self, judged: Sequence[_Judged]) -> None:
        # Before the rows that name them: a row must never name an artifact that is not here.
        for study in judged:
            for take in study.decision.take:
                sha256 = _find_checkpoint(take.theirs)
                if sha256 is not None:
                    self._copy_artifact(sha256, f"{study.plan.name} #{take.theirs.number}")

    def _copy_artifact(self, sha256: str, purpose: str) -> None:
        try:
            content = self.other.artifacts.get(sha256)
        except ArtifactError as error:
            raise ArtifactError(
                f"store {self.other.store.label}: {purpose}: {error} (are its artifacts where "
                "--other-artifacts says?)"
            ) from error
        self.done.artifacts += not self.target.artifacts.has(sha256)
        self.target.artifacts.put(content)


def _make_ended_rows(
    connection: Connection, study: _Judged, prepared: Mapping[int, Ending]
) -> Iterator[EndedRow]:
    """The rows to write; a result for a failed row gets a row of its own."""
    n_rows = study.n_rows
    for mine, theirs, mixed in study.decision.take:
        row = mine
        if mine.state == "FAIL":
            new_id = add_copy(connection, study.study_id, mine.trial_id, n_rows)
            row = Row(new_id, n_rows, "WAITING", mine.params)
            n_rows += 1
        params = {} if mine.params else theirs.params
        ending = prepared[theirs.trial_id]
        yield EndedRow(row, theirs.state, ending, params, study.plan.space, mixed)


def _list_checkpoints(pretrained: Sequence[Row]) -> dict[int, str | None]:
    """By participant, the weights that pre-training gave."""
    return {
        int(row.params["participant"]): _find_checkpoint(row)
        for row in pretrained
        if row.state == "COMPLETE"
    }


def _find_checkpoint(row: Row) -> str | None:
    found = load_json(row.result).get("checkpoint") if row.result else None
    return None if found is None else str(found)


def _locate_database(url: URL) -> tuple[object, ...]:
    """Where a database is, whoever asks for it and however."""
    if url.get_backend_name() == "sqlite":
        return ("sqlite", Path(str(url.database)).resolve())
    return ("postgresql", url.host, url.port or 5432, url.database)
