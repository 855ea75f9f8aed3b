"""Campaign files: TOML in, frozen plain values out, every problem of a file reported at once.

The pydantic models below are the schema of ``studies/*.toml`` and live in this module only; the
rest of kdopt sees :class:`kdopt.plan.Campaign`. Each default names its source: the paper states
it, or the paper's text lost it and somebody else's published choice stands in.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic.fields import FieldInfo

from kdopt.errors import SpecError
from kdopt.names import CAMPAIGN_NAME
from kdopt.plan import (
    METHODS,
    TRANSFER_SETS,
    Campaign,
    CompareSettings,
    DataSettings,
    MethodName,
    PartitionSettings,
    SettingLine,
    TrainSettings,
    TransferName,
    TransferSettings,
    TuneSettings,
)

PROXYFL = "default: ProxyFL's published code (the paper's value is lost)"
KDOPT = "default: kdopt"


class Source(NamedTuple):
    """Where a default comes from; shown beside the value by ``kdopt spec`` and in reports."""

    text: str


def _distinct(values: tuple[object, ...]) -> tuple[object, ...]:
    if len(set(values)) != len(values):
        raise ValueError("each value may be listed once only")
    return values


def _campaign_name(value: str) -> str:
    if not CAMPAIGN_NAME.match(value):
        raise ValueError(
            "a name has 1 to 64 letters, digits, '.', '_' or '-' and starts with a letter or digit"
        )
    return value


Size = Annotated[int, Field(ge=1)]
Positive = Annotated[float, Field(gt=0, le=1e6, allow_inf_nan=False)]
Temperature = Annotated[float, Field(gt=0, le=1000, allow_inf_nan=False)]
Alpha = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Concentrations = Annotated[tuple[Positive, ...], Field(min_length=1)]


PublicSize = Annotated[int, Field(ge=0), Source("paper, section IV; 0 without compare")]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class DataTable(_Table):
    """``[data]``: which images, and how many."""

    name: Literal["digits", "fashion_mnist", "cifar10", "cinic10", "folder"]
    root: Annotated[str | None, Source("default: the usual places are searched")] = None
    train_size: Annotated[Size | None, Source("default: all images")] = None
    test_size: Annotated[Size | None, Source("default: all images")] = None
    validation_fraction: Annotated[
        float, Field(gt=0, le=0.5), Source("paper, section III; drawn before partitioning: kdopt")
    ] = 0.1
    checksum: Annotated[Literal["published", "none"], Source(KDOPT)] = "published"
    drop_cifar: Annotated[bool, Source(KDOPT)] = False
    image_size: Annotated[int, Field(ge=4, le=1024), Source(KDOPT)] = 32
    download: Annotated[bool, Source(KDOPT)] = False


class _TrainTable(_Table):
    learning_rate: Annotated[Positive, Source(PROXYFL)] = 1e-3
    weight_decay: Annotated[float, Field(ge=0, le=1), Source(PROXYFL)] = 1e-4
    batch_size: Annotated[int, Field(ge=2), Source("paper, section III")] = 32


class PretrainTable(_TrainTable):
    """``[pretrain]``: the budget of each participant's own training."""

    epochs: Annotated[Size, Source("paper, section III")] = 100
    patience: Annotated[int, Field(ge=0), Source("paper, section III")] = 10


class DistillTable(_TrainTable):
    """``[distill]``: the budget of each distillation trial."""

    epochs: Annotated[Size, Source("default: the 30 epochs of section V-A (lost for pairs)")] = 30
    patience: Annotated[int, Field(ge=0), Source("default: as in pre-training (lost)")] = 10


