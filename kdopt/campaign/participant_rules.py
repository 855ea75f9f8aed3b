"""What a campaign file may say of its participants and models, beyond each value's own rule."""

from __future__ import annotations

from collections.abc import Iterator

from kdopt.campaign.partition_settings import OWN
from kdopt.campaign.settings import CampaignFile

OF_MODEL = ("model", "weights", "data", "image_size", "channels", "mean", "std")
"""Settings of a participant that need a model of its own."""

NEED_MODELS = {
    "combine": "weighs teachers by how they do on each class and scores them like any student",
    "federate": "trains a model of every participant in each round",
}
"""Stages in which every participant takes part with a model."""

TRAINS_TEACHER = frozenset({"dml"})
"""Methods that train the teacher, too."""


def list_participant_problems(file: CampaignFile, counted: bool) -> list[str]:
    """Every problem with ``[[participant]]``, ``models`` and partition ``own``.

    Args:
        file: The campaign file.
        counted: Whether it says ``participants``, too.
    """
    return [
        *_list_count_problems(file, counted),
        *_list_own_problems(file),
        *_list_logits_problems(file),
        *_list_mixed(file),
    ]


def _list_count_problems(file: CampaignFile, counted: bool) -> Iterator[str]:
    rows = file.participant
    if not rows:
        return
    if len(rows) < 2:
        yield "participant: there is 1 [[participant]], and a pair needs 2; add another"
    if counted and file.participants != len(rows):
        yield (
            f"participants = {file.participants}: there are {len(rows)} [[participant]] tables; "
            "leave the number out"
        )
    names = [row.name for row in rows]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"participant.name = '{name}': two have this name; rename one"
    if file.models:
        yield "models: with [[participant]] tables, say the model of each there"
    for row in rows:
        if len(row.mean) != len(row.std):
            yield (
                f"participant '{row.name}': {len(row.mean)} values of mean, {len(row.std)} of std; "
                "give both per channel, or neither"
            )


def _list_own_problems(file: CampaignFile) -> Iterator[str]:
    rows, own = file.participant, OWN in file.partitions
    if not own:
        for row in rows:
            brought = [
                key for key in ("weights", "data", "logits") if getattr(row, key) is not None
            ]
            if brought:
                yield (
                    f"participant '{row.name}': {' and '.join(brought)} go with "
                    'partitions = ["own"]; other partitions deal images and train the models'
                )
        return
    if len(file.partitions) > 1:
        yield (
            f"partitions = {', '.join(file.partitions)}: 'own' stands alone, as its participants "
            "have their own images; drop the others, or make another campaign of them"
        )
    if file.draws > 1:
        yield f"draws = {file.draws}: nothing is drawn in partition 'own'; use replicates"
    if not any(row.data for row in rows):
        yield (
            "partitions = own: no [[participant]] has 'data', so none can be a student; give at "
            "least one a folder of images"
        )
    for row in rows:
        if row.data is None and row.weights is None and row.logits is None:
            yield (
                f"participant '{row.name}': it has neither weights nor data; give it weights (or "
                "logits) to teach, data to be trained and taught, or both"
            )
    idle = [row.name for row in rows if row.data is None and row.logits is None]
    if "federate" in file.stages and idle:
        yield (
            f"stages: federate needs images of every participant, and {', '.join(idle)} has none; "
            "leave federate out, or give it data"
        )


def _list_logits_problems(file: CampaignFile) -> Iterator[str]:
    """What does not go with a teacher of which only the answers to some images are known."""
    for row in file.participant:
        if row.logits is None and row.outputs != "logits":
            yield (
                f"participant '{row.name}': outputs = '{row.outputs}' says what a file of logits "
                "holds, and it has none; leave it out"
            )
        of_model = [key for key in OF_MODEL if getattr(row, key) not in (None, ())]
        if row.logits is not None and of_model:
            yield (
                f"participant '{row.name}': it is given by its logits, so it has no model, and "
                f"cannot learn; leave out {', '.join(of_model)}, or leave out logits"
            )
    named = ", ".join(f"'{row.name}'" for row in file.participant if row.logits is not None)
    if not named:
        return
    given = f"participant {named} is given by logits, so"
    for stage, reason in NEED_MODELS.items():
        if stage in file.stages:
            yield f"stages: {stage} {reason}; {given} leave {stage} out, or give it weights"
    for key, stage, methods in (
        ("compare.methods", "compare", file.compare.methods),
        ("tune.methods", "tune", file.tune.methods),
    ):
        if stage in file.stages:
            for method in sorted(TRAINS_TEACHER & set(methods)):
                rest = ", ".join(f'"{name}"' for name in methods if name != method)
                yield (
                    f"{key}: {method} trains the teacher along; {given} "
                    + (f"say {key} = [{rest}]" if rest else f"leave stage {stage} out")
                    + ", or give it weights"
                )
    if file.data.augment:
        yield (
            f"data.augment = {', '.join(file.data.augment)}: the teacher has to see every view of "
            f"an image; {given} leave augment out, or give it weights"
        )


def _list_mixed(file: CampaignFile) -> Iterator[str]:
    # The number of participants is not resolved yet where they have tables.
    numbers = range(len(file.participant) or file.participants)
    kinds = {file.get_architecture(i) for i in numbers if not file.is_given_by_logits(i)}
    if len(kinds) <= 1:
        return
    models = sorted({kind.model for kind in kinds})
    if "federate" in file.stages and (averaging := file.federate.averaging):
        yield (
            f"federate.algorithms = {', '.join(file.federate.algorithms)}: "
            f"{' and '.join(averaging)} {'averages' if len(averaging) == 1 else 'average'} "
            "weights, so all participants need one model with the same images and classes; here "
            f"they have {', '.join(models)}{' in different ways' if len(models) == 1 else ''}. "
            "Choose fedmd or def_kt, which work between different models, give all the same, or "
            "leave federate out of stages"
        )
    if file.initial_weights == "shared":
        yield (
            f"initial_weights = 'shared': {', '.join(models)} cannot share weights; "
            "leave it out, or give all participants the same model"
        )
