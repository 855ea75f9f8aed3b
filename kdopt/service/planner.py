"""From a campaign file to planned trials: load the images, draw the splits, fill the store."""

from __future__ import annotations

import safetensors.numpy

from kdopt.data.datasets import Dataset, load
from kdopt.data.splits import make_splits
from kdopt.names import seed_for
from kdopt.plan import OWN_MODELS, Campaign, CampaignRecord
from kdopt.spec import Spec
from kdopt.stages.registry import all_studies
from kdopt.store.artifacts import Artifacts
from kdopt.store.open import Store
from kdopt.store.planning import Planned, write_plan


def plan_campaign(spec: Spec, dataset: Dataset, store: Store, artifacts: Artifacts) -> Planned:
    """Write a campaign into the store; doing it again adds nothing.

    The order matters: the splits are files before any trial exists, so a plan that is cut off
    leaves nothing that a worker could pick up half.
    """
    campaign = spec.campaign
    splits = {
        partition.name: artifacts.put(
            safetensors.numpy.save(
                make_splits(
                    campaign, partition.name, dataset.train_labels, dataset.n_classes
                ).to_arrays()
            )
        )
        for partition in campaign.partitions
    }
    record = CampaignRecord(campaign, spec.settings, dataset.sha256(), splits)
    return write_plan(store, record, all_studies(campaign))


def load_dataset(campaign: Campaign) -> Dataset:
    """The campaign's images: the whole set, or the sizes drawn that the spec asks for."""
    return load(campaign.data, seed_for(campaign.seed, "data"))


def check_model(campaign: Campaign, dataset: Dataset) -> None:
    """Refuse a model that does not exist or cannot take these images, before anything is planned.

    Kdopt's own models take any image, and checking them would import torch for nothing.

    Raises:
        KdoptError: See :func:`kdopt.train.models.make_model`.
    """
    if campaign.model not in OWN_MODELS:
        from kdopt.train.models import make_model

        make_model(campaign.model, dataset.shape, dataset.n_classes)
