"""The table that turns ATen into the primitive operations that the compiler lowers.

Every rule leaves operations of which each becomes one `linalg` operation (or a few elementwise ones): products,
pointwise arithmetic, reductions and views. Nothing here widens a type or adds a run-time check, which the rules of
PyTorch and torch-mlir do in places (variance in float64, products of bfloat16 in float32, rows of -inf in attention).

The base is torch-mlir's table, which drops what its importer cannot take; `KEPT` are operations that stay whole
because the compiler expands their scalar function itself, with a bound on the error.
"""

from __future__ import annotations

import functools
from typing import Any

from torch_mlir.extras.fx_decomp_util import get_decomposition_table

from atalla_mlir.frontend.decompositions import (
    activations,
    attention,
    convolutions,
    indexing,
    norms,
    parts,
    pointwise,
    pools,
    powers,
    products,
    reductions,
    resampling,
    whole_numbers,
)
from atalla_mlir.frontend.decompositions.registry import RULES, Table, aten

FAMILIES = (
    activations,
    attention,
    convolutions,
    indexing,
    norms,
    parts,
    pointwise,
    pools,
    powers,
    products,
    reductions,
    resampling,
    whole_numbers,
)
"""Importing a family registers its rules."""

KEPT = frozenset(
    {
        aten._to_copy,
        aten.embedding,
        aten.index_select,
        aten.gather,
        aten.argmax,
        aten.argmin,
        aten.gelu,
        aten.sigmoid,
        aten.tanh,
        aten.erf,
        aten.log,
        aten.log1p,
        aten.expm1,
        aten.sin,
        aten.cos,
        aten.floor,
        aten.ceil,
        aten.round,
        aten.rsqrt,
        aten.reciprocal,
        aten.full,
        aten.pad,
    }
)


@functools.cache
def table() -> Table:
    """Overload -> rule, for `ExportedProgram.run_decompositions`; do not change it, copy it."""
    base = {overload: rule for overload, rule in get_decomposition_table().items() if not _is_kept(overload)}
    return {**base, **RULES}


def _is_kept(overload: Any) -> bool:
    return getattr(overload, "_overloadpacket", None) in KEPT
