"""Jobs that Slurm refuses leave nothing behind; what other launches wrote stays."""

from __future__ import annotations

import pytest

from kdopt.errors import KdoptError
from kdopt.launch.call import WorkerCall
from kdopt.launch.slurm import JobRequest, submit_jobs

pytest.importorskip("submitit", reason="no submitit here: pip install 'kdopt[slurm]'")


@pytest.mark.parametrize("jobs", [1, 50])
def test_nothing_is_left_of_a_refused_submission(tmp_path, monkeypatch, jobs):
    tools, logs = tmp_path / "bin", tmp_path / "logs"
    tools.mkdir()
    for name in ("sbatch", "srun"):
        (tools / name).write_text("#!/bin/sh\necho 'sbatch: error: no such account' >&2\nexit 1\n")
        (tools / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:/usr/bin:/bin")
    logs.mkdir()
    others = [f"{'0' * 32}.pkl", ".submission_file_0.sh", "7_0_log.out", "diary.pkl"]
    for name in others:
        (logs / name).write_text("of another launch")
    call = WorkerCall("sqlite:///x.db", "artifacts", "tiny")
    with pytest.raises(KdoptError, match="sbatch refused: no such account"):
        submit_jobs(call, jobs, JobRequest(), logs)
    assert sorted(path.name for path in logs.iterdir()) == sorted(others)
