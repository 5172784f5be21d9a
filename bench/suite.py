"""The kernels that are measured: products, elementwise operations, reductions, rows, transposes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn


class Function(nn.Module):
    """A module of one function of its inputs."""

    def __init__(self, function: Callable[..., Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.function(*inputs)


class Weights(nn.Module):
    """x @ w with a parameter w of [depth, columns], as networks multiply."""

    def __init__(self, depth: int, columns: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(depth, columns))

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight


@dataclass(frozen=True)
class Case:
    """A named kernel; `is_large` when the reference engine needs more than some seconds for it."""

    name: str
    model: Callable[[], nn.Module]
    shapes: tuple[tuple[int, ...], ...]
    is_large: bool = False

    def inputs(self) -> tuple[Tensor, ...]:
        generator = torch.Generator().manual_seed(0)
        return tuple(torch.randn(shape, generator=generator) for shape in self.shapes)

    def build(self) -> nn.Module:
        torch.manual_seed(0)
        return self.model().eval()


_SQUARES = (64, 128, 256, 512, 1024)
_PRODUCTS = (
    *((size, size, size) for size in _SQUARES),
    (1, 1024, 1024),
    (1, 256, 512),
    (256, 1, 256),
    (1024, 1, 1024),
    (1024, 64, 32),
    (4096, 64, 64),
    (32, 64, 1024),
    (64, 64, 4096),
    (31, 31, 31),
    (33, 33, 33),
    (31, 100, 33),
    (100, 100, 100),
    (1000, 1000, 1000),
)
_ROW_LENGTHS = (32, 64, 128, 256, 512, 768, 1024, 2048, 4096)
_LARGE_ELEMENTS = 1 << 17
_LARGE_MACS = 1 << 21


def _function(name: str, function: Callable[..., Tensor], *shapes: tuple[int, ...]) -> Case:
    elements = max(torch.Size(shape).numel() for shape in shapes)
    return Case(name, lambda: Function(function), shapes, elements > _LARGE_ELEMENTS)


def _products() -> Iterator[Case]:
    for m, k, n in _PRODUCTS:
        large = m * k * n > _LARGE_MACS
        yield Case(f"gemm_{m}x{k}x{n}", _weights(k, n), ((m, k),), large)
    for size in (64, 256, 1024):
        shapes = ((size, size), (size, size))
        yield Case(f"matmul_{size}x{size}x{size}", lambda: Function(torch.matmul), shapes, size**3 > _LARGE_MACS)
    for batch, m, k, n in ((4, 64, 64, 64), (12, 128, 64, 128)):
        shapes = ((batch, m, k), (batch, k, n))
        yield Case(f"bmm_{batch}x{m}x{k}x{n}", lambda: Function(torch.bmm), shapes, batch * m * k * n > _LARGE_MACS)
    for m, k, n in ((32, 64, 128), (128, 768, 3072)):
        yield Case(f"linear_bias_relu_{m}x{k}x{n}", _linear(k, n), ((m, k),), m * k * n > _LARGE_MACS)


def _weights(depth: int, columns: int) -> Callable[[], nn.Module]:
    return lambda: Weights(depth, columns)


def _linear(depth: int, columns: int) -> Callable[[], nn.Module]:
    return lambda: nn.Sequential(nn.Linear(depth, columns), nn.ReLU())


def _elementwise() -> Iterator[Case]:
    for rows, columns in ((128, 128), (1024, 1024)):
        shape = (rows, columns)
        size = f"{rows}x{columns}"
        yield _function(f"add_{size}", torch.add, shape, shape)
        yield _function(f"mul_{size}", torch.mul, shape, shape)
        yield _function(f"relu_{size}", torch.relu, shape)
        yield _function(f"exp_{size}", torch.exp, shape)
        yield _function(f"scale_shift_{size}", lambda x, scale, shift: x * scale + shift, shape, (columns,), (columns,))


def _reductions() -> Iterator[Case]:
    for rows, columns in ((128, 128), (1024, 1024)):
        shape = (rows, columns)
        size = f"{rows}x{columns}"
        yield _function(f"sum_of_rows_{size}", lambda x: x.sum(-1), shape)
        yield _function(f"sum_of_columns_{size}", lambda x: x.sum(0), shape)
        yield _function(f"max_of_rows_{size}", lambda x: x.amax(-1), shape)
        yield _function(f"mean_of_rows_{size}", lambda x: x.mean(-1), shape)


def _rows() -> Iterator[Case]:
    for length in _ROW_LENGTHS:
        for rows in (32, 1024):
            shape, large = (rows, length), rows * length > _LARGE_ELEMENTS
            if rows == 32 and length > 1024:
                continue
            yield Case(f"softmax_{rows}x{length}", lambda: nn.Softmax(-1), (shape,), large)
            yield Case(f"layer_norm_{rows}x{length}", _layer_norm(length), (shape,), large)


def _layer_norm(length: int) -> Callable[[], nn.Module]:
    return lambda: nn.LayerNorm(length)


def _transposes() -> Iterator[Case]:
    for rows, columns in ((64, 64), (100, 333), (1024, 1024)):
        yield _function(f"transpose_{rows}x{columns}", lambda x: x.t().contiguous(), (rows, columns))
    yield _function("transpose_4x64x96", lambda x: x.transpose(1, 2).contiguous(), (4, 64, 96))


def suite() -> tuple[Case, ...]:
    """All cases, in the order of the table."""
    return (*_products(), *_elementwise(), *_reductions(), *_rows(), *_transposes())
