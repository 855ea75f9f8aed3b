from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kdopt.train.metrics import accuracy_gain, learning_and_forgetting, score


def logits_for(predictions, n_classes):
    return torch.nn.functional.one_hot(torch.tensor(predictions), n_classes).float()


def test_scores_by_hand():
    found = score(logits_for([0, 0, 1, 2], 4), torch.tensor([0, 1, 1, 2]), 4)
    assert found.accuracy == 0.75
    assert found.per_class == (1.0, 0.5, 1.0, None)
    wrong, right = 1.0 / (3 + torch.e), torch.e / (3 + torch.e)
    expected = -(3 * torch.tensor(right).log() + torch.tensor(wrong).log()) / 4
    assert found.loss == pytest.approx(float(expected), rel=1e-6)


@settings(max_examples=50, deadline=None)
@given(st.data(), st.integers(2, 6), st.integers(1, 8))
def test_gain_is_learning_minus_forgetting_on_a_balanced_set(data, n_classes, per_class):
    labels = torch.arange(n_classes).repeat_interleave(per_class)
    guess = st.lists(st.integers(0, n_classes - 1), min_size=len(labels), max_size=len(labels))
    before, after = (
        score(logits_for(data.draw(guess), n_classes), labels, n_classes) for _ in "ab"
    )
    change = learning_and_forgetting(after, before)
    assert change.learning >= 0
    assert change.forgetting >= 0
    assert change.learning - change.forgetting == pytest.approx(accuracy_gain(after, before))


def test_a_class_without_images_counts_for_nothing():
    labels = torch.tensor([0, 0])
    before, after = (score(logits_for(p, 3), labels, 3) for p in ([1, 1], [0, 0]))
    assert learning_and_forgetting(after, before) == (100.0, 0.0)
    assert learning_and_forgetting(before, after) == (0.0, 100.0)
