from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from kdopt.campaign.partition_settings import PartitionSettings
from kdopt.data.partition import STRATEGIES, draw_partition, make_specialized_tables
from kdopt.errors import PartitionError

quick = settings(deadline=None, derandomize=True, max_examples=60)
EXHAUSTIVE = ("quantity_skew", "label_chunks", "label_dirichlet")
class_counts = st.lists(st.integers(1, 120), min_size=2, max_size=12)


def make_labels(counts: list[int]) -> NDArray[np.int64]:
    labels = np.repeat(np.arange(len(counts)), counts).astype(np.int64)
    return np.random.default_rng(0).permutation(labels)


def table_of(parts: tuple[NDArray[np.int64], ...], labels: NDArray[np.int64]) -> NDArray[np.int64]:
    n_classes = int(labels.max()) + 1
    return np.stack([np.bincount(labels[part], minlength=n_classes) for part in parts])


def small(name: str, **changes: object) -> PartitionSettings:
    """Settings under which small data can be shared out."""
    concentration = (0.5,) if name == "quantity_skew" else (0.1, 0.5)
    base = PartitionSettings(name, concentration, chunk_size=4, min_size=2)
    return replace(base, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", STRATEGIES)
@quick
@given(counts=class_counts, participants=st.integers(1, 12), seed=st.integers(0, 2**32))
def test_parts_are_disjoint_sorted_and_large_enough(
    name: str, counts: list[int], participants: int, seed: int
) -> None:
    labels = make_labels(counts)
    try:
        parts = draw_partition(labels, participants, small(name), np.random.default_rng(seed))
    except PartitionError:
        assume(False)
    assert len(parts) == participants
    for part in parts:
        assert part.dtype == np.int64 and (np.diff(part) > 0).all() and len(part) >= 2
    together = np.concatenate(parts)
    assert len(np.unique(together)) == len(together)
    assert together.min() >= 0 and together.max() < len(labels)
    if name in EXHAUSTIVE:
        assert len(together) == len(labels)


@pytest.mark.parametrize("name", STRATEGIES)
@pytest.mark.parametrize("participants", [2, 4, 10, 12])
def test_the_paper_size_is_shared_out_with_the_default_limits(name: str, participants: int) -> None:
    labels = make_labels([4500] * 10)
    settings_ = small(name, chunk_size=100, min_size=32)
    parts = draw_partition(labels, participants, settings_, np.random.default_rng(1))
    assert min(len(part) for part in parts) >= 32


@pytest.mark.parametrize("name", STRATEGIES)
def test_the_generator_decides_the_partition(name: str) -> None:
    labels = make_labels([60] * 5)
    first, same, other = (
        draw_partition(labels, 4, small(name), np.random.default_rng(seed)) for seed in (1, 1, 2)
    )
    assert all((a == b).all() for a, b in zip(first, same, strict=True))
    assert any(not np.array_equal(a, b) for a, b in zip(first, other, strict=True))


@quick
@given(counts=st.lists(st.integers(10, 60), min_size=2, max_size=8), participants=st.integers(1, 9))
def test_uniform_gives_everybody_the_same_of_each_class(
    counts: list[int], participants: int
) -> None:
    labels = make_labels(counts)
    parts = draw_partition(labels, participants, small("uniform"), np.random.default_rng(0))
    expected = np.tile(np.array(counts) // participants, (participants, 1))
    assert (table_of(parts, labels) == expected).all()


def test_quantity_skew_follows_the_concentration() -> None:
    labels = make_labels([500] * 10)

    def spread(concentration: float) -> float:
        sizes = [
            len(part)
            for seed in range(20)
            for part in draw_partition(
                labels,
                10,
                small("quantity_skew", concentration=(concentration,)),
                np.random.default_rng(seed),
            )
        ]
        return float(np.std(sizes))

    # Dirichlet: the variance of a share is (1/10)(9/10) / (10 a + 1)
    assert spread(1000.0) == pytest.approx(5000 * 0.3 / np.sqrt(10_001), rel=0.2)
    assert spread(0.5) == pytest.approx(5000 * 0.3 / np.sqrt(6), rel=0.2)


@quick
@given(size=st.integers(32, 5000))
def test_specialized_tiles_ten_balanced_classes_exactly(size: int) -> None:
    labels = make_labels([size] * 10)
    settings_ = small("specialized", min_size=32)
    parts = draw_partition(labels, 10, settings_, np.random.default_rng(0))
    table = table_of(parts, labels)
    assert (table.sum(axis=0) == size).all()  # nothing is left out
    assert (table.sum(axis=1) == size).all()
    assert (np.diag(table) == round(0.91 * size)).all()
    others = table[~np.eye(10, dtype=bool)].reshape(10, 9)
    assert (np.ptp(others, axis=1) <= 1).all()


def test_specialized_is_exactly_91_and_one_percent_of_the_paper_size() -> None:
    labels = make_labels([4500] * 10)
    table = table_of(
        draw_partition(labels, 10, PartitionSettings("specialized"), np.random.default_rng(0)),
        labels,
    )
    assert (table == np.where(np.eye(10, dtype=bool), 4095, 45)).all()


@quick
@given(
    counts=st.lists(st.integers(20, 90), min_size=2, max_size=6),
    participants=st.integers(1, 9),
    dominant=st.floats(0.05, 0.99),
)
def test_specialized_is_as_large_as_the_classes_allow(
    counts: list[int], participants: int, dominant: float
) -> None:
    labels = make_labels(counts)
    sizes = np.arange(1, len(labels) // participants + 1)
    tables = make_specialized_tables(sizes, participants, len(counts), dominant)
    fits = (tables.sum(axis=1) <= np.array(counts)).all(axis=1)
    assume(fits.any())
    settings_ = small("specialized", dominant_fraction=dominant, min_size=1)
    table = table_of(
        draw_partition(labels, participants, settings_, np.random.default_rng(0)), labels
    )
    assert (table == tables[np.flatnonzero(fits)[-1]]).all()


def test_specialized_repeats_the_classes_over_more_participants() -> None:
    labels = make_labels([1000] * 10)
    parts = draw_partition(labels, 12, PartitionSettings("specialized"), np.random.default_rng(0))
    table = table_of(parts, labels)
    assert table.argmax(axis=1).tolist() == [*range(10), 0, 1]
    assert len(set(table.sum(axis=1).tolist())) == 1


@quick
@given(
    counts=st.lists(st.integers(40, 200), min_size=2, max_size=8),
    participants=st.integers(1, 6),
    chunk=st.integers(1, 12),
    seed=st.integers(0, 2**32),
)
def test_label_chunks_are_never_smaller_than_the_chunk_size(
    counts: list[int], participants: int, chunk: int, seed: int
) -> None:
    labels = make_labels(counts)
    settings_ = small("label_chunks", chunk_size=chunk)
    try:
        parts = draw_partition(labels, participants, settings_, np.random.default_rng(seed))
    except PartitionError:
        assume(False)
    table = table_of(parts, labels)
    assert (table[table > 0] >= chunk).all()
    assert table.sum(axis=0).tolist() == counts


def test_label_chunks_draw_every_number_of_classes() -> None:
    labels = make_labels([300] * 5)
    held = [
        int((row > 0).sum())
        for seed in range(40)
        for row in table_of(
            draw_partition(labels, 6, small("label_chunks"), np.random.default_rng(seed)), labels
        )
    ]
    # U{1..5}, moved a little by classes without a holder: 48 expected of each among 240
    assert all(25 <= held.count(number) <= 75 for number in range(1, 6))


def test_label_chunks_of_a_fixed_number_of_classes_and_even_cuts() -> None:
    labels = np.repeat(np.arange(10), 600)
    settings_ = small("label_chunks", classes=2, cuts="even")
    parts = draw_partition(labels, 10, settings_, np.random.default_rng(0))
    counts = np.stack([np.bincount(labels[part], minlength=10) for part in parts])
    # A class without a holder goes to somebody who then has one more.
    assert ((counts > 0).sum(axis=1) >= 2).all()
    for of_class in counts.T:
        held = of_class[of_class > 0]
        assert held.max() - held.min() <= 1


def test_label_dirichlet_repeats_its_concentrations() -> None:
    labels = make_labels([400] * 10)
    settings_ = small("label_dirichlet", concentration=(0.1, 2.0), min_size=1)
    sizes = np.mean(
        [
            [
                len(part)
                for part in draw_partition(labels, 4, settings_, np.random.default_rng(seed))
            ]
            for seed in range(40)
        ],
        axis=0,
    )
    # the mean share is concentration / sum: 0.1/4.2 and 2.0/4.2 in turn
    assert sizes == pytest.approx(4000 * np.array([0.1, 2.0, 0.1, 2.0]) / 4.2, rel=0.35)


@pytest.mark.parametrize(
    ("settings_", "participants", "message"),
    [
        (PartitionSettings("unifrom"), 2, "'unifrom' is unknown; choose one of uniform, quantity"),
        (PartitionSettings("uniform"), 0, "cannot give 0 participants"),
        (PartitionSettings("uniform", min_size=101), 2, "200 images cannot give 2 participants"),
        (PartitionSettings("uniform", min_size=6), 30, "30 equal participants get 4 images each"),
        (PartitionSettings("uniform", min_size=1), 60, "class 0 has 50 images for 60 participants"),
        (PartitionSettings("quantity_skew", (0.1, 0.5)), 2, "takes one number"),
        (PartitionSettings("quantity_skew", (0.0,)), 2, "must be a number above 0"),
        (PartitionSettings("label_dirichlet", (0.1, float("inf"))), 2, "a number above 0"),
        (PartitionSettings("label_dirichlet", ()), 2, "a number above 0"),
        (PartitionSettings("quantity_skew", min_size=66), 3, "none of 1,000 draws gave"),
        (PartitionSettings("specialized", dominant_fraction=1.0), 2, "fraction in (0, 1)"),
        (PartitionSettings("specialized", min_size=60), 3, "enough for 51 per participant"),
        (PartitionSettings("label_chunks", chunk_size=51), 2, "chunks of at least 51"),
        (PartitionSettings("label_chunks", chunk_size=50, min_size=2), 5, "5 participants; take"),
        (PartitionSettings("label_chunks", chunk_size=0, min_size=2), 5, "(at least 1)"),
        (PartitionSettings("label_chunks", chunk_size=1, min_size=1, classes=9), 5, "classes = 9"),
        (
            PartitionSettings("label_chunks", chunk_size=50, min_size=2, max_draws=1),
            4,
            "every time a class was too small for its holders (chunk_size 50)",
        ),
    ],
)
def test_what_cannot_be_is_refused_with_a_way_out(
    settings_: PartitionSettings, participants: int, message: str
) -> None:
    labels = make_labels([50] * 4)
    with pytest.raises(PartitionError) as caught:
        draw_partition(labels, participants, settings_, np.random.default_rng(0))
    assert message in str(caught.value)


def test_the_number_of_draws_is_bounded_and_named() -> None:
    labels = make_labels([50] * 4)
    settings_ = PartitionSettings("label_dirichlet", (0.1,), min_size=45, max_draws=7)
    with pytest.raises(PartitionError, match=r"none of 7 draws .* the smallest has \d+\. Take"):
        draw_partition(labels, 4, settings_, np.random.default_rng(0))
