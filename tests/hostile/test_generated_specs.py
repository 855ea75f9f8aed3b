"""Campaign files that Hypothesis makes: each is read, or refused on a page."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdopt.campaign.record import CampaignRecord
from kdopt.campaign.spec import parse_spec
from kdopt.campaign.starter import write_starter
from kdopt.errors import SpecError
from tests.conftest import make_record
from tests.hostile.commands import kdopt
from tests.hostile.generated import FEW, make_specs, spoil_bytes

STARTER = write_starter("mine", "mine.toml").encode()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("specs")


def read(folder: Path, content: bytes) -> None:
    path = folder / "spec.toml"
    path.write_bytes(content)
    for command in ("spec", "partitions"):
        if command == "partitions" and b"digits" not in content:
            continue  # other images are not here
        ended = kdopt(command, path)
        assert ended.code in (0, 2), ended
        assert "Traceback" not in ended.err and len(ended.err) < 2500, ended.err
        assert ended.code == 0 or ended.err.count("kdopt: error: ") == 1, ended.err
        shown = ended.out + ended.err
        assert all(c.isprintable() or c in "\n\t" for c in shown), ascii(shown)
        if ended.code:
            break
    assert [p.name for p in folder.iterdir()] == ["spec.toml"]


@FEW
@given(text=make_specs())
def test_settings_of_any_value_are_read_or_refused(folder: Path, text: str) -> None:
    read(folder, text.encode())


@FEW
@given(content=spoil_bytes(STARTER) | st.binary(max_size=40))
def test_a_file_with_other_bytes_is_read_or_refused(folder: Path, content: bytes) -> None:
    read(folder, content)


@FEW
@given(text=make_specs())
def test_what_is_read_is_kept_in_a_store_as_it_is(text: str) -> None:
    try:
        campaign = parse_spec(text).campaign
    except SpecError:
        return
    record = make_record(campaign)
    assert CampaignRecord.from_json(json.loads(json.dumps(record.to_json()))) == record
