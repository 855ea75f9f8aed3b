"""Measure what describes the pairs of a campaign, once, and keep it in the store."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from kdopt.data.datasets import load_planned_dataset
from kdopt.features.facts_store import read_facts, write_facts
from kdopt.features.partition_facts import PartitionFacts
from kdopt.outcome import Outcome
from kdopt.store.artifacts.artifacts import Artifacts
from kdopt.store.database import Store
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
    dataset = load_planned_dataset(record)
    # Imported late: that there is nothing to measure is known without torch.
    from kdopt.features.measuring import measure
    from kdopt.trials.context import Context

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
                    outcomes[int(row.params["participant"])] = row.outcome
    return found
