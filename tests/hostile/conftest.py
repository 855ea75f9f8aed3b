"""What several hostile tests break: copies of one campaign whose participants are trained."""

from __future__ import annotations

import pytest

from tests.hostile.world import World, copy_world, make_pretrained


@pytest.fixture(scope="session")
def pretrained_folder(tmp_path_factory):
    return make_pretrained(tmp_path_factory.mktemp("pretrained"))


@pytest.fixture
def world(pretrained_folder, tmp_path) -> World:
    return copy_world(pretrained_folder, tmp_path / "world")
