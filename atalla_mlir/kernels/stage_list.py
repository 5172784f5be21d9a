"""The stages of a function as they are read, and where its values lie."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from atalla_mlir._mlir import file_position, ir, location_names, scalar_constant
from atalla_mlir.codegen.iteration import Access, Buffer, Loop, Node, Stage, StageKind, Triangle
from atalla_mlir.errors import UnsupportedError
from atalla_mlir.kernels.views import Splat, View, is_integer_tensor, row_major, tensor_shape


@dataclass
class StageList:
    """What a function computes: stages in program order, and the views of its arguments and results."""

    arguments: list[View] = field(default_factory=list)
    stages: list[Stage] = field(default_factory=list)
    stage_ops: list[tuple[ir.Operation, ...]] = field(default_factory=list)
    """The operations that each stage stands for (a copy stage: the view operation that needed it)."""
    results: list[View] = field(default_factory=list)
    values: dict[ir.Value, View | Splat] = field(default_factory=dict)
    owners: dict[Buffer, ir.Value] = field(default_factory=dict)
    """The tensor value that holds each buffer, in row-major order."""

    def new_buffer(self, value: ir.Value, name: str, triangle: Triangle | None = None) -> View:
        shape = tensor_shape(value)
        buffer = Buffer(name, math.prod(shape), is_integer_tensor(value.type), triangle=triangle)
        view = View(buffer, shape, row_major(shape))
        self.values[value] = view
        self.owners[buffer] = value
        return view

    def view(self, value: ir.Value) -> View:
        found = self.values.get(value)
        if not isinstance(found, View):
            raise UnsupportedError(f"operand of type {value.type} is not a tensor in memory")
        return found

    def add_stage(self, stage: Stage, *ops: ir.Operation) -> None:
        if 0 in (loop.extent for loop in stage.loops):
            raise UnsupportedError(f"operation {ops[0].name} on an empty tensor")
        stage.drop_unit_loops()
        stage.nodes = location_names(ops[0].location)
        position = file_position(ops[0].location)
        stage.source = f"{position[0]}:{position[1]}" if position else ""
        self.stages.append(stage)
        self.stage_ops.append(ops)

    def splat_of(self, value: ir.Value) -> float | None:
        if not isinstance(value.type, ir.RankedTensorType):
            constant = scalar_constant(value)
            if constant is None:
                raise UnsupportedError(f"a scalar operand of type {value.type} that is not a constant")
            return float(constant)
        known = self.values.get(value)
        return known.value if isinstance(known, Splat) else None

    def is_argument(self, buffer: Buffer) -> bool:
        return isinstance(self.owners.get(buffer), ir.BlockArgument)

    def new_copy(self, view: View | Splat, is_integer: bool, op: ir.Operation) -> View:
        if isinstance(view, View):
            return self.copy(view, op)
        target = View(Buffer("splat", math.prod(view.shape), is_integer), view.shape, row_major(view.shape))
        self.copy_into(view, target, op)
        return target

    def copy(self, source: View, op: ir.Operation) -> View:
        """A copy stage of `source` into a new row-major buffer; `op` is the operation that needs it."""
        buffer = Buffer(f"copy{len(self.stages)}", math.prod(source.shape), source.buffer.is_integer)
        self.copy_into(source, View(buffer, source.shape, row_major(source.shape)), op)
        return View(buffer, source.shape, row_major(source.shape))

    def copy_into(self, source: View | Splat, target: View, op: ir.Operation) -> None:
        loops = [Loop(extent, f"d{dim}") for dim, extent in enumerate(source.shape)]
        write = Access(target.buffer, target.offset, dict(zip(loops, target.strides, strict=True)))
        if isinstance(source, Splat):
            stage = Stage(StageKind.MAP, loops, [], write, Node("constant", value=source.value))
        else:
            read = Access(source.buffer, source.offset, dict(zip(loops, source.strides, strict=True)))
            stage = Stage(StageKind.MAP, loops, [read], write, Node("load", read=0))
        self.add_stage(stage, op)
