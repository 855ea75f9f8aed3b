"""What a store holds, read and checked: a text becomes a value, or an error that says where it is.

Any program may write into Optuna's tables, so nothing in them is taken for what kdopt wrote. All
that reads the store comes through here. Keys of newer versions are passed over.
"""

from __future__ import annotations

import functools
from typing import Any

from kdopt.campaign.plain import PlainValueError, describe_value, load_json, read_plain
from kdopt.campaign.record import CampaignRecord
from kdopt.campaign.stages import check_size
from kdopt.errors import KdoptError, StoreError
from kdopt.outcome import Outcome

REPAIR = "'kdopt doctor' lists all that is broken, and 'kdopt doctor --repair' queues such trials"
"""What to do about a trial that cannot be read."""


class UnreadableError(ValueError):
    """A value of the store is none that kdopt writes; the text says why, not where."""


def refuse_trial(
    study: str, number: object, key: str, reason: object, fix: str = REPAIR
) -> StoreError:
    """The error that says of which trial what cannot be read."""
    return StoreError(f"{study} #{number}: {key}: {reason}; {fix} again")


def parse_json(text: object) -> Any:
    """The value of a JSON text.

    Raises:
        UnreadableError: It is no text, or no JSON, or not UTF-8, or nested too deep.
    """
    text = _check_text(text)
    try:
        return load_json(text)
    except ValueError as error:
        raise UnreadableError(f"not JSON: {error}, in {describe_value(text)}") from error


def parse_plain(kind: Any, text: object) -> Any:
    """The value of a JSON text, of a type that :func:`kdopt.campaign.plain.read_plain` knows.

    Raises:
        UnreadableError: It is no such value.
    """
    try:
        return read_plain(kind, parse_json(text))
    except (PlainValueError, RecursionError) as error:
        raise UnreadableError(str(error)) from error


@functools.lru_cache(maxsize=16)
def parse_record(text: str) -> CampaignRecord:
    """A campaign's record.

    Raises:
        UnreadableError: It is none.
    """
    try:
        record = CampaignRecord.from_json(parse_json(text))
    except (PlainValueError, RecursionError) as error:
        raise UnreadableError(str(error)) from error
    names = [partition.name for partition in record.campaign.partitions]
    if not names or len(set(names)) != len(names) or set(names) - record.splits.keys():
        raise UnreadableError("partitions: each needs a name of its own and its splits")
    try:
        check_size(record.campaign)
    except KdoptError as error:
        raise UnreadableError(str(error)) from error
    return record


def parse_outcome(text: object) -> Outcome:
    """What a complete trial recorded.

    Raises:
        UnreadableError: It is no outcome.
    """
    try:
        return Outcome.from_text(_check_text(text))
    except PlainValueError as error:
        raise UnreadableError(str(error)) from error


def _check_text(text: object) -> str:
    """A text that may be JSON."""
    if not isinstance(text, str):
        raise UnreadableError(f"{describe_value(text)} is no JSON text")
    # Bytes that are not UTF-8 are read as this sign; JSON that Python writes has it escaped.
    if "\N{REPLACEMENT CHARACTER}" in text:
        raise UnreadableError(f"not UTF-8: {describe_value(text)}")
    return text


def parse_reason(text: object) -> str:
    """The reason of a failed trial; there always is one to show."""
    if text is None:
        return "no reason recorded"
    try:
        found = parse_json(text)
    except UnreadableError as error:
        return f"its reason cannot be read: {error}"
    return found if isinstance(found, str) else f"its reason is no text: {describe_value(found)}"
