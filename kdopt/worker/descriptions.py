"""What a worker's log says of a result."""

from __future__ import annotations

from kdopt.campaign.names import StageName
from kdopt.durations import precise_duration
from kdopt.outcome import Outcome
from kdopt.store.leases import Lease


def describe_result(stage: StageName, claim: Lease, outcome: Outcome) -> str:
    """A result as the worker's log has it."""
    params = ", ".join(
        f"{k} {v:g}" if isinstance(v, float) else f"{k} {v}" for k, v in claim.params.items()
    )
    if outcome.validation.images == 0:
        result = "validation accuracy not known"
    elif stage not in ("tune", "compare") or outcome.validation_gain is None:
        result = f"validation accuracy {100 * outcome.validation.accuracy:.1f} %"
    else:
        result = f"gain {outcome.validation_gain:+.2f} pp on validation"
    source = f", taken from {outcome.taken_from}" if outcome.taken_from else ""
    took = precise_duration(outcome.seconds)
    epochs = f"{outcome.epochs} epoch{'' if outcome.epochs == 1 else 's'}"
    return f"{params}: {result}, {epochs}, {took}{source}"
