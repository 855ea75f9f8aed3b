"""A program that forks while one of its threads is at work; it prints who may work then.

A process of its own: pytest's has threads and connections of other tests.
"""

from __future__ import annotations

import os
import sys
import threading

from kdopt.errors import KdoptError
from kdopt.worker.alone import working_alone


def may_work() -> bool:
    """Whether another thread of this process may work."""
    found = []

    def work() -> None:
        try:
            with working_alone():
                found.append(True)
        except KdoptError:
            found.append(False)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    return found[0]


def ask_copy() -> bool:
    """Whether a copy of this process, made by this thread, may work in this thread, twice."""
    copy = os.fork()
    if not copy:
        code = 1
        try:
            for _ in range(2):
                with working_alone():
                    pass
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(copy, 0)[1]) == 0


def main() -> None:
    began, end = threading.Event(), threading.Event()

    def work() -> None:
        with working_alone():
            print("copy of the thread that works:", ask_copy())
            began.set()
            end.wait()

    print("copy while nobody works:", ask_copy())
    thread = threading.Thread(target=work)
    thread.start()
    began.wait()
    print("copy of another thread:", ask_copy())
    print("another thread of the parent:", may_work())
    end.set()
    thread.join()
    print("the parent afterwards:", may_work())


if __name__ == "__main__":
    sys.exit(main())
