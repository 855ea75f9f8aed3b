from __future__ import annotations

import os

import pytest

from kdopt.errors import KdoptError
from kdopt.plugins.files import give_plugins, list_given_plugins, run_plugin
from tests.plugins.offers import write_plugin

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
