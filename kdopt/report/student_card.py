"""The card beside a student's file: what it is, from whom, what it gained, and how to use it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict

from kdopt.analysis.paired_test import ImageLead
from kdopt.analysis.reruns import Deviation
from kdopt.analysis.students import StudentRecord
from kdopt.analysis.tuned_methods import describe_values
from kdopt.campaign.settings import Campaign
from kdopt.campaign.shapes import describe_array, get_kind
from kdopt.campaign.studies import get_setting
from kdopt.outcome import Scores, Statistics, StudentFacts
from kdopt.report.format import (
    escape_markdown,
    format_points,
    format_signed,
    format_transfer_set,
    join_pipe_table,
)
from kdopt.report.plotting import format_method
from kdopt.shown import format_count, format_setting

SHOWN_DEVIATIONS = 10

BATCH_NORM: Mapping[Statistics, str] = {
    "running": "as training leaves them, and between two students as the weights are",
    "measured": "measured again on the images of training",
}

SNIPPET = """\
from kdopt.train.students import read_student
student = read_student("{file}")
classes = student.predict({kind})  # {array}; gives class numbers
"""

PLAIN_SNIPPET = """\
from safetensors.torch import load_file
model.load_state_dict(load_file("{file}"))
model.eval()
"""


def summarise_student(record: StudentRecord) -> list[str]:
    """What was taken home, how it is checked, and what it gained: a sentence each."""
    return [
        f"{record.campaign}/{record.pair.partition}/{record.pair.label}: {_name_action(record)}",
        f"{record.name}, {_describe_source(record)}.",
        *_describe_machine(record),
        _describe_gain(record),
    ]


def format_student_card(
    record: StudentRecord, facts: StudentFacts, campaign: Campaign, files: Mapping[str, str]
) -> str:
    """The card as Markdown.

    Args:
        record: All that is known of the student.
        facts: What its file says of it.
        campaign: The settings.
        files: The sha256 of each file, by its name; the student's own first.
    """
    student = campaign.name_participant(record.pair.student)
    kind, array = get_kind(facts.shape), describe_array(facts.shape)
    source = _describe_source(record)
    parts = [
        f"# Student {student} of {record.campaign}, {record.pair.partition}",
        _introduce_student(record, facts, campaign),
        "## Accuracy",
        join_pipe_table(["", "validation", "test"], _list_accuracies(record)),
        "\n".join([_describe_gain(record), *_explain_gain(record)]),
        "## Use",
        f"```python\n{SNIPPET.format(file=next(iter(files)), kind=kind, array=array)}```",
        _describe_input(facts),
        join_pipe_table(
            ["class", "name"],
            [[str(i), escape_markdown(name)] for i, name in enumerate(facts.classes)],
        ),
        f"In plain PyTorch, into a module of the same layers:\n\n```python\n"
        f"{PLAIN_SNIPPET.format(file=next(iter(files)))}```",
        _describe_own_input(facts),
        "## Settings",
        join_pipe_table(["setting", "value"], list(_list_settings(record, campaign))),
        "## Check",
        "\n".join([f"{source[:1].upper()}{source[1:]}.", *_describe_machine(record)]),
        *_show_deviations(record.deviations),
        "## Hashes and versions",
        join_pipe_table(
            ["what", "sha256"],
            [
                [escape_markdown(what), f"`{sha}`"]
                for what, sha in {**files, **record.hashes}.items()
            ],
        ),
        join_pipe_table(["version of", "on record", "now"], list(_list_versions(record))),
    ]
    return "\n\n".join(parts) + "\n"


def _introduce_student(record: StudentRecord, facts: StudentFacts, campaign: Campaign) -> str:
    pair = record.pair
    student = campaign.name_participant(pair.student)
    model = f"A `{facts.model}` for {format_count(len(facts.classes), 'class')}"
    teacher = f"participant {campaign.name_participant(pair.teacher)}"
    by_verdict = record.chosen.by_verdict
    if record.chosen.action == "leave as it is":
        what = f"{model}, as participant {student} pre-trained it."
        why = f"Nothing that was tried with {teacher} as its teacher is measurably better."
    elif record.chosen.action == "train on":
        what = f"{model}: participant {student}'s own, trained on without a teacher."
        why = f"It is better so, and {teacher} as its teacher adds nothing measurable."
    else:
        what = f"{model}: participant {student}'s own, into which that of {teacher} was distilled."
        why = ""
    what = f"{what} {why}".strip() if by_verdict else what
    chosen = "The verdict chose it" if by_verdict else "It was asked for by name"
    return f"{what} {chosen}: trial `{record.name}` of kdopt."


def _name_action(record: StudentRecord) -> str:
    action = record.chosen.action
    by = "the verdict" if record.chosen.by_verdict else "as asked for"
    if action == "distil":
        row = record.chosen.row
        setting = [format_method(record.method)]
        if row.method is not None:
            setting.append(describe_values(get_setting(row.params)))
        if not math.isnan(record.temperature):
            setting += [
                f"T={format_setting(record.temperature)}",
                f"alpha={format_setting(record.alpha)}",
            ]
        return f"distil: {', '.join(setting)}{_name_images(record)} ({by})"
    meaning = {
        "leave as it is": "this is the pre-trained student",
        "train on": f"this is the student trained on without a teacher{_name_images(record)}",
    }
    return f"{action} ({by}): {meaning[action]}"


def _name_images(record: StudentRecord) -> str:
    if record.images == "student":
        return ""
    return f", on {format_transfer_set(record.images).lower()}"


def _describe_source(record: StudentRecord) -> str:
    source = {
        "trained again": "trained again from its seed",
        "kept": "kept since it was trained",
        "pre-trained": "kept since it was pre-trained",
    }[record.source]
    what = "recorded number" if record.source == "trained again" else "recorded score"
    if not record.deviations:
        return f"{source}; every {what} came out again"
    n = len(record.deviations)
    differing = format_count(n, "recorded value differs", "recorded values differ")
    return (
        f"{source}; test accuracy on record {_format_accuracy(record.recorded.test)}, now "
        f"{_format_accuracy(record.found.test)}, and {differing}"
    )


def _describe_machine(record: StudentRecord) -> list[str]:
    if record.machine:
        return [f"Machine or versions are not those of the record: {record.machine}."]
    if record.deviations:
        return ["Machine and versions are those of the record, so this should not be."]
    return []


def _describe_gain(record: StudentRecord) -> str:
    before, after = _format_accuracy(record.untouched.test), _format_accuracy(record.found.test)
    if record.chosen.action == "leave as it is":
        return f"Test accuracy {after}."
    text = f"Test accuracy {before} before, {after} after"
    gain = 100 * (record.found.test.accuracy - record.untouched.test.accuracy)
    text += f": gain {format_signed(gain)} pp{_format_interval(record.gain)}"
    if record.chosen.action == "distil":
        net = record.net_gain
        known = f"{format_signed(net.mean)} pp{_format_interval(net)}" if net else "not known"
        text += f", net gain {known}"
    return f"{text}."


def _explain_gain(record: StudentRecord) -> list[str]:
    if record.chosen.action == "leave as it is":
        return []
    lines = [
        "Intervals (95 %) are over other test images of the same kind. The setting was chosen on "
        "the validation images, so expect the gain on test."
    ]
    if record.chosen.action == "distil":
        lines.append(
            "The net gain is what is left beyond the same student, trained on as long without a "
            "teacher."
        )
    if record.replicates > 1:
        mean = format_signed(record.mean_gain)
        lines.append(
            f"It is the best on validation of {format_count(record.replicates, 'trial')} of this "
            f"setting; their mean gain on test is {mean} pp."
        )
    return lines


def _format_interval(lead: ImageLead | None) -> str:
    if lead is None or math.isnan(lead.error):
        return ""
    low, high = (format_signed(lead.mean + sign * lead.error) for sign in (-1, 1))
    return f" ({low} to {high})"


def _list_accuracies(record: StudentRecord) -> list[list[str]]:
    lines = [
        [
            "on record",
            _format_accuracy(record.recorded.validation),
            _format_accuracy(record.recorded.test),
        ]
    ]
    if record.chosen.action != "leave as it is":
        before = record.untouched
        lines.insert(
            0, ["before", _format_accuracy(before.validation), _format_accuracy(before.test)]
        )
    return [
        *lines,
        ["now", _format_accuracy(record.found.validation), _format_accuracy(record.found.test)],
    ]


def _describe_input(facts: StudentFacts) -> str:
    mean, std = (", ".join(f"{v:.6g}" for v in values) for values in (facts.mean, facts.std))
    shape, kind = ", ".join(map(str, facts.shape)), get_kind(facts.shape)
    if kind == "tokens":
        taken = "the same token ids"
    elif kind == "vectors":
        taken = (
            f"float vectors (n, {shape}), normalised: (number - mean) / std, with mean {mean} and "
            f"std {std}"
        )
    else:
        taken = (
            f"float images (n, {shape}), normalised: (pixel / 255 - mean) / std, with mean {mean} "
            f"and std {std} per channel"
        )
    others = ": in float32 a few images come out otherwise" if facts.precision == "bf16" else ""
    return (
        f"`student.model`, ONNX and TorchScript take {taken}. They return logits, "
        f"(n, {len(facts.classes)}), in this order of classes. It was scored in "
        f"{facts.precision}{others}."
    )


def _describe_own_input(facts: StudentFacts) -> str:
    """What the module itself takes and gives, where that may be other than the campaign's."""
    own = facts.architecture
    if own is None:
        return "It takes and gives the same as `student.model`."
    channels, *sides = facts.shape if get_kind(facts.shape) == "images" else (0,)
    changes = []
    if own.channels and own.channels != channels:
        changes.append(f"the grey channel {own.channels} times")
    if own.image_size and [own.image_size] * 2 != sides:
        changes.append(f"resized to {own.image_size}x{own.image_size} (bilinear)")
    if own.mean:
        mean, std = (", ".join(f"{v:.6g}" for v in values) for values in (own.mean, own.std))
        changes.append(f"normalised with mean {mean} and std {std} instead")
    taken = f"images like these, {', '.join(changes)}" if changes else "the same"
    given = "in the order above"
    if own.classes:
        given = f"in this order: {', '.join(map(escape_markdown, own.classes))}"
    return f"It takes {taken}, and gives logits {given}."


