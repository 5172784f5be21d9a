"""NaN, infinities and zeros go through selections and results as in PyTorch; constants are results like others."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.nn import functional

import atalla_mlir as atalla
from atalla_mlir.host.verify import verify
from atalla_mlir.testing.random_models import Function

SPECIAL = torch.tensor([math.nan, math.inf, -math.inf, 0.0, -0.0, 1.5, -2.5, 1e-40])

UNARY: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": torch.relu,
    "clamp": lambda x: x.clamp(-1, 1),
    "clamp_min": lambda x: x.clamp(min=0.5),
    "leaky_relu": functional.leaky_relu,
    "elu": functional.elu,
    "softplus": functional.softplus,
    "logsigmoid": functional.logsigmoid,
    "hardshrink": functional.hardshrink,
    "softshrink": functional.softshrink,
    "silu": functional.silu,
    # at an infinity whose limit is finite or the infinity itself, GELU is NaN in PyTorch; here it is the limit
    "gelu": lambda x: functional.gelu(x.clamp(min=-1e30), approximate="tanh"),
    "mish": functional.mish,
    "sign": torch.sign,
    "trunc": torch.trunc,
    "x ** 3": lambda x: x**3,
    "x ** 0.3": lambda x: x**0.3,
}
BINARY: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "maximum": torch.maximum,
    "minimum": torch.minimum,
    "where": lambda x, y: torch.where(x > y, x, y),
    "where not": lambda x, y: torch.where(x <= y, y, x),
    "clamp": lambda x, y: x.clamp(min=y),
    "logaddexp": torch.logaddexp,
}


def assert_same_class(name: str, result: Tensor, expected: Tensor) -> None:
    """Equal where the expected value is special, finite where it is finite."""
    special = ~expected.isfinite()
    same = torch.isclose(result[special], expected[special], equal_nan=True, rtol=0, atol=0)
    assert same.all(), f"{name}: {result} where PyTorch has {expected}"
    assert result[~special].isfinite().all(), f"{name}: {result} where PyTorch has {expected}"


def assert_same_classes(functions: Mapping[str, Callable[..., Tensor]], *operands: Tensor) -> None:
    """All functions as one program."""
    program = atalla.compile(Function(lambda *x: tuple(f(*x) for f in functions.values())), operands, strict=True)
    for name, result in zip(functions, program(*operands), strict=True):
        assert_same_class(name, result, functions[name](*operands))


def test_special_operands() -> None:
    assert_same_classes(UNARY, SPECIAL)


def test_special_pairs() -> None:
    assert_same_classes(BINARY, *(part.contiguous() for part in torch.broadcast_tensors(SPECIAL[:, None], SPECIAL)))


class Constants(torch.nn.Module):
    """Results that do not depend on the input, two of them equal."""

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return torch.full((3,), 2.5), torch.full((4,), 2.5), torch.zeros(2, 2), x * 2


def test_constants_are_results() -> None:
    x = torch.randn(2, 3)
    report = verify(Constants(), (x,), strict=True)
    assert report.ok, report.summary()
    results = atalla.compile(Constants(), (x,), strict=True)(x)
    for result, expected in zip(results[:3], Constants()(x), strict=False):
        torch.testing.assert_close(result, expected)


def test_a_constant_is_the_only_result() -> None:
    model = Function(lambda x: torch.full((5,), 1.5))
    program = atalla.compile(model, (torch.ones(2),))
    torch.testing.assert_close(program(torch.ones(2)), torch.full((5,), 1.5))
    assert verify(model, (torch.ones(2),)).ok
