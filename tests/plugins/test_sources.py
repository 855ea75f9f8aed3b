from __future__ import annotations

import os
import sys

import pytest

from kdopt.errors import KdoptError
from kdopt.plugins.sources import (
    describe_package,
    find_offer,
    give_plugins,
    list_given_plugins,
    load_offer,
    run_plugin,
)
from tests.plugins.offers import install_package, write_plugin

MODEL = """
from kdopt.plugins import register_model

@register_model("{name}")
def make(shape, n_classes):
    raise RuntimeError
"""


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("import no_such_module", "in line 1: ModuleNotFoundError"),
        ("x = 1\nx +", "in line 2: SyntaxError"),
        ("\0", "source code"),
        ("x = 1", "it offers nothing"),
        (MODEL.format(name="cnn"), "kdopt has a model of this name"),
        (MODEL.format(name="one") + MODEL.format(name="one"), "offers model 'one' twice"),
    ],
)
def test_a_file_that_cannot_be_used_is_one_message_with_its_path(tmp_path, text, words):
    path = write_plugin(tmp_path, text)
    give_plugins([path])
    with pytest.raises(KdoptError) as caught:
        run_plugin(list_given_plugins()[0])
    assert f"--plugin {path}" in str(caught.value) and words in str(caught.value)


def test_what_is_no_ordinary_file_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for name, words in (("none.py", "No such file"), ("pipe", "a pipe"), (".", "a folder")):
        with pytest.raises(KdoptError, match=words):
            give_plugins([tmp_path / name])


def test_giving_a_file_does_not_run_it_and_it_runs_once_from_what_was_hashed(tmp_path):
    path = write_plugin(tmp_path, MODEL.format(name="first"))
    give_plugins([path])
    path.write_text("raise SystemExit('other content ran')")
    (file,) = list_given_plugins()
    offered = run_plugin(file)
    assert [declared.name for declared in offered] == ["first"]
    assert run_plugin(file) is offered


def test_a_file_that_is_not_given_any_more_is_not_run(tmp_path):
    give_plugins([write_plugin(tmp_path, MODEL.format(name="first"))])
    (file,) = list_given_plugins()
    give_plugins([])
    with pytest.raises(KdoptError, match="it was not given"):
        run_plugin(file)


def test_one_content_under_two_names_is_one_file(tmp_path):
    paths = [write_plugin(tmp_path, MODEL.format(name="n"), name) for name in ("a.py", "b.py")]
    give_plugins(paths)
    assert len(list_given_plugins()) == 1


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
