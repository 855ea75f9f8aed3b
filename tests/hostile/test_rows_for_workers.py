"""What a stranger wrote into the rows of pre-training stops a worker, and fails no trial."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from kdopt.errors import ArtifactError, KdoptError, StoreError

NAN = float("nan")


def at(path, value):
    """A change of one place of a record."""

    def change(record):
        *keys, last = path.split(".")
        for key in keys:
            record = record[key]
        record[last] = value

    return change


WRONG = {
    "a number for a checkpoint": at("checkpoint", 3),
    "a list for a checkpoint": at("checkpoint", ["x"]),
    "a path for a checkpoint": at("checkpoint", "../../etc/passwd"),
    "an empty checkpoint": at("checkpoint", ""),
    "no checkpoint": at("checkpoint", None),
    "a checkpoint that is not there": at("checkpoint", "0" * 64),
    "a text for an accuracy": at("validation.accuracy", "0.5"),
    "NaN for an accuracy": at("validation.accuracy", NAN),
    "an accuracy of 500": at("test.accuracy", 500.0),
    "texts for accuracies of classes": at("validation.per_class", ["a"] * 10),
    "a number for accuracies of classes": at("test.per_class", 3),
    "too few classes": at("test.per_class", [0.5]),
    "no accuracies of classes": at("validation.per_class", []),
    "no scores": at("validation", None),
    "a list for scores": at("test", [1, 2]),
    "a text for a loss": at("validation.loss", "low"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_worker_stops_at_a_row_that_kdopt_cannot_have_written(world, case):
    before = dict(world.states)
    for trial_id in world.list_complete():
        world.change_outcome(trial_id, WRONG[case])
    with pytest.raises(KdoptError) as found:
        world.run()
    assert isinstance(found.value, StoreError | ArtifactError), found.value
    assert len(str(found.value)) < 2000
    states = world.store.select_rows("SELECT state, count(*) FROM trials GROUP BY state")
    assert dict(states) == before


def set_param(name, value, distribution=None):
    """SQL that changes a parameter of all trials that wait."""
    sql = f"UPDATE trial_params SET param_value = {value} " if value is not None else ""
    if distribution is not None:
        sql += f", distribution_json = '{distribution}' "
    return f"{sql}WHERE param_name = '{name}' AND trial_id IN ({WAITING})"


WAITING = "SELECT trial_id FROM trials WHERE state = 'WAITING'"
WIDE = '{{"name": "{kind}Distribution", "attributes": {{"low": -100, "high": 1000, "log": false}}}}'
FLOATS, INTS = (WIDE.format(kind=kind) for kind in ("Float", "Int"))
WRONG_PARAMS = {
    "no replicate": f"DELETE FROM trial_params WHERE param_name = 'replicate' "
    f"AND trial_id IN ({WAITING})",
    "another parameter": f"UPDATE trial_params SET param_name = 'x' WHERE param_name = 'alpha' "
    f"AND trial_id IN ({WAITING})",
    "a temperature of 0": set_param("temperature", 0, FLOATS),
    "a temperature below 0": set_param("temperature", -1, FLOATS),
    "a replicate below 0": set_param("replicate", -1, INTS),
    "a text": set_param("alpha", "'x'"),
}


@pytest.mark.parametrize("case", WRONG_PARAMS)
def test_a_worker_stops_at_parameters_that_no_trial_has(world, case):
    before = dict(world.states)
    with world.store.write() as connection:
        connection.exec_driver_sql(WRONG_PARAMS[case])
    with pytest.raises(StoreError) as found:
        world.run()
    assert len(str(found.value)) < 2000 and "doctor" in str(found.value)
    states = world.store.select_rows("SELECT state, count(*) FROM trials GROUP BY state")
    assert dict(states) == before


def test_a_participant_that_does_not_exist_is_not_trained(world):
    with world.store.write() as connection:
        connection.execute(
            sa.text(
                "UPDATE trial_params SET param_value = 99, distribution_json = :wide "
                "WHERE param_name = 'participant'"
            ),
            {"wide": INTS},
        )
    with pytest.raises(StoreError, match=r"pretrain #0: .*participant 99"):
        world.run()


def test_a_weight_below_zero_is_no_fault(world):
    with world.store.write() as connection:
        connection.exec_driver_sql(set_param("alpha", -1, FLOATS))
    world.run()
    assert set(world.states) == {"COMPLETE"}
