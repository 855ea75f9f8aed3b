"""``kdopt recommend``: advice for a new pair, learnt from finished campaigns."""

from __future__ import annotations

import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, NamedTuple

import typer

from kdopt.advice.advise import advise_pair
from kdopt.advice.training_set import (
    SITUATIONS,
    TrainingCampaign,
    build_training_set,
    find_situation,
)
from kdopt.campaign.stage_settings import TransferName
from kdopt.cli.advice_sources import (
    describe_measured,
    find_lessons,
    open_store_if_any,
    read_sources,
)
from kdopt.cli.announce import say_if_slow
from kdopt.cli.campaign_file import load_spec_and_images
from kdopt.cli.inputs import read_pair
from kdopt.cli.options import DEFAULT_STORE, DeviceOption, JsonOption, PluginOption, StoreOption
from kdopt.cli.tables import print_text
from kdopt.errors import AdviceError
from kdopt.features.definitions import FEATURE_NAMES, combine_features
from kdopt.features.measurements import tabulate_pairs
from kdopt.outcome import Pair
from kdopt.plugins.sources import give_plugins
from kdopt.report.advice_answer import ADVICE_SCHEMA, format_advice, format_advice_json
from kdopt.report.advice_text import (
    format_feature,
    format_guide,
    format_guide_json,
    label_feature,
    measure_guide,
)
from kdopt.report.sections.advice import format_advice_files, learn_advice, learn_lessons
from kdopt.store.database import Store
from kdopt.store.queries import pick_campaign


class TransferSetChoice(StrEnum):
    """What ``--transfer-set`` takes."""

    STUDENT = "student"
    PUBLIC_LABELED = "public_labeled"
    PUBLIC_UNLABELED_SMALL = "public_unlabeled_small"
    PUBLIC_UNLABELED_LARGE = "public_unlabeled_large"


SourcesArgument = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="CAMPAIGN",
        help="Learn from this campaign only; name several to learn from these [default: all].",
        show_default=False,
    ),
]
SourcesOption = Annotated[
    list[str] | None,
    typer.Option(
        "--campaign", help="As the argument: learn from this campaign only; repeat for more."
    ),
]
TransferSetOption = Annotated[
    TransferSetChoice, typer.Option("--transfer-set", help="The images to distil on.")
]
PairOption = Annotated[
    str | None,
    typer.Option(
        "--pair",
        metavar="[CAMPAIGN/]PARTITION/tNN-sNN",
        help="A pair of the store; its own trials are left out of what is learnt from.",
    ),
]
TeacherOption = Annotated[
    Path | None,
    typer.Option(
        "--teacher",
        help="The teacher's weights, safetensors or a state dict; with --student and --spec.",
    ),
]
StudentOption = Annotated[Path | None, typer.Option("--student", help="The student's weights.")]
SpecOption = Annotated[
    Path | None, typer.Option("--spec", help="Campaign file with the images and the model.")
]
TeacherModelOption = Annotated[
    str | None,
    typer.Option(
        "--teacher-model",
        help="The teacher's model [default: that of --teacher-participant, or else the spec's].",
    ),
]
PartitionOption = Annotated[
    str | None,
    typer.Option(
        "--partition",
        help="The spec's partition with both participants, where it has several.",
    ),
]
TeacherParticipantOption = Annotated[
    int | None,
    typer.Option(
        "--teacher-participant", min=0, help="The participant whose images trained the teacher."
    ),
]
StudentParticipantOption = Annotated[
    int | None,
    typer.Option(
        "--student-participant",
        min=0,
        help="The participant whose images the student has [default: all that are not validation "
        "or public].",
    ),
]
GapOption = Annotated[
    float | None,
    typer.Option("--gap", help="Accuracy of the teacher minus that of the student, in pp."),
]
FeatureOption = Annotated[
    list[str] | None,
    typer.Option(
        "--feature",
        metavar="NAME=VALUE",
        help="Another feature of the pair, such as size_ratio=2; repeat for more. An unknown "
        "name lists them all.",
    ),
]
RulesOption = Annotated[
    bool, typer.Option("--rules", help="Show all rules and what they lose; ask about no pair.")
]
GuideOption = Annotated[
    bool,
    typer.Option(
        "--guide",
        help="Show the paper's own decision guide (Fig. 8) and what following it loses; ask about "
        "no pair.",
    ),
]


