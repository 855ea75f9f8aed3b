"""What a campaign file may say beyond each value's own rule: of data, participants and stages."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, get_args

from kdopt.campaign.data_settings import HF, OWN_SOURCES, TORCHVISION, DataSettings
from kdopt.campaign.federated_algorithms import ALGORITHM_TABLES
from kdopt.campaign.fields import list_fields
from kdopt.campaign.method_spaces import SPACES, BudgetSpace
from kdopt.campaign.partition_settings import OWN
from kdopt.campaign.settings import CampaignFile
from kdopt.campaign.stage_settings import Sampler, TransferName
from kdopt.shown import format_count

DOWNLOADED = ("fashion_mnist", "cifar10", f"{TORCHVISION}CIFAR10")
USED_BY: Mapping[str, tuple[str, ...]] = {
    "columns": ("arrays", HF),
    "classes": ("arrays", HF),
    "test_fraction": ("arrays", HF, TORCHVISION),
    "value_range": ("arrays", HF),
    "padding": ("arrays", HF),
    "vocabulary": ("arrays", HF),
}
"""Keys of ``[data]`` that some data sets use only: their names, or how these begin."""


def list_misfits(file: CampaignFile, raw: Mapping[str, Any]) -> list[str]:
    """What in a campaign file does not go together: key, value, rule and fix of each.

    Args:
        file: The file as it was read.
        raw: Its text, as defaults are no fault.
    """
    return [
        *_list_missing_sets(file),
        *_list_tune_misfits(file, raw),
        *_list_algorithm_misfits(file, raw),
        *_list_idle_settings(file, raw),
        *_list_count_problems(file, "participants" in raw),
        *_list_own_problems(file),
        *_list_logits_problems(file),
        *_list_mixed(file),
        *_list_source_problems(file.data, raw),
        *_list_public_problems(file),
    ]


def list_public_sets(file: CampaignFile) -> set[TransferName]:
    """The public sets that a stage uses."""
    used: list[TransferName] = []
    if "compare" in file.stages:
        used += file.compare.transfer_sets
    if "combine" in file.stages:
        used += file.combine.transfer_sets
    if "federate" in file.stages and file.federate.uses_consolidated:
        used.append(file.federate.transfer_set)
    if "federate" in file.stages and file.federate.asking_public:
        used.append(file.federate.public_set)
    if "tune" in file.stages and "public_kd" in file.tune.methods:
        used += file.tune.public_kd.transfer_set
    return set(used) - {"student"}


def _list_source_problems(data: DataSettings, raw: Mapping[str, Any]) -> Iterator[str]:
    defaults = {field.name: field.default for field in list_fields(DataSettings)}
    for key, users in USED_BY.items():
        # A written default says nothing.
        if getattr(data, key) != defaults[key] and not data.name.startswith(users):
            names = ", ".join(f"{user}..." if user.endswith(":") else user for user in users)
            yield f"data.{key} = {raw['data'][key]!r}: it goes with {names}; leave it out"
    new = data.name not in (*OWN_SOURCES, *DOWNLOADED) or data.name == "arrays"
    if new and data.download:
        yield (
            f"data.download = true: '{data.name}' is read from local files only; leave it out "
            f"(kdopt downloads {', '.join(DOWNLOADED)} alone)"
        )
    if new and data.drop_cifar:
        yield f"data.drop_cifar = true: '{data.name}' has no images of CIFAR-10 in it; leave it out"
    if data.name == "arrays" and data.root is None:
        yield "data.root: missing; set it to the file of arrays (npz, safetensors or Parquet)"
    if data.name.startswith(HF) and data.root is not None:
        yield f"data.root = '{data.root}': the name says the folder already; leave it out"
    if len(data.mean) != len(data.std):
        yield (
            f"data.mean has {format_count(len(data.mean), 'value')}, data.std {len(data.std)}; "
            "give both alike, or neither"
        )
    if data.mean and data.normalization == "none":
        yield "data.normalization = 'none': mean and std are given; leave one or the other out"


def _list_public_problems(file: CampaignFile) -> Iterator[str]:
    transfer = file.transfer
    if transfer.public_data is None:
        return
    if not list_public_sets(file):
        yield (
            f"transfer.public_data = '{transfer.public_data}': no stage uses a public set; leave "
            "it out, or add one, such as compare.transfer_sets = ['public_unlabeled_small']"
        )
    if transfer.public_labeled:
        yield (
            f"transfer.public_labeled = {transfer.public_labeled}: the images of "
            "transfer.public_data have no labels; set it to 0, or leave public_data out (public "
            "sets are then held out of the training images)"
        )


OF_MODEL = ("model", "weights", "data", "image_size", "channels", "mean", "std")
"""Settings of a participant that need a model of its own."""

NEED_MODELS = {
    "combine": "weighs teachers by how they do on each class and scores them like any student",
    "federate": "trains a model of every participant in each round",
}
"""Stages in which every participant takes part with a model."""

TRAINS_TEACHER = frozenset({"dml"})
"""Methods that train the teacher, too."""


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
                f"participant '{row.name}': {format_count(len(row.mean), 'value')} of mean, "
                f"{len(row.std)} of std; give both per channel, or neither"
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


NO_PRIOR = "learns from no other pairs; this goes with warm"
SAMPLERS_OF: Mapping[str, tuple[tuple[str, ...], str]] = {
    "budget": (
        ("tpe", "random", "gp", "warm"),
        "decides its own number of trials; a budget goes with tpe, random, gp or warm",
    ),
    "prior": (("warm",), NO_PRIOR),
    "warm_trials": (("warm",), NO_PRIOR),
    "warm_then": (("warm",), NO_PRIOR),
}
"""Keys of ``[tune]`` that some samplers use, and why the others refuse them."""


def list_unused_keys(raw: Mapping[str, Any]) -> list[str]:
    """Keys of ``[tune]`` that the sampler refuses; of the file's text, as defaults are no fault."""
    tune = raw.get("tune", {})
    if not isinstance(tune, dict):
        return []
    sampler = tune.get("sampler", "grid")
    if sampler not in get_args(Sampler):
        return []
    return [
        f"tune.{key} = {tune[key]!r}: sampler '{sampler}' {reason}; change it, or leave it out"
        for key, (samplers, reason) in SAMPLERS_OF.items()
        if key in tune and sampler not in samplers
    ]


