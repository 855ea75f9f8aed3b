"""Many teachers: the weights of Eq. 6 by hand, and Eq. 7 against its plain double sum."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kdopt.campaign.stage_settings import WEIGHTINGS
from kdopt.train.losses import kl_divergence
from kdopt.train.teachers import Mixture, compute_class_weights

ADAPTIVE = [w for w in WEIGHTINGS if w != "equal"]
A = [[0.8, 0.2, 0.0], [0.4, 0.6, 0.0]]  # two teachers, three classes; nobody knows the third
S = [0.5, 0.1, 0.0]


def weights(weighting, teachers=A, student=S, **options):
    return compute_class_weights(weighting, teachers, student, **options)


def test_each_formula_on_a_case_done_by_hand():
    expected = {
        "equal": [[0.5, 0.5, 0.5], [0.5, 0.5, 0.5]],
        "better_share": [[0.8 / 1.2, 0.25, 0], [0, 0.75, 0]],
        "excess_share": [[0.3 / 1.2, 0.1 / 0.8, 0], [0, 0.5 / 0.8, 0]],
        "student_share": [[0.8 / 1.7, 0.2 / 0.9, 0], [0.4 / 1.7, 0.6 / 0.9, 0]],
        "share": [[0.8 / 1.2, 0.25, 0], [0.4 / 1.2, 0.75, 0]],
        "normalized_share": [[1.0, 0.25, 0], [0.0, 0.75, 0]],
    }
    for name, lines in expected.items():
        torch.testing.assert_close(weights(name), torch.tensor(lines, dtype=torch.float64))


accuracies = st.lists(st.floats(0, 1), min_size=3, max_size=3)


@given(teachers=st.lists(accuracies, min_size=1, max_size=5), student=accuracies)
@settings(max_examples=60, deadline=None)
def test_what_holds_of_all_formulas(teachers, student):
    known = torch.tensor(teachers, dtype=torch.float64).sum(0) > 0
    for name in WEIGHTINGS:
        found = weights(name, teachers, student)
        assert found.shape == (len(teachers), 3)
        assert bool((found >= 0).all())
        assert bool((found.sum(0) <= 1 + 1e-9).all())
        if name != "equal":
            assert not found[:, ~known].any()
    shares = weights("share", teachers, student)
    torch.testing.assert_close(shares.sum(0), known.double())
    # Against a student who knows nothing, all adaptive formulas are plain shares.
    for name in ADAPTIVE:
        torch.testing.assert_close(weights(name, teachers, None), shares)


def test_normalised_weights_of_a_class_sum_to_one_where_anybody_counts():
    for student, options in ((S, {}), (None, {}), (S, {"with_copy": True})):
        teachers = [*A, S] if options else A
        found = weights("normalized_share", teachers, student, **options)
        counted = weights("better_share", teachers, student, **options).sum(0) > 0
        torch.testing.assert_close(found.sum(0), counted.double())


def test_a_copy_of_the_student_counts_although_it_is_not_better():
    with_copy = weights("better_share", [*A, S], S, with_copy=True)
    assert with_copy[2].tolist() == pytest.approx([0.5 / 1.7, 0.1 / 0.9, 0.0])
    assert not weights("better_share", [*A, S], S)[2].any()
    same = weights("share", [*A, S], S)
    torch.testing.assert_close(weights("share", [*A, S], S, with_copy=True), same)


def random_logits(n_teachers=4, n=12, classes=5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    teachers = [3 * torch.randn(n, classes, generator=generator) for _ in range(n_teachers)]
    return teachers, torch.randn(n, classes, generator=generator)


def mixture_of(teachers, weights, temperature, by=None):
    mixture = Mixture(temperature)
    for number, (logits, weight) in enumerate(zip(teachers, weights, strict=True)):
        mixture.add(logits, weight, None if by is None else by[number])
    return mixture


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_one_teacher_of_weight_one_is_the_plain_divergence(temperature):
    (teacher,), student = random_logits(1)
    mixture = mixture_of([teacher], [torch.ones(5)], temperature)
    index = torch.tensor([3, 0, 7])
    expected = kl_divergence(teacher[index], student[index], temperature)
    torch.testing.assert_close(mixture.loss(index, student[index]), expected)


def test_equal_weights_are_the_mean_of_the_divergences():
    teachers, student = random_logits()
    mixture = mixture_of(teachers, torch.full((4, 5), 0.25), 2.0)
    index = torch.arange(len(student))
    expected = sum(kl_divergence(t, student, 2.0) for t in teachers) / 4
    torch.testing.assert_close(mixture.loss(index, student), expected)


@pytest.mark.parametrize("per_image", [False, True])
@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_loss_and_gradient_are_those_of_the_double_sum(temperature, per_image):
    teachers, student = random_logits()
    drawn = torch.rand(4, 5, generator=torch.Generator().manual_seed(1))
    by = [t.argmax(1) for t in teachers] if per_image else None
    index = torch.tensor([5, 1, 9, 2])

    def direct(logits):
        log_q = torch.log_softmax(logits / temperature, 1)
        total = torch.zeros(())
        for k, teacher in enumerate(teachers):
            log_p = torch.log_softmax(teacher[index] / temperature, 1)
            terms = log_p.exp() * (log_p - log_q)
            total = total + (
                (terms * drawn[k]).sum()
                if by is None
                else (terms.sum(1) * drawn[k][by[k][index]]).sum()
            )
        return total / len(index)

    ours, theirs = (student[index].clone().requires_grad_() for _ in range(2))
    value = mixture_of(teachers, drawn, temperature, by).loss(index, ours)
    expected = direct(theirs)
    value.backward()
    expected.backward()
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(ours.grad, theirs.grad)


def test_class_weights_pull_towards_the_weighted_mixture():
    """The least loss is where q is proportional to the weighted sum of the teachers."""
    teachers, _ = random_logits(3, n=2)
    drawn = torch.rand(3, 5, generator=torch.Generator().manual_seed(2))
    mixture = mixture_of(teachers, drawn, 1.0)
    target = sum(t.softmax(1) * w for t, w in zip(teachers, drawn, strict=True))
    best = target.log()  # log-probabilities up to a constant per image
    index = torch.arange(2)
    least = mixture.loss(index, best)
    for seed in range(5):
        noise = 0.1 * torch.randn(2, 5, generator=torch.Generator().manual_seed(seed))
        assert mixture.loss(index, best + noise) > least


def test_memory_does_not_grow_with_the_number_of_teachers():
    teachers, _ = random_logits(2)
    mixture = mixture_of(teachers, torch.ones(2, 5), 1.0)

    def kept():
        return sum(v.numel() for v in vars(mixture).values() if isinstance(v, torch.Tensor))

    before = kept()
    for _ in range(100):
        mixture.add(teachers[0], torch.ones(5))
    assert kept() == before
