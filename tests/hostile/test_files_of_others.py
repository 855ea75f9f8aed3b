"""Files that are not kdopt's: never replaced; and a command that refuses leaves nothing behind."""

from __future__ import annotations

import shutil
import sqlite3
import sys
from pathlib import Path

import pytest

from kdopt.campaign.stages import plan_studies
from kdopt.report.files import PAGE_NAME, write_files
from kdopt.store.database import open_store
from kdopt.store.planning import write_plan
from tests.conftest import make_campaign, make_record
from tests.hostile.commands import kdopt, refused

SPEC = """
name = "tiny"
participants = 2
partitions = ["uniform"]
stages = ["tune"]
model = "mlp"
[data]
name = "digits"
[pretrain]
epochs = 1
batch_size = 8
[tune]
temperatures = [2.0]
alphas = [0.5]
"""


@pytest.fixture(scope="session")
def planned_store(empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("planned") / "kdopt.db"
    shutil.copy(empty_store, path)
    store = open_store(str(path))
    write_plan(store, make_record(make_campaign()), plan_studies)
    store.close()
    return path


@pytest.fixture
def planned(planned_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a store that has the campaign ``tiny``."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(planned_store, tmp_path / "kdopt.db")
    return tmp_path


def list_all(folder: Path) -> dict[str, bytes | None]:
    """Everything in a folder with its content, but what SQLite keeps beside an open database."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
        if not path.name.endswith(("-wal", "-shm", ".db"))
    }


REPORT = ["report", "--store", "kdopt.db", "--out"]


@pytest.mark.parametrize("name", ["spec.toml", "report.html", "trials.csv", "claims.md"])
def test_a_report_replaces_no_file_that_is_not_a_reports(planned: Path, name: str) -> None:
    folder = planned / "mine"
    folder.mkdir()
    (folder / name).write_text("my own work")
    (folder / "other.txt").write_text("mine too")
    before = list_all(planned)
    said = refused(*REPORT, "mine")
    assert name in said and "name another folder with --out" in said
    assert list_all(planned) == before


def test_a_report_replaces_itself_and_leaves_other_files_alone(planned: Path) -> None:
    for folder in ("new", "mine"):
        (planned / "mine").mkdir(exist_ok=True)
        (planned / "mine/notes.txt").write_text("my own work")
        for _ in range(2):
            assert kdopt(*REPORT, folder).code == 0
        assert (planned / folder / PAGE_NAME).is_file()
    assert (planned / "mine/notes.txt").read_text() == "my own work"


def test_a_report_that_was_cut_off_can_be_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    contents: dict[str, str | bytes] = {"spec.toml": "a", "figures/map.svg": "b", PAGE_NAME: "c"}
    (tmp_path / "figures").touch()  # stands for a disk that is full
    with pytest.raises(Exception, match=r"map\.svg: the report cannot be written"):
        write_files(tmp_path, contents)
    assert [path.name for path in tmp_path.iterdir()] == ["figures"]
    (tmp_path / "figures").unlink()
    assert len(write_files(tmp_path, contents)) == 3


NO_FOLDERS = {
    "others' files": (".", "spec.toml: is there already"),
    "a file": ("spec.toml", "spec.toml: is no folder"),
    "below a file": ("spec.toml/reports/a", "spec.toml: is no folder"),
    "a device": ("/dev/null", "/dev/null: is no folder"),
    "a link to nothing": ("dangling", "dangling: is no folder"),
}


@pytest.mark.parametrize(("out", "said"), NO_FOLDERS.values(), ids=NO_FOLDERS)
def test_run_refuses_such_a_folder_before_it_computes(here: Path, out: str, said: str) -> None:
    (here / "spec.toml").write_text(SPEC)
    (here / "dangling").symlink_to("nothing")
    before = list_all(here)
    assert said in refused("run", "spec.toml", "--out", out)
    assert list_all(here) == before


def test_heat_maps_replace_only_heat_maps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "spec.toml").write_text(SPEC)
    (tmp_path / "mine.html").write_text("<!doctype html><title>mine</title>")
    for name in ("spec.toml", "mine.html"):
        ended = kdopt("partitions", "spec.toml", "--html", name)
        assert ended.code == 2 and f"{name}: is there already" in ended.err
    assert (tmp_path / "spec.toml").read_text() == SPEC
    for _ in range(2):
        assert kdopt("partitions", "spec.toml", "--html", "new/maps.html").code == 0


REFUSED_PLANS = {
    "a bad file": (SPEC.replace("participants = 2", "participants = 0"), []),
    "images that are not there": (SPEC.replace('"digits"', '"folder"\nroot = "none"'), []),
    "a model that is none": (SPEC.replace('"mlp"', '"no_such_model"'), []),
    "a partition that cannot be drawn": (
        SPEC.replace("participants = 2", "participants = 1700"),
        [],
    ),
    "a prior of no store": (SPEC + 'sampler = "warm"\nprior = ["other"]\n', []),
    "artifacts in a file": (SPEC, ["--artifacts", "notes.txt/x"]),
    "artifacts that are a file": (SPEC, ["--artifacts", "notes.txt"]),
    "artifacts that are no URL": (SPEC, ["--artifacts", "s3:/x"]),
    "artifacts of no driver": (SPEC, ["--artifacts", "nowhere://x/y"]),
    "a store in a file": (SPEC, ["--store", "notes.txt/kdopt.db"]),
    "a store that is a folder": (SPEC, ["--store", "."]),
    "a store that is a file": (SPEC, ["--store", "notes.txt"]),
}


@pytest.mark.parametrize(("text", "options"), REFUSED_PLANS.values(), ids=REFUSED_PLANS)
def test_a_refused_plan_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, options: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "spec.toml").write_text(text)
    before = list_all(tmp_path)
    for command in ("plan", "run"):
        refused(command, "spec.toml", *options)
        assert list_all(tmp_path) == before
        assert not list(tmp_path.rglob("*.db*"))


def test_a_plan_that_the_store_refuses_leaves_the_store_and_its_folder(planned: Path) -> None:
    (planned / "spec.toml").write_text(SPEC)
    before, dump = list_all(planned), dump_store(planned / "kdopt.db")
    said = refused("plan", "spec.toml", "--store", "kdopt.db")
    assert "'tiny' is in this store already with other values" in said
    assert list_all(planned) == before and dump_store(planned / "kdopt.db") == dump


def test_nobody_is_asked_where_there_is_no_input(
    planned: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", None)  # as after '<&-'
    dump = dump_store(planned / "kdopt.db")
    assert "give --yes" in refused("delete", "tiny", "--store", "kdopt.db")
    assert dump_store(planned / "kdopt.db") == dump


def dump_store(path: Path) -> list[str]:
    connection = sqlite3.connect(path)
    try:
        return list(connection.iterdump())
    finally:
        connection.close()


def test_a_foreign_database_gets_no_lock_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE customers (name TEXT)")
    connection.close()
    before = path.read_bytes()
    for command in (["init"], ["status"]):
        assert "other.db" in refused(*command, "--store", path)
    assert [p.name for p in tmp_path.iterdir()] == ["other.db"] and path.read_bytes() == before


NAMES = ("..", ".", "...", "-x", " ", "a b", "\x1b[2J", "x" * 300, "\u202e", "CON ", "~")


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_a_campaign_of_a_strange_name_writes_into_no_other_folder(planned: Path, name: str) -> None:
    connection = sqlite3.connect(planned / "kdopt.db")
    with connection:
        connection.execute(
            "UPDATE studies SET study_name = :name || substr(study_name, 5)", {"name": name}
        )
    connection.close()
    before = list_all(planned)
    ended = kdopt("report", "--store", "kdopt.db")
    assert ended.code == 2 and "Traceback" not in ended.err and len(ended.err) < 2000
    assert list_all(planned) == before