def _list_missing_sets(file: CampaignFile) -> Iterator[str]:
    """Stages left without anything to train on; elsewhere sets without images are skipped."""
    federate, combine, sets = file.federate, file.combine, file.compare.transfer_sets
    if (
        "compare" in file.stages
        and "student" not in sets
        and not any(map(file.transfer.size, sets))
    ):
        yield (
            f"compare.transfer_sets = {', '.join(sets)}: none of them has images; give one some in "
            "[transfer], or add 'student'"
        )
    name = federate.transfer_set
    if "federate" in file.stages and federate.uses_consolidated:
        if name == "student" and federate.start == "untrained":
            yield (
                "federate.start = 'untrained': such a student has no data of its own; "
                "start from 'best' or 'worst', or give federate.transfer_set a public set"
            )
        if name != "student" and not file.transfer.size(name):
            yield (
                f"federate.transfer_set = '{name}': this set has no images; "
                f"give transfer.{name} some, or use another set"
            )
    own = "student" in combine.transfer_sets and set(combine.starts) != {"untrained"}
    public = [s for s in combine.transfer_sets if s != "student"]
    if "combine" in file.stages and not own and not any(map(file.transfer.size, public)):
        yield (
            f"combine.transfer_sets = {', '.join(combine.transfer_sets)}: with the starts "
            f"{', '.join(combine.starts)} none of them has images (an untrained student has none "
            "of its own); give a public set some in [transfer], or add 'best' or 'worst' to starts "
            "and 'student' to transfer_sets"
        )


