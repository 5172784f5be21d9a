"""Functions of rows that the lanes lack, as sequences of row operations, each with the bound that it keeps.

Every operation rounds to BF16, so the sequences are chosen for few roundings of large terms; a test runs each function
on all 65,536 numbers against its bound. Operands and results that are infinite, NaN or zero are as in PyTorch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from atalla_mlir._mlir import ir
from atalla_mlir.kernels.builder import Builder
from atalla_mlir.kernels.functions import logarithm, logistic, roots, rounding, trigonometric
from atalla_mlir.kernels.functions.bound import EXACT, FunctionBound


@dataclass(frozen=True)
class ScalarFunction:
    """Code for a row, and how exact it is."""

    expand: Callable[[Builder, ir.Value], ir.Value]
    bound: FunctionBound


FUNCTIONS: Mapping[str, ScalarFunction] = MappingProxyType(
    {
        "rcp": ScalarFunction(roots.reciprocal, roots.RECIPROCAL),
        "sqrt": ScalarFunction(roots.square_root, roots.SQUARE_ROOT),
        "rsqrt": ScalarFunction(roots.reciprocal_root, roots.RECIPROCAL_ROOT),
        "sigmoid": ScalarFunction(logistic.sigmoid, logistic.SIGMOID),
        "tanh": ScalarFunction(logistic.tanh, logistic.TANH),
        "erf": ScalarFunction(logistic.error_function, logistic.ERF),
        "gelu": ScalarFunction(logistic.gelu, logistic.GELU),
        "gelu_tanh": ScalarFunction(logistic.gelu_tanh, logistic.GELU_TANH),
        "expm1": ScalarFunction(logistic.expm1, logistic.EXPM1),
        "log": ScalarFunction(logarithm.log, logarithm.LOG),
        "log1p": ScalarFunction(logarithm.log1p, logarithm.LOG1P),
        "sin": ScalarFunction(trigonometric.sine, trigonometric.SINE),
        "cos": ScalarFunction(trigonometric.cosine, trigonometric.COSINE),
        "floor": ScalarFunction(rounding.floor, EXACT),
        "ceil": ScalarFunction(rounding.ceil, EXACT),
        "round": ScalarFunction(rounding.round_even, EXACT),
    }
)
"""By the name of the expression node."""
