"""The README and docs/ are true: commands exist, examples work, links lead somewhere."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import NamedTuple

import pytest
from typer.testing import CliRunner

from kdopt.campaign.spec import list_settings, load_spec, parse_spec
from kdopt.campaign.stages import plan_studies
from kdopt.cli.app import app
from kdopt.plugins.code import PLUGIN_NAMES
from kdopt.plugins.sources import give_plugins
from scripts import make_docs
from tests.test_architecture import FLOORS

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
FOLDERS = (".", "docs", "storage", "scripts/benchmarks")
PAGES = sorted(page for folder in FOLDERS for page in (ROOT / folder).glob("*.md"))
COMMANDS = dict(make_docs.list_commands())
MINIMAL = 'name = "documented"\n[data]\nname = "digits"\n'


class Block(NamedTuple):
    """A fenced block of a page."""

    page: Path
    line: int
    language: str
    text: str

    @property
    def where(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def read_blocks(page: Path) -> list[Block]:
    found, start, language, lines = [], 0, "", []
    for number, line in enumerate(page.read_text("utf-8").splitlines(), 1):
        if line.startswith("```") and not start:
            start, language, lines = number, line[3:].strip(), []
        elif line.startswith("```"):
            found.append(Block(page, start, language, "\n".join(lines)))
            start = 0
        elif start:
            lines.append(line)
    assert not start, f"{page}:{start}: a block that does not end"
    return found


BLOCKS = [block for page in PAGES for block in read_blocks(page)]


def read_commands() -> list[tuple[str, list[str]]]:
    """Every `kdopt ...` of shell blocks and of code in the text, as words without variables."""
    found = []
    for block in BLOCKS:
        if block.language == "sh":
            found += [(block.where, line) for line in block.text.splitlines()]
    for page in PAGES:
        if page.name == "CHANGELOG.md":
            continue  # it names what is no more
        prose = re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)
        before = re.split(re.escape(make_docs.BEGIN), prose)[0]
        where = str(page.relative_to(ROOT))
        found += [(where, " ".join(m.split())) for m in re.findall(r"`(kdopt [^`]+)`", before)]
    commands = []
    for where, text in found:
        words = shlex.split(text, comments=True)
        while words and "=" in words[0]:
            words = words[1:]
        if words and words[0] == "kdopt" and words[1:] != ["--help"]:
            commands.append((where, words))
    return commands


def split_command(words: list[str]) -> tuple[str, list[str]]:
    """The longest documented command that words begin with, and the words after it."""
    for n in (3, 2):
        if " ".join(words[:n]) in COMMANDS:
            return " ".join(words[:n]), words[n:]
    raise AssertionError(f"no such command: {' '.join(words)}")


def anchors(page: Path) -> set[str]:
    """What `#...` may be on a page, as GitHub and mkdocs make it from headings."""
    text = re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#+ +(.+)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", h.lower()).strip().replace(" ", "-") for h in headings}


@pytest.mark.parametrize("page", make_docs.GENERATED)
def test_generated_pages_are_up_to_date(page):
    current = (DOCS / page).read_text("utf-8")
    assert current == make_docs.render_page(page), "run python scripts/make_docs.py"


def test_every_command_and_option_is_documented():
    text = (DOCS / "cli.md").read_text("utf-8")
    for name, command in COMMANDS.items():
        section = re.search(rf"^#+ {re.escape(name)}$(.*?)(?=^#|\Z)", text, re.M | re.S)
        assert section, f"docs/cli.md lacks {name}"
        for param in command.params:
            for option in param.opts if param.param_type_name == "option" else ():
                assert f"`{option}" in section[1], f"docs/cli.md lacks {name} {option}"


def test_every_documented_command_exists():
    text = (DOCS / "cli.md").read_text("utf-8")
    documented = re.findall(r"^#+ (kdopt .+)$", text, re.M)
    assert set(documented) == set(COMMANDS)


def test_every_command_and_option_has_help():
    for name, command in COMMANDS.items():
        assert command.help, name
        for param in command.params:
            assert getattr(param, "help", None), f"{name} {param.opts[0]}"


@pytest.mark.parametrize(("where", "words"), read_commands())
def test_commands_in_the_text_exist_with_their_options(where, words):
    name, rest = split_command(words)
    known = {option for p in COMMANDS[name].params for option in p.opts} | {"--help"}
    if children := getattr(COMMANDS[name], "commands", None):
        assert not rest, f"{where}: {name} takes one of {', '.join(children)}"
    for word in rest:
        if word.startswith("--"):
            assert word.split("=")[0] in known, f"{where}: {name} has no {word}"


def test_the_text_has_commands_to_check():
    assert len({split_command(words)[0] for _, words in read_commands()}) > 12


@pytest.mark.parametrize("command", ["spec", "partitions", "plan"])
def test_cheap_commands_of_the_readme_run(command, tmp_path, monkeypatch):
    readme = [b for b in BLOCKS if b.page.name == "README.md" and b.page.parent == ROOT]
    named = [b.text for b in readme if b.language == "sh"]
    assert command == "plan" or any(f"kdopt {command} mine.toml" in text for text in named)
    (tmp_path / "mine.toml").write_text(
        (ROOT / "studies/quickstart.toml").read_text("utf-8").replace("quickstart", "mine")
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KDOPT_STORE", str(tmp_path / "kdopt.db"))
    result = CliRunner().invoke(app, [command, "mine.toml"])
    assert result.exit_code == 0, result.output
    wanted = {"spec": "participants", "partitions": "label_dirichlet", "plan": "1,336 trials"}
    assert wanted[command] in result.output


@pytest.mark.parametrize(
    "block", [b for b in BLOCKS if b.language == "toml"], ids=lambda block: block.where
)
def test_toml_blocks_are_campaigns_or_parts_of_one(block, tmp_path):
    table = tomllib.loads(block.text)
    whole = block.text if "name" in table else MINIMAL + block.text
    give_plugins(write_plugins(block.page, tmp_path))
    assert parse_spec(whole, block.where, PLUGIN_NAMES).campaign
    give_plugins([])


def write_plugins(page: Path, folder: Path) -> list[Path]:
    """The plugin files that a page shows."""
    found = []
    for block in BLOCKS:
        if block.page == page and "@register_" in block.text:
            found.append(folder / f"plugin_{block.line}.py")
            found[-1].write_text(block.text, "utf-8")
    return found


def test_the_quickstart_of_the_docs_is_the_shipped_one():
    campaign = load_spec(ROOT / "studies/quickstart.toml").campaign
    cells = len(campaign.tune.temperatures) * len(campaign.tune.alphas)
    pairs = len(campaign.partitions) * len(campaign.pairs)
    text = (ROOT / "README.md").read_text("utf-8")
    assert f"{pairs} pairs of digit classifiers, {pairs * cells:,} distillations" in text


def test_the_papers_campaign_of_the_readme_is_the_shipped_one():
    studies = plan_studies(load_spec(ROOT / "studies/paper.toml").campaign)
    trials = sum(study.n_trials for study in studies)
    text = (ROOT / "README.md").read_text("utf-8")
    assert f"{len(studies)} studies and {trials:,} trials" in text


def test_shipped_campaigns_are_listed():
    text = (DOCS / "getting-started.md").read_text("utf-8")
    for path in (ROOT / "studies").glob("*.toml"):
        assert f"`{path.name}`" in text, f"docs/getting-started.md lacks {path.name}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    text = re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        found = (page.parent / path).resolve() if path else page
        assert found.exists(), f"{page.name}: no {target}"
        if DOCS in page.parents:
            assert DOCS in found.parents, f"{page.name}: {target} is outside the site"
        if anchor:
            assert anchor in anchors(found), f"{page.name}: no {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_files_named_in_the_text_exist(page):
    text = page.read_text("utf-8")
    named = re.findall(r"(?<![\w/.])((?:scripts|studies|tests|kdopt)/[\w./-]*\w)", text)
    for name in named:
        assert (ROOT / name).exists() or "NAME" in name or name == "studies/mine.toml", (
            f"{page.name}: no {name}"
        )


def test_the_readme_fits_its_limit():
    assert len((ROOT / "README.md").read_text("utf-8").splitlines()) <= 150


def test_the_picture_is_small():
    assert (DOCS / "assets/quickstart.png").stat().st_size < 200_000


def test_the_site_lists_every_page():
    nav = (ROOT / "mkdocs.yml").read_text("utf-8").partition("\nnav:\n")[2]
    listed = re.findall(r"^  - .+: (\S+\.md)$", nav, flags=re.MULTILINE)
    assert sorted(listed) == sorted(page.name for page in DOCS.glob("*.md"))


def test_the_site_builds_without_a_warning(tmp_path):
    pytest.importorskip("mkdocs")
    end = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert end.returncode == 0, end.stderr
    assert (tmp_path / "campaign-file/index.html").exists()


def test_the_readme_and_the_start_page_list_every_page():
    for page in (ROOT / "README.md", DOCS / "index.md"):
        text = page.read_text("utf-8")
        for other in DOCS.glob("*.md"):
            if other.name != "index.md":
                assert f"{other.name})" in text, f"{page.name} lacks {other.name}"


def test_the_architecture_page_shows_the_floors():
    text = (DOCS / "architecture.md").read_text("utf-8")
    picture = next(b.text for b in read_blocks(DOCS / "architecture.md") if "dashboard  " in b.text)
    assert picture in text
    # Modules that stand alone are no rooms.
    alone = {"__init__", "__main__", "typed", "files", "shown"}
    rooms = {room for floor in FLOORS for room in floor} - alone
    lines = picture.splitlines()
    at = {
        room: next(i for i, line in enumerate(lines) if room in line[:19].split()) for room in rooms
    }
    for low, lower in enumerate(FLOORS):
        for upper in FLOORS[low + 1 :]:
            for room in lower & rooms:
                assert all(at[room] > at[other] for other in upper & rooms), room


def test_no_page_names_places_of_one_machine():
    for page in PAGES:
        assert not re.search(r"/(work|tmp|root|home)/", page.read_text("utf-8")), page.name


def test_options_named_alone_in_the_text_exist():
    known = {option for c in COMMANDS.values() for p in c.params for option in p.opts} | {
        "--help",
        "--install-completion",
    }
    for page in PAGES:
        text = re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)
        if page.name == "CHANGELOG.md":
            continue
        for option in re.findall(r"`(--[a-z-]+)[ `]", text):
            assert option in known, f"{page.name}: no command has {option}"


def test_settings_named_in_the_text_exist():
    settings = {entry.key for entry in list_settings()}
    tables = {key.split(".")[0] for key in settings if "." in key}
    for page in PAGES:
        if page.name == "CHANGELOG.md":
            continue
        for table, key in re.findall(r"`(\w+)\.(\w+)\b", page.read_text("utf-8")):
            if table in tables and key != "md":
                assert f"{table}.{key}" in settings, f"{page.name}: no setting {table}.{key}"


def test_variables_that_the_code_reads_are_documented_and_no_others():
    code = "".join(p.read_text("utf-8") for p in (ROOT / "kdopt").rglob("*.py"))
    text = (DOCS / "cli.md").read_text("utf-8")
    for name in set(re.findall(r'"(KDOPT_[A-Z_]+)"', code)) - {"KDOPT_PARENT"}:
        assert f"`{name}`" in text, f"docs/cli.md lacks {name}"
    for page in PAGES:
        for name in set(re.findall(r"\bKDOPT_[A-Z_]+\b", page.read_text("utf-8"))):
            assert name in code, f"{page.name}: nothing reads {name}"


def test_the_main_objects_are_where_the_architecture_page_says():
    text = (DOCS / "architecture.md").read_text("utf-8")
    rows = re.findall(r"^\| `(\w+)` \|.*\| `(kdopt/[\w/.]+)` \|$", text, flags=re.MULTILINE)
    assert len(rows) >= 8
    for name, place in rows:
        files = [ROOT / place] if place.endswith(".py") else (ROOT / place).rglob("*.py")
        assert any(f"class {name}" in file.read_text("utf-8") for file in files), name


def test_getting_started_names_every_extra_that_a_user_may_install():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = set(project["optional-dependencies"]) - {"dev"}
    table = (DOCS / "getting-started.md").read_text("utf-8").partition("| extra |")[2]
    rows = [line for line in table.partition("\n\n")[0].splitlines() if line.startswith("| `")]
    assert {name for row in rows for name in re.findall(r"`(\w+)`", row.split("|")[1])} == extras
