"""One row of features per pair of a campaign: what was known before anything was distilled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import pandas as pd

from kdopt.campaign.settings import Campaign
from kdopt.campaign.stage_settings import TransferName
from kdopt.features.definitions import FEATURE_NAMES, describe_pair
from kdopt.features.measurements import PartitionMeasurements
from kdopt.outcome import Pair, TrialRow, find_pretrained

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
