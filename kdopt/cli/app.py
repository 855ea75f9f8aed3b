"""The command line itself, and the options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

import kdopt

app = typer.Typer(
    name="kdopt",
    help="Which distillation method, temperature and alpha, for every teacher-student pair.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

DEFAULT_STORE = "storage/kdopt.db"

SpecArgument = Annotated[Path, typer.Argument(help="Campaign file (TOML).", metavar="SPEC")]
StoreOption = Annotated[
    str,
    typer.Option(
        "--store",
        envvar="KDOPT_STORE",
        help="Store: a path or an SQLAlchemy URL.",
        show_envvar=True,
    ),
]
ArtifactsOption = Annotated[
    Optional[str],  # noqa: UP045  (typer reads the annotation)
    typer.Option(
        "--artifacts",
        envvar="KDOPT_ARTIFACTS",
        help="Checkpoints and splits: a folder, s3://BUCKET/PREFIX or gs://BUCKET/PREFIX "
        "[default: 'artifacts' beside the store].",
    ),
]
CampaignOption = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option("--campaign", help="Campaign; needed when the store has several."),
]
OutOption = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option(
        "--out", help="Folder of the report [default: 'reports/CAMPAIGN' beside the store]."
    ),
]
DeviceOption = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option("--device", help="cpu, cuda or cuda:N [default: cuda if there is one]."),
]
GpusOption = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(
        "--gpus",
        metavar="LIST",
        help="GPUs to use, such as 0,1 [default: all that CUDA_VISIBLE_DEVICES allows].",
    ),
]


def gpu_names(option: str | None) -> list[str] | None:
    """The GPUs that ``--gpus`` lists."""
    return None if option is None else [g.strip() for g in option.split(",") if g.strip()]


def _version(asked: bool) -> None:
    if asked:
        print(f"kdopt {kdopt.__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    pass