def _list_algorithm_misfits(file: CampaignFile, raw: Mapping[str, Any]) -> Iterator[str]:
    """What does not go with the federated algorithms."""
    settings, names = file.federate, ", ".join(file.federate.algorithms)
    for name in ALGORITHM_TABLES:
        if name in raw.get("federate", {}) and name not in settings.algorithms:
            yield (
                f"federate.{name}: '{name}' is not among federate.algorithms ({names}), so nothing "
                "uses this table; add it there, or leave the table out"
            )
    asking = settings.asking_public
    if "federate" in file.stages and asking and not file.transfer.size(settings.public_set):
        ask = "asks" if len(asking) == 1 else "ask"
        yield (
            f"federate.algorithms = {names}: {' and '.join(asking)} {ask} models about public "
            f"images, and federate.public_set = '{settings.public_set}' has none; give "
            f"transfer.{settings.public_set} some, or choose fedavg or def_kt"
        )


def _list_idle_settings(file: CampaignFile, raw: Mapping[str, Any]) -> Iterator[str]:
    """Settings that the file changes and nothing in it uses; a written default says nothing."""
    combines = "combine" in file.stages or (
        "federate" in file.stages and file.federate.uses_consolidated
    )
    methods = file.compare.methods if "compare" in file.stages else ()
    algorithms, averaging = file.federate.algorithms, file.federate.averaging
    asks_public = bool(file.federate.asking_public)
    idle = [
        ("compare", "dml_temperature", "dml" in methods, "no stage runs dml"),
        ("compare", "dp_kd_temperature", "dp_kd" in methods, "no stage runs dp_kd"),
        ("compare", "dp_kd_label_weight", "dp_kd" in methods, "no stage runs dp_kd"),
        ("combine", "epochs", combines, "no stage combines models"),
        ("combine", "patience", combines, "no stage combines models"),
        ("federate", "initial_models", bool(averaging), "no algorithm has a global model"),
        ("federate", "own_starts", averaging != algorithms, "all algorithms have a global model"),
        ("federate", "public_set", asks_public, "no algorithm asks about public images"),
        ("pretrain", "monitor", file.pretrain.patience > 0, "patience = 0 watches nothing"),
        ("distill", "monitor", file.distill.patience > 0, "patience = 0 watches nothing"),
        ("data", "views", bool(file.data.augment), "without data.augment there is one view"),
    ]
    for table, key, used, reason in idle:
        said = raw.get(table, {})
        if not used and key in said and said[key] != _find_default(table, key):
            yield f"{table}.{key} = {said[key]!r}: {reason}; change that, or leave it out"


def _find_default(table: str, key: str) -> object:
    tables = {field.name: field.table for field in list_fields(CampaignFile)}
    settings = tables[table]
    assert settings is not None
    default = next(field.default for field in list_fields(settings) if field.name == key)
    return list(default) if isinstance(default, tuple) else default  # as a file writes it


def _list_tune_misfits(file: CampaignFile, raw: Mapping[str, Any]) -> Iterator[str]:
    """What does not go with ``[tune]``: a campaign that learns from itself, and its methods."""
    tune, methods = file.tune, ", ".join(file.tune.all_methods)
    if file.name in tune.prior:
        yield (
            f"tune.prior = {', '.join(tune.prior)}: '{file.name}' is this campaign, whose "
            "pairs learn from each other anyway; name finished campaigns, or leave it out"
        )
    if not methods:
        yield "tune.methods = []: must have one; add it, or leave it out"
    for name in SPACES:
        if name in raw.get("tune", {}) and name not in tune.methods:
            yield (
                f"tune.{name}: '{name}' is not among tune.methods ({methods}), so nothing uses "
                "this table; add it there, or leave the table out"
            )
    if tune.sampler in ("sequential", "warm"):
        advice = (
            f"sampler '{tune.sampler}' knows plain kd over temperature and alpha only; use grid, "
            "tpe, random or gp"
        )
        if tune.all_methods != ("kd",):
            yield f"tune.methods = {methods}: {advice}, or tune kd alone"
        if tune.search != BudgetSpace():
            yield f"tune.search: {advice}, or leave the table out"
    sets = tune.public_kd.transfer_set
    if "public_kd" in tune.methods and not any(map(file.transfer.size, sets)):
        yield (
            f"tune.public_kd.transfer_set = {', '.join(sets)}: none of them has images; give one "
            "some in [transfer], or leave public_kd out of tune.methods"
        )
