"""PostgreSQL's search_path as a server sets it: a store is whole, or says where it is."""

from __future__ import annotations

import psycopg
import pytest

from kdopt.errors import StoreError
from kdopt.store.database import open_store
from tests.postgres import PASSWORD, Postgres

SEVERAL = "lie in several schemas .*'public'.*search_path%3Dpublic to the URL"
ELSEWHERE = "the store is in schema 'public'; choose one schema: add .*search_path%3Dpublic"
NOWHERE = "where no tables can be made; choose one schema"
OWN = "CREATE SCHEMA postgres"
OPTUNA = "SET search_path = postgres; CREATE TABLE {} (LIKE public.{} INCLUDING ALL)"


def set_path(path: str) -> str:
    return f"ALTER DATABASE {{name}} SET search_path = {path}"


CASES = {
    "another schema": (["CREATE SCHEMA other", set_path("other")], ELSEWHERE),
    "a schema that is not there": ([set_path("nowhere")], ELSEWHERE),
    "no schema": ([set_path("''")], ELSEWHERE),
    "the user's own, empty": ([OWN], None),
    "another first, empty": (["CREATE SCHEMA a", set_path("a, public")], None),
    "the system first": ([set_path("pg_catalog, public")], None),
    "what is temporary first": ([set_path("pg_temp, public")], None),
    "the user's own with a table": ([OWN, "CREATE TABLE postgres.trials (id int)"], SEVERAL),
    "the user's own with a view": ([OWN, "CREATE VIEW postgres.studies AS SELECT 1"], SEVERAL),
    "the user's own with kdopt's": ([OWN, OPTUNA.format("kdopt_meta", "kdopt_meta")], SEVERAL),
    "the user's own with Optuna's": (
        [OWN, *(OPTUNA.format(table, table) for table in ("studies", "trials", "alembic_version"))],
        SEVERAL,
    ),
    "another program's versions": (
        [OWN, "CREATE TABLE postgres.alembic_version (version_num text)"],
        SEVERAL,
    ),
    "the user's own with other things": ([OWN, "CREATE TABLE postgres.notes (id int)"], None),
}


def run_in(postgres: Postgres, name: str, statements: list[str]) -> None:
    where = {"host": "127.0.0.1", "port": postgres.port, "user": "postgres", "password": PASSWORD}
    for statement in statements:
        with psycopg.connect(**where, dbname=name, autocommit=True) as connection:  # type: ignore[arg-type]
            connection.execute(statement.format(name=name))  # type: ignore[call-overload]


def list_tables(postgres: Postgres, name: str) -> list[tuple[str, str]]:
    where = {"host": "127.0.0.1", "port": postgres.port, "user": "postgres", "password": PASSWORD}
    with psycopg.connect(**where, dbname=name) as connection:  # type: ignore[arg-type]
        sql = "SELECT table_schema, table_name FROM information_schema.tables ORDER BY 1, 2"
        return connection.execute(sql).fetchall()


@pytest.mark.parametrize(("statements", "fault"), CASES.values(), ids=CASES)
def test_a_store_is_read_whole_or_not_at_all(
    postgres: Postgres, postgres_template: str, statements: list[str], fault: str | None
) -> None:
    name = postgres.new_database(postgres_template)
    run_in(postgres, name, statements)
    before = list_tables(postgres, name)
    if fault is None:
        open_store(postgres.url(name), create=True).close()
    for create in (False, True) if fault == SEVERAL else (False,):
        if fault is not None:
            with pytest.raises(StoreError, match=fault):
                open_store(postgres.url(name), create=create)
    assert list_tables(postgres, name) == before
    if fault is not None:
        # What the message says to do helps.
        store = open_store(f"{postgres.url(name)}?options=-csearch_path%3Dpublic")
        assert store.select_rows("SELECT count(*) FROM trials") == [(0,)]
        store.close()


@pytest.mark.parametrize("path", ["nowhere", "''", "pg_catalog, public", "pg_temp, public"])
def test_a_store_is_made_only_where_tables_can_be_made(postgres: Postgres, path: str) -> None:
    name = postgres.new_database()
    run_in(postgres, name, [set_path(path)])
    before = list_tables(postgres, name)
    with pytest.raises(StoreError, match=NOWHERE):
        open_store(postgres.url(name), create=True)
    assert list_tables(postgres, name) == before


def test_a_creation_that_was_cut_off_is_not_completed_elsewhere(
    postgres: Postgres, postgres_template: str
) -> None:
    name = postgres.new_database(postgres_template)
    drop = "DROP TABLE kdopt_meta, kdopt_lease"
    run_in(postgres, name, [drop, "CREATE SCHEMA a", set_path("a, public")])
    before = list_tables(postgres, name)
    with pytest.raises(StoreError, match="new tables would go to 'a'; choose one schema"):
        open_store(postgres.url(name), create=True)
    assert list_tables(postgres, name) == before


def test_a_schema_that_is_closed_to_a_user_is_named(
    postgres: Postgres, postgres_template: str
) -> None:
    name = postgres.new_database(postgres_template)
    user = f"closed_{name}"
    statements = [
        f"CREATE USER {user} PASSWORD 'x'",
        "REVOKE ALL ON SCHEMA public FROM public",
    ]
    run_in(postgres, name, statements)
    url = f"postgresql://{user}:x@127.0.0.1:{postgres.port}/{name}"
    with pytest.raises(StoreError, match="let this user in: GRANT USAGE ON SCHEMA public"):
        open_store(url)
