"""Quotients by a multiplication: exact for all numbers that they are made for."""

from __future__ import annotations

import re

import pytest

from atalla_mlir.errors import InternalError
from atalla_mlir.kernels.index_builder import reciprocal


@pytest.mark.parametrize(("divisor", "limit"), [(7, 49), (3, 9000), (196, 784), (784, 25088), (1, 3), (4095, 4096)])
def test_quotients_are_exact(divisor: int, limit: int) -> None:
    factor, bits = reciprocal(divisor, limit)
    assert (limit - 1) * factor < 1 << 32
    assert all(value * factor >> bits == value // divisor for value in range(limit))


def test_numbers_that_are_too_large_are_refused() -> None:
    with pytest.raises(InternalError, match=f"^{re.escape('quotients of numbers below 100000 by 300 are not exact')}$"):
        reciprocal(300, 100000)
