"""Functions that are expanded for rows, on every BF16 number, against their stated bounds."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch.nn import functional

import atalla_mlir as atalla
from atalla_mlir.kernels.functions import FUNCTIONS, trigonometric
from atalla_mlir.kernels.functions.bound import UNIT
from atalla_mlir.kernels.functions.composed import COMPOSED
from atalla_mlir.testing.random_models import Function

ALL_BITS = np.arange(1 << 16, dtype=np.uint32)
SMALLEST_NORMAL = 2.0**-126
OVERFLOW = (2 - 2.0**-8) * 2.0**127
"""Magnitudes from here on are infinite in BF16."""

MODELS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "rcp": torch.reciprocal,
    "sqrt": torch.sqrt,
    "rsqrt": torch.rsqrt,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "erf": torch.erf,
    "gelu": functional.gelu,
    "gelu_tanh": functools.partial(functional.gelu, approximate="tanh"),
    "expm1": torch.expm1,
    "log": torch.log,
    "log1p": torch.log1p,
    "sin": torch.sin,
    "cos": torch.cos,
    "floor": torch.floor,
    "ceil": torch.ceil,
    "round": torch.round,
}
SUBNORMAL_OPERANDS = frozenset(FUNCTIONS) - {"rcp", "sqrt", "rsqrt"}
"""Functions that keep their bound on subnormal operands too."""
DOMAINS = {"sin": trigonometric.LIMIT, "cos": trigonometric.LIMIT}
"""The largest operand of functions that give NaN beyond it."""

COMPOSED_MODELS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "relu6": functional.relu6,
    "hardtanh": functional.hardtanh,
    "clamp(-0.7, 0.9)": functools.partial(torch.clamp, min=-0.7, max=0.9),
    "leaky_relu": functional.leaky_relu,
    "elu": functional.elu,
    "celu": functional.celu,
    "silu": functional.silu,
    "hardswish": functional.hardswish,
    "hardsigmoid": functional.hardsigmoid,
    "softplus": functional.softplus,
    "logsigmoid": functional.logsigmoid,
    "mish": functional.mish,
}


@pytest.mark.parametrize("name", COMPOSED)
def test_composed_activations_at_every_number(name: str) -> None:
    """Infinities, NaN and the sign of infinite results are PyTorch's; everything else is within the stated bound."""
    function, bound = COMPOSED_MODELS[name], COMPOSED[name]
    values = every_number()
    result = atalla.compile(Function(function), (values,), strict=True)(values).double().numpy().ravel()
    exact = function(values.double()).numpy().ravel()
    finite = np.isfinite(exact)
    np.testing.assert_array_equal(result[~finite], exact[~finite])
    error = np.abs(result[finite] - exact[finite])
    worst = np.argmax(error - bound.relative * np.abs(exact[finite]))
    operand = values.double().numpy().ravel()[finite][worst]
    allowed = bound.relative * np.abs(exact[finite]) + bound.absolute
    assert (error <= allowed).all(), f"{name}({operand}) gives {result[finite][worst]}, not {exact[finite][worst]}"


def every_number() -> torch.Tensor:
    return torch.from_numpy((ALL_BITS << 16).view(np.float32).reshape(2048, 32))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_number(name: str) -> None:
    function, bound = MODELS[name], FUNCTIONS[name].bound
    values = every_number()
    program = atalla.compile(Function(function), (values,), strict=True)
    result = program(values).double().numpy().ravel()
    x = values.double().numpy().ravel()
    exact = function(values.double()).numpy().ravel()
    exact = np.where(np.abs(exact) > OVERFLOW, np.copysign(np.inf, exact), exact)
    exact[np.abs(x) > DOMAINS.get(name, np.inf)] = np.nan
    if name in ("rcp", "rsqrt"):
        # comparisons do not tell -0 from +0, so that the infinity of 1 / -0 is positive
        exact[x == 0] = np.inf
    checked = np.ones(x.shape, bool) if name in SUBNORMAL_OPERANDS else (x == 0) | ~(np.abs(x) < SMALLEST_NORMAL)
    special = checked & ~np.isfinite(exact)
    np.testing.assert_array_equal(result[special], exact[special])
    finite = checked & np.isfinite(exact)
    error = np.abs(result[finite] - exact[finite])
    worst = np.argmax(error - bound.relative * np.abs(exact[finite]))
    allowed = bound.relative * np.abs(exact[finite]) + bound.absolute
    assert (error <= allowed).all(), f"{name}({x[finite][worst]}) gives {result[finite][worst]}"


def test_bounds_are_tight() -> None:
    """No bound is wider than four roundings, so that a wrong coefficient cannot hide in it."""
    assert all(f.bound.relative <= 4 * UNIT and f.bound.absolute <= 2.0**-15 for f in FUNCTIONS.values())
