"""The sizes at which growth is measured."""

from __future__ import annotations

SIZES = {"0.01": (3, 1), "0.1": (7, 1), "1": (10, 5), "10": (30, 5)}
"""Participants and partitions of campaigns of about a hundredth, a tenth, the whole and ten times
the paper's 450 pairs."""

PARTITIONS = ("uniform", "quantity_skew", "specialized", "label_chunks", "label_dirichlet")
