"""The store: Optuna's tables in SQLite or Postgres, kdopt's leases beside them, and artifacts.

- ``location``, ``database``, ``faults``: where a store and its artifacts are; opening it,
  transactions, retries; ``engines``: what SQLite and PostgreSQL need done differently
- ``planning``: writes a campaign's studies and waiting trials; queues failed ones again
- ``leases``: who may run a trial, and how it gets exactly one result; ``waiting``: its claims' SQL
- ``long_trials``: what a long trial saves and reports while it runs
- ``schemas``: whose tables a database has; ``raw_rows``: rows as they are, nothing believed
- ``kept``: the best student of each pair, while trials finish
- ``queries``, ``activity``: read campaigns and trials; read what runs, ended lately or failed
- ``attributes``, ``params``, ``statements``: attribute keys, parameter rows, and SQL that all share
- ``backup``: copies a store
- ``index_studies``: studies for the dashboard that sum up a campaign
- ``artifacts``, ``remote_artifacts``: files named by their content
- ``merge``, ``merge_rows``, ``merge_rules``: import another store's results
"""
