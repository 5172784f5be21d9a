"""Random choices that a seed fixes: extents at the edges of tiles, shapes, dimensions."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from torch import Tensor, nn

EDGES = (1, 2, 3, 7, 31, 32, 33, 45, 64, 97)
"""Extents around one and two tiles of 32, small primes, and one."""

Shapes = tuple[tuple[int, ...], ...]


class Draw:
    """Random choices of one sample."""

    def __init__(self, seed: str, extents: Sequence[int]) -> None:
        self.random = random.Random(seed)
        self.extents = extents

    def extent(self, most: int = 1 << 20) -> int:
        return self.random.choice([extent for extent in self.extents if extent <= most])

    def shape(self, rank: int, most_elements: int = 20_000) -> tuple[int, ...]:
        sizes: list[int] = []
        left = most_elements
        for _ in range(rank):
            sizes.append(self.extent(max(left, 1)))
            left //= sizes[-1]
        return tuple(self.random.sample(sizes, rank))

    def dim(self, rank: int) -> int:
        return self.random.randrange(rank)


Family = Callable[[Draw], tuple[str, Callable[..., Tensor] | nn.Module, Shapes]]
"""What a draw gives: a text, a function or module, and the shapes of its inputs."""
