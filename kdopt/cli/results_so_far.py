"""What a campaign has found so far, while its workers run and when they are done.

Made anew every so often: a line for the terminal, and the index studies of the dashboard.
"""

from __future__ import annotations

import time

from kdopt.dashboard.campaign_index import index_studies
from kdopt.dashboard.pair_index import note_pairs
from kdopt.features.measurements import read_measurements
from kdopt.report.blocks import ReportData
from kdopt.report.sections.headline import format_answer
from kdopt.store.database import Store
from kdopt.store.index_studies import IndexStudy, write_index_studies, write_study_notes
from kdopt.store.queries import read_record, read_study_counts, read_trials

LOOK_EVERY_S = 15.0
PUBLISH_EVERY_S = 180.0

LOOKING_SHARE = 0.05
"""Share of the time that may be spent on it, as workers want the processor too."""


class ResultsSoFar:
    """The results of a campaign, read again when they are due.

    Args:
        store: The store.
        campaign: The campaign.
        publish: Also write the index studies of the dashboard.

    Attributes:
        answer: A line on what was found; empty before any pair has a result.
    """

    def __init__(self, store: Store, campaign: str, publish: bool = True) -> None:
        self._store, self._campaign, self._publish = store, campaign, publish
        self.answer = ""
        # The first trials are pre-training, which says nothing of pairs.
        self._next_look = time.monotonic() + LOOK_EVERY_S
        self._next_publishing = time.monotonic() + PUBLISH_EVERY_S

    def look_when_due(self) -> None:
        """Read the results again, unless that was done a moment ago."""
        now = time.monotonic()
        if now < self._next_look:
            return
        data = read_report_data(self._store, self._campaign)
        self.answer = format_answer(data)
        if self._publish and now >= self._next_publishing:
            publish_indexes(self._store, data)
            self._next_publishing = now + PUBLISH_EVERY_S
        took_s = time.monotonic() - now
        self._next_look = time.monotonic() + max(LOOK_EVERY_S, took_s / LOOKING_SHARE)


def read_report_data(store: Store, campaign: str) -> ReportData:
    """What a campaign's report is made from, as the store has it now."""
    record = read_record(store, campaign)
    return ReportData(
        record.campaign,
        read_trials(store, campaign),
        record.settings,
        read_measurements(store, campaign),
        record.class_names,
        record.code,
    )


def publish_indexes(store: Store, data: ReportData) -> list[IndexStudy]:
    """Write a campaign's index studies, and the notes of its pairs, in place of those before."""
    states = read_study_counts(store, data.campaign.name)
    ids = {state.study: state.study_id for state in states}
    studies = index_studies(data, ids)
    ids |= write_index_studies(store, studies)
    if data.has_pairs:
        write_study_notes(store, note_pairs(data, ids))
    return studies
