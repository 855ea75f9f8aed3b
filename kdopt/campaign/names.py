"""Study names and seeds: made and parsed here only.

A study is called ``campaign/partition/stage`` or ``campaign/partition/stage/t03-s07`` (teacher 3,
student 7); where the stage tunes a method over parameters of its own, the method's name follows:
``campaign/partition/tune/t03-s07/dkd``. So does that of a federated algorithm other than averaging:
``campaign/partition/federate/feddf``. Seeds are hashes of names, never of order, worker or
clock, so any trial can be run again anywhere with the same result.
"""

from __future__ import annotations

import functools
import hashlib
import json
import re
from typing import Literal, NamedTuple, cast, get_args

StageName = Literal["pretrain", "control", "tune", "compare", "combine", "federate"]
STAGES: tuple[StageName, ...] = get_args(StageName)
PAIR_STAGES: tuple[StageName, ...] = ("tune", "compare")
"""Stages with a study per pair of teacher and student."""

CAMPAIGN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}\Z")
"""What a campaign may be called: it becomes part of study names and of folder names."""

INDEX_SUFFIX = "/index"
"""How the names of studies end that hold a summary to browse, and no work."""

_STUDY_NAME = re.compile(
    r"^([^/]+)/([^/]+)/(?!index$)([^/]+)"
    r"(?:/t([0-9]{1,9})-s([0-9]{1,9})(?:/([a-z][a-z0-9_]*))?|(?<=/federate)/([a-z][a-z0-9_]*))?\Z"
)


def study_name(
    campaign: str,
    partition: str,
    stage: str,
    teacher: int | None = None,
    student: int | None = None,
    method: str | None = None,
) -> str:
    """The name of one study.

    >>> study_name("paper", "uniform", "tune", 3, 7)
    'paper/uniform/tune/t03-s07'
    >>> study_name("paper", "uniform", "tune", 3, 7, "dkd")
    'paper/uniform/tune/t03-s07/dkd'
    >>> study_name("paper", "uniform", "federate", method="feddf")
    'paper/uniform/federate/feddf'
    """
    stem = f"{campaign}/{partition}/{stage}"
    if teacher is None:
        return f"{stem}/{method}" if stage == "federate" and method is not None else stem
    pair = f"{stem}/t{teacher:02d}-s{student:02d}"
    return pair if method is None else f"{pair}/{method}"


class StudyName(NamedTuple):
    """The parts of a study's name.

    ``method`` is ``None`` for plain distillation over temperature and alpha, and for federated
    averaging; a study of stage ``federate`` has the name of its algorithm there.
    """

    campaign: str
    partition: str
    stage: StageName
    teacher: int | None = None
    student: int | None = None
    method: str | None = None


@functools.lru_cache(maxsize=65_536)
def parse_study_name(text: str) -> StudyName:
    """Take a study name apart.

    >>> parse_study_name("paper/uniform/tune/t03-s07/dkd").method
    'dkd'

    Raises:
        ValueError: The text is not a name that :func:`study_name` makes.
    """
    match = _STUDY_NAME.match(text)
    if match is None:
        raise ValueError(f"'{text}' is not a study name of kdopt (campaign/partition/stage[/pair])")
    campaign, partition, stage, teacher, student, method, algorithm = match.groups()
    name = StudyName(campaign, partition, cast("StageName", stage), method=algorithm)
    if teacher is None:
        return name
    return name._replace(teacher=int(teacher), student=int(student), method=method)


def parse_pair_name(text: str) -> StudyName:
    """Take the name of a pair apart: a study's name, or the same without the stage.

    >>> parse_pair_name("paper/uniform/t03-s07").student
    7

    Raises:
        ValueError: The text names no pair.
    """
    parts = text.split("/")
    name = parse_study_name("/".join([*parts[:2], "tune", parts[2]]) if len(parts) == 3 else text)
    if name.teacher is None:
        raise ValueError(f"'{text}' names no pair (campaign/partition/t03-s07)")
    return name


def campaign_study_name(campaign: str) -> str:
    """The study without trials that carries a campaign's spec."""
    return f"{campaign}/campaign"


def index_study_name(campaign: str, partition: str | None = None) -> str:
    """The study that sums up a partition, or a whole campaign, for people who browse the store.

    It is no stage of work: :func:`parse_study_name` refuses it, and what reads the trials of a
    campaign leaves it out.

    >>> index_study_name("paper", "uniform")
    'paper/uniform/index'
    """
    stem = campaign if partition is None else f"{campaign}/{partition}"
    return f"{stem}{INDEX_SUFFIX}"


def pair_label(teacher: int, student: int) -> str:
    """How a pair is shown to people.

    >>> pair_label(3, 7)
    't03-s07'
    """
    return f"t{teacher:02d}-s{student:02d}"


def seed_for(*parts: str | int) -> int:
    """A seed in [0, 2**63) that depends on the names given and on nothing else.

    The campaign seed comes first, then names such as the partition, the student and the
    replicate. A trial's seed leaves its params out, so that all trials of a pair see the same
    batches and differ only in what is studied (common random numbers).
    """
    # Not joined by a sign that a name may have: ('a', 'b/c') and ('a/b', 'c') are two seeds. One
    # bit less than eight bytes, as torch and NumPy take whole numbers with a sign.
    text = json.dumps([str(p) for p in parts])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
