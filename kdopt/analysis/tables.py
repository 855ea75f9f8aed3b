"""Every table of one campaign, each computed once and only when somebody reads it.

Report, dashboard and claims read the same :class:`Tables`, so that no number is computed twice
and no two of them can disagree.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import pandas as pd

from kdopt.analysis import combined, federated, maps, noise, payoff, per_class, protocols
from kdopt.analysis.cells import Pair
from kdopt.analysis.compare import method_gains, wide
from kdopt.analysis.dynamics import learning_and_forgetting
from kdopt.analysis.frame import participants_frame
from kdopt.analysis.progress import Failure, Progress, failures, progress
from kdopt.analysis.ratios import headline_ratios
from kdopt.analysis.summary import summary
from kdopt.analysis.teachers import accuracy_correlations, best_teacher_counts, best_teachers
from kdopt.analysis.transfer import transfer_summary
from kdopt.campaign.settings import Campaign
from kdopt.campaign.stage_settings import TransferName
from kdopt.outcome import TrialRow


class Tables:
    """The tables of one campaign; each attribute is computed when it is first read.

    Attributes:
        rows: The campaign's trials, in any state and order.
        campaign: What was planned.
    """

    def __init__(self, rows: Sequence[TrialRow], campaign: Campaign) -> None:
        self.rows = rows
        self.campaign = campaign
        self._pivots: dict[str, pd.DataFrame] = {}

    @cached_property
    def participants(self) -> pd.DataFrame:
        """Pre-trained participants and their accuracies."""
        return participants_frame(self.rows)

    @cached_property
    def progress(self) -> list[Progress]:
        """How far each stage is."""
        return progress(self.rows, self.campaign)

    @cached_property
    def failures(self) -> list[Failure]:
        """Failed trials and why."""
        return failures(self.rows)

    @cached_property
    def costs(self) -> pd.DataFrame:
        """Training time by stage."""
        return payoff.costs(self.rows)

    @cached_property
    def noise(self) -> pd.DataFrame:
        """Standard deviation of the test gain over replicates, by stage and partition."""
        return noise.noise_floor(self.rows)

    @cached_property
    def best_settings(self) -> pd.DataFrame:
        """Best temperature and alpha of every pair, planned or known to the store."""
        return maps.best_settings(self.rows, self.campaign)

    @cached_property
    def measured_settings(self) -> pd.DataFrame:
        """The best settings of pairs with a result and a known accuracy gap."""
        best = self.best_settings
        return best[best["temperature"].notna() & best["accuracy_gap"].notna()]

    @cached_property
    def surfaces(self) -> dict[Pair, maps.Surface]:
        """Every measured temperature and alpha of each pair."""
        return maps.surfaces(self.rows, self.campaign)

    @cached_property
    def gain_summary(self) -> pd.DataFrame:
        """The headline measures by partition."""
        return summary(self.best_settings, self.campaign)

    @cached_property
    def payoff(self) -> pd.DataFrame:
        """Where tuning pays, by partition and kind of teacher."""
        return payoff.payoff(self.best_settings, self.campaign)

    @cached_property
    def protocols(self) -> pd.DataFrame:
        """The full grid beside the sequential search."""
        return protocols.protocols(self.rows, self.campaign)

    @cached_property
    def method_gains(self) -> pd.DataFrame:
        """What every method gains for every pair on every transfer set."""
        return method_gains(self.rows, self.campaign, best=self.best_settings)

    @cached_property
    def class_scores(self) -> dict[Pair, per_class.ClassScores]:
        """Class accuracies of each pair before and after distillation."""
        return per_class.class_scores(self.rows, self.best_settings, self.campaign)

    @cached_property
    def transfers(self) -> pd.DataFrame:
        """How often and how much each method transfers."""
        return transfer_summary(self.method_gains, self.campaign)

    @cached_property
    def learning(self) -> pd.DataFrame:
        """Learning and forgetting by method and kind of teacher, on the student's own data."""
        return learning_and_forgetting(self.method_gains, self.campaign)

    @cached_property
    def best_teachers(self) -> pd.DataFrame:
        """The best teacher of each student, on the student's own data."""
        return best_teachers(self.method_gains)

    @cached_property
    def teacher_counts(self) -> pd.DataFrame:
        """How often each participant is the best teacher."""
        return best_teacher_counts(self.method_gains)

    @cached_property
    def teacher_correlations(self) -> pd.DataFrame:
        """Rank correlation of being the best teacher with accuracy."""
        return accuracy_correlations(self.teacher_counts)

    @cached_property
    def tuning_ratios(self) -> pd.DataFrame:
        """By how much tuning beats the best untuned method."""
        return headline_ratios(self.method_gains, self.campaign)

    @cached_property
    def combined(self) -> pd.DataFrame:
        """Table II: all participants distilled into one model."""
        return combined.combined(self.rows, self.campaign)

    @cached_property
    def replicate_effects(self) -> pd.DataFrame:
        """What adaptive weights change, replicate by replicate."""
        return combined.replicate_effects(self.rows, self.campaign)

    @cached_property
    def weighting_effects(self) -> pd.DataFrame:
        """What adaptive weights change, averaged over replicates."""
        return combined.weighting_effects(self.rows, self.campaign)

    @cached_property
    def weighting_agreement(self) -> pd.DataFrame:
        """How well each adaptive formula agrees with the paper's effects."""
        return combined.agreement(self.weighting_effects)

    @cached_property
    def federated_curves(self) -> pd.DataFrame:
        """Accuracy of the global model by round."""
        return federated.curves(self.rows)

    @cached_property
    def federated_levels(self) -> pd.DataFrame:
        """Final accuracies and traffic by partition."""
        return federated.levels(self.rows, self.campaign)

    @cached_property
    def class_levels(self) -> pd.DataFrame:
        """Final accuracies by partition and class."""
        return federated.class_levels(self.rows, self.campaign)

    @cached_property
    def rounds_to_target(self) -> pd.DataFrame:
        """Rounds that each run needs to reach each target."""
        return federated.rounds_to_target(self.rows, self.campaign)

    @cached_property
    def reductions(self) -> pd.DataFrame:
        """Mean reductions of rounds and traffic."""
        return federated.reductions(self.rounds_to_target, self.campaign)

    def pivot_methods(self, transfer_set: TransferName, measure: str = "test_gain") -> pd.DataFrame:
        """One line per pair on one transfer set, one column per method."""
        if measure not in self._pivots:
            self._pivots[measure] = wide(self.method_gains, measure)
        table = self._pivots[measure]
        return table[table["transfer_set"] == transfer_set]


def compute_tables(rows: Sequence[TrialRow], campaign: Campaign) -> Tables:
    """The tables of a campaign; none is computed before it is read.

    Args:
        rows: Trials of the campaign, in any state and order.
        campaign: What was planned.
    """
    return Tables(rows, campaign)
