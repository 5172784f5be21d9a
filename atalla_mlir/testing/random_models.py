"""Random small models: one operation or a short chain of them, with shapes at the edges of tiles and far from them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from atalla_mlir.testing.draws import EDGES, Draw, Family, Shapes
from atalla_mlir.testing.random_images import IMAGE_FAMILIES
from atalla_mlir.testing.random_integers import INTEGER_FAMILIES


@dataclass(frozen=True)
class Sample:
    """A model, its inputs and a text that says what it is."""

    name: str
    model: nn.Module
    inputs: tuple[Tensor, ...]


class Function(nn.Module):
    """A function as a module."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *args: Tensor) -> Any:
        return self.function(*args)


def _linear(draw: Draw) -> tuple[str, nn.Module, Shapes]:
    depth, width = draw.extent(), draw.extent()
    bias = draw.random.random() < 0.7
    shape = (*draw.shape(draw.random.randint(1, 2), 40), depth)
    return f"linear({depth}, {width}, bias={bias})", nn.Linear(depth, width, bias=bias), (shape,)


def _matmul(draw: Draw) -> tuple[str, Callable[..., Tensor], Shapes]:
    rows, depth, cols = draw.extent(), draw.extent(), draw.extent()
    batch = draw.shape(draw.random.randint(0, 2), 6)
    second = batch if draw.random.random() < 0.5 else batch[1:]
    return "matmul", torch.matmul, ((*batch, rows, depth), (*second, depth, cols))


def _transposed_matmul(draw: Draw) -> tuple[str, Callable[..., Tensor], Shapes]:
    rows, depth, cols = draw.extent(), draw.extent(), draw.extent()
    return "x @ y.T", lambda x, y: x @ y.transpose(-2, -1), ((rows, depth), (cols, depth))


def _chain(draw: Draw) -> tuple[str, Callable[..., Tensor], Shapes]:
    shape = draw.shape(draw.random.randint(1, 3), 5_000)
    row = shape[-1:]
    steps: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
        "x + y": lambda x, y: x + y,
        "x * y": lambda x, y: x * y,
        "0.3 - x": lambda x, y: 0.3 - x,
        "max(x, y)": torch.maximum,
        "relu": lambda x, y: torch.relu(x),
        "abs": lambda x, y: x.abs(),
        "clamp": lambda x, y: x.clamp(-0.7, 0.9),
        "exp(-abs)": lambda x, y: (-x.abs()).exp(),
        "x / 3": lambda x, y: x / 3,
        "where": lambda x, y: torch.where(x > y, x, 0.5 * y),
    }
    chosen = draw.random.sample(sorted(steps), draw.random.randint(1, 4))

    def run(x: Tensor, y: Tensor) -> Tensor:
        for name in chosen:
            x = steps[name](x, y)
        return x

    return " | ".join(chosen), run, (shape, draw.random.choice([shape, row]))


def _reduction(draw: Draw) -> tuple[str, Callable[..., Tensor], Shapes]:
    rank = draw.random.randint(1, 3)
    dims = sorted(draw.random.sample(range(rank), draw.random.randint(1, rank)))
    keep = draw.random.random() < 0.5
    kind = draw.random.choice(["sum", "mean", "amax", "amin"])
    return f"{kind}({dims}, {keep})", lambda x: getattr(x, kind)(dims, keep), (draw.shape(rank),)


def _softmax(draw: Draw) -> tuple[str, Callable[..., Tensor], Shapes]:
    rank = draw.random.randint(1, 3)
    dim = draw.dim(rank)
    return f"softmax({dim})", lambda x: torch.softmax(x, dim), (draw.shape(rank, 5_000),)


def _layer_norm(draw: Draw) -> tuple[str, nn.Module, Shapes]:
    width = draw.extent()
    return f"layer_norm({width})", nn.LayerNorm(width), ((draw.extent(64), max(width, 2)),) if width > 1 else ((3, 1),)


def _views(draw: Draw) -> tuple[str, Callable[..., Tensor], Shapes]:
    shape = draw.shape(3, 5_000)
    order = draw.random.sample(range(3), 3)
    start = draw.random.randrange(shape[0])

    def run(x: Tensor) -> Tensor:
        permuted = x[start:].permute(order)
        return torch.relu(permuted).reshape(-1, permuted.shape[-1])

    return f"permute({order}) of [{start}:] | relu | reshape", run, (shape,)


def _concatenate(draw: Draw) -> tuple[str, Callable[..., Tensor], Shapes]:
    shape = draw.shape(2, 5_000)
    dim = draw.dim(2)
    other = tuple(draw.extent(64) if at == dim else size for at, size in enumerate(shape))
    return f"cat({dim}) | relu", lambda x, y: torch.relu(torch.cat([x, y], dim)), (shape, other)


def _pad(draw: Draw) -> tuple[str, Callable[..., Tensor], Shapes]:
    amounts = [draw.random.randint(0, 3) for _ in range(4)]
    return f"pad({amounts})", lambda x: functional.pad(x, amounts, value=0.5) * 2, (draw.shape(2, 5_000),)


FAMILIES: dict[str, Family] = {
    "linear": _linear,
    "matmul": _matmul,
    "transposed matmul": _transposed_matmul,
    "chain": _chain,
    "reduction": _reduction,
    "softmax": _softmax,
    "layer norm": _layer_norm,
    "views": _views,
    "concatenate": _concatenate,
    "pad": _pad,
    **INTEGER_FAMILIES,
    **IMAGE_FAMILIES,
}


def sample(family: str, seed: int, extents: Sequence[int] = EDGES) -> Sample:
    """The model of `family` that `seed` gives, the same in every process."""
    draw = Draw(f"{family} {seed}", extents)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        text, function, shapes = FAMILIES[family](draw)
        scale = draw.random.choice([0.1, 1.0, 1.0, 4.0])
        inputs = tuple(scale * torch.randn(shape) for shape in shapes)
    model = function if isinstance(function, nn.Module) else Function(function)
    return Sample(f"{text} on {', '.join('x'.join(map(str, shape)) for shape in shapes)}", model.eval(), inputs)