def _list_settings(record: StudentRecord, campaign: Campaign) -> Iterable[list[str]]:
    kind = campaign.get_architecture(record.pair.student)
    yield ["model", escape_markdown(kind.model)]
    yield ["data", escape_markdown(campaign.data.name)]
    if record.chosen.action == "leave as it is":
        budget = asdict(campaign.pretrain)
    else:
        budget = asdict(campaign.distill)
        yield ["method", format_method(record.method) if record.method else "no teacher"]
        params = record.chosen.row.params
        budget |= {name: params[name] for name in budget.keys() & params.keys()}
        if record.chosen.row.method is not None:
            yield ["setting", describe_values(get_setting(params))]
        elif record.method:
            yield ["temperature", format_setting(record.temperature) or "fixed by the method"]
            yield ["alpha", format_setting(record.alpha) or "fixed by the method"]
        yield ["images", format_transfer_set(record.images)]
        yield ["replicate", str(record.chosen.row.params.get("replicate", 0))]
    yield ["campaign seed", str(campaign.seed)]
    yield from ([key.replace("_", " "), str(value)] for key, value in budget.items())
    yield ["epochs trained", str(record.recorded.epochs)]
    yield ["epoch kept", str(record.recorded.best_epoch)]
    if record.recorded.line_position is not None:
        position = format_setting(record.recorded.line_position)
        yield ["student line", f"{position} of the way from the untouched weights to the trained"]
    if record.recorded.batch_norm is not None:
        yield ["batch-norm statistics", BATCH_NORM[record.recorded.batch_norm]]


def _show_deviations(deviations: Sequence[Deviation]) -> list[str]:
    if not deviations:
        return []
    lines = [
        [d.key, _shorten_value(d.recorded), _shorten_value(d.found)]
        for d in deviations[:SHOWN_DEVIATIONS]
    ]
    table = join_pipe_table(["value", "on record", "now"], lines)
    more = len(deviations) - len(lines)
    return [table, f"And {more} more."] if more else [table]


def _list_versions(record: StudentRecord) -> Iterable[list[str]]:
    then, now = (
        {"device": o.device, "precision": o.precision, **o.versions}
        for o in (record.recorded, record.found)
    )
    for key in dict.fromkeys((*then, *now)):
        yield [key, escape_markdown(then.get(key, "")), escape_markdown(now.get(key, ""))]


def _format_accuracy(scores: Scores) -> str:
    return f"{format_points(100 * scores.accuracy)} %"


def _shorten_value(value: object) -> str:
    text = str(value)
    return escape_markdown(text if len(text) <= 24 else f"{text[:21]}...")