class _Question(NamedTuple):
    """What advice is asked for.

    Attributes:
        about: The pair's name for people.
        known: Its features.
        without: The pair itself, which must not be learnt from.
        family: Which way its partition was drawn.
        measured: The verdict on the pair, if it was tried.
    """

    about: str
    known: dict[str, float]
    without: tuple[str, Pair] | None = None
    family: str | None = None
    measured: str | None = None


class _Checkpoints(NamedTuple):
    """Two models in files, and whose images they have."""

    teacher: Path | None
    student: Path | None
    spec: Path | None
    teacher_model: str | None
    partition: str | None
    teacher_participant: int | None
    student_participant: int | None
    plugins: list[Path]


LEARNING = "learning from finished pairs"


def recommend_command(
    named: SourcesArgument = None,
    campaign: SourcesOption = None,
    store: StoreOption = DEFAULT_STORE,
    transfer_set: TransferSetOption = TransferSetChoice.STUDENT,
    pair: PairOption = None,
    teacher: TeacherOption = None,
    student: StudentOption = None,
    spec: SpecOption = None,
    teacher_model: TeacherModelOption = None,
    partition: PartitionOption = None,
    teacher_participant: TeacherParticipantOption = None,
    student_participant: StudentParticipantOption = None,
    gap: GapOption = None,
    feature: FeatureOption = None,
    rules: RulesOption = False,
    guide: GuideOption = False,
    as_json: JsonOption = False,
    device: DeviceOption = None,
    plugin: PluginOption = None,
) -> None:
    """Advise what to do with a new pair.

    Leave it as it is, train it on, or distil, by the simplest rule that loses about the least on
    finished pairs not learnt from. Describe yours by --pair, checkpoints and a spec, or features.
    """
    _check_one_question(
        {
            "--pair": pair is not None,
            "--teacher, --student and --spec": any((teacher, student, spec)),
            "--gap or --feature": gap is not None or bool(feature),
            "--rules": rules,
            "--guide": guide,
        }
    )
    learn_from = list(dict.fromkeys([*(named or []), *(campaign or [])]))
    opened = open_store_if_any(store)
    try:
        sources = _read_sources(opened, store, learn_from, pair)
        if rules or guide:
            _print_learnt(sources, rules, bool(learn_from), as_json)
            return
        if pair is not None and opened:
            question = _ask_about_stored_pair(opened, sources, pair, transfer_set.value)
        elif gap is not None or feature:
            question = _ask_about_features(gap, feature or [])
        else:
            question = _ask_about_checkpoints(
                _Checkpoints(
                    *(teacher, student, spec, teacher_model, partition),
                    *(teacher_participant, student_participant, plugin or []),
                ),
                transfer_set.value,
                device,
            )
    finally:
        if opened:
            opened.close()
    _print_advice(sources, transfer_set.value, question, _Print(bool(learn_from), as_json))


def _read_sources(
    opened: Store | None, store: str, learn_from: list[str], pair: str | None
) -> list[TrainingCampaign]:
    """The campaigns to learn from; none where there is no store, unless one is asked about."""
    if opened is not None:
        return read_sources(opened, learn_from)
    if learn_from or pair is not None:
        raise AdviceError(f"there is no store at {store}; name it with --store")
    return []


class _Print(NamedTuple):
    """How to answer.

    Attributes:
        named: The campaigns to learn from were named.
        as_json: For programs.
    """

    named: bool
    as_json: bool


def _check_one_question(asked: dict[str, bool]) -> None:
    if sum(asked.values()) != 1:
        given = ", ".join(name for name, there in asked.items() if there) or "nothing"
        raise AdviceError(f"{given} was given; say what to advise on by one of {'; '.join(asked)}")


def _print_learnt(sources: list[TrainingCampaign], rules: bool, named: bool, as_json: bool) -> None:
    if rules:
        _print_rules(sources, named)
    else:
        _print_guide(sources, named, as_json)


def _print_rules(sources: list[TrainingCampaign], named: bool) -> None:
    with say_if_slow(LEARNING):
        texts = format_advice_files(learn_advice(sources))
    if not texts:
        with say_if_slow(LEARNING):
            lessons = {name: find_lessons(sources, name, named=named) for name in SITUATIONS}
            learnt = {name: learn_lessons(found.training_set) for name, found in lessons.items()}
        print_text(f"{lessons['own'].note}\n")
        texts = format_advice_files(learnt)
    print_text("\n".join(texts.values()).removesuffix("\n"))


