"""How exact a function is that the compiler expands into operations of the lanes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class FunctionBound:
    """|result - exact| <= relative * |exact| + absolute, on the operand that the device holds."""

    relative: float
    absolute: float


UNIT = 2.0**-8
"""The largest relative error of one rounding to BF16."""
TINY = 2.0**-130
"""Results below the normal numbers lose bits."""
EXACT = FunctionBound(0.0, 0.0)
