"""What was measured once of a partition, and a campaign's pairs as a table of features made of it.

Measurements are kept beside the campaign's record, so that pairs can be described without their
images. Reading them needs no torch; taking them does (:mod:`kdopt.features.measuring`).
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import cast

import pandas as pd

from kdopt.campaign.plain import PlainValueError, describe_value, read_plain
from kdopt.campaign.settings import Campaign
from kdopt.campaign.stage_settings import TransferName
from kdopt.features.definitions import FEATURE_NAMES, LogitFeatures, describe_pair
from kdopt.outcome import Outcome, Pair, TrialRow, find_pretrained
from kdopt.shown import format_count
from kdopt.store.attributes import (
    MEASUREMENTS_KEY,
    read_campaign_attribute,
    update_campaign_attribute,
)
from kdopt.store.database import Store
from kdopt.store.queries import read_record, read_study_counts, read_trials

logger = logging.getLogger(__name__)

Matrix = tuple[tuple[float | None, ...], ...]
"""(teachers, students); ``None`` where a model was not pre-trained yet, and on the diagonal."""


@dataclass(frozen=True)
class PartitionMeasurements:
    """What was measured of one partition of a campaign.

    Attributes:
        label_counts: Images of each class by participant, (participants, classes).
        checkpoints: By participant, the sha256 of the pre-trained weights that were measured.
        disagreement: By transfer set, the share of its images that teacher and student classify
            differently, in [0, 1].
        teacher_entropy: By transfer set, the teacher's mean entropy on it, in [0, 1]. See
            :class:`kdopt.features.definitions.LogitFeatures`.
    """

    label_counts: tuple[tuple[int, ...], ...]
    checkpoints: tuple[str | None, ...] = ()
    disagreement: Mapping[str, Matrix] = field(default_factory=dict)
    teacher_entropy: Mapping[str, Matrix] = field(default_factory=dict)

    def get_logit_features(
        self, transfer_set: str, teacher: int, student: int
    ) -> LogitFeatures | None:
        """How a pair's predictions on a transfer set differ; ``None`` where it was not measured."""
        if transfer_set not in self.disagreement or transfer_set not in self.teacher_entropy:
            return None
        disagreement = self.disagreement[transfer_set][teacher][student]
        entropy = self.teacher_entropy[transfer_set][teacher][student]
        if disagreement is None or entropy is None:
            return None
        return LogitFeatures(disagreement, entropy)

    def to_json(self) -> dict[str, object]:
        """Plain values for ``json.dumps``; :meth:`from_json` reads them back."""
        return asdict(self)

    @classmethod
    def from_json(cls, record: Mapping[str, object]) -> PartitionMeasurements:
        """Read what :meth:`to_json` wrote.

        Raises:
            PlainValueError: It is not that, or not of one shape.
        """
        found: PartitionMeasurements = read_plain(cls, record)
        n = len(found.label_counts)
        matrices = [*found.disagreement.values(), *found.teacher_entropy.values()]
        whole = all(len(m) == n and all(len(row) == n for row in m) for m in matrices)
        if not whole or len({len(row) for row in found.label_counts}) > 1:
            raise PlainValueError(f"its tables are not all of {format_count(n, 'participant')}")
        if any(m[i][i] is not None for m in matrices for i in range(n)):
            raise PlainValueError("it compares a participant with itself")
        if any(images < 0 for row in found.label_counts for images in row):
            raise PlainValueError("it counts fewer than no images")
        if len(found.checkpoints) > n:
            raise PlainValueError(f"it is of {format_count(len(found.checkpoints), 'model')}")
        return found


def read_measurements(store: Store, campaign: str) -> dict[str, PartitionMeasurements]:
    """The measurements of a campaign by partition; empty where none were taken.

    What cannot be read counts as not taken: it can be measured again.
    """
    found, problems = _read_all(store, campaign)
    for problem in problems:
        logger.warning("campaign '%s': %s", campaign, problem)
    return found


def check_measurements(store: Store, campaign: str) -> list[str]:
    """What of a campaign's measurements cannot be read, and why."""
    return _read_all(store, campaign)[1]


