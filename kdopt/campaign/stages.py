"""The stages of a campaign: which studies each needs, and the trials of each study.

Every stage has one planner here. What runs its trials is in ``kdopt.trials``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import NamedTuple

from kdopt.campaign.federated_algorithms import (
    ALGORITHM_FACTS,
    FEDAVG,
    INITIAL_MODELS,
    OWN_STARTS,
    RANDOM,
    AlgorithmName,
)
from kdopt.campaign.method_studies import (
    get_param_names,
    list_control_budgets,
    make_budget_space,
    plan_method_studies,
    tunes_points,
)
from kdopt.campaign.names import StageName, study_name
from kdopt.campaign.partition_settings import OWN
from kdopt.campaign.settings import Campaign
from kdopt.campaign.stage_settings import (
    METHODS,
    STARTS,
    TRANSFER_SETS,
    UNLABELED,
    WEIGHTINGS,
    StartName,
    TransferName,
    WeightingName,
)
from kdopt.campaign.studies import Param, StudyPlan, pair_studies, partition_studies
from kdopt.errors import KdoptError
from kdopt.shown import format_count

SEQUENTIAL_TEMPERATURE = 1.0
"""The temperature at which the sequential search tries all alphas first."""


def plan_pretrain(campaign: Campaign) -> list[StudyPlan]:
    """One study per partition, one trial per participant."""
    space = {"participant": Param("int", low=0, high=campaign.participants - 1)}
    cells = tuple({"participant": i} for i in range(campaign.participants))
    return partition_studies(campaign, "pretrain", space, cells, needs_all=False)


def plan_control(campaign: Campaign) -> list[StudyPlan]:
    """One study per partition, one trial per student, labelled transfer set and replicate.

    With ``[tune.search]``, one per budget besides, on the student's own data.

    The student trains on without a teacher: what any gain by distillation is compared with. On a
    set without labels there is nothing to train on, so its control is the untouched student.
    """
    if not campaign.runs_control:
        return []
    budgets = list_control_budgets(campaign)
    cells = tuple(
        {"student": student, "transfer_set": transfer_set, **budget, "replicate": replicate}
        for student in campaign.learners
        for transfer_set in list_control_sets(campaign)
        for budget in (budgets if transfer_set == "student" else budgets[:1])
        for replicate in range(campaign.replicates)
    )
    # All choices, whatever this campaign asks for: Optuna's categories may not change later.
    space = {
        "student": Param("int", 0, campaign.participants - 1),
        "transfer_set": Param("category", choices=TRANSFER_SETS),
        **make_budget_space(campaign),
        "replicate": Param("int", 0, campaign.replicates - 1),
    }
    plans = partition_studies(campaign, "control", space, cells, needs_all=True)
    return [replace(plan, objective="gain (pp)") for plan in plans]


def list_control_sets(campaign: Campaign) -> list[TransferName]:
    """The labelled transfer sets on which pairs are distilled."""
    compared = campaign.compare.transfer_sets if "compare" in campaign.stages else ()
    return [
        name
        for name in TRANSFER_SETS
        if name == "student"
        or (name in compared and name not in UNLABELED and campaign.transfer.size(name))
    ]


def plan_tune(campaign: Campaign) -> list[StudyPlan]:
    """One study per partition and ordered pair, then one more per method with its own parameters.

    The vanilla point is always among the trials of a pair, or among those of stage ``compare``.
    """
    return [*_plan_points_of_pairs(campaign), *plan_method_studies(campaign)]


def _plan_points_of_pairs(campaign: Campaign) -> list[StudyPlan]:
    points, n_open = plan_points(campaign)
    cells = tuple(
        {"temperature": t, "alpha": a, "replicate": r}
        for t, a in points
        for r in range(campaign.replicates)
    )
    plans = pair_studies(
        campaign, "tune", make_search_space(campaign), cells, n_open * campaign.replicates
    )
    if campaign.tune.sampler != "warm":
        return plans
    return [
        replace(plan, round=round_of_pair(campaign, plan.teacher, plan.student))
        for plan in plans
        if plan.teacher is not None and plan.student is not None
    ]


def plan_points(campaign: Campaign) -> tuple[list[tuple[float, float]], int]:
    """The (temperature, alpha) points known beforehand, and how many are chosen later.

    ``grid``: all points. ``sequential``: every alpha at temperature 1, then the other
    temperatures at the best alpha. ``tpe``, ``random``, ``gp``: the vanilla point, then the rest
    of the budget. ``warm``: the same, unless stage ``compare`` has vanilla on the student's data,
    which is the same trial: then all of the budget is chosen later. Where T and alpha alone are
    not tuned, the vanilla point is there still: everything is compared with it.
    """
    tune = campaign.tune
    vanilla = tune.vanilla_point
    if not tunes_points(campaign):
        return [vanilla], 0
    # Alpha 0 is training without a teacher, so stage control runs it once per student.
    alphas = [a for a in tune.alphas if a != 0 or not campaign.runs_control]
    if tune.sampler == "warm" and compares_vanilla(campaign):
        return [], tune.budget
    if tune.sampler == "grid":
        points = [(t, a) for t in tune.temperatures for a in alphas]
        n_open = 0
    elif tune.sampler == "sequential":
        points = [(SEQUENTIAL_TEMPERATURE, a) for a in alphas]
        n_open = sum(t != SEQUENTIAL_TEMPERATURE for t in tune.temperatures)
    else:
        points, n_open = [vanilla], tune.budget - 1
    if vanilla not in points:
        points = [vanilla, *points]
    if tune.sampler == "sequential":
        # Vanilla may be on the line that is searched; no point is run twice.
        grid = {(t, a) for t in tune.temperatures for a in alphas}
        n_open = min(n_open, len(grid - set(points)))
    return points, n_open


def compares_vanilla(campaign: Campaign) -> bool:
    """Whether stage ``compare`` runs vanilla on the student's data."""
    compare = campaign.compare
    return (
        "compare" in campaign.stages
        and "vanilla" in compare.methods
        and "student" in compare.transfer_sets
    )


