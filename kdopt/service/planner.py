"""From a campaign file to planned trials: load the images, draw the splits, fill the store."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray

from kdopt.campaign.compatibility import check_same_meaning
from kdopt.campaign.data_settings import CROP_FLIP
from kdopt.campaign.record import CampaignRecord
from kdopt.campaign.settings import OWN_MODELS, Campaign
from kdopt.campaign.shapes import find_misfit
from kdopt.campaign.spec import Spec
from kdopt.campaign.stages import plan_studies
from kdopt.data.datasets import Dataset
from kdopt.data.given_logits import GivenLogits, find_transfer_positions, read_logits
from kdopt.data.splits import Splits, make_splits, pack_splits, parse_splits
from kdopt.errors import DataError, KdoptError
from kdopt.plugins.code import find_code, get_code
from kdopt.search.prior import Prior
from kdopt.search.warm_start import choose_prior, freeze_prior
from kdopt.shown import format_count
from kdopt.store.artifacts import Artifacts, hash_content
from kdopt.store.database import Store
from kdopt.store.foreign import take_back_trials
from kdopt.store.planning import Planned, write_plan
from kdopt.store.queries import list_campaigns, read_record


def draw_splits(campaign: Campaign, dataset: Dataset) -> dict[str, bytes]:
    """The index arrays of every partition, as the content of an artifact each.

    Raises:
        PartitionError: A partition cannot be drawn from these images.
    """
    return {
        partition.name: safetensors.numpy.save(
            pack_splits(
                make_splits(
                    campaign,
                    partition.name,
                    dataset.train_labels,
                    dataset.n_classes,
                    dataset.owned,
                    dataset.given,
                )
            )
        )
        for partition in campaign.partitions
    }


def read_given_weights(campaign: Campaign, dataset: Dataset) -> dict[str, bytes]:
    """By participant's name, the checkpoint made of the weights that it brings along.

    Raises:
        KdoptError: A file cannot be read, or holds other weights than those of the model.
    """
    given = {
        row.name: (number, row.weights)
        for number, row in enumerate(campaign.participant)
        if row.weights is not None
    }
    if not given:
        return {}
    # Slow to import, and not needed for models that are trained here.
    from kdopt.train.weights import read_weights

    return {
        name: read_weights(name, path, campaign.get_architecture(number), dataset)
        for name, (number, path) in given.items()
    }


def plan_campaign(
    spec: Spec,
    dataset: Dataset,
    splits: Mapping[str, bytes],
    store: Store,
    artifacts: Artifacts,
    weights: Mapping[str, bytes] | None = None,
) -> Planned:
    """Write a campaign into the store; doing it again adds nothing.

    Args:
        spec: The campaign.
        dataset: Its images.
        splits: From :func:`draw_splits`.
        store: The store.
        artifacts: Its artifacts.
        weights: From :func:`read_given_weights`; and the logits of participants without a model,
            see :func:`kdopt.data.given_logits.pack_logits`.

    Raises:
        KdoptError: See :func:`check_plan`; nothing was written then.
    """
    check_plan(spec, dataset, splits, store, weights)
    # The splits are stored before any trial exists: if planning is cut off in between, no worker
    # finds a trial without them.
    prior = freeze_prior(spec.campaign, store, artifacts)
    kept = {name: artifacts.put(content) for name, content in splits.items()}
    given = {name: artifacts.put(content) for name, content in (weights or {}).items()}
    record = CampaignRecord(
        spec.campaign,
        spec.settings,
        dataset.sha256(),
        kept,
        prior,
        given,
        dataset.class_names,
        find_code(spec.campaign),
    )
    if spec.campaign.name in list_campaigns(store):
        # Or their places would seem to be taken.
        take_back_trials(store, spec.campaign.name, plan_studies)
    return write_plan(store, record, plan_studies)


def check_plan(
    spec: Spec,
    dataset: Dataset,
    splits: Mapping[str, bytes],
    store: Store | None,
    weights: Mapping[str, bytes] | None = None,
) -> None:
    """Refuse a campaign that cannot be planned, before anything of it is written.

    Args:
        spec: The campaign.
        dataset: Its images.
        splits: Its partitions, see :func:`draw_splits`.
        store: Where it will be planned; ``None`` where there is no store yet.
        weights: What participants bring along, see :func:`plan_campaign`.

    Raises:
        KdoptError: It learns from campaigns that the store has not, or the store has another
            campaign of that name.
    """
    name = spec.campaign.name
    chosen = choose_prior(spec.campaign, store)
    if store is None or name not in list_campaigns(store):
        return
    prior = hash_content(chosen.to_bytes()) if isinstance(chosen, Prior) else chosen
    kept, given = (
        {key: hash_content(content) for key, content in contents.items()}
        for contents in (splits, weights or {})
    )
    code = find_code(spec.campaign)
    record = CampaignRecord(
        *(spec.campaign, spec.settings, dataset.sha256(), kept, prior, given), code=code
    )
    check_same_meaning(read_record(store, name), record)


def check_training(campaign: Campaign, dataset: Dataset) -> None:
    """Refuse what could only fail in every trial: models, transforms and methods of plugins.

    Kdopt's own models take any input of their kind, and ``crop_flip`` any image. Where there is
    nothing else to try, torch is not imported.

    Raises:
        KdoptError: A model is for another kind of input, a method trains the teacher along and a
            teacher has no model, or see :mod:`kdopt.train.rehearsal`.
    """
    for architecture in campaign.architectures:
        if (misfit := find_misfit(architecture.model, dataset.shape)) is not None:
            raise KdoptError(misfit)
    doubtful = [k for k in campaign.architectures if k.model not in OWN_MODELS or not k.is_plain]
    transforms = set(campaign.data.augment) - {CROP_FLIP}
    methods = {m: get_code("method", m.name) for m in campaign.tune.plugin_methods}
    by_logits = [row.name for row in campaign.participant if row.logits is not None]
    for method, code in methods.items():
        if code is not None and code.trains_both and by_logits:
            raise KdoptError(
                f"tune.methods: {method.name} trains the teacher along; participant "
                f"'{by_logits[0]}' is given by logits, so leave {method.name} out, or give it "
                "weights"
            )
    if not doubtful and not transforms and not any(methods.values()):
        return
    from kdopt.train.rehearsal import rehearse_augmentation, rehearse_method, rehearse_model

    for kind in doubtful:
        rehearse_model(kind, dataset.shape, dataset.class_names, dataset.mean, dataset.std)
    if transforms:
        rehearse_augmentation(campaign.data.augment, dataset.train_images)
    for method, code in methods.items():
        if code is not None:
            rehearse_method(method, dataset.n_classes)


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
                        f"{format_count(len(each.validation), 'validation image')}, and sampler "
                        "'warm' goes by how good a teacher is; add their rows ('kdopt images' "
                        "lists them), or use another sampler"
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
                f"{format_count(len(known), 'image')} that it teaches, no better than chance "
                f"({100 * chance:.0f} %): are rows and keys in the same order, and its classes in "
                "that of the data set? Else list its classes"
            )


def _count_lacking(rows: NDArray[np.float32]) -> int:
    return int(np.isnan(rows[:, 0]).sum())
