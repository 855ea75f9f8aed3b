"""Every table of one campaign, each computed once and only when somebody reads it.

Report, dashboard and claims read the same :class:`Tables`, so that no number is computed twice
and no two of them can disagree.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import pandas as pd

from kdopt.analysis.best_settings import Surface, map_surfaces, tabulate_best_settings
from kdopt.analysis.combining import (
    average_effects,
    measure_replicate_effects,
    rate_formulas,
    tabulate_combined,
)
from kdopt.analysis.federated import (
    count_rounds_to_target,
    summarise_reductions,
    tabulate_class_levels,
    tabulate_curves,
    tabulate_levels,
)
from kdopt.analysis.federated_comparison import (
    compare_with_averaging,
    count_algorithm_rounds,
    tabulate_algorithms,
)
from kdopt.analysis.method_gains import (
    ClassScores,
    average_class_scores,
    pivot_methods,
    tabulate_method_gains,
)
from kdopt.analysis.method_summaries import (
    compute_tuning_ratios,
    correlate_accuracies,
    count_best_teachers,
    find_best_teachers,
    summarise_learning,
    summarise_transfers,
)
from kdopt.analysis.progress import (
    FailedTrial,
    StageProgress,
    list_failures,
    measure_noise,
    measure_progress,
    tabulate_costs,
)
from kdopt.analysis.results import CampaignResults
from kdopt.analysis.tuned_methods import summarise_tuned_methods, tabulate_tuned_methods
from kdopt.analysis.tuning import (
    compare_protocols,
    measure_image_errors,
    summarise_gains,
    tabulate_payoff,
)
from kdopt.analysis.verdicts import tabulate_verdicts
from kdopt.campaign.settings import Campaign
from kdopt.campaign.stage_settings import TransferName
from kdopt.outcome import Pair, TrialRow

NAMED = ("teacher", "student", "participant")
"""Columns of numbers of participants; ``teacher_name`` comes after ``teacher``."""


class Tables:
    """The tables of one campaign; each attribute is computed when it is first read.

    Attributes:
        results: The campaign's trials, indexed.
        rows: The same trials, in any state and order.
        campaign: What was planned.
    """

    def __init__(self, rows: Sequence[TrialRow], campaign: Campaign) -> None:
        self.rows = rows
        self.campaign = campaign
        self.results = CampaignResults(rows, campaign)
        self._pivots: dict[str, pd.DataFrame] = {}

    @cached_property
    def participants(self) -> pd.DataFrame:
        """Pre-trained participants and their accuracies."""
        return add_names(self.results.participants, self.campaign)

    @cached_property
    def progress(self) -> list[StageProgress]:
        """How far each stage is."""
        return measure_progress(self.results)

    @cached_property
    def failures(self) -> list[FailedTrial]:
        """Failed trials and why."""
        return list_failures(self.rows)

    @cached_property
    def costs(self) -> pd.DataFrame:
        """Training time by stage."""
        return tabulate_costs(self.rows)

    @cached_property
    def noise(self) -> pd.DataFrame:
        """Standard deviation of the test gain over replicates, by stage and partition."""
        return measure_noise(self.rows)

    @cached_property
    def best_settings(self) -> pd.DataFrame:
        """Best temperature and alpha of every pair, planned or known to the store.

        With the verdict on the pair: ``advice``, by which method and on which images, which need
        not be those of the best cell, and what following it gains on test (pp).
        """
        advised = self.verdicts.rename(
            columns={
                "action": "advice",
                "method": "advice_method",
                "transfer_set": "advice_transfer_set",
                "test_gain": "advised_gain",
                "net_gain": "advised_net_gain",
            }
        )
        keys = ["partition", "teacher", "student"]
        names = ["advice", "advice_method", "advice_transfer_set"]
        columns = [*keys, *names, "advised_gain", "advised_net_gain"]
        best = tabulate_best_settings(self.results).merge(advised[columns], on=keys, how="left")
        return add_names(best, self.campaign)

    @cached_property
    def verdicts(self) -> pd.DataFrame:
        """Whether to leave, train on or distil the student of every pair."""
        return add_names(tabulate_verdicts(self.results), self.campaign)

    @cached_property
    def measured_settings(self) -> pd.DataFrame:
        """The best settings of pairs with a result and a known accuracy gap."""
        best = self.best_settings
        return best[best["temperature"].notna() & best["accuracy_gap"].notna()]

    @cached_property
    def surfaces(self) -> dict[Pair, Surface]:
        """Every measured temperature and alpha of each pair."""
        return map_surfaces(self.results)

    @cached_property
    def gain_summary(self) -> pd.DataFrame:
        """The headline measures by partition; ``image_error`` is that of the test images (pp)."""
        best = self.best_settings
        summary = summarise_gains(best, self.campaign)
        return summary.assign(image_error=measure_image_errors(self.results, best, summary))

    @cached_property
    def payoff(self) -> pd.DataFrame:
        """Where tuning pays, by partition and kind of teacher."""
        return tabulate_payoff(self.best_settings)

    @cached_property
    def protocols(self) -> pd.DataFrame:
        """The full grid beside the sequential search."""
        return compare_protocols(self.results, self.best_settings)

    @cached_property
    def method_gains(self) -> pd.DataFrame:
        """What every method gains for every pair on every transfer set."""
        gains = tabulate_method_gains(self.results, self.best_settings)
        return add_names(gains, self.campaign)

    @cached_property
    def tuned_methods(self) -> pd.DataFrame:
        """The best setting of every pair under every tuned method; empty for plain KD alone."""
        tuned = tabulate_tuned_methods(self.results, self.best_settings)
        return add_names(tuned, self.campaign)

    @cached_property
    def tuned_summary(self) -> pd.DataFrame:
        """Tuned methods compared with tuned plain KD, by partition."""
        return summarise_tuned_methods(self.tuned_methods)

    @cached_property
    def class_scores(self) -> dict[Pair, ClassScores]:
        """Class accuracies of each pair before and after distillation."""
        return average_class_scores(self.results, self.best_settings)

    @cached_property
    def transfers(self) -> pd.DataFrame:
        """How often and how much each method transfers."""
        return summarise_transfers(self.method_gains)

    @cached_property
    def learning(self) -> pd.DataFrame:
        """Learning and forgetting by method and kind of teacher, on the student's own data."""
        return summarise_learning(self.method_gains)

    @cached_property
    def best_teachers(self) -> pd.DataFrame:
        """The best teacher of each student, on the student's own data."""
        return find_best_teachers(self.method_gains)

    @cached_property
    def teacher_counts(self) -> pd.DataFrame:
        """How often each participant is the best teacher."""
        return add_names(count_best_teachers(self.method_gains), self.campaign)

    @cached_property
    def teacher_correlations(self) -> pd.DataFrame:
        """Rank correlation of being the best teacher with accuracy."""
        return correlate_accuracies(self.teacher_counts)

    @cached_property
    def tuning_ratios(self) -> pd.DataFrame:
        """By how much tuning beats the best untuned method."""
        return compute_tuning_ratios(self.method_gains)

    @cached_property
    def combined(self) -> pd.DataFrame:
        """Table II: all participants distilled into one model."""
        return tabulate_combined(self.results)

    @cached_property
    def replicate_effects(self) -> pd.DataFrame:
        """What adaptive weights change, replicate by replicate."""
        return measure_replicate_effects(self.results)

    @cached_property
    def weighting_effects(self) -> pd.DataFrame:
        """What adaptive weights change, averaged over replicates."""
        return average_effects(self.replicate_effects)

    @cached_property
    def weighting_agreement(self) -> pd.DataFrame:
        """How well each adaptive formula agrees with the paper's effects."""
        return rate_formulas(self.weighting_effects)

    @cached_property
    def federated_curves(self) -> pd.DataFrame:
        """Accuracy by round of every federated algorithm and start."""
        return tabulate_curves(self.results)

    @cached_property
    def federated_levels(self) -> pd.DataFrame:
        """Final accuracies and traffic by partition."""
        return tabulate_levels(self.results)

    @cached_property
    def class_levels(self) -> pd.DataFrame:
        """Final accuracies by partition and class."""
        return tabulate_class_levels(self.results)

    @cached_property
    def rounds_to_target(self) -> pd.DataFrame:
        """Rounds that each run needs to reach each target."""
        return count_rounds_to_target(self.results)

    @cached_property
    def reductions(self) -> pd.DataFrame:
        """Mean reductions of rounds and traffic."""
        return summarise_reductions(self.rounds_to_target)

    @cached_property
    def algorithms(self) -> pd.DataFrame:
        """Final accuracy and traffic of every federated algorithm and start, by partition."""
        return tabulate_algorithms(self.results)

    @cached_property
    def algorithm_rounds(self) -> pd.DataFrame:
        """Rounds and traffic that each of them needs to reach each target."""
        return count_algorithm_rounds(self.results)

    @cached_property
    def algorithm_differences(self) -> pd.DataFrame:
        """Each of them against federated averaging from random weights, over partitions."""
        return compare_with_averaging(self.algorithms)

    def pivot_methods(self, transfer_set: TransferName, measure: str = "test_gain") -> pd.DataFrame:
        """One line per pair on one transfer set, one column per method."""
        if measure not in self._pivots:
            self._pivots[measure] = pivot_methods(self.method_gains, measure)
        # Pivoted once for all transfer sets: a pivot costs more than a selection.
        table = self._pivots[measure]
        return table[table["transfer_set"] == transfer_set]


def add_names(frame: pd.DataFrame, campaign: Campaign) -> pd.DataFrame:
    """A table with the names of participants after their numbers.

    It stays as it is where the campaign has no names, or the table has them.
    """
    for key in NAMED:
        name = f"{key}_name"
        if campaign.participant and key in frame.columns and name not in frame.columns:
            frame = frame.copy()
            names = [campaign.name_participant(int(number)) for number in frame[key]]
            frame.insert(list(frame.columns).index(key) + 1, name, names)
    return frame


def list_name_columns(frame: pd.DataFrame) -> list[str]:
    """The columns of names that a table of pairs has."""
    return [name for name in ("teacher_name", "student_name") if name in frame.columns]
