"""Functions that are expanded for rows, on every BF16 number, against their stated bounds."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

import atalla_mlir as atalla
from atalla_mlir.kernels import scalar_functions
from atalla_mlir.kernels.scalar_functions import FunctionBound

ALL_BITS = np.arange(1 << 16, dtype=np.uint32)
SMALLEST_NORMAL = 2.0**-126

FUNCTIONS: dict[str, tuple[Callable[[torch.Tensor], torch.Tensor], FunctionBound]] = {
    "reciprocal": (torch.reciprocal, scalar_functions.RECIPROCAL),
    "sqrt": (torch.sqrt, scalar_functions.SQUARE_ROOT),
    "rsqrt": (torch.rsqrt, scalar_functions.RECIPROCAL_ROOT),
}


class Pointwise(torch.nn.Module):
    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(x)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_number(name: str) -> None:
    function, bound = FUNCTIONS[name]
    values = torch.from_numpy((ALL_BITS << 16).view(np.float32).reshape(2048, 32))
    program = atalla.compile(Pointwise(function), (values,), strict=True)
    result = program(values).double().numpy().ravel()
    x = values.double().numpy().ravel()
    with np.errstate(all="ignore"):
        exact = function(values.double()).numpy().ravel()
    normal = np.abs(x) >= SMALLEST_NORMAL
    finite = normal & np.isfinite(exact) & np.isfinite(x)
    error = np.abs(result[finite] - exact[finite])
    assert (error <= bound.relative * np.abs(exact[finite]) + bound.absolute).all()
    assert np.isnan(result[np.isnan(x)]).all()
    assert np.isnan(result[normal & (x < 0) & np.isnan(exact)]).all()
    positive_infinity = x == np.inf
    assert (result[positive_infinity] == exact[positive_infinity]).all()
    assert (np.abs(result[x == 0]) == np.abs(exact[x == 0])).all()
