"""What the zoo's transformers share: attention over heads, and blocks with normalisation before or after."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional

Activation = Callable[[torch.Tensor], torch.Tensor]


def scaled_weights(module: nn.Module, deviation: float = 0.02) -> None:
    """Give linear layers and embeddings normal weights of standard deviation `deviation`, and biases that are not 0."""
    with torch.no_grad():
        for part in module.modules():
            if isinstance(part, (nn.Linear, nn.Embedding)):
                part.weight.normal_(0, deviation)
            bias = getattr(part, "bias", None)
            if isinstance(bias, nn.Parameter):
                bias.normal_(0, deviation)


class SelfAttention(nn.Module):
    """Attention of `heads` heads with projections of query, key, value and output, each with a bias."""

    def __init__(self, dim: int, heads: int, *, is_causal: bool = False) -> None:
        super().__init__()
        self.heads = heads
        self.is_causal = is_causal
        self.query = nn.Linear(dim, dim)
        self.key = nn.Linear(dim, dim)
        self.value = nn.Linear(dim, dim)
        self.output = nn.Linear(dim, dim)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        query, key, value = (split_heads(layer(x), self.heads) for layer in (self.query, self.key, self.value))
        mixed = functional.scaled_dot_product_attention(query, key, value, is_causal=self.is_causal)
        return self.output(joined_heads(mixed))


def split_heads(x: torch.Tensor, heads: int) -> torch.Tensor:
    """[batch, length, heads * width] as [batch, heads, length, width]."""
    batch, length, dim = x.shape
    return x.view(batch, length, heads, dim // heads).transpose(1, 2)


def joined_heads(x: torch.Tensor) -> torch.Tensor:
    """[batch, heads, length, width] as [batch, length, heads * width]."""
    batch, heads, length, width = x.shape
    return x.transpose(1, 2).reshape(batch, length, heads * width)


class Mlp(nn.Module):
    """Two linear layers with `activation` between them."""

    def __init__(self, dim: int, hidden: int, activation: Activation) -> None:
        super().__init__()
        self.up = nn.Linear(dim, hidden)
        self.down = nn.Linear(hidden, dim)
        self.activation = activation

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.down(self.activation(self.up(x)))


def tanh_gelu(x: torch.Tensor) -> torch.Tensor:
    return functional.gelu(x, approximate="tanh")


class Block(nn.Module):
    """Attention and an MLP, each with a layer norm and a residual; the norm before it, or after the residual."""

    def __init__(
        self,
        dim: int,
        heads: int,
        hidden: int,
        activation: Activation = functional.gelu,
        *,
        eps: float = 1e-5,
        is_causal: bool = False,
        norm_first: bool = True,
    ) -> None:
        super().__init__()
        self.norm_first = norm_first
        self.norm1 = nn.LayerNorm(dim, eps)
        self.attention = SelfAttention(dim, heads, is_causal=is_causal)
        self.norm2 = nn.LayerNorm(dim, eps)
        self.mlp = Mlp(dim, hidden, activation)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.norm_first:
            x = x + self.attention(self.norm1(x))
            return x + self.mlp(self.norm2(x))
        x = self.norm1(x + self.attention(x))
        return self.norm2(x + self.mlp(x))