class TuneTable(_Table):
    """``[tune]``: the search over temperature and alpha of every pair."""

    temperatures: Annotated[
        tuple[Temperature, ...],
        Field(min_length=1),
        AfterValidator(_distinct),
        Source("paper, Table I"),
    ] = (0.1, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 7.0)
    alphas: Annotated[
        tuple[Alpha, ...], Field(min_length=1), AfterValidator(_distinct), Source("paper, Table I")
    ] = (0.1, 0.25, 0.5, 0.75, 0.9)
    sampler: Annotated[
        Literal["grid", "sequential", "tpe", "random", "gp"], Source("paper, section III")
    ] = "grid"
    budget: Annotated[
        Annotated[int, Field(ge=1, le=100_000)] | None,
        Source("default: 20 trials per pair for tpe, random and gp; unused otherwise"),
    ] = None
    vanilla_temperature: Annotated[Temperature, Source(PROXYFL)] = 1.0
    vanilla_alpha: Annotated[Alpha, Source(PROXYFL)] = 0.5
    t2_scale: Annotated[bool, Source("default: Hinton et al. 2015 (lost)")] = True

    @field_validator("budget")
    @classmethod
    def _budget_applies(cls, value: int | None, info: ValidationInfo) -> int | None:
        sampler = info.data.get("sampler")
        if value is not None and sampler in ("grid", "sequential"):
            raise ValueError(
                f"sampler '{sampler}' decides its own number of trials; "
                "a budget goes with tpe, random or gp"
            )
        return value


class TransferTable(_Table):
    """``[transfer]``: public transfer sets, taken out before the partitions."""

    public_unlabeled_small: PublicSize = 500
    public_unlabeled_large: PublicSize = 5000
    public_labeled: PublicSize = 500


class CompareTable(_Table):
    """``[compare]``: methods with fixed settings, and where they are tried."""

    methods: Annotated[
        tuple[MethodName, ...],
        Field(min_length=1),
        AfterValidator(_distinct),
        Source("paper, section IV"),
    ] = METHODS
    transfer_sets: Annotated[
        tuple[TransferName, ...],
        Field(min_length=1),
        AfterValidator(_distinct),
        Source("paper, section IV"),
    ] = TRANSFER_SETS
    self_teacher_weight: Annotated[
        float, Field(ge=0, lt=1), Source("default: equal shares (lost)")
    ] = 0.5
    dml_weight: Annotated[Alpha | None, Source("default: plain sum, Zhang et al. 2018 (lost)")] = (
        None
    )


class _PartitionTable(_Table):
    min_size: Annotated[
        Annotated[int, Field(ge=2)] | None, Source("default: the pre-training batch size")
    ] = None
    max_draws: Annotated[Size, Source(KDOPT)] = 1000


class UniformTable(_PartitionTable):
    """``[partition.uniform]``."""


class QuantitySkewTable(_PartitionTable):
    """``[partition.quantity_skew]``."""

    concentration: Annotated[Positive, Source("paper, section III")] = 0.5


class SpecializedTable(_PartitionTable):
    """``[partition.specialized]``."""

    dominant_fraction: Annotated[float, Field(gt=0, lt=1), Source("paper, section III")] = 0.91


class LabelChunksTable(_PartitionTable):
    """``[partition.label_chunks]``."""

    chunk_size: Annotated[Size, Source("paper, section III")] = 100


class LabelDirichletTable(_PartitionTable):
    """``[partition.label_dirichlet]``."""

    concentration: Annotated[Concentrations, Source("paper, section III")] = (0.1, 0.5)


class PartitionTables(_Table):
    """``[partition.NAME]``: settings of the partitions, where they differ from the defaults."""

    uniform: UniformTable = UniformTable()
    quantity_skew: QuantitySkewTable = QuantitySkewTable()
    specialized: SpecializedTable = SpecializedTable()
    label_chunks: LabelChunksTable = LabelChunksTable()
    label_dirichlet: LabelDirichletTable = LabelDirichletTable()


PartitionName = Literal[
    "uniform", "quantity_skew", "specialized", "label_chunks", "label_dirichlet"
]


