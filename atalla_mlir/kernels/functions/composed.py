"""Bounds of activations that decompose into several operations, parameters at their defaults, over all BF16 numbers.

They are found by computing every operand; verification uses the bounds of the operations, which say more about one
value.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from atalla_mlir.kernels.functions.bound import EXACT, TINY, UNIT, FunctionBound

_SMALLEST_NORMAL = 2.0**-126

COMPOSED: Mapping[str, FunctionBound] = MappingProxyType(
    {
        "relu6": EXACT,
        "hardtanh": EXACT,
        "clamp(-0.7, 0.9)": FunctionBound(0.5 * UNIT, 0.0),
        "leaky_relu": FunctionBound(1.2 * UNIT, TINY),
        "elu": FunctionBound(1.5 * UNIT, TINY),
        "celu": FunctionBound(2.5 * UNIT, TINY),
        "silu": FunctionBound(3.0 * UNIT, _SMALLEST_NORMAL),
        "hardswish": FunctionBound(2.8 * UNIT, TINY),
        "hardsigmoid": FunctionBound(2.0 * UNIT, 0.0),
        "softplus": FunctionBound(1.9 * UNIT, TINY),
        "logsigmoid": FunctionBound(1.9 * UNIT, TINY),
        "mish": FunctionBound(3.0 * UNIT, _SMALLEST_NORMAL),
    }
)
"""relu and the functions of `FUNCTIONS` (sigmoid, tanh, gelu) are one operation each and not listed."""
