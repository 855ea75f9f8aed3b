from __future__ import annotations

import dataclasses
import json
from datetime import UTC, datetime

from kdopt.service import status_values
from kdopt.service.status_values import (
    STATUS_SCHEMA,
    FailureGroup,
    PartitionStatus,
    StageStatus,
    WorkerStatus,
    format_json,
    list_json_values,
)
from tests.service.synthetic_status import make_status


def documented():
    """The fields of the table in the module's docstring."""
    rows = status_values.__doc__.split("=\n")[1].splitlines()
    return {word for row in rows for word in row.split("  ")[:1] if word.startswith("``")}


def test_every_field_is_documented_and_the_other_way_round():
    fields = {f"``{name}``" for name in list_json_values(make_status())}
    told = {part.strip("; ") for text in documented() for part in text.split(" ")}
    assert fields - told == {"``complete``", "``failed``", "``left``", "``eta_unknown``"}
    for name in fields:
        assert name in status_values.__doc__
    assert told <= fields


def test_lists_have_the_fields_of_their_classes():
    values = list_json_values(make_status())
    for key, kind in (
        ("stages", StageStatus),
        ("partitions", PartitionStatus),
        ("workers", WorkerStatus),
        ("failures", FailureGroup),
    ):
        names = {field.name for field in dataclasses.fields(kind)}
        assert values[key], key
        assert all(set(line) == names for line in values[key])
        for name in names:
            assert f"    {name}: " in kind.__doc__, (kind, name)


def test_the_text_is_the_values_on_as_many_lines_as_asked_for():
    status, time = make_status(), datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    line = format_json(status, indent=None)
    assert "\n" not in line
    assert line.isascii()
    read = json.loads(line)
    assert read.pop("time") <= datetime.now(UTC).isoformat()
    expected = json.loads(json.dumps(list_json_values(status, time)))
    assert expected.pop("time") == "2026-01-02T03:04:05.000+00:00"
    assert read == expected
    assert read["schema"] == STATUS_SCHEMA
    assert json.loads(format_json(status))["campaign"] == status.campaign
