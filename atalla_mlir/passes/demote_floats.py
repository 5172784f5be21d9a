"""`atalla-demote-floats`: every floating value becomes BF16, the machine's only floating type."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import ml_dtypes
import numpy as np

from atalla_mlir._mlir import ir, numpy_to_dense, operations
from atalla_mlir.passes.base import Pass

_CASTS = ("arith.extf", "arith.truncf")


@dataclass(frozen=True)
class DemoteFloatsPass(Pass):
    """Turn all floating-point types into BF16 and drop casts between them

    This is the only place where accuracy is given up: arithmetic afterwards means the machine's numerics contract
    (every result rounded to BF16). Asserts on values are dropped.
    """

    name: ClassVar[str] = "atalla-demote-floats"

    def run(self, op: ir.Operation) -> None:
        for nested in operations(op):
            _demote(nested)
        for cast in operations(op, *_CASTS):
            cast.results[0].replace_all_uses_with(cast.operands[0])
            cast.erase()
        for check in operations(op, "cf.assert"):
            check.erase()


def _demote(op: ir.Operation) -> None:
    for result in op.results:
        result.set_type(demoted(result.type))
    for region in op.regions:
        for block in region.blocks:
            for argument in block.arguments:
                argument.set_type(demoted(argument.type))
    if op.name == "arith.constant":
        op.attributes["value"] = _demoted_constant(op.attributes["value"])
    if op.name == "func.func":
        kind = ir.FunctionType(ir.TypeAttr(op.attributes["function_type"]).value)
        inputs, results = ([demoted(item) for item in types] for types in (kind.inputs, kind.results))
        op.attributes["function_type"] = ir.TypeAttr.get(ir.FunctionType.get(inputs, results))


def demoted(kind: ir.Type) -> ir.Type:
    """BF16 for a floating type, also as the element of a tensor; any other type itself."""
    if isinstance(kind, ir.FloatType):
        return ir.BF16Type.get()
    if isinstance(kind, ir.RankedTensorType) and isinstance(kind.element_type, ir.FloatType):
        return ir.RankedTensorType.get(kind.shape, ir.BF16Type.get(), kind.encoding)
    return kind


def _demoted_constant(attribute: ir.Attribute) -> ir.Attribute:
    concrete = attribute.maybe_downcast()
    if isinstance(concrete, ir.FloatAttr):
        return ir.FloatAttr.get(ir.BF16Type.get(), concrete.value)
    if isinstance(concrete, ir.DenseElementsAttr) and demoted(concrete.type) != concrete.type:
        kind = demoted(concrete.type)
        if concrete.is_splat:
            value = ir.FloatAttr(concrete.get_splat_value()).value
            return ir.DenseElementsAttr.get_splat(kind, ir.FloatAttr.get(ir.BF16Type.get(), value))
        return numpy_to_dense(np.asarray(concrete).astype(ml_dtypes.bfloat16))
    return attribute
