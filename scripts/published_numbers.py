"""The numbers of one published campaign, by name: what the tables and the text of a page quote.

Every estimate, interval and verdict is kdopt's own; nothing is computed in a second way.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any

import pandas as pd

from kdopt.analysis.paper.claims import judge_claims
from kdopt.analysis.paper.judging import Claim, Contrast
from kdopt.analysis.stats import Estimate, estimate_mean
from kdopt.analysis.tuning import OVERALL, split_by_scope
from kdopt.campaign.names import StageName
from kdopt.campaign.record import CampaignRecord
from kdopt.outcome import WHERE_IT_RAN
from kdopt.report.blocks import ReportData
from kdopt.report.export import generate_classes_csv, generate_trials_csv, name_trials
from kdopt.report.format import format_points
from kdopt.store.database import Store

GREATEST = re.compile(r"- (\w+) \(greatest of the others\)")
LEAST = re.compile(r"(\w+) - (\w+) \(least of the others\)")
DATA_TITLES = {"cifar10": "CIFAR-10", "fashion_mnist": "Fashion-MNIST", "digits": "Digits"}


class PublishedNumbers:
    """One campaign's numbers.

    Attributes:
        name: Of the campaign.
        title: Of its images.
        data: What its report is made from.
        record: What the store keeps of it.
        store: Where it is.
    """

    def __init__(self, store: Store, record: CampaignRecord, data: ReportData) -> None:
        self.name = record.campaign.name
        self.title = DATA_TITLES.get(record.campaign.data.name, record.campaign.data.name)
        self.record, self.data, self.store = record, data, store

    @cached_property
    def claims(self) -> dict[str, Claim]:
        return {claim.id: claim for claim in judge_claims(self.data.tables)}

    def scopes(self) -> list[str]:
        """All partitions together, then each way of partitioning."""
        return [scope for scope, _ in split_by_scope(self.data.tables.method_gains)]

    def gain(
        self,
        method: str,
        scope: str = OVERALL,
        measure: str = "test_gain",
        transfer_set: str = "student",
    ) -> Estimate:
        """The mean over pairs of a measure of the gains' table; NaN without data."""
        table = dict(split_by_scope(self.data.tables.method_gains)).get(scope)
        if table is None:
            return Estimate(math.nan, math.nan, math.nan, 0)
        chosen = (table["method"] == method) & (table["transfer_set"] == transfer_set)
        return estimate_mean(table[chosen], table.loc[chosen, measure])

    def headline(self, measure: str, scope: str = OVERALL) -> Estimate:
        """A headline measure as the report has it."""
        table = self.data.tables.gain_summary
        return self._pick(table[table["partition"] == scope], "measure", measure, "value")

    def ratio(self, scope: str, of: str = "ratio") -> Estimate:
        """Tuned against the best untuned method: ``difference``, ``ratio`` or ``net_ratio``."""
        line = self._pick_line(self.data.tables.tuning_ratios, "partition", scope)
        ends = ("low", "high") if of == "difference" else (f"{of}_low", f"{of}_high")
        return Estimate(line[of], line[ends[0]], line[ends[1]], int(line["n"]))

    def reduction(self, of: str = "reduction") -> Estimate:
        """Rounds (or ``megabytes_reduction``) saved on the way to all relative targets."""
        label = "all relative targets"
        line = self._pick_line(self.data.tables.reductions, "label", label)
        ends = ("low", "high") if of == "reduction" else ("megabytes_low", "megabytes_high")
        return Estimate(line[of], line[ends[0]], line[ends[1]], int(line["partitions"]))

    def contrast(self, claim: str, start: str) -> Contrast:
        """The one contrast of a claim whose label begins so.

        Raises:
            LookupError: There is none, or more than one.
        """
        found = [c for c in self.claims[claim].contrasts if c.label.startswith(start)]
        if len(found) != 1:
            labels = "; ".join(c.label for c in self.claims[claim].contrasts)
            raise LookupError(
                f"{self.name}, {claim}: {len(found)} contrasts begin with '{start}'; "
                f"there are: {labels}"
            )
        return found[0]

    def verdict(self, claim: str) -> str:
        return self.claims[claim].verdict

    def count(self, action: str) -> int:
        """The pairs with this verdict."""
        return int((self.data.tables.verdicts["action"] == action).sum())

    @cached_property
    def results_sha256(self) -> str:
        """Of every number that the trials recorded, whatever machine and versions they ran on."""
        columns = name_trials(self.data.rows)
        kept = {
            key: column
            for key, column in columns.items()
            if key not in WHERE_IT_RAN and not key.startswith("version_")
        }
        # Renaming a campaign changes no result.
        kept["study"] = [str(study).removeprefix(f"{self.name}/") for study in kept["study"]]
        digest = hashlib.sha256()
        for part in (*generate_trials_csv(kept), *generate_classes_csv(kept)):
            digest.update(part.encode())
        return digest.hexdigest()

    @cached_property
    def wall_seconds(self) -> float:
        """Time in which at least one trial was under way, s."""
        studies = {row.study for row in self.data.rows}
        rows = self.store.select_rows(
            "SELECT s.study_name, t.datetime_start, t.datetime_complete FROM trials t "
            "JOIN studies s ON s.study_id = t.study_id WHERE t.state = 'COMPLETE'"
        )
        times = [(row[1], row[2]) for row in rows if row[0] in studies and row[1] and row[2]]
        return measure_union(times)

    @cached_property
    def stages(self) -> pd.DataFrame:
        """Trials and seconds by stage: ``stage``, ``planned``, ``complete``, ``seconds``."""
        lines: dict[StageName, list[float]] = {}
        for row in self.data.rows:
            line = lines.setdefault(row.stage, [0, 0, 0.0])
            line[0] += 1
            if row.outcome is not None:
                line[1] += 1
                line[2] += row.outcome.seconds
        order = [stage for stage in self.data.campaign.all_stages if stage in lines]
        return pd.DataFrame(
            [
                (stage, int(lines[stage][0]), int(lines[stage][1]), lines[stage][2])
                for stage in order
            ],
            columns=["stage", "planned", "complete", "seconds"],
        )

    @property
    def missing(self) -> int:
        """Trials that are not complete."""
        return int((self.stages["planned"] - self.stages["complete"]).sum())

    def _pick_line(self, table: pd.DataFrame, key: str, value: str) -> Any:
        found = table[table[key] == value].to_dict("records")
        if not found:
            raise LookupError(f"{self.name}: no line with {key} '{value}'")
        return found[0]

    def _pick(self, table: pd.DataFrame, key: str, value: str, column: str) -> Estimate:
        line = self._pick_line(table, key, value)
        return Estimate(line[column], line["low"], line["high"], int(line["n"]))


