"""``kdopt images``: the images that a teacher without a model here must answer."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kdopt.cli.announce import announce_steps
from kdopt.cli.campaign_file import load_spec_and_images
from kdopt.cli.options import QuietOption, SpecArgument
from kdopt.data.given_logits import check_output, list_asked_images, write_asked_images
from kdopt.service.planner import draw_splits, parse_all_splits
from kdopt.shown import format_count

ImagesOption = Annotated[
    Path,
    typer.Option("--output", help="An .npz file, or a new folder for PNG files and an index."),
]


def images_command(
    spec: SpecArgument,
    output: ImagesOption = Path("images.npz"),
    quiet: QuietOption = False,
) -> None:
    """Write the images that a teacher given by its logits must answer.

    A participant with 'logits' has no model: you compute its logits of these images with any tool,
    and save them with the keys of the images. Nothing is trained or planned, and no label is
    written.
    """
    check_output(output)
    loaded, dataset = load_spec_and_images(spec, announce_steps(quiet))
    campaign = loaded.campaign
    splits = parse_all_splits(campaign, dataset, draw_splits(campaign, dataset))
    asked = list_asked_images(campaign, dataset, splits)
    write_asked_images(asked, output)
    n, needed = len(asked.keys), int(asked.needed.sum())
    print(
        f"{output}: {format_count(n, 'image')}\n"
        f"needed: {needed:,}, on which students are distilled\n"
        f"others: {n - needed:,}, of validation and test, which only say how good the teacher is"
    )