class CampaignTable(_Table):
    """A whole campaign file."""

    name: Annotated[str, AfterValidator(_campaign_name)]
    seed: Annotated[int, Field(ge=0, lt=2**63), Source(KDOPT)] = 0
    participants: Annotated[int, Field(ge=2, le=1000), Source("paper, section III")] = 10
    replicates: Annotated[
        int, Field(ge=1, le=1000), Source("default: 1 (the paper reports no repeats)")
    ] = 1
    precision: Annotated[Literal["auto", "fp32", "bf16"], Source(KDOPT)] = "auto"
    select_on: Annotated[
        Literal["validation", "test"], Source("default: kdopt selects honestly (the paper: lost)")
    ] = "validation"
    model: Annotated[str, Field(min_length=1), Source("paper, section III")] = "resnet18"
    partitions: Annotated[
        tuple[PartitionName, ...],
        Field(min_length=1),
        AfterValidator(_distinct),
        Source("paper, section III"),
    ] = ("uniform", "quantity_skew", "specialized", "label_chunks", "label_dirichlet")
    stages: Annotated[
        tuple[Literal["tune", "compare"], ...],
        Field(min_length=1),
        AfterValidator(_distinct),
        Source("paper, section IV"),
    ] = ("tune", "compare")
    data: DataTable
    transfer: TransferTable = TransferTable()
    compare: CompareTable = CompareTable()
    pretrain: PretrainTable = PretrainTable()
    distill: DistillTable = DistillTable()
    tune: TuneTable = TuneTable()
    partition: PartitionTables = PartitionTables()


@dataclass(frozen=True)
class Spec:
    """A campaign file that was read: its meaning, and where each of its values comes from."""

    campaign: Campaign
    settings: tuple[SettingLine, ...]


def load_spec(path: Path) -> Spec:
    """Read and check a campaign file.

    Raises:
        SpecError: The file cannot be read, is not TOML, or breaks the schema; the message lists
            every problem with its key, value, rule and fix.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise SpecError(
            str(path), [f"cannot be read: {reason}; give the path of a campaign file (TOML)"]
        ) from error
    return parse_spec(text, str(path))


def parse_spec(text: str, source: str = "spec") -> Spec:
    """Check the text of a campaign file; see :func:`load_spec`."""
    try:
        raw = tomllib.loads(text)
    except ValueError as error:  # a TOMLDecodeError, or a number too long to convert
        raise SpecError(source, [f"is not valid TOML: {error}; mend that line"]) from error
    try:
        # Strict mode refuses lists for tuples and ints for floats, which TOML cannot say
        # otherwise; `_plain` makes exactly those two conversions.
        table = CampaignTable.model_validate(_plain(raw, CampaignTable))
    except ValidationError as error:
        raise SpecError(source, _problems(error)) from error
    return Spec(_campaign(table), tuple(_setting_lines(table, "", set())))


def _plain(value: Any, model: type[BaseModel]) -> Any:
    """Lists to tuples, tables to their models' shape, whole numbers to floats where floats go."""
    if not isinstance(value, dict):
        return value
    out: dict[str, Any] = {}
    for key, item in value.items():
        field = model.model_fields.get(key)
        inner = field.annotation if field else None
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            out[key] = _plain(item, inner)
        elif isinstance(item, list):
            out[key] = tuple(_number(v, field) for v in item)
        else:
            out[key] = _number(item, field)
    return out


def _number(value: Any, field: FieldInfo | None) -> Any:
    wants_float = field is not None and "float" in str(field.annotation)
    if wants_float and type(value) is int:
        try:
            return float(value)
        except OverflowError:
            return float("inf")  # which the rules of the field refuse by name
    return value


