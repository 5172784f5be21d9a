"""Random arithmetic of whole numbers: operations on positions, masks and indices, one after the other."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from atalla_mlir.testing.draws import Draw, Family, Shapes

_MOST_ELEMENTS = 400
"""The scalar units take tens of cycles for each, and a model of a seed about a second."""
_DIVISORS = (-7, -4, -1, 1, 2, 3, 8, 10)
_STEPS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "x + y": lambda x, y: x + y,
    "5 - x": lambda x, y: 5 - x,
    "x * 3": lambda x, y: x * 3,
    "-x": lambda x, y: -x,
    "abs": lambda x, y: x.abs(),
    "sign": lambda x, y: x.sign(),
    "clamp": lambda x, y: x.clamp(-3, 20),
    "max(x, y)": torch.maximum,
    "x & y": lambda x, y: x & y,
    "x ^ ~y": lambda x, y: x ^ ~y,
    "x >> 1": lambda x, y: x >> 1,
    "x << 2": lambda x, y: x << 2,
    "x // (|y| + 1)": lambda x, y: x // (y.abs() + 1),
    "x % (|y| + 1)": lambda x, y: x % (y.abs() + 1),
    "fmod": lambda x, y: x.fmod(y.abs() + 2),
    "where": lambda x, y: torch.where((x > y) | (x == 2), x, y + 1),
}


def _divided(draw: Draw) -> tuple[str, Callable[[Tensor, Tensor], Tensor]]:
    divisor = draw.random.choice(_DIVISORS)
    if draw.random.random() < 0.5:
        return f"x // {divisor}", lambda x, y: x // divisor
    return f"x % {divisor}", lambda x, y: x % divisor


def _along(draw: Draw, rank: int) -> tuple[str, Callable[[Tensor, Tensor], Tensor]]:
    dim = draw.dim(rank)
    kinds: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
        "cumsum": lambda x, y: x.cumsum(dim),
        "flip": lambda x, y: x.flip(dim),
        "sum": lambda x, y: x - x.sum(dim, keepdim=True),
        "amax": lambda x, y: x - x.amax(dim, keepdim=True),
        "argmin": lambda x, y: x + x.argmin(dim, keepdim=True),
        "count": lambda x, y: x * (x > y).sum(dim, keepdim=True),
        "any": lambda x, y: torch.where((x == y).any(dim, keepdim=True), x, y),
    }
    kind = draw.random.choice(sorted(kinds))
    return f"{kind}({dim})", kinds[kind]


def _whole_numbers(draw: Draw) -> tuple[str, Callable[..., Tensor], Shapes]:
    rank = draw.random.randint(1, 3)
    shape = draw.shape(rank, _MOST_ELEMENTS)
    chosen: list[tuple[str, Callable[[Tensor, Tensor], Tensor]]] = []
    for _ in range(draw.random.randint(1, 4)):
        name = draw.random.choice(sorted(_STEPS))
        chosen.append(draw.random.choice([(name, _STEPS[name]), _divided(draw), _along(draw, rank)]))
    kind = draw.random.choice([torch.int64, torch.int64, torch.int32])

    def run(x: Tensor, y: Tensor) -> Tensor:
        numbers, other = (operand.to(kind) * 5 for operand in (x, y))
        for _, step in chosen:
            numbers = step(numbers, other)
        return numbers

    return " | ".join(name for name, _ in chosen), run, (shape, draw.random.choice([shape, shape[-1:]]))


INTEGER_FAMILIES: dict[str, Family] = {"whole numbers": _whole_numbers}
