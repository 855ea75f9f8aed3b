"""The student line: weights between the untouched student and the trained one."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from kdopt.outcome import Scores
from kdopt.train.fit import DivergedError
from kdopt.train.student_line import choose_on_line, interpolate_weights


def make_states():
    untouched = {
        "weight": torch.tensor([1.0, -2.0]),
        "running_var": torch.tensor([1.0, 4.0]),
        "num_batches_tracked": torch.tensor(3),
    }
    trained = {
        "weight": torch.tensor([2.0, 2.0]),
        "running_var": torch.tensor([3.0, 1.0]),
        "num_batches_tracked": torch.tensor(9),
    }
    return untouched, trained


@pytest.mark.parametrize(
    ("position", "weight", "variance"),
    [
        (0.0, [1.0, -2.0], [1.0, 4.0]),
        (0.5, [1.5, 0.0], [2.0, 2.5]),
        (1.0, [2.0, 2.0], [3.0, 1.0]),
        # A variance is at least 0, however far the line goes on.
        (2.0, [3.0, 6.0], [5.0, 0.0]),
    ],
)
def test_weights_and_statistics_lie_on_a_straight_line(position, weight, variance):
    found = interpolate_weights(*make_states(), position)
    assert found["weight"].tolist() == weight
    assert found["running_var"].tolist() == variance
    assert found["num_batches_tracked"] == 9


def test_a_linear_model_on_the_line_answers_with_the_mean_of_both_answers():
    models = [nn.Linear(3, 2) for _ in range(3)]
    first, last, between = models
    between.load_state_dict(interpolate_weights(first.state_dict(), last.state_dict(), 0.25))
    x = torch.randn(5, 3)
    torch.testing.assert_close(between(x), 0.75 * first(x) + 0.25 * last(x))


def test_both_ends_are_left_as_they_are():
    untouched, trained = make_states()
    interpolate_weights(untouched, trained, 0.5)["weight"].zero_()
    interpolate_weights(untouched, trained, 0.5)["num_batches_tracked"].zero_()
    for states, expected in ((untouched, make_states()[0]), (trained, make_states()[1])):
        assert all(torch.equal(states[key], expected[key]) for key in expected)


@pytest.mark.parametrize(
    ("accuracies", "chosen"),
    [
        ({1.0: 0.5}, 1.0),
        ({0.5: 0.6, 0.75: 0.6, 1.25: 0.6}, 0.75),
        ({0.5: 0.7, 0.75: 0.6}, 0.5),
        ({0.25: 0.4, 1.25: 0.6}, 1.25),
    ],
)
@pytest.mark.parametrize("by_test", [False, True])
def test_the_best_is_chosen_and_among_equals_the_nearest_to_the_trained(
    accuracies, chosen, by_test
):
    untouched, trained = nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        untouched.weight.fill_(0.0)
        trained.weight.fill_(1.0)
    scored = []

    def score(on_test):
        position = float(trained.weight.detach())
        scored.append((position, on_test))
        accuracy = accuracies.get(position, 0.5) if on_test == by_test else 0.1 + on_test
        return Scores(accuracy, (accuracy, None), 1.0, 2, "gA==")

    first = (score(False), score(True))
    best, line = choose_on_line(
        trained, untouched.state_dict(), first, (0.25, 0.5, 0.75, 1.25), by_test, score
    )
    assert line.chosen == chosen == float(trained.weight.detach())
    assert best[by_test].accuracy == accuracies.get(chosen, 0.5)
    assert [point.position for point in line.points] == [0.25, 0.5, 0.75, 1.25]
    # The test set is asked only where it decides, or where validation found a better student.
    tested = {position for position, on_test in scored if on_test}
    assert by_test or tested <= {1.0, *(p for p, a in accuracies.items() if a > 0.5)}


MEASURED = [
    ({}, 1.0, "running"),
    ({(1.0, "measured"): 0.6, (0.75, "running"): 0.6}, 1.0, "measured"),
    ({(0.75, "running"): 0.6, (0.75, "measured"): 0.6}, 0.75, "running"),
    ({(0.75, "running"): 0.6, (1.25, "measured"): 0.7}, 1.25, "measured"),
    ({(0.5, "measured"): 0.7, (0.5, "running"): 0.8}, 0.5, "running"),
]


@pytest.mark.parametrize(("accuracies", "chosen", "statistics"), MEASURED)
@pytest.mark.parametrize("by_test", [False, True])
def test_each_place_is_tried_with_either_statistics(accuracies, chosen, statistics, by_test):
    model, untouched = nn.BatchNorm1d(1), nn.BatchNorm1d(1)
    nn.init.zeros_(untouched.weight)
    trained_mean, measured_mean = 0.0, 9.0

    def read():
        way = "measured" if float(model.running_mean) == measured_mean else "running"
        return float(model.weight.detach()), way

    def measure():
        model.running_mean.fill_(measured_mean)
        return True

    def score(on_test):
        accuracy = accuracies.get(read(), 0.5) if on_test == by_test else 0.1 + on_test
        return Scores(accuracy, (accuracy, None), 1.0, 2, "gA==")

    model.running_mean.fill_(trained_mean)
    first, places = (score(False), score(True)), (0.5, 0.75, 1.25)
    best, line = choose_on_line(
        model, untouched.state_dict(), first, places, by_test, score, measure
    )
    assert (line.chosen, line.statistics) == (chosen, statistics) == read()
    assert best[by_test].accuracy == accuracies.get((chosen, statistics), 0.5)
    assert [point.position for point in line.points] == [0.5, 0.75, 1.25]
    assert [point.position for point in line.measured] == [0.5, 0.75, 1.0, 1.25]


def test_a_place_that_is_of_no_use_with_one_statistics_is_tried_with_the_other():
    model = nn.BatchNorm1d(1)
    model.running_mean.fill_(1.0)
    untouched = {key: torch.zeros_like(value) for key, value in model.state_dict().items()}

    def measure():
        model.running_mean.fill_(-1.0)
        return True

    def score(on_test):
        if 0 < float(model.running_mean) < 1:
            raise DivergedError("logits are not finite")
        return Scores(0.5, (0.5, None), 1.0, 2, "gA==")

    first = score(False), score(True)
    _, line = choose_on_line(model, untouched, first, (0.5,), False, score, measure)
    assert line.points == () and [point.position for point in line.measured] == [0.5, 1.0]


def test_a_model_without_statistics_is_tried_once():
    model = nn.Linear(1, 1)
    scores = Scores(0.5, (0.5, None), 1.0, 2, "gA==")
    asked = []

    def score(on_test):
        asked.append(on_test)
        return scores

    first = scores, scores
    line = choose_on_line(model, model.state_dict(), first, (0.5,), False, score, lambda: False)[1]
    assert (line.statistics, line.measured, asked) == (None, (), [False])
