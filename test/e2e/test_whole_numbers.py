"""Arithmetic, order and conditions of whole numbers: on the device alone, bit for bit what PyTorch gives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import atalla_mlir as atalla
from atalla_mlir.host.verify import verify
from atalla_mlir.testing.random_models import Function

EXTREME = 2**31 - 1


def numbers(low: int, high: int, *shape: int) -> Tensor:
    return torch.randint(low, high, shape, generator=torch.Generator().manual_seed(low + high))


X = numbers(-60, 60, 5, 7)
DIVISORS = numbers(1, 9, 5, 7) * torch.tensor([1, -1, 1, 1, -1, 1, 1])
LARGE = torch.cat([numbers(-EXTREME - 1, EXTREME, 30), torch.tensor([-EXTREME - 1, -EXTREME, EXTREME])])
BYTES = numbers(-128, 128, 5, 7).to(torch.int8)
PIXELS = numbers(0, 256, 5, 7).to(torch.uint8)
GREATER, OTHERS = X > 2, DIVISORS > 3
FLAGS = numbers(0, 2, 3, 9, 4).bool()
MASKED = torch.tensor([[5.0, -torch.inf, -torch.inf, 4.0, -torch.inf, 1.0, -torch.inf]])

CASES: dict[str, tuple[Callable[..., Any], tuple[Tensor, ...]]] = {
    "rounded down": (lambda x, y: (x // 3, x // 4, x // -3, x // -8, x // 1, x // y), (X, DIVISORS)),
    "rounded toward zero": (
        lambda x, y: (torch.div(x, 5, rounding_mode="trunc"), torch.div(x, y, rounding_mode="trunc")),
        (X, DIVISORS),
    ),
    "remainders": (lambda x, y: (x % 3, x % 8, x % -3, x % y, x.fmod(7), x.fmod(y), x % -8), (X, DIVISORS)),
    "large numbers": (lambda x: (x // 3, x % 5, x // -7, x % 4, x >> 3), (LARGE,)),
    "narrow types": (lambda x: (x // 3, x % 5, x // -2, x.argmax(1), x.abs(), x >> 1, x * 2, 2 - x), (BYTES,)),
    "pixels": (lambda x: (x // 3, x % 5, x.argmax(1), x.amax(0), x >> 1, x.int() - 3, x * 3), (PIXELS,)),
    "shifts": (lambda x, y: (x << 2, x >> 1, x << y.abs(), x >> y.abs()), (X, DIVISORS)),
    "signs and bounds": (
        lambda x: (-x, x.abs(), x.sign(), x.relu(), x.clamp(-3, 5), x.clamp(min=2), x**2, x**5, ~x),
        (numbers(-6, 6, 5, 7),),
    ),
    "extremes": (
        lambda x: (x.amax(1), x.amin((0, 1)), *x.max(1), *x.min(0), x.max(), x.prod(1)),
        (numbers(-6, 6, 5, 7),),
    ),
    "places of extremes": (
        lambda x: (x.argmax(1), x.argmin(), x.argmax(0, keepdim=True), (x == 3).int().argmax(-1)),
        (numbers(-6, 6, 5, 7),),
    ),
    "the largest": (lambda x: x.topk(3), (torch.randperm(300).view(3, 100) - 150,)),
    "flags compared": (lambda a, b: (a == b, a != b, a < b, a <= b, a > b, a >= b), (GREATER, OTHERS)),
    "any and all": (
        lambda a, x: (a.any(1), a.all(), a.any((0, 1)), x.any(), x.all(1, keepdim=True), x.float().all()),
        (GREATER, X),
    ),
    "counts": (lambda a, x: (a.sum((0, 1)), a.sum(1), a.sum(), x.count_nonzero(1)), (FLAGS, X)),
    "joined types": (
        lambda a, x: (torch.cat([x.float() / 2, x]), torch.cat([x[:, :0], x], 1), torch.cat([a, x])),
        (GREATER, X),
    ),
    "running sums": (
        lambda x, mask: (x.cumsum(1), x.cumsum(0), mask.cumsum(1), (mask.int().cumsum(1) * mask).long(), x.cumprod(1)),
        (numbers(-3, 3, 2, 600), numbers(0, 2, 2, 600).bool()),
    ),
    "numbers in steps": (lambda x: _changed(x.clone()), (X,)),
}


def _changed(x: Tensor) -> Tensor:
    x[1::3] = 7
    x[:, ::2] += 1
    x[:, 6::5] = 0
    return x


@pytest.mark.parametrize("name", CASES)
def test_results_are_those_of_pytorch(name: str) -> None:
    function, inputs = CASES[name]
    report = verify(Function(function), inputs)
    assert report.ok, str(report)
    assert report.totals.host_ops == ()
    results = atalla.compile(Function(function), inputs, strict=True)(*inputs)
    expected = function(*inputs)
    expected = expected if isinstance(expected, (tuple, list)) else (expected,)
    for at, (ours, theirs) in enumerate(zip(results if len(expected) > 1 else [results], expected, strict=True)):
        assert ours.dtype is theirs.dtype
        assert torch.equal(ours, theirs), f"result {at}: {ours} is not {theirs}"


def test_functions_of_whole_numbers() -> None:
    """They are converted first, and the lanes do the rest."""
    functions = [
        lambda x, y: (x / 3, x / y, (x > 2) / y, x.sin() / y, x / x.cos(), x.sigmoid()),
        lambda x, y: (x.maximum(y.sin()), torch.where(x > y, x, 0.5), x.sum(1, dtype=torch.float32), x.float().mean()),
    ]
    report = verify(Function(lambda x, y: [function(x, y) for function in functions]), (X, DIVISORS), strict=True)
    assert report.ok, str(report)
    assert report.totals.cosine_f32 > 0.9999


@pytest.mark.parametrize("largest", [True, False])
def test_the_largest_of_masked_elements_differ(largest: bool) -> None:
    """Infinities that are left when all numbers are found are elements of their own."""
    x = MASKED if largest else -MASKED
    values, places = atalla.compile(Function(lambda x: x.topk(6, largest=largest)), (x,), strict=True)(x)
    assert torch.equal(values, x.topk(6, largest=largest).values)
    assert len(set(places.flatten().tolist())) == 6
    assert torch.equal(x.gather(1, places), values)