def _read_all(store: Store, campaign: str) -> tuple[dict[str, PartitionMeasurements], list[str]]:
    records = read_campaign_attribute(store, campaign, MEASUREMENTS_KEY)
    participants = read_record(store, campaign).campaign.participants
    again = "'kdopt features' measures it again"
    if records is not None and not isinstance(records, dict):
        return {}, [f"{MEASUREMENTS_KEY} is no table; {again}"]
    found, problems = {}, []
    for name, record in (records or {}).items():
        try:
            measured = PartitionMeasurements.from_json(record)
            if len(measured.label_counts) != participants:
                raise PlainValueError(
                    f"it is of {format_count(len(measured.label_counts), 'participant')}"
                )
            found[name] = measured
        except PlainValueError as error:
            shown = describe_value(name)
            problems.append(f"{MEASUREMENTS_KEY} of {shown} cannot be read: {error}; {again}")
    return found, problems


def write_measurements(
    store: Store, campaign: str, measurements: Mapping[str, PartitionMeasurements]
) -> None:
    """Store the measurements of some partitions; those of other partitions stay.

    Raises:
        StoreError: There is no such campaign.
    """
    new = {name: measured.to_json() for name, measured in measurements.items()}
    # Merged inside the update: two processes that measure different partitions both keep theirs.
    update_campaign_attribute(
        store,
        campaign,
        MEASUREMENTS_KEY,
        lambda before: {**(before if isinstance(before, dict) else {}), **new},
    )


def find_unmeasured_partitions(store: Store, campaign: str) -> list[str]:
    """The partitions with a pre-trained model that was not measured yet, in planned order."""
    known = read_measurements(store, campaign)
    pretrained = read_pretrained(store, campaign)
    names: Iterable[str] = read_record(store, campaign).splits
    return [name for name in names if _is_stale(known.get(name), pretrained.get(name, {}))]


def read_pretrained(store: Store, campaign: str) -> dict[str, dict[int, Outcome]]:
    """The pre-training outcomes of a campaign, by partition and participant."""
    found: dict[str, dict[int, Outcome]] = defaultdict(dict)
    for state in read_study_counts(store, campaign):
        if state.name.stage == "pretrain":
            rows = read_trials(store, campaign, state.study_id)
            for (partition, participant), outcome in find_pretrained(rows).items():
                found[partition][participant] = outcome
    return dict(found)


def _is_stale(known: PartitionMeasurements | None, pretrained: Mapping[int, Outcome]) -> bool:
    if known is None:
        return bool(pretrained)
    measured = known.checkpoints
    return any(
        participant >= len(measured) or measured[participant] != outcome.checkpoint
        for participant, outcome in pretrained.items()
    )


PAIR_COLUMNS = ("campaign", *Pair._fields)


def tabulate_pairs(
    rows: Sequence[TrialRow],
    campaign: Campaign,
    measurements: Mapping[str, PartitionMeasurements] | None = None,
    transfer_set: str = "student",
) -> pd.DataFrame:
    """The features of every pair whose participants are both pre-trained.

    The columns are :data:`PAIR_COLUMNS` and :data:`kdopt.features.definitions.FEATURE_NAMES`. The
    rows are in the order of the campaign's partitions, then by teacher and student, whatever the
    order of ``rows``. Numbers that are not known are NaN.

    Args:
        rows: Trials of a campaign, in any state; only pre-training counts.
        campaign: What was planned.
        measurements: By partition, what was measured of it; without it the features of labels and
            models are NaN.
        transfer_set: The images to distil on, on which both models are compared.
    """
    pretrained = find_pretrained(rows)
    own = transfer_set == "student"
    images = None if own else campaign.transfer.size(cast("TransferName", transfer_set))
    lines = []
    for partition in dict.fromkeys([p.name for p in campaign.partitions]):
        measured = (measurements or {}).get(partition)
        for teacher, student in campaign.pairs:
            of_teacher = pretrained.get((partition, teacher))
            of_student = pretrained.get((partition, student))
            if of_teacher is None or of_student is None:
                continue
            features = describe_pair(
                of_teacher.validation,
                of_student.validation,
                measured.label_counts[teacher] if measured else None,
                measured.label_counts[student] if measured else None,
                measured.get_logit_features(transfer_set, teacher, student) if measured else None,
                images,
            )
            pair = Pair(partition, teacher, student)
            lines.append({"campaign": campaign.name, **pair._asdict(), **features})
    return pd.DataFrame(lines, columns=[*PAIR_COLUMNS, *FEATURE_NAMES])
