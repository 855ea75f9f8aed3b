"""Studies as they are planned: what each searches, which trials it starts with, what it needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from kdopt.campaign.federated_algorithms import AlgorithmName
from kdopt.campaign.names import StageName, study_name
from kdopt.campaign.settings import Campaign

ParamValue = float | int | str
Params = Mapping[str, ParamValue]
"""The parameters of one trial, for example ``{"temperature": 2.0, "alpha": 0.5, ...}``."""
SettingKey = tuple[tuple[str, ParamValue], ...]
"""What is set in a trial, as a dictionary's key: its parameters without the replicate."""


def get_setting(params: Params) -> SettingKey:
    """What is set in a trial, whatever the order of its parameters."""
    return tuple(sorted(item for item in params.items() if item[0] != "replicate"))


@dataclass(frozen=True)
class Param:
    """One parameter of a study's trials.

    Attributes:
        kind: ``float``, ``int`` or ``category``.
        low: Least value (numbers only).
        high: Greatest value (numbers only).
        log: Search on a logarithmic scale (floats only).
        choices: The values of a category.
    """

    kind: Literal["float", "int", "category"]
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    choices: tuple[str, ...] = ()


@dataclass(frozen=True)
class StudyPlan:
    """One Optuna study to be: what it searches and which trials it starts with.

    Attributes:
        name: Full study name, made by ``kdopt.campaign.names``.
        campaign: Campaign name.
        partition: Partition name.
        stage: Stage name.
        objective: What the trials' value is, as the dashboard shows it.
        teacher: Teacher's participant number; ``None`` where a study has no pair.
        student: Student's participant number.
        space: The parameters, by name.
        cells: The params of the trials that are planned as they are, in order.
        open_trials: Trials whose params are chosen when they are leased (adaptive samplers).
        needs: Participants whose pre-training must be complete before this study can start.
        method: What it tunes; ``None`` where that is temperature and alpha alone, or nothing.
        algorithm: What a study of stage ``federate`` runs; ``None`` in other stages.
        round: Studies of its partition and stage with a lesser number must be finished first.
    """

    name: str
    campaign: str
    partition: str
    stage: StageName
    objective: str
    space: Mapping[str, Param]
    cells: tuple[Params, ...]
    teacher: int | None = None
    student: int | None = None
    open_trials: int = 0
    needs: tuple[int, ...] = ()
    round: int = 0
    method: str | None = None
    algorithm: AlgorithmName | None = None

    @property
    def n_trials(self) -> int:
        """Trials the study has when it is complete."""
        return len(self.cells) + self.open_trials


def partition_studies(
    campaign: Campaign,
    stage: StageName,
    space: Mapping[str, Param],
    cells: tuple[Params, ...],
    *,
    needs_all: bool,
) -> list[StudyPlan]:
    """One study per partition, all alike; none if the campaign lacks the stage.

    Args:
        campaign: Its stages and partitions.
        stage: The stage.
        space: The parameters of every study.
        cells: The params of the planned trials of every study.
        needs_all: Whether all participants must be pre-trained first.
    """
    if stage not in campaign.all_stages:
        return []
    return [
        StudyPlan(
            name=study_name(campaign.name, partition.name, stage),
            campaign=campaign.name,
            partition=partition.name,
            stage=stage,
            objective="validation accuracy",
            space=space,
            cells=cells,
            needs=tuple(range(campaign.participants)) if needs_all else (),
        )
        for partition in campaign.partitions
    ]


def pair_studies(
    campaign: Campaign,
    stage: StageName,
    space: Mapping[str, Param],
    cells: tuple[Params, ...],
    open_trials: int = 0,
    method: str | None = None,
) -> list[StudyPlan]:
    """One study per partition and ordered pair, all alike; none if the campaign lacks the stage.

    Args:
        campaign: Its stages, partitions and pairs.
        stage: The stage.
        space: The parameters of every study.
        cells: The params of the planned trials of every study.
        open_trials: The open trials of every study.
        method: What they tune, where it is not temperature and alpha alone.
    """
    if stage not in campaign.stages:
        return []
    return [
        StudyPlan(
            name=study_name(campaign.name, partition.name, stage, teacher, student, method),
            campaign=campaign.name,
            partition=partition.name,
            stage=stage,
            objective="gain (pp)",
            space=space,
            cells=cells,
            teacher=teacher,
            student=student,
            open_trials=open_trials,
            needs=(teacher, student),
            method=method,
        )
        for partition in campaign.partitions
        for teacher, student in campaign.pairs
    ]
