"""Teachers given by their logits, when a campaign is planned: all that is needed must be there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from kdopt.campaign.settings import Campaign
from kdopt.data.datasets import Dataset
from kdopt.data.given_logits import GivenLogits, find_transfer_positions, read_logits
from kdopt.data.splits import Splits, parse_splits
from kdopt.errors import DataError


def parse_all_splits(
    campaign: Campaign, dataset: Dataset, splits: Mapping[str, bytes]
) -> list[Splits]:
    """The splits of every partition.

    Args:
        campaign: The campaign.
        dataset: Its images.
        splits: From :func:`kdopt.service.planner.draw_splits`.
    """
    n_images = len(dataset.train_labels)
    return [parse_splits(content, campaign, n_images) for content in splits.values()]


def read_given_logits(
    campaign: Campaign, dataset: Dataset, splits: Mapping[str, bytes]
) -> dict[str, GivenLogits]:
    """By participant's name, the logits that it is given by.

    Args:
        campaign: The campaign.
        dataset: Its images.
        splits: From :func:`kdopt.service.planner.draw_splits`.

    Raises:
        DataError: A file cannot be read, or is not of these images and classes, or lacks some.
    """
    given = [row for row in campaign.participant if row.logits is not None]
    if not given:
        return {}
    parsed = parse_all_splits(campaign, dataset, splits)
    needed = find_transfer_positions(campaign, parsed)
    found = {row.name: read_logits(row, dataset, needed) for row in given}
    if "tune" in campaign.stages and campaign.tune.sampler == "warm":
        for name, logits in found.items():
            for each in parsed:
                lacking = _count_lacking(logits.train[each.validation])
                if lacking:
                    raise DataError(
                        f"participant '{name}': its logits lack {lacking:,} of the "
                        f"{len(each.validation):,} validation images, and sampler 'warm' goes by "
                        "how good a teacher is; add their rows ('kdopt images' lists them), or "
                        "use another sampler"
                    )
    return found


def describe_given_logits(
    campaign: Campaign,
    dataset: Dataset,
    splits: Mapping[str, bytes],
    given: Mapping[str, GivenLogits],
) -> Iterator[str]:
    """What is odd about logits, a line each: unknown accuracies, and answers no better than chance.

    Args:
        campaign: The campaign.
        dataset: Its images.
        splits: From :func:`kdopt.service.planner.draw_splits`.
        given: From :func:`read_given_logits`.
    """
    if not given:
        return
    parsed = parse_all_splits(campaign, dataset, splits)
    needed = find_transfer_positions(campaign, parsed)
    validation = np.unique(np.concatenate([each.validation for each in parsed]))
    for name, logits in given.items():
        for what, rows in (("validation", logits.train[validation]), ("test", logits.test)):
            if lacking := _count_lacking(rows):
                yield (
                    f"participant '{name}': its logits lack {lacking:,} of the {len(rows):,} "
                    f"{what} images, so its accuracy on {what} is not known; 'kdopt images' lists "
                    "them"
                )
        known = needed[dataset.train_labels[needed] >= 0]  # public images have no label
        right = float((logits.train[known].argmax(axis=1) == dataset.train_labels[known]).mean())
        chance = 1 / dataset.n_classes
        # Three standard deviations of a teacher that guesses.
        if right <= chance + 3 * np.sqrt(chance * (1 - chance) / len(known)):
            yield (
                f"participant '{name}': its logits are right on {100 * right:.1f} % of the "
                f"{len(known):,} images that it teaches, no better than chance "
                f"({100 * chance:.0f} %): are rows and keys in the same order, and its classes in "
                "that of the data set? Else list its classes"
            )


def _count_lacking(rows: NDArray[np.float32]) -> int:
    return int(np.isnan(rows[:, 0]).sum())
