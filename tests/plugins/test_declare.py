from __future__ import annotations

import pytest

from kdopt.errors import KdoptError
from kdopt.plugins import register_dataset, register_method, register_model
from kdopt.plugins.declare import DECLARED


def make(inputs, *, weight):
    """A method's function; never called here."""


def declare_method(name="fine", space=None, published=None, **options):
    register_method(
        name, space=space or {"weight": [1.0]}, published=published or {"weight": 1.0}, **options
    )(make)


@pytest.mark.parametrize(
    ("declare", "words"),
    [
        (lambda: register_model("cnn"), "kdopt has a model of this name"),
        (lambda: register_model("timm:mine"), "give it another name"),
        (lambda: register_model("../../x"), "a model is NAME"),
        (lambda: register_dataset("digits"), "none of kdopt's own"),
        (lambda: register_dataset("a b"), "letters a-z"),
        (lambda: declare_method("dkd"), "none of kdopt's own"),
        (lambda: declare_method("index"), "none of kdopt's own"),
        (lambda: declare_method("sampler"), "[tune] has a setting of this name"),
        (lambda: declare_method("x/y"), "letters a-z"),
        (lambda: declare_method(published={"wieght": 1.0}), "must have the same parameters"),
        (lambda: declare_method(log=["heat"]), "log some of them"),
        (lambda: declare_method(space={"weight": []}), "one or more different finite numbers"),
        (lambda: declare_method(space={"weight": [1, 1]}), "one or more different finite"),
        (lambda: declare_method(published={"weight": float("nan")}), "finite numbers"),
        (lambda: declare_method(space={"weight": [0.0]}, log=["weight"]), "above 0"),
        (
            lambda: declare_method(space={"epochs": [1]}, published={"epochs": 1}),
            "no name that kdopt has for something else",
        ),
        (
            lambda: declare_method(space={"heat": [1]}, published={"heat": 1}),
            "does not take the inputs and then heat by name",
        ),
    ],
)
def test_what_cannot_be_offered_is_refused_where_it_is_written(declare, words):
    before = list(DECLARED)
    with pytest.raises(KdoptError) as caught:
        declare()
    assert words in str(caught.value)
    assert before == DECLARED


def test_a_decorator_gives_back_what_it_decorates():
    assert register_model("some_net")(make) is make
    offered = DECLARED.pop()
    assert (offered.kind, offered.name, offered.module) == ("model", "some_net", __name__)