def round_of_pair(campaign: Campaign, teacher: int, student: int) -> int:
    """The round of a pair, from 0 on, where later pairs learn from earlier ones.

    In every round each participant is a teacher once and a student once. So a pair soon finds
    other finished pairs of its student and of its teacher, and as many pairs as participants can
    run at once.
    """
    return (teacher - student) % campaign.participants - 1


def make_search_space(campaign: Campaign) -> dict[str, Param]:
    """The search space: the same for every sampler, so that plots share their axes."""
    tune = campaign.tune
    temperatures = (*tune.temperatures, tune.vanilla_temperature, SEQUENTIAL_TEMPERATURE)
    return {
        "temperature": Param("float", min(temperatures), max(temperatures), log=True),
        "alpha": Param("float", min(0.0, *tune.alphas), max(1.0, *tune.alphas)),
        "replicate": Param("int", 0, campaign.replicates - 1),
    }


def plan_compare(campaign: Campaign) -> list[StudyPlan]:
    """One study per partition and ordered pair, one trial per method, transfer set and replicate.

    Every method is planned on every set that has images, also where the paper expects it to fail
    (mutual learning without labels): that is one of the paper's findings.
    """
    compare, transfer = campaign.compare, campaign.transfer
    sets = [s for s in compare.transfer_sets if s == "student" or transfer.size(s)]
    cells = tuple(
        {"method": method, "transfer_set": transfer_set, "replicate": replicate}
        for transfer_set in sets
        for method in compare.methods
        for replicate in range(campaign.replicates)
    )
    # All choices, whatever this campaign asks for: Optuna's categories may not change later.
    space = {
        "method": Param("category", choices=METHODS),
        "transfer_set": Param("category", choices=TRANSFER_SETS),
        "replicate": Param("int", 0, campaign.replicates - 1),
    }
    return pair_studies(campaign, "compare", space, cells)


class Combination(NamedTuple):
    """One way of combining: a column of Table II."""

    start: StartName
    transfer_set: TransferName
    weighting: WeightingName


def list_combinations(campaign: Campaign) -> list[Combination]:
    """The grid of Table II: what has images, and no untrained student on its own data."""
    combine = campaign.combine
    return [
        Combination(start, transfer_set, weighting)
        for transfer_set in combine.transfer_sets
        if transfer_set == "student" or campaign.transfer.size(transfer_set)
        for start in combine.starts
        if not (start == "untrained" and transfer_set == "student")
        for weighting in combine.weightings
    ]


