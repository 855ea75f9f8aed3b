#!/bin/sh
# Roles with no more rights than their work needs; run by the owner of the database, once.
#   owner (kdopt)   makes the tables: kdopt init, plan and run; pg_dump
#   kdopt_worker    plans into tables that are there, claims and records: kdopt plan, worker, merge
#   kdopt_reader    looks: kdopt status, report, doctor, dashboard
# The rights hold for tables that the owner makes later, so this may run before `kdopt init`.
set -eu
: "${KDOPT_WORKER_PASSWORD:?}" "${KDOPT_READER_PASSWORD:?}"
psql -v ON_ERROR_STOP=1 --username "${POSTGRES_USER:-kdopt}" --dbname "${POSTGRES_DB:-kdopt}" \
    -v worker="$KDOPT_WORKER_PASSWORD" -v reader="$KDOPT_READER_PASSWORD" <<'SQL'
REVOKE CREATE ON SCHEMA public FROM PUBLIC;
CREATE ROLE kdopt_worker LOGIN PASSWORD :'worker';
CREATE ROLE kdopt_reader LOGIN PASSWORD :'reader';
GRANT USAGE ON SCHEMA public TO kdopt_worker, kdopt_reader;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO kdopt_worker;
GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA public TO kdopt_worker;
GRANT SELECT ON ALL TABLES IN SCHEMA public TO kdopt_reader;
ALTER DEFAULT PRIVILEGES IN SCHEMA public
    GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO kdopt_worker;
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT USAGE, SELECT ON SEQUENCES TO kdopt_worker;
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO kdopt_reader;
SQL
