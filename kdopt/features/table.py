"""One line of features per pair of a campaign: what was known before anything was distilled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import pandas as pd

from kdopt.analysis.results import Pair
from kdopt.campaign.settings import Campaign
from kdopt.campaign.stage_settings import TransferName
from kdopt.features.definitions import FEATURE_NAMES, pair_features
from kdopt.features.partition_facts import PartitionFacts
from kdopt.outcome import Outcome, TrialRow

KEYS = ("campaign", "partition", "teacher", "student")


def pair_table(
    rows: Sequence[TrialRow],
    campaign: Campaign,
    facts: Mapping[str, PartitionFacts] | None = None,
    transfer_set: str = "student",
) -> pd.DataFrame:
    """The features of every pair whose participants are both pre-trained.

    The columns are :data:`KEYS` and
    :data:`kdopt.features.definitions.FEATURE_NAMES`; the lines are in
    the order of the campaign's partitions, then by teacher and student, whatever the order of
    ``rows``. Numbers that are not known are NaN.

    Args:
        rows: Trials of a campaign, in any state; only pre-training counts.
        campaign: What was planned.
        facts: By partition, what was measured once (see
            :class:`kdopt.features.partition_facts.PartitionFacts`); without it the
            features of labels and models are NaN.
        transfer_set: The images to distil on, about which both models are asked.
    """
    trained = pretrained(rows)
    own = transfer_set == "student"
    images = None if own else campaign.transfer.size(cast("TransferName", transfer_set))
    lines = []
    for partition in dict.fromkeys([p.name for p in campaign.partitions]):
        known = (facts or {}).get(partition)
        for teacher, student in campaign.pairs:
            one, other = trained.get((partition, teacher)), trained.get((partition, student))
            if one is None or other is None:
                continue
            features = pair_features(
                one.validation,
                other.validation,
                known.counts(teacher) if known else None,
                known.counts(student) if known else None,
                known.views(transfer_set, teacher, student) if known else None,
                images,
            )
            pair = Pair(partition, teacher, student)
            lines.append({"campaign": campaign.name, **pair._asdict(), **features})
    return pd.DataFrame(lines, columns=[*KEYS, *FEATURE_NAMES])


def pretrained(rows: Sequence[TrialRow]) -> dict[tuple[str, int], Outcome]:
    """The pre-training outcome of each (partition, participant) that has one."""
    return {
        (row.partition, int(row.params["participant"])): row.outcome
        for row in rows
        if row.stage == "pretrain" and row.state == "COMPLETE" and row.outcome is not None
    }
