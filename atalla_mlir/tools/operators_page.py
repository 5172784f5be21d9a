"""The text of `docs/operators.md`, made from the tables of what the device runs and of what is decomposed."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Iterator
from typing import Any

from atalla_mlir.frontend import integers, support
from atalla_mlir.frontend.decompositions import FAMILIES
from atalla_mlir.frontend.decompositions.registry import RULES
from atalla_mlir.kernels.functions import FUNCTIONS
from atalla_mlir.kernels.functions.bound import UNIT, FunctionBound
from atalla_mlir.kernels.functions.composed import COMPOSED

_HEAD = """\
# Operators

<!-- made by atalla_mlir/tools/operators_page.py from the compiler's own tables; `make docs` writes it again -->

A model is decomposed into primitive operations; each of those runs on the device within the bound below. An operation
of neither table, and one that its rule leaves whole, runs on the host: the report names it with the reason
(`host_ops`), and `strict=True` makes it an error. Shapes are static, with at most {rank} dimensions and no extent of 0.
"""

_ONE_ROUNDING = (
    "at most one rounding to BF16, and what the operands' errors become ([numerics](numerics.md)); `sqrt`, `rsqrt` and "
    "`reciprocal` as in the table of scalar functions"
)
_CLASSES: tuple[tuple[str, Iterable[Any], str], ...] = (
    ("views", support.VIEWS, "exact"),
    ("moves", support.MOVES, "exact"),
    ("arithmetic", support.POINTWISE, _ONE_ROUNDING),
    ("functions", support.FUNCTIONS, "the table of scalar functions"),
    ("comparisons", integers.COMPARISONS, "exact on the device's operands; undecided where their errors reach"),
    ("logic", integers.LOGICAL, "exact"),
    ("products", support.PRODUCTS, "sums of exact products, by length and order ([numerics](numerics.md))"),
    ("reductions", support.REDUCTIONS, "sums by length and order; extremes are exact"),
    ("gathers", integers.GATHERS, "exact"),
    ("indices of extremes", integers.ARG_EXTREMES, "exact on the device's operands"),
    ("whole numbers", integers.ARITHMETIC, "exact in 32 bits"),
)


def page() -> str:
    """The whole page."""
    head = _HEAD.format(rank=support.MAX_RANK)
    return "\n".join([head, *_primitives(), *_functions(), *_decomposed()]).rstrip("\n") + "\n"


def _primitives() -> Iterator[str]:
    yield "## On the device\n"
    yield "| class | operations | bound |"
    yield "|---|---|---|"
    for title, members, bound in _CLASSES:
        yield f"| {title} | {_names(members)} | {bound} |"
    listed = {overload for _, members, _ in _CLASSES for overload in members}
    rest = [overload for overload in support.RULES if overload not in listed]
    yield f"| in forms that the decompositions leave | {_names(rest)} | as their class |"
    yield ""


def _functions() -> Iterator[str]:
    yield "## Scalar functions\n"
    yield f"The error is at most `relative * |y| + absolute` for all BF16 operands; u is {UNIT}, one rounding.\n"
    yield "| function | relative | absolute |"
    yield "|---|---|---|"
    for name, function in FUNCTIONS.items():
        yield f"| `{name}` | {_relative(function.bound)} | {_absolute(function.bound)} |"
    for name, bound in COMPOSED.items():
        yield f"| `{name}`, composed | {_relative(bound)} | {_absolute(bound)} |"
    yield ""


def _relative(bound: FunctionBound) -> str:
    return f"{bound.relative / UNIT:.3g} u" if bound.relative else "0"


def _absolute(bound: FunctionBound) -> str:
    if 0 < bound.absolute < 2.0**-100:
        return f"2^{math.log2(bound.absolute):.0f}"
    return f"{bound.absolute:.3g}" if bound.absolute else "0"


def _decomposed() -> Iterator[str]:
    yield "## Decomposed\n"
    yield "Their bound is that of the operations they become, which verification checks one by one; torch-mlir's table"
    yield "has further rules.\n"
    for family in FAMILIES:
        module = sys.modules[family.__name__]
        own = [overload for overload, rule in RULES.items() if rule.__module__ == family.__name__]
        summary = (module.__doc__ or "").strip().splitlines()[0]
        yield f"- **{family.__name__.rpartition('.')[2]}**: {summary}"
        yield f"  {_names(own)}"
    yield ""


def _names(overloads: Iterable[Any]) -> str:
    """The operations without their overloads, each once."""
    return ", ".join(f"`{name}`" for name in sorted({overload._schema.name.split("::")[1] for overload in overloads}))
