"""What a launcher tells every worker: where the store and artifacts are, and which campaign."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field


@dataclass(frozen=True)
class WorkerCall:
    """A call of ``kdopt worker``, in the parts that are public and those that are not.

    Attributes:
        store: Store URL, password included. It is never part of a command line, which every user
            of a machine can read; only the process's own user can read its environment.
        artifacts: Artifact folder or URL; credentials are in the environment.
        campaign: Campaign name.
        device: Where to compute; ``None`` takes CUDA where there is any.
        time_limit: Time after which a worker stops, as ``--time-limit`` takes it; ``None``: when
            all is done.
        workers: Worker processes in all that the call starts; ``None``: see ``slots_per_gpu``.
        slots_per_gpu: Workers that share a GPU; ``None`` and no ``workers``: one process alone.
        quiet: Whether it prints no line per trial.
        same_versions: Whether it refuses other versions than the campaign was begun with.
        plugins: Files that whoever starts the workers lets them run.
    """

    store: str = field(repr=False)
    artifacts: str
    campaign: str
    device: str | None = None
    time_limit: str | None = None
    workers: int | None = None
    slots_per_gpu: int | None = None
    quiet: bool = False
    same_versions: bool = False
    plugins: tuple[str, ...] = ()

    def command(self) -> list[str]:
        """The command line, for the Python that runs this; it holds no secret."""
        options = {
            "--device": self.device,
            "--time-limit": self.time_limit,
            "--workers": self.workers,
            "--slots-per-gpu": self.slots_per_gpu,
        }
        return [
            *(sys.executable, "-m", "kdopt", "worker", "--campaign", self.campaign),
            *(str(x) for o in options.items() if o[1] is not None for x in o),
            *(["--quiet"] if self.quiet else []),
            *(["--same-versions"] if self.same_versions else []),
            *(word for path in self.plugins for word in ("--plugin", path)),
        ]

    def environment(self) -> dict[str, str]:
        """The variables that go with the command line."""
        here = {"KDOPT_DATA": os.environ["KDOPT_DATA"]} if "KDOPT_DATA" in os.environ else {}
        # One thread per worker, one worker per core, as on one machine (see `make_engine`).
        return here | {
            "KDOPT_STORE": self.store,
            "KDOPT_ARTIFACTS": self.artifacts,
            "OMP_NUM_THREADS": "1",
        }
