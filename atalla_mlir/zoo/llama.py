"""A decoder of the llama family: RMS norm, rotary positions, grouped heads, gated MLP."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import nn
from torch.nn import functional

from atalla_mlir.errors import BadInputError
from atalla_mlir.zoo.language import Built, tokens
from atalla_mlir.zoo.transformer_parts import joined_heads, scaled_weights, split_heads


@dataclass(frozen=True)
class Sizes:
    """Extents of a model; `key_heads` heads of keys and values are shared by `heads` heads of queries."""

    dim: int
    layers: int
    heads: int
    key_heads: int
    hidden: int
    vocabulary: int
    base: float = 10000.0
    """Base of the rotary frequencies."""


SHAPES = MappingProxyType(
    {
        "micro": Sizes(64, 2, 4, 2, 128, 256),
        "tiny": Sizes(2048, 22, 32, 4, 5632, 32000),
        "1b": Sizes(2048, 16, 32, 8, 8192, 128256, 500000.0),
    }
)
"""Shapes by name: one for tests, TinyLlama's, and that of a model of a billion parameters."""


def rotary_tables(positions: int, width: int, base: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Cosines and sines of the angle of each position in each pair of channels, [positions, width] each."""
    frequencies = base ** (-torch.arange(0, width, 2, dtype=torch.float64) / width)
    angles = torch.outer(torch.arange(positions, dtype=torch.float64), frequencies)
    angles = torch.cat([angles, angles], dim=1)
    return angles.cos().float(), angles.sin().float()


def rotated(x: torch.Tensor, cosines: torch.Tensor, sines: torch.Tensor) -> torch.Tensor:
    """`x` [..., width] with channels i and i + width / 2 turned by the angle of their position."""
    first, second = x.chunk(2, dim=-1)
    return x * cosines + torch.cat([-second, first], dim=-1) * sines


class GroupedAttention(nn.Module):
    """Causal attention with rotary positions; heads of keys and values are shared by groups of query heads."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.heads, self.key_heads = sizes.heads, sizes.key_heads
        width = sizes.dim // sizes.heads
        self.query = nn.Linear(sizes.dim, sizes.heads * width, bias=False)
        self.key = nn.Linear(sizes.dim, sizes.key_heads * width, bias=False)
        self.value = nn.Linear(sizes.dim, sizes.key_heads * width, bias=False)
        self.output = nn.Linear(sizes.dim, sizes.dim, bias=False)

    def forward(self, x: torch.Tensor, cosines: torch.Tensor, sines: torch.Tensor) -> torch.Tensor:
        query = rotated(split_heads(self.query(x), self.heads), cosines, sines)
        key = rotated(split_heads(self.key(x), self.key_heads), cosines, sines)
        value = split_heads(self.value(x), self.key_heads)
        mixed = functional.scaled_dot_product_attention(query, key, value, is_causal=True, enable_gqa=True)
        return self.output(joined_heads(mixed))


class GatedMlp(nn.Module):
    """down(silu(gate(x)) * up(x))."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.gate = nn.Linear(dim, hidden, bias=False)
        self.up = nn.Linear(dim, hidden, bias=False)
        self.down = nn.Linear(hidden, dim, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.down(functional.silu(self.gate(x)) * self.up(x))


class Layer(nn.Module):
    """Attention and gated MLP, each on the RMS norm of its input and added to it."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.norm1 = nn.RMSNorm(sizes.dim, 1e-5)
        self.attention = GroupedAttention(sizes)
        self.norm2 = nn.RMSNorm(sizes.dim, 1e-5)
        self.mlp = GatedMlp(sizes.dim, sizes.hidden)

    def forward(self, x: torch.Tensor, cosines: torch.Tensor, sines: torch.Tensor) -> torch.Tensor:
        x = x + self.attention(self.norm1(x), cosines, sines)
        return x + self.mlp(self.norm2(x))


class Llama(nn.Module):
    """Word embedding, layers, RMS norm and a linear layer to logits, for up to `positions` tokens."""

    cosines: torch.Tensor
    sines: torch.Tensor

    def __init__(self, sizes: Sizes, positions: int) -> None:
        super().__init__()
        self.words = nn.Embedding(sizes.vocabulary, sizes.dim)
        self.layers = nn.ModuleList([Layer(sizes) for _ in range(sizes.layers)])
        self.norm = nn.RMSNorm(sizes.dim, 1e-5)
        self.head = nn.Linear(sizes.dim, sizes.vocabulary, bias=False)
        cosines, sines = rotary_tables(positions, sizes.dim // sizes.heads, sizes.base)
        self.register_buffer("cosines", cosines, persistent=False)
        self.register_buffer("sines", sines, persistent=False)
        scaled_weights(self)

    def forward(self, words: torch.Tensor) -> torch.Tensor:
        """Logits [batch, length, vocabulary]."""
        length = words.shape[1]
        x = self.words(words)
        for layer in self.layers:
            x = layer(x, self.cosines[:length], self.sines[:length])
        return self.head(self.norm(x))


def llama(
    shape: str = "micro",
    batch: int = 1,
    length: int = 32,
    dim: int | None = None,
    layers: int | None = None,
    heads: int | None = None,
    key_heads: int | None = None,
    hidden: int | None = None,
    vocabulary: int | None = None,
    positions: int | None = None,
) -> Built:
    """RMS norm, rotary positions, grouped heads, gated MLP; shape is micro, tiny (TinyLlama's) or 1b."""
    if shape not in SHAPES:
        raise BadInputError(f"no llama shape '{shape}'; there are {', '.join(SHAPES)}")
    named = SHAPES[shape]
    sizes = Sizes(
        dim=dim or named.dim,
        layers=layers or named.layers,
        heads=heads or named.heads,
        key_heads=key_heads or named.key_heads,
        hidden=hidden or named.hidden,
        vocabulary=vocabulary or named.vocabulary,
        base=named.base,
    )
    if sizes.dim % (2 * sizes.heads) or sizes.heads % sizes.key_heads:
        raise BadInputError(
            f"{sizes.heads} heads of {sizes.key_heads} key heads do not divide width {sizes.dim}; "
            "expected heads of even width, and whole groups of them"
        )
    return Llama(sizes, positions or length), (tokens(sizes.vocabulary, batch, length),)
