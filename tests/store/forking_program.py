"""A program that forks while it has a store open; what it prints last is what the test looks at.

Started as ``python -m tests.store.forking_program CALL URL``; a process of its own, as pytest's has
threads and connections of other tests.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import sqlalchemy as sa

from kdopt.errors import StoreError
from kdopt.store import forks
from kdopt.store.database import Store, open_store
from kdopt.store.engines import open_optuna_storage

QUESTIONS = 200


def fork(call: Callable[..., None], *args: Any) -> Any:
    process = multiprocessing.get_context("fork").Process(target=call, args=args)
    process.start()
    return process


def write(store: Store, name: str) -> None:
    sql = sa.text("INSERT INTO kdopt_meta VALUES (:name, 'here')")
    store.run_write(lambda connection: connection.execute(sql, {"name": name}))


def count(url: str) -> int:
    with contextlib.closing(open_store(url)) as store:
        return int(store.select_rows("SELECT count(*) FROM kdopt_meta WHERE value = 'here'")[0][0])


@contextlib.contextmanager
def hold(url: str, holder: str) -> Iterator[Store | None]:
    """Have the database open, as a store or as Optuna's storage."""
    if holder == "store":
        with contextlib.closing(open_store(url)) as store:
            store.select_rows("SELECT 1")
            yield store
        return
    storage = open_optuna_storage(open_store(url).url)
    storage.get_all_studies()
    yield None
    storage.remove_session()
    storage.engine.dispose()


def write_on(url: str, holder: str) -> None:
    """A copy writes before and after its parent closes the store, and another program looks in."""
    wrote, closed = (multiprocessing.Event() for _ in range(2))

    def work() -> None:
        store = inherited or open_store(url)
        write(store, "before")
        wrote.set()
        closed.wait()
        write(store, "after")

    with hold(url, holder) as inherited:
        copy = fork(work)
        wrote.wait()
    count(url)
    closed.set()
    copy.join()
    print(count(url))


def ask_at_once(url: str) -> None:
    """Parent and copies ask the same store; how many answers were not to the question."""
    store = open_store(url)
    store.select_rows("SELECT 1")
    wrong = multiprocessing.Value("i", 0)

    def ask(who: str) -> None:
        for number in range(QUESTIONS):
            question = f"{who} {number}"
            try:
                answer = store.select_rows("SELECT CAST(:q AS TEXT)", {"q": question})[0][0]
            except Exception as error:
                answer = error
            with wrong.get_lock():
                wrong.value += answer != question

    copies = [fork(ask, str(number)) for number in range(2)]
    ask("parent")
    for copy in copies:
        copy.join()
    print(wrong.value)


def fork_in_a_query(url: str, wait_s: str) -> None:
    """Fork while another thread is in a transaction, which ends soon or not before the fork."""
    forks.FORK_WAIT_S = float(wait_s)
    store = open_store(url)
    began, forked = threading.Event(), threading.Event()

    def work() -> None:
        def call(connection: sa.Connection) -> None:
            connection.execute(sa.text("INSERT INTO kdopt_meta VALUES ('parent', 'here')"))
            began.set()
            forked.wait(0.5 if float(wait_s) else None)

        store.run_write(call)

    def answer(pipe: Any) -> None:
        try:
            write(open_store(url), "copy")
            pipe.send("wrote")
        except StoreError as error:
            pipe.send(str(error))

    thread = threading.Thread(target=work)
    thread.start()
    began.wait()
    here, there = multiprocessing.Pipe(duplex=False)
    copy = fork(answer, there)
    forked.set()
    thread.join()
    said = here.recv()
    copy.join()
    print(said, count(url))


CALLS: dict[str, Callable[..., None]] = {
    "write_on": write_on,
    "ask_at_once": ask_at_once,
    "fork_in_a_query": fork_in_a_query,
}

if __name__ == "__main__":
    CALLS[sys.argv[1]](os.environ["KDOPT_STORE"], *sys.argv[2:])
