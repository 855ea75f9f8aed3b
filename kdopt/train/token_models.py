"""Small models for token ids: an average of embeddings, and a convolution over them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from kdopt.campaign.shapes import TokenShape

EMBEDDING_WIDTH = 64
FILTER_WIDTHS = (2, 3, 4)
FILTERS = 64


class EmbeddingBag(nn.Module):
    """The mean of the tokens' embeddings, then one linear layer: the order of words is lost.

    Source: A. Joulin et al., Bag of Tricks for Efficient Text Classification, arXiv:1607.01759.

    Args:
        shape: Of the sequences.
        n_classes: Number of classes.
    """

    def __init__(self, shape: TokenShape, n_classes: int) -> None:
        super().__init__()
        self._padding = shape.padding
        self.embedding = nn.Embedding(shape.vocabulary, EMBEDDING_WIDTH)
        self.head = nn.Linear(EMBEDDING_WIDTH, n_classes)

    def forward(self, tokens: Tensor) -> Tensor:
        """Token ids, (batch, length), to logits, (batch, classes); padding counts for nothing."""
        there = (tokens != self._padding).unsqueeze(2)
        summed = (self.embedding(tokens) * there).sum(dim=1)
        logits: Tensor = self.head(summed / there.sum(dim=1).clamp(min=1))
        return logits


class TextCnn(nn.Module):
    """Convolutions over two, three and four embeddings in a row, and the greatest value of each.

    Source: Y. Kim, Convolutional Neural Networks for Sentence Classification, EMNLP 2014; without
    its dropout, so that trials of a pair may run at once.

    Args:
        shape: Of the sequences.
        n_classes: Number of classes.
    """

    def __init__(self, shape: TokenShape, n_classes: int) -> None:
        super().__init__()
        self._padding = shape.padding
        self.embedding = nn.Embedding(shape.vocabulary, EMBEDDING_WIDTH)
        self.filters = nn.ModuleList(
            nn.Conv1d(EMBEDDING_WIDTH, FILTERS, width, padding=width - 1) for width in FILTER_WIDTHS
        )
        self.head = nn.Linear(FILTERS * len(FILTER_WIDTHS), n_classes)

    def forward(self, tokens: Tensor) -> Tensor:
        """Token ids, (batch, length), to logits, (batch, classes); padding is a word of zeros."""
        there = (tokens != self._padding).unsqueeze(2)
        embedded = (self.embedding(tokens) * there).transpose(1, 2)
        found = [torch.relu(layer(embedded)).amax(dim=2) for layer in self.filters]
        logits: Tensor = self.head(torch.cat(found, dim=1))
        return logits


def make_token_model(name: str, shape: TokenShape, n_classes: int) -> nn.Module:
    """``embedding_bag`` or ``text_cnn``; its weights come from torch's global generator."""
    return EmbeddingBag(shape, n_classes) if name == "embedding_bag" else TextCnn(shape, n_classes)
