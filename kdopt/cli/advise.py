"""Commands that answer from finished campaigns: features, recommend."""

from __future__ import annotations

import sys
from contextlib import closing
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from kdopt.cli.app import (
    DEFAULT_STORE,
    ArtifactsOption,
    CampaignOption,
    DeviceOption,
    StoreOption,
    app,
)
from kdopt.cli.shared import artifacts_of, open_at
from kdopt.errors import AdviceError

if TYPE_CHECKING:
    from kdopt.advice.training_set import Campaigned
    from kdopt.analysis.cells import Pair
    from kdopt.store.database import Store


class TransferSet(StrEnum):
    """What ``--on`` takes."""

    STUDENT = "student"
    PUBLIC_LABELED = "public_labeled"
    PUBLIC_UNLABELED_SMALL = "public_unlabeled_small"
    PUBLIC_UNLABELED_LARGE = "public_unlabeled_large"


@app.command()
def features(
    campaign: CampaignOption = None,
    store: StoreOption = DEFAULT_STORE,
    artifacts: ArtifactsOption = None,
    device: DeviceOption = None,
) -> None:
    """Ask all pre-trained models of a campaign once what they say about each other's images.

    The report and 'kdopt recommend' use the answers, and who has how many images of each class,
    to tell pairs apart. Run it again after more participants were pre-trained.
    """
    from kdopt.features.collecting import measure_facts, unmeasured
    from kdopt.store.rows import pick_campaign, read_record
    from kdopt.train.engine import make_engine

    with closing(open_at(store)) as opened:
        name = pick_campaign(opened, campaign)
        if not unmeasured(opened, name):
            print(f"{name}: nothing to measure: no pre-trained model that was not asked before")
            return
        engine = make_engine(read_record(opened, name).campaign.precision, device)
        done = measure_facts(opened, artifacts_of(opened, artifacts), name, engine)
    print(f"{name}: measured {', '.join(done)}")


