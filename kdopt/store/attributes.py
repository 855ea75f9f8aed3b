"""What kdopt keeps in Optuna's attribute tables: every key, and how values are read and written.

Values are JSON. Stores live for years, so a key never changes, whatever the code calls its value.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal, NamedTuple, cast

import sqlalchemy as sa
from annotated_types import Interval
from sqlalchemy.engine import Connection

from kdopt.campaign.names import campaign_study_name
from kdopt.campaign.record import Sha256
from kdopt.errors import StoreError
from kdopt.outcome import Outcome
from kdopt.store.database import Store
from kdopt.store.reading import UnreadableError, parse_json, parse_plain
from kdopt.store.statements import execute_many

# Of the campaign's own study, which has no trials.
RECORD_KEY = "kd:record"
"""The :class:`kdopt.campaign.record.CampaignRecord`."""
MEASUREMENTS_KEY = "kd:facts"
"""What was measured of the partitions (``kdopt.features``); an older word, which stores have."""
VERSIONS_KEY = "kd:versions"
"""The versions that computed it (:mod:`kdopt.worker.versions`), in the order in which they came."""

# Of every other study.
PLANNED_AS_KEY = "kd:planned_as"
"""Hash of the campaign's record when it was first planned, also of the campaign's own study."""
CAMPAIGN_KEY = "kd:campaign"
PARTITION_KEY = "kd:partition"
STAGE_KEY = "kd:stage"
TEACHER_KEY = "kd:teacher"
STUDENT_KEY = "kd:student"
VERDICT_KEY = "kd:verdict"
"""Of a pair's studies: its verdict in a few words, for people who browse the store."""
FIXED_PARAMS_KEY = "fixed_params"
"""System attribute of Optuna: a trial that ``enqueue_trial`` added has it."""
METRIC_NAMES_KEY = "study:metric_names"
"""System attribute of Optuna: what the values are called in the dashboard."""

# Of trials.
OUTCOME_KEY = "kd:metrics"
"""The whole :class:`kdopt.outcome.Outcome` of a complete trial."""
ERROR_KEY = "kd:error"
"""Why a trial failed."""
STATE_KEY = "kd:state"
"""The last :class:`SavedState` of a trial that takes long, while it is not over."""
GIVEN_BACK_KEY = "kd:given_back"
"""How often a trial that is to do was given back unfinished (:mod:`kdopt.store.given_back`)."""
RETRIED_KEY = "kd:retried"
"""Of a failed trial: the id of the row that tries its parameters again."""
RETRY_OF_KEY = "kd:retry_of"
"""Of that row: the id of the failed trial."""
KEPT_KEY = "kd:kept"
"""Of the trial whose student is the best of its pair so far: :class:`kdopt.store.kept.Kept`."""
IGNORED_KEY = "kd:ignored"
"""Of a trial that another program ended or added: why it is none of the campaign's."""
OTHER_WEIGHTS_KEY = "kd:other_weights"
"""Of a merged trial that rests on other pre-trained weights than those of its store."""


AttributeTable = Literal[
    "study_user_attributes", "study_system_attributes", "trial_user_attributes"
]


def write_attributes(
    connection: Connection,
    table: AttributeTable,
    values: Mapping[int, Mapping[str, object]],
    encode: Callable[[object], str] = json.dumps,
) -> None:
    """Write attributes by study or trial, in place of those that have the same keys.

    Args:
        connection: A transaction that writes.
        table: Of what they are attributes.
        values: By the id of the study or trial, its values by key.
        encode: Makes JSON of a value.
    """
    owner = f"{table.partition('_')[0]}_id"
    execute_many(
        connection,
        f"INSERT INTO {table} ({owner}, key, value_json) VALUES (:owner, :key, :value) "
        f"ON CONFLICT ({owner}, key) DO UPDATE SET value_json = excluded.value_json",
        [
            {"owner": owner_id, "key": key, "value": encode(value)}
            for owner_id, attributes in values.items()
            for key, value in attributes.items()
        ],
    )


def write_trial_attributes(
    connection: Connection, trial_id: int, values: Mapping[str, object]
) -> None:
    """Write user attributes of one trial."""
    write_attributes(connection, "trial_user_attributes", {trial_id: values})


