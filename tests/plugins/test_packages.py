from __future__ import annotations

import sys

import pytest

from kdopt.errors import KdoptError
from kdopt.plugins.packages import describe_package, find_offer, load_offer
from tests.plugins.offers import install_package

CODE = """
from kdopt.plugins import register_model

@register_model("lab_net")
def make(shape, n_classes):
    raise RuntimeError

def plain(shape, n_classes):
    raise RuntimeError
"""
OFFERS = """
[kdopt.models]
lab_net = lab_models:make
other_name = lab_models:make
undecorated = lab_models:plain
missing = lab_models:nothing

[console_scripts]
lab_script = lab_models:make
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    install_package(tmp_path, "lab_models", CODE, OFFERS)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    sys.modules.pop("lab_models", None)


def test_an_offer_is_found_in_its_group_only_and_nothing_is_imported_to_find_it(folder):
    assert find_offer("model", "lab_net").value == "lab_models:make"
    assert find_offer("method", "lab_net") is None
    assert find_offer("model", "lab_script") is None
    assert describe_package("lab_models").version == "1.0"
    assert "lab_models" not in sys.modules
    assert load_offer("model", find_offer("model", "lab_net")).name == "lab_net"
    assert "lab_models" in sys.modules


@pytest.mark.parametrize("name", ["other_name", "undecorated", "missing"])
def test_an_entry_point_must_name_what_was_offered_under_this_name(folder, name):
    with pytest.raises(KdoptError, match=f"model '{name}' of package lab_models"):
        load_offer("model", find_offer("model", name))


def test_a_name_that_two_packages_offer_is_refused(folder):
    install_package(folder, "lab_copy", CODE, "[kdopt.models]\nlab_net = lab_copy:make\n")
    with pytest.raises(KdoptError, match="several installed packages offer it, lab_copy, lab_mod"):
        find_offer("model", "lab_net")


def test_a_changed_line_is_another_package_and_how_it_was_built_is_not(folder):
    before = describe_package("lab_models")
    (folder / "lab_models.py").write_text(CODE + "# changed\n")
    describe_package.cache_clear()
    assert describe_package("lab_models").sha256 != before.sha256
    (folder / "lab_models.py").write_text("\n" + CODE.lstrip("\n"))
    (folder / "version.py").write_text("cuda = None")
    with (folder / "lab_models-1.0.dist-info" / "RECORD").open("a") as file:
        file.write("version.py,,\n")
    describe_package.cache_clear()
    assert describe_package("lab_models") == before


def test_a_checkout_that_is_linked_is_known_by_its_modules(folder):
    (folder / "lab_models-1.0.dist-info" / "RECORD").write_text("link.pth,,\n")
    before = describe_package("lab_models")
    (folder / "lab_models.py").write_text(CODE + "# changed\n")
    describe_package.cache_clear()
    assert describe_package("lab_models").sha256 != before.sha256
    assert "lab_models" not in sys.modules


def test_a_package_that_is_not_installed_is_none():
    assert describe_package("no-such-package") is None
    assert describe_package("../x") is None
