"""What functions say of the elements of their arguments."""

from __future__ import annotations

from atalla_mlir._mlir import ir
from atalla_mlir.codegen.iteration import Triangle
from atalla_mlir.dialects.module_attributes import TRIANGLE


def known_triangle(function: ir.Operation, argument: ir.BlockArgument) -> Triangle | None:
    """The triangle that a matrix of booleans is known to be, unless it is stored transposed."""
    own = triangle_attributes(function, argument)
    if own is None:
        return None
    diagonal, is_lower = ir.DenseI64ArrayAttr(own[TRIANGLE])
    return Triangle(ir.RankedTensorType(argument.type).shape[-1], diagonal, bool(is_lower))


def triangle_attributes(function: ir.Operation, argument: ir.BlockArgument) -> ir.DictAttr | None:
    """What an argument passes on to kernels that read it: that it is a triangle."""
    if "arg_attrs" not in function.attributes:
        return None
    own = ir.DictAttr(ir.ArrayAttr(function.attributes["arg_attrs"])[argument.arg_number])
    if TRIANGLE not in own or "atalla.permutation" in own:
        return None
    return ir.DictAttr.get({TRIANGLE: own[TRIANGLE]})