def measure_union(times: Iterable[tuple[Any, Any]]) -> float:
    """Seconds that are within at least one of the intervals."""
    known = sorted(times)
    starts, ends = (pd.to_datetime([str(t[i]) for t in known], format="mixed") for i in (0, 1))
    total, until = 0.0, None
    for start, end in zip(starts, ends, strict=True):
        begin = start if until is None else max(start, until)
        if end > begin:
            total += (end - begin).total_seconds()
        until = end if until is None else max(until, end)
    return total


def split_rival(label: str) -> tuple[str, str]:
    """The label of a contrast that any campaign has, and the rival that was hardest in this one.

    ``tuned - dml (greatest of the others)`` is ``tuned - greatest of the others`` and ``dml``.
    """
    if found := GREATEST.search(label):
        return GREATEST.sub("- greatest of the others", label), found[1]
    if found := LEAST.search(label):
        return LEAST.sub(r"least of the others - \2", label), found[1]
    return label, ""


def format_estimate(found: Estimate | Contrast, unit: str = "") -> str:
    """``4.65 (3.05 to 6.26)``; without an interval where there are too few units."""
    value = found.mean if isinstance(found, Estimate) else found.value
    text = format_points(value)
    if not text:
        return "-"
    text += unit
    if math.isnan(found.low):
        return text
    return f"{text} ({format_points(found.low)} to {format_points(found.high)})"


def count_verdicts(claim: Claim) -> str:
    """How many of a claim's contrasts have each verdict."""
    words: Sequence[str] = ("supported", "contradicted", "undecided", "no data")
    counts = {word: sum(c.verdict == word for c in claim.contrasts) for word in words}
    return ", ".join(f"{n} {word}" for word, n in counts.items() if n)
