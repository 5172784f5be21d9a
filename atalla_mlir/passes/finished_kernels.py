"""Kernels that come as object code: a private declaration with `atalla.object`, and the calls of it."""

from __future__ import annotations

from atalla_mlir._mlir import create_op, ir, name_location, operations, string_value
from atalla_mlir.dialects.module_attributes import OBJECT
from atalla_mlir.errors import UnsupportedError
from atalla_mlir.kernels.linalg_stages import StageReader
from atalla_mlir.kernels.views import View
from atalla_mlir.passes.views import row_major_copy

INPUTS = "atalla.inputs"
"""On a call: the names of the values that it reads."""


def give_whole_operands(function: ir.Operation) -> None:
    """Copy what a finished kernel reads where that is not a tensor in memory, all of it, in row-major order."""
    if not operations(function, "func.call"):
        return
    reader = StageReader(function)
    for item in list(function.regions[0].blocks[0].operations):
        op = item.operation
        if op.name == "func.call":
            for at, operand in enumerate(list(op.operands)):
                found = reader.out.values.get(operand)
                if found is None:
                    raise UnsupportedError(f"operand of type {operand.type} of a kernel is not computed")
                if isinstance(found, View) and found.is_whole:
                    continue
                with _location(op, at), ir.InsertionPoint(op):
                    copy = row_major_copy(operand)
                reader.read(copy)
                op.operands[at] = copy.results[0]
        reader.read(op)


def _location(call: ir.Operation, operand: int) -> ir.Location:
    """Where a copy of an operand is said to come from: it holds the same elements and has the same name."""
    if INPUTS not in call.attributes:
        return call.location
    return name_location(string_value(ir.ArrayAttr(call.attributes[INPUTS])[operand]))


def define(declaration: ir.Operation) -> None:
    """Put a function with the object code of a declaration beside it."""
    attributes = {key: declaration.attributes[key] for key in ("sym_name", OBJECT)}
    with ir.InsertionPoint(declaration), declaration.location:
        function = create_op("ax01.func", [], [], attributes, regions=1)
        with ir.InsertionPoint(ir.Block.create_at_start(function.regions[0])):
            create_op("ax01.end")
