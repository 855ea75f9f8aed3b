"""The sets of images that trials of a campaign train and are judged on."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from kdopt.campaign.names import seed_for
from kdopt.campaign.record import CampaignRecord
from kdopt.campaign.stage_settings import TransferName
from kdopt.data.datasets import Dataset
from kdopt.data.splits import Splits, parse_splits
from kdopt.train.augment import make_views
from kdopt.train.engine import Engine, Images
from kdopt.trials.cache import Cache
from kdopt.trials.interfaces import ArtifactFolder

CACHED_SHARES = 4


class ImageSets:
    """The images of one campaign in one worker process.

    Args:
        record: The campaign as the store keeps it.
        dataset: Its images.
        artifacts: Where the splits are kept.
        engine: The device that images are moved to.

    Attributes:
        test: The test images.
    """

    def __init__(
        self, record: CampaignRecord, dataset: Dataset, artifacts: ArtifactFolder, engine: Engine
    ) -> None:
        self.campaign = record.campaign
        self.engine = engine
        self._record = record
        self._dataset = dataset
        self._artifacts = artifacts
        self._train = self._move_images(dataset.train_images, dataset.train_labels)
        self.test = self._move_images(dataset.test_images, dataset.test_labels)
        self._splits: dict[str, Splits] = {}
        self._public: dict[TransferName, Images] = {}
        self._shares = Cache[tuple[str, int], Images](CACHED_SHARES)
        self._validation = Cache[tuple[str, int | None], Images](CACHED_SHARES)

    def get_splits(self, partition: str) -> Splits:
        """The index arrays of a partition, as they were planned."""
        if partition not in self._splits:
            self._splits[partition] = self._artifacts.read(
                self._record.splits[partition],
                f"splits of {partition}",
                lambda content: parse_splits(content, self.campaign, len(self._train)),
            )
        return self._splits[partition]

    def get_validation(self, partition: str, participant: int | None = None) -> Images:
        """The validation images on which a participant's model is judged.

        Args:
            partition: The partition.
            participant: Whose model; ``None`` for one of nobody, such as the global model.
        """
        if self.campaign.data.validation == "global":
            # One object for all: what is cached of it is cached once.
            partition, participant = self.campaign.partitions[0].name, None

        def select() -> Images:
            splits = self.get_splits(partition)
            if participant is None:
                positions = splits.validation
            else:
                # One without images of its own is judged on those of all.
                positions = splits.local_validation[participant]
                positions = positions if len(positions) else splits.validation
            return self._train.take(self._move_positions(positions))

        return self._validation.get((partition, participant), select)

    def get_share(self, partition: str, participant: int) -> Images:
        """The training images of one participant, in all views that are trained on."""

        def select() -> Images:
            positions = self.get_splits(partition).train[participant]
            return self._augment(
                self._train.take(self._move_positions(positions)), partition, participant
            )

        return self._shares.get((partition, participant), select)

    def get_transfer_set(self, partition: str, student: int, name: TransferName) -> Images:
        """The images on which a student is distilled: its own, or a public set."""
        if name == "student":
            return self.get_share(partition, student)
        if name not in self._public:
            some = self.campaign.partitions[0].name
            positions = self.get_splits(some).public[: self.campaign.transfer.size(name)]
            images = self._train.take(self._move_positions(positions))
            self._public[name] = self._augment(images, name)
        return self._public[name]

    def _augment(self, images: Images, *owner: str | int) -> Images:
        data = self.campaign.data
        if not data.augment:
            return images
        seed = seed_for(self.campaign.seed, *owner, "views")
        return make_views(images, data.augment, data.views, seed)

    def count_labels(self, partition: str, participant: int) -> list[int]:
        """How many images of each class a participant has, in class order."""
        share = self.get_share(partition, participant)
        labels = share.labels[: len(share)]
        counts: list[int] = torch.bincount(labels, minlength=self._dataset.n_classes).tolist()
        return counts

    def _move_images(self, pixels: np.ndarray, labels: np.ndarray) -> Images:
        there, targets = (torch.from_numpy(a).to(self.engine.device) for a in (pixels, labels))
        return Images(there, targets, self._dataset.mean, self._dataset.std)

    def _move_positions(self, positions: np.ndarray) -> Tensor:
        return torch.from_numpy(positions).to(self.engine.device)
