"""Tuning: one study per (partition, teacher, student) over temperature and alpha (section IV-C)."""

from __future__ import annotations

from dataclasses import replace

from kdopt.campaign.plan import Campaign
from kdopt.campaign.studies import Param, StudyPlan, pair_studies

SEQUENTIAL_TEMPERATURE = 1.0
"""The temperature at which the sequential search tries all alphas first."""


def plan_tune(campaign: Campaign) -> list[StudyPlan]:
    """One study per partition and ordered pair; the vanilla cell is always among its trials,
    or among those of stage ``compare``.
    """
    points, n_open = planned_points(campaign)
    cells = tuple(
        {"temperature": t, "alpha": a, "replicate": r}
        for t, a in points
        for r in range(campaign.replicates)
    )
    plans = pair_studies(
        campaign, "tune", search_space(campaign), cells, n_open * campaign.replicates
    )
    if campaign.tune.sampler != "warm":
        return plans
    return [
        replace(plan, round=round_of(campaign, plan.teacher, plan.student))
        for plan in plans
        if plan.teacher is not None and plan.student is not None
    ]


def planned_points(campaign: Campaign) -> tuple[list[tuple[float, float]], int]:
    """The (temperature, alpha) points known beforehand, and how many are chosen on the way.

    ``grid``: all points. ``sequential``: every alpha at temperature 1, then the other
    temperatures at the best alpha. ``tpe``, ``random``, ``gp``: the vanilla point, then the rest
    of the budget. ``warm``: the same, unless stage ``compare`` has vanilla on the student's data,
    which is the very same trial: then all of the budget.
    """
    tune = campaign.tune
    vanilla = tune.vanilla_point
    if tune.sampler == "warm" and compares_vanilla(campaign):
        return [], tune.budget
    if tune.sampler == "grid":
        points = [(t, a) for t in tune.temperatures for a in tune.alphas]
        n_open = 0
    elif tune.sampler == "sequential":
        points = [(SEQUENTIAL_TEMPERATURE, a) for a in tune.alphas]
        n_open = sum(t != SEQUENTIAL_TEMPERATURE for t in tune.temperatures)
    else:
        points, n_open = [vanilla], tune.budget - 1
    if vanilla not in points:
        points = [vanilla, *points]
    if tune.sampler == "sequential":
        # Vanilla may lie on the line that is searched; no cell is run twice.
        grid = {(t, a) for t in tune.temperatures for a in tune.alphas}
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


def round_of(campaign: Campaign, teacher: int, student: int) -> int:
    """When a pair is tried, where earlier pairs teach later ones: from 0 on.

    In every round each participant is a teacher once and a student once, so that a pair finds
    others of its student and of its teacher finished as soon as can be, and as many pairs as
    there are participants are tried at once.
    """
    return (teacher - student) % campaign.participants - 1


def search_space(campaign: Campaign) -> dict[str, Param]:
    """The search space: every sampler's, the grid's included, so that plots share their axes."""
    tune = campaign.tune
    temperatures = (*tune.temperatures, tune.vanilla_temperature, SEQUENTIAL_TEMPERATURE)
    return {
        "temperature": Param("float", min(temperatures), max(temperatures), log=True),
        "alpha": Param("float", 0.0, 1.0),
        "replicate": Param("int", 0, campaign.replicates - 1),
    }
