"""What was measured once of a partition, so that its pairs can be described without its images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from kdopt.features.definitions import Views

Matrix = tuple[tuple[float | None, ...], ...]
"""By teacher, then by student; ``None`` where a model was not there, and on the diagonal."""


@dataclass(frozen=True)
class PartitionFacts:
    """Facts of one partition of a campaign.

    Attributes:
        label_counts: Images of each class by participant, (participants, classes).
        checkpoints: By participant, the sha256 of the pre-trained weights that were asked.
        disagreement: By transfer set, the share of its images that teacher and student classify
            differently, in [0, 1].
        teacher_entropy: By transfer set, the teacher's mean entropy on it, in [0, 1]. See
            :class:`kdopt.features.definitions.Views`.
    """

    label_counts: tuple[tuple[int, ...], ...]
    checkpoints: tuple[str | None, ...] = ()
    disagreement: Mapping[str, Matrix] = field(default_factory=dict)
    teacher_entropy: Mapping[str, Matrix] = field(default_factory=dict)

    def counts(self, participant: int) -> tuple[int, ...]:
        """Images of each class that a participant was trained on."""
        return self.label_counts[participant]

    def views(self, transfer_set: str, teacher: int, student: int) -> Views | None:
        """What a pair says about a transfer set; ``None`` where nobody asked."""
        if transfer_set not in self.disagreement or transfer_set not in self.teacher_entropy:
            return None
        disagreement = self.disagreement[transfer_set][teacher][student]
        entropy = self.teacher_entropy[transfer_set][teacher][student]
        return None if disagreement is None or entropy is None else Views(disagreement, entropy)

    def to_json(self) -> dict[str, Any]:
        """Plain values for ``json.dumps``; :meth:`from_json` reads them back."""
        return asdict(self)

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> PartitionFacts:
        """Read what :meth:`to_json` wrote."""
        return cls(
            label_counts=tuple(tuple(row) for row in record["label_counts"]),
            checkpoints=tuple(record["checkpoints"]),
            disagreement={k: _matrix(m) for k, m in record["disagreement"].items()},
            teacher_entropy={k: _matrix(m) for k, m in record["teacher_entropy"].items()},
        )


def _matrix(rows: list[list[float | None]]) -> Matrix:
    return tuple(tuple(row) for row in rows)
