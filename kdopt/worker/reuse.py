"""Pre-trained models of other campaigns, where training again would give the same bits.

Pre-training is a pure function of images, split, model, budget and seed, on one kind of processor
with one set of versions. So a campaign that differs in what comes later, such as the budget of
distillation, takes the models that are there.
"""

from __future__ import annotations

import logging
import time
from dataclasses import replace

from kdopt.campaign.compatibility import describe_pretraining
from kdopt.campaign.record import CampaignRecord
from kdopt.campaign.studies import Params, StudyPlan
from kdopt.errors import StoreError
from kdopt.outcome import Outcome
from kdopt.store import queries
from kdopt.store.artifacts.artifacts import Artifacts
from kdopt.store.database import Store
from kdopt.train.engine import Engine

logger = logging.getLogger(__name__)


class PretrainedElsewhere:
    """Finds finished pre-training of other campaigns.

    Args:
        store: The store.
        artifacts: Its artifacts.
        engine: Where this worker computes.
    """

    def __init__(self, store: Store, artifacts: Artifacts, engine: Engine) -> None:
        self._store, self._artifacts = store, artifacts
        self._device, self._precision = engine.device.type, engine.precision
        self._versions = engine.list_versions()

    def find(self, record: CampaignRecord, plan: StudyPlan, params: Params) -> Outcome | None:
        """The outcome that a trial would have, if it is known; ``None`` where it must be trained.

        Args:
            record: The campaign of the trial.
            plan: Its study.
            params: Its parameters.
        """
        if plan.stage != "pretrain":
            return None
        began = time.perf_counter()
        for name in queries.list_campaigns(self._store):
            if name == record.campaign.name:
                continue
            try:
                found = self._find_in(name, record, plan.partition, int(params["participant"]))
            except StoreError as error:
                # What is wrong with another campaign is no matter of this one.
                logger.debug("%s: not looked at: %s", name, error)
                continue
            if found is not None:
                return replace(found, seconds=time.perf_counter() - began)
        return None

    def _find_in(
        self, campaign: str, record: CampaignRecord, partition: str, participant: int
    ) -> Outcome | None:
        other = queries.read_record(self._store, campaign)
        if partition not in other.splits or (
            describe_pretraining(other, partition) != describe_pretraining(record, partition)
        ):
            return None
        for state in queries.read_study_counts(self._store, campaign):
            if state.name.stage != "pretrain" or state.name.partition != partition:
                continue
            for row in queries.read_trials(self._store, campaign, state.study_id):
                if row.params.get("participant") == participant and self._is_same(row.outcome):
                    assert row.outcome is not None
                    origin = row.outcome.taken_from or f"{row.study} #{row.number}"
                    return replace(row.outcome, taken_from=origin)
        return None

    def _is_same(self, outcome: Outcome | None) -> bool:
        """Whether this worker would compute the very same, and the weights are there."""
        return (
            outcome is not None
            and outcome.checkpoint is not None
            and (outcome.device, outcome.precision) == (self._device, self._precision)
            and dict(outcome.versions) == self._versions
            and self._artifacts.has(outcome.checkpoint)
        )
