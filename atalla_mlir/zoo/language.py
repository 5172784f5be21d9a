"""Transformers over tokens: BERT and GPT-2."""

from __future__ import annotations

import torch
from torch import nn

from atalla_mlir.zoo.transformer_parts import Block, scaled_weights, tanh_gelu

Built = tuple[nn.Module, tuple[torch.Tensor, ...]]


def tokens(vocabulary: int, batch: int, length: int) -> torch.Tensor:
    """Random token numbers, int64 [batch, length]."""
    return torch.randint(vocabulary, (batch, length))


class Bert(nn.Module):
    """Embeddings of words, positions and segments, blocks with the norm last, and the pooled first token."""

    def __init__(self, vocabulary: int, positions: int, dim: int, depth: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.words = nn.Embedding(vocabulary, dim)
        self.positions = nn.Embedding(positions, dim)
        self.segments = nn.Embedding(2, dim)
        self.norm = nn.LayerNorm(dim, 1e-12)
        self.blocks = nn.Sequential(*[Block(dim, heads, hidden, eps=1e-12, norm_first=False) for _ in range(depth)])
        self.pooler = nn.Linear(dim, dim)
        scaled_weights(self)

    def forward(self, words: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The last hidden state [batch, length, dim] and the pooled output [batch, dim]."""
        position = torch.arange(words.shape[1], device=words.device)
        x = self.words(words) + self.positions(position) + self.segments(torch.zeros_like(words))
        x = self.blocks(self.norm(x))
        return x, torch.tanh(self.pooler(x[:, 0]))


def bert_base(
    batch: int = 1,
    length: int = 128,
    vocabulary: int = 30522,
    positions: int = 512,
    dim: int = 768,
    depth: int = 12,
    heads: int = 12,
    hidden: int = 3072,
) -> Built:
    """BERT-base: 12 blocks of 12 heads, width 768, on 128 tokens."""
    return Bert(vocabulary, positions, dim, depth, heads, hidden), (tokens(vocabulary, batch, length),)


class Gpt2(nn.Module):
    """Embeddings of words and positions, causal blocks, a norm, and logits by the word embedding."""

    def __init__(self, vocabulary: int, positions: int, dim: int, depth: int, heads: int) -> None:
        super().__init__()
        self.words = nn.Embedding(vocabulary, dim)
        self.positions = nn.Embedding(positions, dim)
        self.blocks = nn.Sequential(*[Block(dim, heads, 4 * dim, tanh_gelu, is_causal=True) for _ in range(depth)])
        self.norm = nn.LayerNorm(dim)
        scaled_weights(self)

    def forward(self, words: torch.Tensor) -> torch.Tensor:
        """Logits [batch, length, vocabulary]."""
        position = torch.arange(words.shape[1], device=words.device)
        x = self.norm(self.blocks(self.words(words) + self.positions(position)))
        return nn.functional.linear(x, self.words.weight)


def gpt2_small(
    batch: int = 1,
    length: int = 128,
    vocabulary: int = 50257,
    positions: int = 1024,
    dim: int = 768,
    depth: int = 12,
    heads: int = 12,
) -> Built:
    """GPT-2 small: 12 causal blocks of 12 heads, width 768, logits for 128 tokens."""
    return Gpt2(vocabulary, positions, dim, depth, heads), (tokens(vocabulary, batch, length),)
