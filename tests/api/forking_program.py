"""A program that trains, and then tunes in forked copies of itself, with one store open.

Started as ``python -m tests.api.forking_program STORE``; it prints which studies are complete.
"""

from __future__ import annotations

import multiprocessing
import sys

import torch

import kdopt
from tests.api.digits import make_pair

NAMES = ("first", "second")


def tune(store: str, name: str) -> None:
    teacher, student, given = make_pair()
    kdopt.tune(teacher, student, **given, budget=2, store=store, name=name)


def main(store: str) -> None:
    tune(store, "parent")
    torch.set_num_threads(4)
    torch.ones(1000, 1000) @ torch.ones(1000, 1000)  # from here on torch has threads
    opened = kdopt.open(store)
    opened.pick("parent").best()
    make = multiprocessing.get_context("fork").Process
    copies = [make(target=tune, args=(store, name)) for name in NAMES]
    for copy in copies:
        copy.start()
    opened.close()
    for copy in copies:
        copy.join()
    with kdopt.open(store) as later:
        for name in sorted(later):
            print(name, sorted(set(later[name].trials()["state"])))


if __name__ == "__main__":
    main(sys.argv[1])