def _print_guide(sources: list[TrainingCampaign], named: bool, as_json: bool) -> None:
    lessons = {name: build_training_set(sources, name) for name in SITUATIONS}
    note = ""
    # It learnt nothing from them, so any finished pair will do to measure it.
    if not named and not any(map(len, lessons.values())):
        shipped = {name: find_lessons(sources, name) for name in SITUATIONS}
        lessons = {name: found.training_set for name, found in shipped.items()}
        note = shipped["own"].note
    with say_if_slow("measuring what the guide loses on finished pairs"):
        found = measure_guide(lessons)
    if as_json:
        print(format_guide_json(found, note))
    else:
        print_text(format_guide(found, note).removesuffix("\n"))


def _print_advice(
    sources: list[TrainingCampaign], transfer_set: TransferName, question: _Question, how: _Print
) -> None:
    situation, measured = find_situation(transfer_set), question.measured
    try:
        with say_if_slow(LEARNING):
            lessons = find_lessons(sources, situation, question.without, how.named)
            # The lessons that come with kdopt are of other images: no kind of partition is known.
            family = None if lessons.note else question.family
            found = advise_pair(lessons.training_set, question.known, family)
    except AdviceError as error:
        if measured is None:
            raise
        # What was measured needs no advice.
        if how.as_json:
            record = {"schema": ADVICE_SCHEMA, "about": question.about, "measured": measured}
            print(json.dumps(record | {"refused": str(error)}, indent=2))
        else:
            print_text(f"Measured  {question.about}: {measured}\nAdvice    none: {error}")
        return
    if how.as_json:
        print(format_advice_json(found, question.about, question.known, measured, lessons.note))
    else:
        text = format_advice(found, question.about, measured, lessons.note)
        print_text(text.removesuffix("\n"))


def _ask_about_stored_pair(
    store: Store, sources: list[TrainingCampaign], text: str, transfer_set: TransferName
) -> _Question:
    """The features of a pair of the store, whose own trials must not be learnt from."""
    named, pair = read_pair(text)
    only = sources[0].campaign.name if len(sources) == 1 else None
    campaign = named or only or pick_campaign(store, None)
    here = next((s for s in sources if s.campaign.name == campaign), None)
    source = here or read_sources(store, [campaign])[0]
    table = tabulate_pairs(source.rows, source.campaign, source.measurements, transfer_set)
    lines = table[(table[["partition", "teacher", "student"]] == list(pair)).all(axis=1)]
    if lines.empty:
        raise AdviceError(
            f"--pair {text}: {campaign} has no such pair with both models pre-trained; "
            "'kdopt status' shows how far it is"
        )
    known = {feature: float(lines[feature].iloc[0]) for feature in FEATURE_NAMES}
    who = source.campaign.describe_pair(pair.teacher, pair.student)
    about = f"{campaign}/{pair.partition}/{pair.label}{f' ({who})' if who else ''}"
    family = source.campaign.get_family(pair.partition)
    measured = describe_measured(source, pair)
    return _Question(about, known, (campaign, pair), family, measured)


def _ask_about_features(gap: float | None, texts: list[str]) -> _Question:
    """Features as they were typed."""
    known = combine_features(gap, texts)
    about = ", ".join(f"{label_feature(n)} {format_feature(n, v)}" for n, v in known.items())
    return _Question(about, known)


def _ask_about_checkpoints(
    asked: _Checkpoints, transfer_set: TransferName, device: str | None
) -> _Question:
    """The features of two checkpoints, which takes torch."""
    if asked.teacher is None or asked.student is None or asked.spec is None:
        raise AdviceError("--teacher, --student and --spec: all three are needed")

    give_plugins(asked.plugins)
    loaded, dataset = load_spec_and_images(asked.spec)
    print(f"{asked.spec}: measuring both models ...", file=sys.stderr)
    from kdopt.features.measuring import Checkpoint, describe_checkpoints
    from kdopt.train.engine import make_engine

    known = describe_checkpoints(
        loaded.campaign,
        dataset,
        Checkpoint(asked.teacher, asked.teacher_model, asked.teacher_participant),
        Checkpoint(asked.student, None, asked.student_participant),
        transfer_set,
        asked.partition,
        make_engine(loaded.campaign.precision, device, deterministic=loaded.campaign.deterministic),
    )
    return _Question(f"{asked.teacher.name} and {asked.student.name}", known)
