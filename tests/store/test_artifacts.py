from __future__ import annotations

import hashlib

import pytest

from kdopt.errors import ArtifactError
from kdopt.store.artifacts import Artifacts


def test_content_comes_back_by_its_hash(tmp_path):
    artifacts = Artifacts(tmp_path / "a")
    sha256 = artifacts.put(b"weights")
    assert sha256 == hashlib.sha256(b"weights").hexdigest()
    assert artifacts.get(sha256) == b"weights"
    assert artifacts.put(b"weights") == sha256
    assert [p.name for p in artifacts.root.rglob("*") if p.is_file()] == [f"{sha256}.safetensors"]


@pytest.mark.parametrize("damage", [b"weightz", b"weigh", b""])
def test_altered_content_is_refused_by_name_and_put_mends_it(tmp_path, damage):
    artifacts = Artifacts(tmp_path)
    sha256 = artifacts.put(b"weights")
    artifacts.path(sha256).write_bytes(damage)
    with pytest.raises(ArtifactError, match=f"{sha256}.*damaged or altered"):
        artifacts.get(sha256)
    artifacts.put(b"weights")
    assert artifacts.get(sha256) == b"weights"


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ArtifactError, match="missing"):
        Artifacts(tmp_path).get("a" * 64)


@pytest.mark.parametrize("name", ["../../etc/passwd", "A" * 64, "a" * 63, ""])
def test_only_hashes_are_names(tmp_path, name):
    with pytest.raises(ArtifactError, match="not a sha256"):
        Artifacts(tmp_path).get(name)


def test_a_folder_that_cannot_be_written_is_a_clear_error(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ArtifactError, match="cannot be written"):
        Artifacts(tmp_path / "file").put(b"x")
