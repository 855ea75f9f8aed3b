"""Arguments and options that several commands share. An option means the same in every command."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kdopt.errors import KdoptError

DEFAULT_STORE = "storage/kdopt.db"

SpecArgument = Annotated[Path, typer.Argument(help="Campaign file (TOML).", metavar="SPEC")]
StoreOption = Annotated[
    str,
    typer.Option(
        "--store",
        envvar="KDOPT_STORE",
        help="The store: a path, or an SQLAlchemy URL.",
        show_envvar=True,
    ),
]
ArtifactsOption = Annotated[
    str | None,
    typer.Option(
        "--artifacts",
        envvar="KDOPT_ARTIFACTS",
        help="Where checkpoints and splits are kept: a folder, s3://BUCKET/PREFIX or "
        "gs://BUCKET/PREFIX [default: 'artifacts' beside the store].",
    ),
]
CampaignOption = Annotated[
    str | None,
    typer.Option("--campaign", help="The campaign; needed when the store has several."),
]
CampaignArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="CAMPAIGN",
        help="The campaign; needed when the store has several.",
        show_default=False,
    ),
]
CampaignNameArgument = Annotated[str, typer.Argument(help="The campaign.", metavar="CAMPAIGN")]
OutOption = Annotated[
    Path | None,
    typer.Option(
        "--out", help="Folder of the report [default: 'reports/CAMPAIGN' beside the store]."
    ),
]
DeviceOption = Annotated[
    str | None,
    typer.Option("--device", help="cpu, cuda or cuda:N [default: cuda if there is one]."),
]
SameDeviceOption = Annotated[
    str | None,
    typer.Option(
        "--device",
        help="cpu, cuda or cuda:N [default: as each trial ran, where there is such a device].",
    ),
]
GpusOption = Annotated[
    str | None,
    typer.Option(
        "--gpus",
        metavar="LIST",
        help="GPUs to use, such as 0,1 [default: all that CUDA_VISIBLE_DEVICES allows].",
    ),
]
WorkersOption = Annotated[
    int | None,
    typer.Option(
        "--workers",
        min=1,
        max=10_000,
        help="Worker processes in all [default: --slots-per-gpu for each GPU, or one per core "
        "where there is no GPU].",
    ),
]
SlotsPerGpuOption = Annotated[
    int | None,
    typer.Option("--slots-per-gpu", min=1, max=1000, help="Workers that share a GPU [default: 1]."),
]
TimeLimitOption = Annotated[
    str | None,
    typer.Option(
        "--time-limit",
        metavar="TIME",
        help="Stop workers after this long (90m, 2h); they give their trials back.",
    ),
]
QuietOption = Annotated[
    bool, typer.Option("--quiet", help="Say nothing on the way, only how it ends.")
]
SameVersionsOption = Annotated[
    bool,
    typer.Option(
        "--same-versions",
        help="Refuse to work with other versions of kdopt, torch or Optuna than the campaign was "
        "begun with [default: warn].",
    ),
]
PluginOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--plugin",
        metavar="FILE",
        envvar="KDOPT_PLUGINS",
        help="A Python file with models, methods or data sets of yours, which is run; repeat for "
        "more.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


def split_gpus(option: str | None) -> list[str] | None:
    """The GPUs that ``--gpus`` lists; ``None`` without the option."""
    return None if option is None else [g.strip() for g in option.split(",") if g.strip()]


def join_campaigns(argument: str | None, option: str | None) -> str | None:
    """The campaign that was named, as an argument or with ``--campaign``; ``None`` without one.

    Raises:
        KdoptError: Both name one, and not the same.
    """
    if argument is not None and option is not None and argument != option:
        raise KdoptError(
            f"--campaign {option} beside {argument}: one campaign is named, as an argument or with "
            "--campaign; leave one of them out"
        )
    return argument if option is None else option