def _campaign(table: CampaignTable) -> Campaign:
    partitions = []
    for name in table.partitions:
        values = getattr(table.partition, name).model_dump()
        if values["min_size"] is None:
            values["min_size"] = table.pretrain.batch_size
        if isinstance(values.get("concentration"), float):
            values["concentration"] = (values["concentration"],)
        partitions.append(PartitionSettings(name=name, **values))
    tune = table.tune.model_dump()
    tune["budget"] = tune["budget"] or 20
    compares = "compare" in table.stages
    return Campaign(
        stages=table.stages,
        transfer=TransferSettings(**table.transfer.model_dump())
        if compares
        else TransferSettings(),
        compare=CompareSettings(**table.compare.model_dump()),
        name=table.name,
        seed=table.seed,
        participants=table.participants,
        replicates=table.replicates,
        precision=table.precision,
        select_on=table.select_on,
        model=table.model,
        data=DataSettings(**table.data.model_dump()),
        partitions=tuple(partitions),
        pretrain=TrainSettings(**table.pretrain.model_dump()),
        distill=TrainSettings(**table.distill.model_dump()),
        tune=TuneSettings(**tune),
    )


def _setting_lines(table: BaseModel, prefix: str, unused: set[str]) -> Iterator[SettingLine]:
    """Every setting, its value, and whether the file, the paper or a default said so."""
    for key, field in type(table).model_fields.items():
        value = getattr(table, key)
        if isinstance(value, PartitionTables):
            unused = set(type(value).model_fields) - set(getattr(table, "partitions", ()))
        if isinstance(value, BaseModel):
            if key not in unused:
                yield from _setting_lines(value, f"{prefix}{key}.", unused)
            continue
        sources = [m.text for m in field.metadata if isinstance(m, Source)]
        given = key in table.model_fields_set
        source = "spec" if given else (sources[0] if sources else KDOPT)
        yield SettingLine(prefix + key, _show(value), source)


def _show(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return ", ".join(_show(v) for v in value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def _problems(error: ValidationError) -> list[str]:
    """One line per problem; a list that is short only because of its bad items is none."""
    errors = error.errors()
    with_bad_items = {e["loc"][:-1] for e in errors if isinstance(e["loc"][-1], int)}
    return sorted(
        _problem(e) for e in errors if e["type"] != "too_short" or e["loc"] not in with_bad_items
    )


_RULES = {"model_type": "must be a table", "tuple_type": "must be a list"}
"""Rules that pydantic words in terms of Python rather than of TOML."""


def _problem(error: Any) -> str:
    """One pydantic error as a line: key, value, rule, fix."""
    names = [p for p in error["loc"] if isinstance(p, str)]
    places = [p for p in error["loc"] if isinstance(p, int)]
    key = ".".join(names) + "".join(f"[{p}]" for p in places)
    parent = _table_at(names[:-1])
    field = parent.model_fields.get(names[-1]) if parent and names else None
    if error["type"] == "extra_forbidden":
        return f"{key}: unknown key; {_known_keys(names[-1], parent)}"
    if error["type"] == "missing":
        return f"{key}: missing; add it{_example(field)}"
    rule = _RULES.get(error["type"], str(error["msg"]).removeprefix("Value error, "))
    rule = rule[:1].lower() + rule[1:]
    return f"{key} = {error['input']!r}: {rule}; {_fix(field)}"


def _table_at(names: list[str]) -> type[BaseModel] | None:
    table: type[BaseModel] = CampaignTable
    for name in names:
        field = table.model_fields.get(name)
        inner = field.annotation if field else None
        if not (isinstance(inner, type) and issubclass(inner, BaseModel)):
            return None
        table = inner
    return table


def _known_keys(key: str, parent: type[BaseModel] | None) -> str:
    known = list(parent.model_fields) if parent else []
    close = difflib.get_close_matches(key, known, n=1)
    hint = f"did you mean '{close[0]}'? " if close else ""
    return f"{hint}remove it or use one of: {', '.join(known)}"


def _example(field: FieldInfo | None) -> str:
    if field is not None and "Literal" in str(field.annotation):
        return f", one of {str(field.annotation).partition('[')[2].rstrip(']')}"
    if field is not None and isinstance(field.annotation, type):
        if issubclass(field.annotation, BaseModel):
            return " as a table of the file"
        return f" ({field.annotation.__name__})"
    return ""


def _fix(field: FieldInfo | None) -> str:
    if field is None or field.is_required():
        return "change it to such a value"
    return f"change it, or leave it out for the default ({_show(field.default)})"
