"""Workers as jobs of a real Slurm: done, preempted, cancelled, out of time; secrets kept."""

from __future__ import annotations

import math
import os
import re
import time

import psutil
import pytest

from kdopt.errors import KdoptError
from kdopt.launch.call import WorkerCall
from kdopt.launch.slurm import (
    GRACE_S,
    JobRequest,
    _become_worker,
    split_jobs,
    submit_jobs,
    wait_for_jobs,
)
from tests.launch.campaigns import FOR_EVER, Bench, Titles, worker_process
from tests.postgres import PASSWORD, PASSWORD_IN_URL
from tests.waiting import wait_until

pytest.importorskip("submitit", reason="no submitit here: pip install 'kdopt[slurm]'")


def job_of(said: str) -> str:
    found = re.search(r"Slurm job (\d+)", said)
    assert found, said
    return found[1]


@pytest.fixture(scope="module")
def endless(tmp_path_factory, slurm):
    """A campaign whose trials never end, and two jobs at it that no other one preempts.

    The first is soon told that its time is over, a minute before its limit, as Slurm counts.
    """
    began = time.monotonic()
    bench = Bench(
        tmp_path_factory.mktemp("endless"), epochs=FOR_EVER, environment=slurm.environment
    )
    options = ["--job-partition", "urgent", "--job-time", "10m", "--jobs", "2"]
    launched = bench.run("launch", "slurm", *options)
    assert launched.returncode == 0, launched.stderr
    job = job_of(launched.stdout)
    wait_until(lambda: len(bench.running()) == 2)
    # From the job's start, which may be minutes ago on a busy machine. Past the limit it would be
    # ended without being told.
    minutes = math.ceil((time.monotonic() - began + 90) / 60)
    slurm.run("scontrol", "update", f"JobId={job}_0", f"TimeLimit={minutes}")
    for held in bench.running():
        psutil.Process(worker_process(held)).nice(19)  # other tests run meanwhile
    yield bench, job
    bench.close()


def test_a_cancelled_job_gives_its_trial_back(endless, slurm):
    bench, job = endless
    slurm.run("scancel", f"{job}_1")
    # At once: the lease of a lost worker would take a minute and a half to lapse.
    wait_until(lambda: "given back" in bench.log(f"{job}_1"), timeout_s=600)
    assert bench.states()["WAITING"] >= 7


def test_two_jobs_finish_a_campaign_and_show_no_password(slurm, make_bench, postgres):
    """Also where the user's settings say that jobs get nothing of the environment."""
    bench = make_bench(url=postgres.url(postgres.new_database()), environment=slurm.environment)
    bench.environment["SBATCH_EXPORT"] = "NONE"
    launched = bench.start("launch", "slurm", "--jobs", "2", "--wait")
    titles, shown = Titles(bench, "slurm", "srun", "sbatch"), ""
    while launched.poll() is None:
        titles.look()
        shown += slurm.run("scontrol", "show", "job", "--details")
        time.sleep(0.2)
    said, errors = launched.communicate()
    assert launched.returncode == 0, errors
    bench.prove()
    assert bench.states() == {"COMPLETE": 10}
    job = job_of(said)
    logs = bench.log(f"{job}_0") + bench.log(f"{job}_1")
    done = re.findall(r"tiny: (\d+) trials? complete", logs)
    assert len(done) == 2 and sum(map(int, done)) == 10

    script = slurm.run("scontrol", "write", "batch_script", f"{job}_0", "-")
    assert "kdopt-tiny" in script and "kdopt-tiny" in shown
    assert any("kdopt worker --campaign tiny" in title for title in titles.seen)
    written = [p for p in bench.folder.rglob("*") if p.is_file()]
    assert any(p.suffix == ".pkl" for p in written)
    slurms = [p for p in slurm.folder.iterdir() if p.suffix in (".log", ".out")]
    texts = [said, errors, shown, script, *titles.seen]
    texts += [p.read_bytes().decode(errors="replace") for p in (*written, *slurms)]
    for secret in (PASSWORD, PASSWORD_IN_URL, "s3cret"):
        assert not any(secret in text for text in texts)