def list_shown_values(outcome: Outcome) -> dict[str, object]:
    """What the dashboard shows of a result, a column each; ``None`` is not written."""
    return {
        "test_gain": outcome.test_gain,
        "test_accuracy": None if outcome.test.images == 0 else outcome.test.accuracy,
        "batch_norm": outcome.batch_norm,
        "seconds": round(outcome.seconds, 3),
    }


def read_campaign_attribute(store: Store, campaign: str, key: str) -> Any:
    """The value of a campaign's key, as JSON has it; ``None`` where nobody wrote any."""
    return store.run_read(lambda connection: select_campaign_attribute(connection, campaign, key))


def select_campaign_attribute(connection: Connection, campaign: str, key: str) -> Any:
    """The value as this transaction sees it.

    Raises:
        StoreError: It cannot be read.
    """
    sql = sa.text(
        "SELECT a.value_json FROM study_user_attributes a "
        "JOIN studies s ON s.study_id = a.study_id WHERE s.study_name = :name AND a.key = :key"
    )
    found = connection.execute(sql, {"name": campaign_study_name(campaign), "key": key}).scalar()
    try:
        return None if found is None else parse_json(found)
    except UnreadableError as error:
        raise StoreError(
            f"{campaign_study_name(campaign)}: {key}: {error}; remove this attribute in the "
            "dashboard, or take a backup of the store"
        ) from error


def update_campaign_attribute(
    store: Store, campaign: str, key: str, change: Callable[[Any], object]
) -> None:
    """Replace the value of a campaign's key by what ``change`` makes of it (``None`` at first).

    Raises:
        StoreError: There is no such campaign.
    """

    def write(connection: Connection) -> None:
        # Hold the row of the study, so that two writers cannot lose each other's changes.
        study_id = connection.execute(
            sa.text(f"SELECT study_id FROM studies WHERE study_name = :name {store.row_lock}"),
            {"name": campaign_study_name(campaign)},
        ).scalar()
        if study_id is None:
            raise StoreError(
                f"store {store.label}: no campaign '{campaign}', or its study "
                f"'{campaign_study_name(campaign)}' was deleted; run 'kdopt plan SPEC'"
            )
        value = change(select_campaign_attribute(connection, campaign, key))
        write_attributes(connection, "study_user_attributes", {study_id: {key: value}})

    store.run_write(write)


class SavedState(NamedTuple):
    """Where a long trial can be resumed.

    Attributes:
        step: How far it is.
        sha256: The artifact that holds the state.
        attempt: The run that saved it.
    """

    step: Annotated[int, Interval(ge=0)]
    sha256: Sha256
    attempt: int


def read_saved_state(connection: Connection, trial_id: int) -> SavedState | None:
    """The last state of a trial, if it saved any that can be read; without one it starts anew."""
    text = connection.execute(
        sa.text(
            "SELECT value_json FROM trial_user_attributes WHERE trial_id = :trial AND key = :key"
        ),
        {"trial": trial_id, "key": STATE_KEY},
    ).scalar()
    return parse_saved_state(text)


def parse_saved_state(text: object) -> SavedState | None:
    """A trial's state, of the JSON that its row has; ``None`` for what is none."""
    try:
        return None if text is None else cast("SavedState", parse_plain(SavedState, text))
    except UnreadableError:
        return None


def write_saved_state(connection: Connection, trial_id: int, state: SavedState) -> None:
    """Replace a trial's state."""
    write_trial_attributes(connection, trial_id, {STATE_KEY: state._asdict()})


def drop_saved_states(connection: Connection, trials: Sequence[int]) -> None:
    """Forget the states of trials; their artifacts are the caller's to remove."""
    execute_many(
        connection,
        f"DELETE FROM trial_user_attributes WHERE trial_id = :trial AND key = '{STATE_KEY}'",
        [{"trial": trial_id} for trial_id in trials],
    )


def drop_notes_of_runs(connection: Connection, trial_id: int) -> None:
    """Forget the state of a trial that ended, and how often it was given back before."""
    connection.execute(
        sa.text(
            "DELETE FROM trial_user_attributes "
            f"WHERE trial_id = :trial AND key IN ('{STATE_KEY}', '{GIVEN_BACK_KEY}')"
        ),
        {"trial": trial_id},
    )
