"""Transformers over patches of an image."""

from __future__ import annotations

import torch
from torch import nn

from atalla_mlir.zoo.transformer_parts import Block, scaled_weights, tanh_gelu

Built = tuple[nn.Module, tuple[torch.Tensor, ...]]


class PatchTransformer(nn.Module):
    """Patches that are already rows: linear embedding, positional parameter, blocks, norm, mean over patches, head."""

    def __init__(self, patches: int, patch: int, dim: int, depth: int, heads: int, classes: int) -> None:
        super().__init__()
        self.embed = nn.Linear(patch, dim)
        self.position = nn.Parameter(0.1 * torch.randn(1, patches, dim))
        self.blocks = nn.Sequential(*[Block(dim, heads, 2 * dim, tanh_gelu) for _ in range(depth)])
        self.norm = nn.LayerNorm(dim)
        self.head = nn.Linear(dim, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.blocks(self.embed(x) + self.position)
        return self.head(self.norm(x).mean(dim=1))


def vit_micro(
    patches: int = 32, patch: int = 32, dim: int = 32, depth: int = 1, heads: int = 1, classes: int = 10, batch: int = 1
) -> Built:
    """linear patch embedding, positional parameter, attention block of one head, tanh-GELU MLP of width 2x."""
    return PatchTransformer(patches, patch, dim, depth, heads, classes), (torch.randn(batch, patches, patch),)


class VisionTransformer(nn.Module):
    """ViT: patches by a convolution, a class token, learned positions, blocks, norm, a head on the class token."""

    def __init__(
        self, size: int, patch: int, dim: int, depth: int, heads: int, hidden: int, classes: int, channels: int = 3
    ) -> None:
        super().__init__()
        self.embed = nn.Conv2d(channels, dim, patch, stride=patch)
        self.token = nn.Parameter(torch.zeros(1, 1, dim))
        self.position = nn.Parameter(0.02 * torch.randn(1, (size // patch) ** 2 + 1, dim))
        self.blocks = nn.Sequential(*[Block(dim, heads, hidden, eps=1e-6) for _ in range(depth)])
        self.norm = nn.LayerNorm(dim, 1e-6)
        self.head = nn.Linear(dim, classes)
        scaled_weights(self)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = self.embed(image).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], dim=1) + self.position
        return self.head(self.norm(self.blocks(x))[:, 0])


def vit_b16(
    batch: int = 1,
    size: int = 224,
    patch: int = 16,
    dim: int = 768,
    depth: int = 12,
    heads: int = 12,
    hidden: int = 3072,
    classes: int = 1000,
) -> Built:
    """ViT-B/16: patches of 16 x 16 pixels, 12 blocks of 12 heads, width 768."""
    module = VisionTransformer(size, patch, dim, depth, heads, hidden, classes)
    return module, (torch.randn(batch, 3, size, size),)