@app.command()
def recommend(
    store: StoreOption = DEFAULT_STORE,
    campaign: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(
            "--campaign", help="Learn from this campaign only; repeat for more [default: all]."
        ),
    ] = None,
    on: Annotated[
        TransferSet, typer.Option("--on", help="The images to distil on.")
    ] = TransferSet.STUDENT,
    pair: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            "--pair",
            metavar="CAMPAIGN/PARTITION/tNN-sNN",
            help="A pair of the store; its own trials are not learnt from.",
        ),
    ] = None,
    teacher: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--teacher", help="Checkpoint (safetensors); with --student and --spec."),
    ] = None,
    student: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--student", help="Checkpoint (safetensors)."),
    ] = None,
    spec: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--spec", help="Campaign file that says which images and which model."),
    ] = None,
    teacher_model: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option("--teacher-model", help="The teacher's model, if not the spec's."),
    ] = None,
    partition: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option("--partition", help="The spec's partition that participants are of."),
    ] = None,
    teacher_participant: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option("--teacher-participant", min=0, help="Whose images the teacher learnt from."),
    ] = None,
    student_participant: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(
            "--student-participant",
            min=0,
            help="Whose images the student has [default: all that are not validation or public].",
        ),
    ] = None,
    gap: Annotated[
        Optional[float],  # noqa: UP045
        typer.Option("--gap", help="Accuracy of the teacher minus that of the student, pp."),
    ] = None,
    feature: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(
            "--feature",
            metavar="NAME=VALUE",
            help="Another feature of the pair, such as size_ratio=2; repeat for more. An unknown "
            "name lists them all.",
        ),
    ] = None,
    rules: Annotated[
        bool, typer.Option("--rules", help="Show all rules and what they lose; ask about no pair.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
    device: DeviceOption = None,
) -> None:
    """Advise a method, T and alpha for a new pair, or not to distil, from finished campaigns.

    Say what the pair is by --pair, by two checkpoints and a spec, or by its features.
    """
    asked = {
        "--pair": pair is not None,
        "--teacher, --student and --spec": any((teacher, student, spec)),
        "--gap or --feature": gap is not None or bool(feature),
        "--rules": rules,
    }
    if sum(asked.values()) != 1:
        given = ", ".join(name for name, there in asked.items() if there) or "nothing"
        raise AdviceError(f"{given} was given; say what to advise on by one of {'; '.join(asked)}")
    with closing(open_at(store)) as opened:
        sources = _sources(opened, campaign)
        if rules:
            _print_rules(sources)
            return
        without = None
        if pair is not None:
            about, known, without = _stored(opened, sources, pair, on.value)
        elif gap is not None or feature:
            about, known = _given(gap, feature or [])
        else:
            known = _described(
                (teacher, student, spec),
                (teacher_model, teacher_participant, student_participant),
                partition,
                on,
                device,
            )
            about = f"{teacher.name} and {student.name}" if teacher and student else ""
    from kdopt.advice.advise import advise
    from kdopt.advice.training_set import lessons, situation_of
    from kdopt.report.advice_json import advice_json
    from kdopt.report.advice_text import advice_text

    found = advise(lessons(sources, situation_of(on.value), without), known)
    if as_json:
        print(advice_json(found, about, known))
    else:
        print(advice_text(found, about), end="")


def _sources(store: Store, names: list[str] | None) -> list[Campaigned]:
    """The campaigns to learn from, as the store has them."""
    from kdopt.advice.training_set import Campaigned
    from kdopt.features.facts_store import read_facts
    from kdopt.store.rows import campaigns, pick_campaign, read_record, read_trials

    wanted = [pick_campaign(store, n) for n in names] if names else campaigns(store)
    return [
        Campaigned(read_record(store, n).campaign, read_trials(store, n), read_facts(store, n))
        for n in dict.fromkeys(wanted)
    ]


def _print_rules(sources: list[Campaigned]) -> None:
    from kdopt.advice.advise import check_enough
    from kdopt.report.tree_view import advice_texts, learn

    found = learn(sources)
    texts = advice_texts(found)
    if not texts:
        check_enough(found["own"].lessons)
    print("\n".join(texts.values()), end="")


def _stored(
    store: Store, sources: list[Campaigned], text: str, transfer_set: str
) -> tuple[str, dict[str, float], tuple[str, Pair]]:
    """A pair of the store: its name, its features, and what must not be learnt from."""
    from kdopt.analysis.cells import Pair
    from kdopt.campaign.names import parse_pair_name
    from kdopt.features.definitions import FEATURE_NAMES
    from kdopt.features.table import pair_table

    try:
        name = parse_pair_name(text)
    except ValueError as error:
        raise AdviceError(f"--pair: {error}") from error
    assert name.teacher is not None and name.student is not None
    here = next((s for s in sources if s.campaign.name == name.campaign), None)
    source = here or _sources(store, [name.campaign])[0]
    table = pair_table(source.rows, source.campaign, source.facts, transfer_set)
    pair = Pair(name.partition, name.teacher, name.student)
    lines = table[(table[["partition", "teacher", "student"]] == list(pair)).all(axis=1)]
    if lines.empty:
        raise AdviceError(
            f"--pair {text}: {name.campaign} has no such pair of which both are pre-trained; "
            "'kdopt status' shows how far it is"
        )
    known = {feature: float(lines[feature].iloc[0]) for feature in FEATURE_NAMES}
    return f"{name.campaign}/{pair.partition}/{pair.label}", known, (name.campaign, pair)


def _given(gap: float | None, texts: list[str]) -> tuple[str, dict[str, float]]:
    """Features as they were typed: how people read them, and their values."""
    from kdopt.report.advice_text import feature_label, feature_value, parse_feature

    known = {} if gap is None else {"accuracy_gap": gap}
    known |= dict(map(parse_feature, texts))
    about = ", ".join(f"{feature_label(n)} {feature_value(n, v)}" for n, v in known.items())
    if {"accuracy_gap", "student_accuracy"} <= known.keys():
        known.setdefault("teacher_accuracy", known["accuracy_gap"] + known["student_accuracy"])
    return about, known


def _described(
    paths: tuple[Path | None, Path | None, Path | None],
    details: tuple[str | None, int | None, int | None],
    partition: str | None,
    on: TransferSet,
    device: str | None,
) -> dict[str, float]:
    """The features of two checkpoints, which takes torch."""
    teacher, student, spec = paths
    if teacher is None or student is None or spec is None:
        raise AdviceError("--teacher, --student and --spec: all three are needed")
    from kdopt.cli.shared import load

    loaded, dataset = load(spec)
    print(f"{spec}: asking both models ...", file=sys.stderr)
    from kdopt.features.checkpoints import Model, describe
    from kdopt.train.engine import make_engine

    teacher_model, teacher_participant, student_participant = details
    return describe(
        loaded.campaign,
        dataset,
        Model(teacher, teacher_model, teacher_participant),
        Model(student, None, student_participant),
        on.value,
        partition,
        make_engine(loaded.campaign.precision, device),
    )
