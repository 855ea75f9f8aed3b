"""The sets of images that trials of a campaign train and are judged on."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from kdopt.campaign.names import seed_for
from kdopt.campaign.record import CampaignRecord
from kdopt.campaign.stage_settings import TransferName
from kdopt.data.datasets import Dataset
from kdopt.data.given_logits import GivenLogits, parse_logits
from kdopt.data.splits import Splits, parse_splits
from kdopt.errors import ArtifactError
from kdopt.outcome import Scores, make_unknown_scores
from kdopt.shown import format_count
from kdopt.train.augment import make_views
from kdopt.train.engine import Engine, Images
from kdopt.train.evaluation import score_logits
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
        self._given = Cache[str, GivenLogits](CACHED_SHARES)

    @property
    def n_classes(self) -> int:
        """Number of classes."""
        return self._dataset.n_classes

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
            positions = self._find_validation(partition, participant)
            return self._train.take(self._move_positions(positions))

        return self._validation.get((partition, participant), select)

    def _find_validation(self, partition: str, participant: int | None) -> np.ndarray:
        splits = self.get_splits(partition)
        if participant is None or self.campaign.data.validation == "global":
            return splits.validation
        # One without images of its own is judged on those of all.
        own = splits.local_validation[participant]
        return own if len(own) else splits.validation

    def get_share(self, partition: str, participant: int) -> Images:
        """The training images of one participant, in all views that are trained on."""

        def select() -> Images:
            positions = self.get_splits(partition).train[participant]
            return self._augment_images(
                self._train.take(self._move_positions(positions)), partition, participant
            )

        return self._shares.get((partition, participant), select)

    def get_transfer_set(self, partition: str, student: int, name: TransferName) -> Images:
        """The images on which a student is distilled: its own, or a public set."""
        if name == "student":
            return self.get_share(partition, student)
        # By name alone: public sets are taken out before the rest is partitioned, so that all
        # partitions and students have the same.
        if name not in self._public:
            positions = self._find_transfer_set(partition, student, name)
            images = self._train.take(self._move_positions(positions))
            self._public[name] = self._augment_images(images, name)
        return self._public[name]

    def _find_transfer_set(self, partition: str, student: int, name: TransferName) -> np.ndarray:
        if name == "student":
            return self.get_splits(partition).train[student]
        some = self.campaign.partitions[0].name
        return self.get_splits(some).public[: self.campaign.transfer.size(name)]

    def look_up_logits(
        self, sha256: str, partition: str, student: int, name: TransferName
    ) -> Tensor:
        """The logits that a participant was given by, of a transfer set: float32, (n, classes).

        Raises:
            ArtifactError: They lack some of these images.
        """
        positions = self._find_transfer_set(partition, student, name)
        logits = self._read_given(sha256).train[positions]
        if lacking := int(np.isnan(logits[:, 0]).sum()):
            raise ArtifactError(
                f"the logits {sha256[:12]}... lack {lacking} of the "
                f"{format_count(len(positions), 'image')} of '{name}'; plan the campaign again "
                "with logits of all images"
            )
        return torch.from_numpy(logits).to(self.engine.device)

    def score_given_logits(
        self, sha256: str, partition: str, participant: int
    ) -> tuple[Scores, Scores]:
        """A participant that is given by its logits, on validation and on test.

        Nothing is said of a set that they do not cover: on a part of it, an accuracy could not be
        compared with that of any other.
        """
        given, classes = self._read_given(sha256), self._dataset.n_classes
        positions = self._find_validation(partition, participant)
        sets = (
            (given.train[positions], self._dataset.train_labels[positions]),
            (given.test, self._dataset.test_labels),
        )
        on_validation, on_test = (
            make_unknown_scores(classes)
            if np.isnan(rows).any()
            else score_logits(torch.from_numpy(rows), torch.from_numpy(labels), classes)
            for rows, labels in sets
        )
        return on_validation, on_test

    def _read_given(self, sha256: str) -> GivenLogits:
        return self._given.get(
            sha256,
            lambda: self._artifacts.read(
                sha256, "logits of a participant", lambda c: parse_logits(c, self._dataset)
            ),
        )

    def _augment_images(self, images: Images, *owner: str | int) -> Images:
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
