"""Databases of other programs are told from stores before anything is made in them."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from optuna.storages._rdb.models import BaseModel

from kdopt.errors import StoreError
from kdopt.store.database import open_store
from kdopt.store.schemas import OPTUNA_TABLES

OTHERS = {
    "tables of another program": ["CREATE TABLE notes (id int)"],
    "a view of a table's name": [
        "CREATE TABLE alembic_version (version_num varchar(32))",
        "CREATE VIEW trials AS SELECT 1 AS trial_id",
    ],
    "studies of another kind": ["CREATE TABLE studies (id int, title text)"],
    "a version of another program": [
        "CREATE TABLE alembic_version (version_num varchar(32))",
        "INSERT INTO alembic_version VALUES ('1975ea83b712')",
        "CREATE TABLE account (id int)",
    ],
    "no version yet": [
        "CREATE TABLE alembic_version (version_num varchar(32))",
        "CREATE TABLE account (id int)",
    ],
    "a view alone": ["CREATE VIEW trials AS SELECT 1 AS trial_id"],
}


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
@pytest.mark.parametrize("case", OTHERS)
def test_a_database_of_another_program_is_refused_and_left_as_it_was(request, tmp_path, kind, case):
    url = f"sqlite:///{tmp_path / 'other.db'}"
    if kind == "postgresql":
        postgres = request.getfixturevalue("postgres")
        url = postgres.url(postgres.new_database())
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        for statement in OTHERS[case]:
            connection.execute(sa.text(statement))
    before = list_all(engine)
    for create in (True, False):
        with pytest.raises(StoreError, match=r"give another --store|not a kdopt store"):
            open_store(url, create=create)
        assert list_all(engine) == before
    engine.dispose()


def list_all(engine):
    inspector = sa.inspect(engine)
    return inspector.get_table_names(), inspector.get_view_names()


def test_the_names_are_those_of_optuna():
    tables = {table.name: set(table.columns.keys()) for table in BaseModel.metadata.sorted_tables}
    assert set(OPTUNA_TABLES) == {*tables, "alembic_version"}
    assert all(columns >= OPTUNA_TABLES[name] for name, columns in tables.items())