def test_a_preempted_job_gives_its_trial_back_and_finishes_it_when_it_is_started_again(
    slurm, make_bench
):
    # So many that the job is not done before Slurm gets to it.
    bench = make_bench(epochs=600, temperatures=(1,), environment=slurm.environment)
    launched = bench.run("launch", "slurm", "--sbatch", "gres=gpu:2")
    job = job_of(launched.stdout)
    wait_until(bench.running)
    for held in bench.running():
        psutil.Process(worker_process(held)).nice(19)  # Slurm gets to it before it is done
    # It wants what the other has, and its partition goes first.
    urgent = ("--partition", "urgent", "--gres", "gpu:2", "--output", "/dev/null")
    slurm.run("sbatch", *urgent, "--wrap", "sleep 0.2")
    # At once: the lease of a lost worker would take a minute and a half to lapse.
    wait_until(lambda: "given back" in bench.log(job))
    wait_until(lambda: slurm.states(job) == ["PENDING"])
    assert bench.running() == ()
    # Slurm lets jobs that were put back into the queue wait for two minutes.
    slurm.run("scontrol", "update", f"JobId={job}", "StartTime=now")
    wait_until(lambda: bench.states() == {"COMPLETE": 4})
    bench.prove()
    wait_until(lambda: slurm.states(job) == ["COMPLETED"])
    log = bench.log(job)
    assert "DUE TO PREEMPTION" in log
    # Stopped by the first start, done by the second.
    assert len(re.findall(r"trials? complete", log)) == 2


def test_a_requeued_element_of_an_array_comes_back_alone(slurm, make_bench):
    """As after a preemption, which is a requeue."""
    bench = make_bench(epochs=FOR_EVER, environment=slurm.environment)
    job = job_of(bench.run("launch", "slurm", "--jobs", "2").stdout)
    wait_until(lambda: len(bench.running()) == 2)
    for held in bench.running():
        psutil.Process(worker_process(held)).nice(19)
    before = {held.worker for held in bench.running()}
    slurm.run("scontrol", "requeue", f"{job}_1")
    wait_until(lambda: "given back" in bench.log(f"{job}_1"))
    wait_until(lambda: slurm.states(f"{job}_1") == ["PENDING"])
    assert slurm.states(f"{job}_0") == ["RUNNING"]
    slurm.run("scontrol", "update", f"JobId={job}_1", "StartTime=now")
    wait_until(lambda: len(bench.running()) == 2)
    assert len({held.worker for held in bench.running()} & before) == 1
    assert "given back" not in bench.log(f"{job}_0")
    slurm.run("scancel", job)


def test_a_job_with_gpus_has_workers_for_their_slots_and_what_they_say_is_heard(slurm, make_bench):
    """The GPUs are pretended, so that the workers find out and give up."""
    bench = make_bench(environment=slurm.environment)
    options = ("--gpus-per-job", "1", "--slots-per-gpu", "2", "--wait")
    launched = bench.start("launch", "slurm", *options)
    titles = Titles(bench)
    while launched.poll() is None:
        titles.look()
        time.sleep(0.2)
    said, errors = launched.communicate()
    assert launched.returncode == 1
    job = job_of(said)
    shown = slurm.run("scontrol", "show", "job", job)
    assert "CPUs/Task=2" in shown and re.search(r"gres[:/]gpu[:=]1", shown)
    assert any(title.endswith("worker --campaign tiny --slots-per-gpu 2") for title in titles.seen)
    assert "a worker gave up: device 'cuda': " in errors
    assert "10 are left" in errors
    assert bench.states() == {"WAITING": 10}