def plan_combine(campaign: Campaign) -> list[StudyPlan]:
    """One study per partition, one trial per combination and replicate."""
    cells = tuple(
        {**combination._asdict(), "replicate": replicate}
        for combination in list_combinations(campaign)
        for replicate in range(campaign.replicates)
    )
    # All choices, whatever this campaign asks for: Optuna's categories may not change later.
    space = {
        "start": Param("category", choices=STARTS),
        "transfer_set": Param("category", choices=TRANSFER_SETS),
        "weighting": Param("category", choices=WEIGHTINGS),
        "replicate": Param("int", 0, campaign.replicates - 1),
    }
    return partition_studies(campaign, "combine", space, cells, needs_all=True)


def plan_federate(campaign: Campaign) -> list[StudyPlan]:
    """One study per partition and algorithm, one trial per start and replicate."""
    return [
        plan
        for algorithm in campaign.federate.algorithms
        for plan in _plan_algorithm(campaign, algorithm)
    ]


def _plan_algorithm(campaign: Campaign, algorithm: AlgorithmName) -> list[StudyPlan]:
    settings, averages = campaign.federate, ALGORITHM_FACTS[algorithm].averages
    starts = settings.initial_models if averages else settings.own_starts
    cells = tuple(
        {"initial_model": start, "replicate": replicate}
        for replicate in range(campaign.replicates)
        for start in starts
    )
    # All choices, whatever this campaign asks for: Optuna's categories may not change later.
    space = {
        "initial_model": Param("category", choices=INITIAL_MODELS if averages else OWN_STARTS),
        "replicate": Param("int", 0, campaign.replicates - 1),
    }
    needs_all = any(start != RANDOM for start in starts)
    plans = partition_studies(campaign, "federate", space, cells, needs_all=needs_all)
    # Averaging is the paper's, and its studies are called as before there were others.
    method = None if algorithm == FEDAVG else algorithm
    return [
        replace(
            plan,
            name=study_name(campaign.name, plan.partition, "federate", method=method),
            algorithm=algorithm,
        )
        for plan in plans
    ]


PLANNERS: dict[StageName, Callable[[Campaign], list[StudyPlan]]] = {
    "pretrain": plan_pretrain,
    "control": plan_control,
    "tune": plan_tune,
    "compare": plan_compare,
    "combine": plan_combine,
    "federate": plan_federate,
}


_PARAM_NAMES: Mapping[StageName, frozenset[str]] = {
    "pretrain": frozenset({"participant"}),
    "control": frozenset({"student", "transfer_set", "replicate"}),
    "tune": frozenset({"temperature", "alpha", "replicate"}),
    "compare": frozenset({"method", "transfer_set", "replicate"}),
    "combine": frozenset({"start", "transfer_set", "weighting", "replicate"}),
    "federate": frozenset({"initial_model", "replicate"}),
}
"""The parameters of each stage's trials."""


def get_needed_params(stage: StageName, method: str | None = None) -> frozenset[str]:
    """The parameters that every trial of a stage has, or of a method that it tunes."""
    if method is None or stage == "federate":
        return _PARAM_NAMES[stage]
    return get_param_names(method)


def plan_studies(campaign: Campaign) -> list[StudyPlan]:
    """Every study of a campaign, in planning order."""
    return [plan for plan_stage in PLANNERS.values() for plan in plan_stage(campaign)]


MOST_TRIALS = 2_000_000
"""Trials of a campaign beyond which it is refused: nobody waits so long for their end."""


def count_trials(campaign: Campaign) -> int:
    """How many trials a campaign plans, counted without planning them."""
    if any(p.kind == OWN for p in campaign.partitions):
        # Each has a table in the file, so they are few.
        return sum(plan.n_trials for plan in plan_studies(campaign))
    two = replace(campaign, participants=2, partitions=campaign.partitions[:1])
    n = campaign.participants
    times = {True: n * (n - 1) // 2, False: n // 2 + n % 2}
    found = 0
    for plan in plan_studies(two):
        alone = plan.teacher is None and plan.stage not in ("pretrain", "control")
        found += plan.n_trials * (1 if alone else times[plan.teacher is not None])
    return found * len(campaign.partitions)


def check_size(campaign: Campaign) -> None:
    """Refuse a campaign of more trials than anybody can run.

    Raises:
        KdoptError: Says how many they are.
    """
    n = count_trials(campaign)
    if n > MOST_TRIALS:
        raise KdoptError(
            f"campaign '{campaign.name}': {format_count(campaign.participants, 'participant')} "
            f"and {format_count(len(campaign.partitions), 'partition')} make "
            f"{format_count(n, 'trial')}, and more than {MOST_TRIALS:,} are refused; take fewer "
            "participants, partitions, replicates or settings of [tune]"
        )
