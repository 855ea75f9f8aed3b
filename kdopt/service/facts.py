"""Measure what describes the pairs of a campaign, once, and keep it in the store."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from kdopt.errors import DataError
from kdopt.facts import PartitionFacts
from kdopt.outcome import Outcome
from kdopt.service.planner import load_dataset
from kdopt.store.artifacts import Artifacts
from kdopt.store.facts import read_facts, write_facts
from kdopt.store.open import Store
from kdopt.store.rows import read_record, read_states, read_trials

if TYPE_CHECKING:
    from kdopt.train.engine import Engine


def measure_facts(store: Store, artifacts: Artifacts, campaign: str, engine: Engine) -> list[str]:
    """Measure the partitions whose pre-trained models were not all asked yet.

    Returns:
        The partitions that were measured; those without a pre-trained model are left alone.

    Raises:
        KdoptError: The images are others than planned, or an artifact is missing or altered.
    """
    record = read_record(store, campaign)
    known = read_facts(store, campaign)
    trained = _pretrained(store, campaign)
    stale = [name for name in record.splits if _wants(known.get(name), trained.get(name, {}))]
    if not stale:
        return []
    dataset = load_dataset(record.campaign)
    if dataset.sha256() != record.data_sha256:
        raise DataError(
            f"data set '{record.campaign.data.name}': these images are not those that the "
            "campaign was planned with (their sha256 differs); bring the same files here"
        )
    # Imported late: that there is nothing to measure is known without torch.
    from kdopt.stages.context import Context
    from kdopt.stages.facts import measure

    context = Context(record, dataset, artifacts, engine)
    for name in stale:
        # Written one by one: what is measured stays when a later partition lacks an artifact.
        write_facts(store, campaign, {name: measure(context, name, trained[name])})
    return stale


def unmeasured(store: Store, campaign: str) -> list[str]:
    """The partitions that :func:`measure_facts` would measure now."""
    known, trained = read_facts(store, campaign), _pretrained(store, campaign)
    names: Iterable[str] = read_record(store, campaign).splits
    return [name for name in names if _wants(known.get(name), trained.get(name, {}))]


def _wants(known: PartitionFacts | None, trained: dict[int, Outcome]) -> bool:
    if known is None:
        return bool(trained)
    asked = known.checkpoints
    return any(i >= len(asked) or asked[i] != o.checkpoint for i, o in trained.items())


def _pretrained(store: Store, campaign: str) -> dict[str, dict[int, Outcome]]:
    found: dict[str, dict[int, Outcome]] = {}
    for state in read_states(store, campaign):
        if state.name.stage == "pretrain":
            for row in read_trials(store, campaign, state.study_id):
                if row.state == "COMPLETE" and row.outcome is not None:
                    outcomes = found.setdefault(row.partition, {})
                    outcomes[int(row.cell["participant"])] = row.outcome
    return found
