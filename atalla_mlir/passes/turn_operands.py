"""`atalla-turn-operands`: products read copies of activations whose depth lies across their rows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from atalla_mlir._mlir import (
    AffineForm,
    i64_array_attr,
    indexing_forms,
    ir,
    location_names,
    name_location,
    operations,
    string_value,
)
from atalla_mlir.codegen.iteration import Access, Stage, StageKind
from atalla_mlir.errors import UnsupportedError
from atalla_mlir.kernels.linalg_stages import StageReader
from atalla_mlir.passes.assign_layouts import window_dims
from atalla_mlir.passes.base import Pass, PassFailure
from atalla_mlir.passes.plan_memory import CONSTANT_KINDS
from atalla_mlir.passes.views import ORDER, argument_attributes, inverted, row_major_copy, transposed_view


@dataclass(frozen=True)
class TurnOperandsPass(Pass):
    """Copy what a product reads so that its depth is contiguous, where the product reads each row often

    The array takes rows of both operands along the depth. Parameters are stored that way by `atalla-pack-constants`;
    activations are turned by a kernel of their own, which costs less than loading them element by element.
    """

    min_rows: int = 16
    """Rows of the other operand from which on an operand is turned."""

    name: ClassVar[str] = "atalla-turn-operands"

    def run(self, op: ir.Operation) -> None:
        for function in operations(op, "func.func"):
            if "sym_visibility" in function.attributes or not function.regions[0].blocks:
                continue
            try:
                self._turn(function)
            except UnsupportedError as error:
                raise PassFailure(function, str(error)) from error

    def _turn(self, function: ir.Operation) -> None:
        reader = StageReader(function)
        for view in list(function.regions[0].blocks[0].operations):
            op = view.operation
            num_stages = len(reader.out.stages)
            reader.read(op)
            if op.name != "linalg.generic" or window_dims(op) or len(reader.out.stages) != num_stages + 1:
                continue
            stage = reader.out.stages[-1]
            if stage.kind is not StageKind.PRODUCT or len(stage.reads) != 2:
                continue
            forms = indexing_forms(op)
            for at in range(2):
                if self._is_worth_turning(stage, at) and not _is_constant(function, op.operands[at]):
                    order = _depth_last(forms[at] or (), forms[-1] or ())
                    if order is not None:
                        _copy_operand(function, op, at, order)

    def _is_worth_turning(self, stage: Stage, at: int) -> bool:
        """Whether no loop of the depth is contiguous in an operand that many rows of the other one meet."""
        access, other = stage.reads[at], stage.reads[1 - at]
        if not stage.reduced or any(access.stride(loop) == 1 for loop in stage.reduced):
            return False
        return _own_rows(stage, other, access) >= self.min_rows


def _own_rows(stage: Stage, access: Access, other: Access) -> int:
    """Rows of an operand for each row of the other one."""
    loops = (loop for loop in stage.loops if loop not in stage.reduced)
    return math.prod(loop.extent for loop in loops if access.stride(loop) and not other.stride(loop))


def _depth_last(forms: Sequence[AffineForm], result: Sequence[AffineForm]) -> list[int] | None:
    """The dimensions of an operand, those that the result does not have behind the others."""
    kept = {form.single_dim for form in result}
    if any(form.single_dim is None for form in forms):
        return None
    return sorted(range(len(forms)), key=lambda at: forms[at].single_dim not in kept)


def _is_constant(function: ir.Operation, value: ir.Value) -> bool:
    if not isinstance(value, ir.BlockArgument):
        return False
    kind = argument_attributes(function, value)
    return "atalla.kind" in kind and string_value(kind["atalla.kind"]) in CONSTANT_KINDS


def _copy_operand(function: ir.Operation, op: ir.Operation, at: int, order: list[int]) -> None:
    """Replaces an operand by a copy that is stored in another order.

    Reports name the copy as they name the operand. A view that has no name, such as that which turns a packed parameter
    back, is left alone.
    """
    value = op.operands[at]
    if isinstance(value, ir.BlockArgument):
        own = argument_attributes(function, value)
        location = name_location(string_value(own["atalla.name"])) if "atalla.name" in own else op.location
    else:
        location = value.owner.operation.location
        if not location_names(location):
            return
    with ir.InsertionPoint(op), location:
        copy = row_major_copy(transposed_view(value, order))
        copy.attributes[ORDER] = i64_array_attr(order)
        op.operands[at] = transposed_view(copy.results[0], inverted(order))
