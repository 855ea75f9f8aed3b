"""A campaign's status for machines: one JSON object.

=================  ===============================================================
``schema``         1; raised when a field is renamed, removed or changes its meaning
``time``           when it was read, UTC, ISO 8601
``campaign``       name
``trials``         planned trials; = ``complete`` + ``failed`` + ``left``
``blocked``        of ``left``, those that can never start
``done``           whether nothing can be done any more
``per_minute``     trials that end per minute of late
``eta_s``          seconds until all is done, or null; ``eta_unknown`` then says why
``stages``         list of ``StageStatus``
``partitions``     list of ``PartitionStatus``
``workers``        list of ``WorkerStatus``, those in trouble first
``failures``       list of ``FailureGroup``, the most frequent first
=================  ===============================================================

The fields of the four lists, with their meanings and units, are those of the classes in
``status_values``. Times that end in ``_s`` are in seconds.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from kdopt.service.status_values import Status

SCHEMA = 1
"""Version of what is written; fields may be added within one."""


def to_json(status: Status, time: datetime | None = None) -> dict[str, Any]:
    """Plain values for ``json.dumps``.

    Args:
        status: The status.
        time: When it was read; ``None`` for now.
    """
    time = time or datetime.now(UTC)
    return {
        "schema": SCHEMA,
        "time": time.isoformat(timespec="milliseconds"),
        "done": status.done,
        **asdict(status),
    }


def json_text(status: Status, indent: int | None = 2) -> str:
    """The whole status as one JSON object; on one line without ``indent``."""
    return json.dumps(to_json(status), indent=indent, ensure_ascii=True)