def test_a_refused_submission_says_why(slurm, tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("SLURM_CONF", slurm.environment["SLURM_CONF"])
    call = WorkerCall("sqlite:///x.db", "artifacts", "tiny")
    with pytest.raises(KdoptError, match=r"^sbatch refused: .*invalid partition specified: none"):
        submit_jobs(call, 1, JobRequest(partition="none"), tmp_path)
    assert capfd.readouterr().err == ""
    assert "KDOPT_STORE" not in os.environ


def test_more_jobs_than_a_site_allows_in_an_array_are_several(slurm, tmp_path, monkeypatch):
    monkeypatch.setenv("SLURM_CONF", slurm.environment["SLURM_CONF"])  # its arrays have 1,001
    call = WorkerCall("sqlite:///x.db", "artifacts", "tiny")
    arrays = submit_jobs(call, 1200, JobRequest(options=("hold",)), tmp_path)
    waiting = [slurm.run("squeue", "-h", "-r", "-j", a, "-o", "%i").split() for a in arrays]
    slurm.run("scancel", *arrays)
    assert [len(ids) for ids in waiting] == [600, 600]


@pytest.mark.parametrize("limit", [1, 2, 7, 1001])
@pytest.mark.parametrize("jobs", [1, 7, 1000, 1001, 1002, 5000])
def test_arrays_are_the_fewest_and_about_equal(jobs, limit):
    sizes = split_jobs(jobs, limit)
    assert sum(sizes) == jobs and len(sizes) == -(-jobs // limit)
    assert max(sizes) <= limit and max(sizes) - min(sizes) <= 1


def test_waiting_ends_with_a_job_that_slurm_does_not_know_any_more(slurm, monkeypatch):
    monkeypatch.setenv("SLURM_CONF", slurm.environment["SLURM_CONF"])
    wait_for_jobs(["999999", "999998"], lambda: None)


def test_a_job_whose_time_is_up_gives_its_trial_back(endless, slurm):
    """Slurm looks twice a minute, so that the tests before may have waited for it already."""
    bench, job = endless
    wait_until(lambda: "given back" in bench.log(f"{job}_0"), timeout_s=600)
    wait_until(lambda: not bench.running(), timeout_s=600)
    assert bench.states() == {"COMPLETE": 2, "WAITING": 8}
    bench.prove()
    wait_until(lambda: slurm.states(f"{job}_0") == ["COMPLETED"], timeout_s=600)  # not TIMEOUT


def test_what_a_job_asks_for_in_the_words_of_sbatch():
    asked = JobRequest(61, "gpu", 2, 4, "8G", ("account=x", "--exclusive", "nice=5")).parameters()
    assert (asked["time"], asked["partition"], asked["mem"]) == (2, "gpu", "8G")
    assert (asked["gpus_per_node"], asked["cpus_per_task"]) == (2, 4)
    assert asked["additional_parameters"] == {
        "requeue": True,
        "signal": f"B:TERM@{GRACE_S}",
        "account": "x",
        "exclusive": True,
        "nice": "5",
    }
    # What is not asked for is left to the site's defaults, and not to submitit's.
    left = JobRequest().parameters()
    assert [left[k] for k in ("time", "partition", "gpus_per_node", "mem")] == [None] * 4


@pytest.mark.parametrize("what", ["memory", "partition"])
def test_a_line_break_never_gets_into_the_script(what):
    with pytest.raises(KdoptError, match=rf"--job-{what} (?s:.*)must be one line"):
        JobRequest(**{what: "8G\n#SBATCH --export=NONE"}).parameters()


@pytest.mark.parametrize("option", ["", "Account=x", "a b=c", "comment=a\n#SBATCH --export=NONE"])
def test_a_further_option_must_be_one(option):
    with pytest.raises(KdoptError, match="must be KEY=VALUE or KEY"):
        JobRequest(options=(option,)).parameters()


@pytest.mark.parametrize("option", ["time=5", "--export=NONE", "array=1-3", "wrap=true"])
def test_further_options_do_not_set_what_kdopt_sets(option):
    with pytest.raises(KdoptError, match="is set by kdopt; use"):
        JobRequest(options=(option,)).parameters()


def test_a_job_without_its_environment_does_not_go_to_another_store(monkeypatch, capsys):
    monkeypatch.delenv("KDOPT_STORE", raising=False)
    with pytest.raises(SystemExit) as end:
        _become_worker(["/bin/false"])
    assert end.value.code == 2
    assert "came without the environment" in capsys.readouterr().err
