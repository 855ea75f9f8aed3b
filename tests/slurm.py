"""A real one-node Slurm for tests: Debian's daemons on ports and paths of their own.

It needs the packages ``slurm-wlm`` and ``munge``, and nothing of the machine's configuration or
services. No accounting, no cgroups: ``sacct`` has nothing to say, and limits on memory are not
enforced. Two pretended GPUs (``/dev/null`` and ``/dev/zero``) let GPU options be tested.
"""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import socket
import subprocess
import time
from pathlib import Path

CONFIGURATION = """
ClusterName=kdopt
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmdPort={node_port}
SlurmUser={user}
SlurmdUser={user}
# Listen on 127.0.0.1 only.
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
MailProg=/bin/true
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=batch_sched_delay=0,sched_min_interval=0
SlurmdParameters=config_overrides
ReturnToService=2
# Jobs that ended are remembered all the time: a test may ask late.
MinJobAge=86400
# A worker on a busy machine has time to give its trial back.
KillWait=180
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
GresTypes=gpu
NodeName=here NodeHostname={host} NodeAddr=127.0.0.1 CPUs=4 RealMemory=8000 Gres=gpu:2
PartitionName=main Nodes=here Default=YES PriorityTier=1
PartitionName=urgent Nodes=here PriorityTier=2
"""

_PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
_PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scontrol", "scancel", "srun")


def missing() -> str:
    """What keeps Slurm from being started here, or nothing."""
    lost = [name for name in _PROGRAMS if shutil.which(name, path=_PATH) is None]
    if not lost:
        return ""
    return f"no Slurm here (no {', '.join(lost)}): apt-get install slurm-wlm munge"


class Slurm:
    """A cluster of this one machine; ``environment`` is what its users need.

    Args:
        folder: Where its files go; others must be able to reach it, as munge demands.

    Raises:
        RuntimeError: It did not come up; the message has the daemons' last words.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.chmod(0o711)
        for name in ("state", "spool"):
            (folder / name).mkdir()
        key = folder / "munge.key"
        key.touch(mode=0o600)
        key.write_bytes(secrets.token_bytes(128))
        ports = _free_ports(2)
        (folder / "slurm.conf").write_text(
            CONFIGURATION.format(
                host=socket.gethostname().partition(".")[0],
                user=pwd.getpwuid(os.geteuid()).pw_name,
                folder=folder,
                controller_port=ports[0],
                node_port=ports[1],
            )
        )
        (folder / "gres.conf").write_text("Name=gpu File=/dev/null\nName=gpu File=/dev/zero\n")
        self.environment = {"SLURM_CONF": str(folder / "slurm.conf")}
        self._daemons: list[subprocess.Popen[bytes]] = []
        try:
            self._start()
        except BaseException:
            self.stop()
            raise

    def _start(self) -> None:
        self._daemon(
            "munged",
            "--foreground",
            *(f"--{name}-file={self.folder}/munge.{name}" for name in ("key", "pid", "log")),
            f"--seed-file={self.folder}/munge.seed",
            f"--socket={self.folder}/munge.socket",
            "--num-threads=2",
        )
        self._until((self.folder / "munge.socket").exists)
        self._daemon("slurmctld", "-D", "-i")
        self._daemon("slurmd", "-D", "-N", "here")
        self._until(lambda: self.run("sinfo", "-h", "-o", "%T", check=False).strip() == "idle")

    def run(self, *command: str, check: bool = True) -> str:
        """What one of Slurm's commands says."""
        return subprocess.run(
            command,
            env={**os.environ, **self.environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            check=check,
        ).stdout

    def states(self, job: str) -> list[str]:
        """The states of a job, or of every job of an array; without those long gone."""
        return self.run("squeue", "-h", "-t", "all", "-j", job, "-o", "%T", check=False).split()

    def stop(self) -> None:
        """End its jobs, then its daemons."""
        if len(self._daemons) == 3:
            self.run("scancel", "--user", str(os.geteuid()), check=False)
            end = time.monotonic() + 30
            while self.run("squeue", "-h", check=False) and time.monotonic() < end:
                time.sleep(0.1)
        for daemon in reversed(self._daemons):
            daemon.terminate()
        for daemon in reversed(self._daemons):
            try:
                daemon.wait(10)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()

    def _daemon(self, name: str, *options: str) -> None:
        program = shutil.which(name, path=_PATH)
        assert program is not None
        with (self.folder / f"{name}.out").open("wb") as out:
            self._daemons.append(
                subprocess.Popen(
                    [program, *options],
                    env={**os.environ, **self.environment},
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=out,
                )
            )

    def _until(self, true, timeout_s: float = 600.0) -> None:
        end = time.monotonic() + timeout_s
        while not true():
            if time.monotonic() > end or any(d.poll() is not None for d in self._daemons):
                words = [p.read_text(errors="replace")[-600:] for p in self.folder.glob("*.out")]
                raise RuntimeError("Slurm did not start: " + "\n".join(words))
            time.sleep(0.05)


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports
