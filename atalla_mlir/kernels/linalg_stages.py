"""Read a function of linalg operations on tensors into stages (`codegen.iteration`).

Views never become operations: transposes, reshapes, slices, broadcasts and pure copies are folded into the strides
of whoever reads them. What strides cannot express (a collapse of dims that do not lie in one run) becomes a copy
stage into a new buffer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from atalla_mlir._mlir import ir, scalar_constant
from atalla_mlir.codegen.iteration import Access, Node, Stage, StageKind
from atalla_mlir.errors import UnsupportedError
from atalla_mlir.kernels.function_results import FunctionResults
from atalla_mlir.kernels.known_constants import known_triangle
from atalla_mlir.kernels.linalg_generics import GenericReader
from atalla_mlir.kernels.stage_list import StageList
from atalla_mlir.kernels.views import Splat, View, cropped, frame, kept_dims, reassociation, run_stride, tensor_shape


def read_stages(function: ir.Operation) -> StageList:
    """Stages of a `func.func` with one block; UnsupportedError names an operation that no stage can express."""
    reader = StageReader(function)
    for op in function.regions[0].blocks[0].operations:
        reader.read(op.operation)
    return reader.out


class StageReader:
    """Reads the operations of `function`'s block one by one, in program order."""

    def __init__(self, function: ir.Operation) -> None:
        self.out = StageList()
        for argument in function.regions[0].blocks[0].arguments:
            known = known_triangle(function, argument)
            self.out.arguments.append(self.out.new_buffer(argument, f"arg{argument.arg_number}", known))
        self.generics = GenericReader(self.out)
        self.results = FunctionResults(function, self.out)

    def read(self, op: ir.Operation) -> None:
        handler = _HANDLERS.get(op.name)
        if handler is None:
            raise UnsupportedError(f"operation {op.name} cannot be lowered")
        handler(self, op)

    def skip(self, op: ir.Operation) -> None:
        pass

    def constant(self, op: ir.Operation) -> None:
        if not isinstance(op.results[0].type, ir.RankedTensorType):
            return
        value = scalar_constant(op.results[0])
        if value is None:
            raise UnsupportedError("a dense constant must be an argument of the function")
        self.out.values[op.results[0]] = Splat(float(value), tensor_shape(op.results[0]))

    def forward(self, op: ir.Operation) -> None:
        self.out.values[op.results[0]] = self.out.values[op.operands[0]]

    def expand(self, op: ir.Operation) -> None:
        source = self.out.values.get(op.operands[0])
        if source is None:  # a tensor without content, which only gives a shape
            return
        shape = tensor_shape(op.results[0])
        if isinstance(source, Splat):
            self.out.values[op.results[0]] = Splat(source.value, shape)
            return
        strides = [0] * len(shape)
        for dim, group in enumerate(reassociation(op)):
            step = source.strides[dim]
            for inner in reversed(group):
                strides[inner] = step
                step *= shape[inner]
        self.out.values[op.results[0]] = View(source.buffer, shape, tuple(strides), source.offset)

    def collapse(self, op: ir.Operation) -> None:
        source = self.out.values.get(op.operands[0])
        if source is None:
            return
        shape = tensor_shape(op.results[0])
        if isinstance(source, Splat):
            self.out.values[op.results[0]] = Splat(source.value, shape)
            return
        groups = reassociation(op)
        strides = [run_stride(source, group) for group in groups]
        if None in strides:
            source = self.out.copy(source, op)
            strides = [run_stride(source, group) for group in groups]
            self.out.owners[source.buffer] = op.results[0]
        self.out.values[op.results[0]] = View(
            source.buffer, shape, tuple(stride or 0 for stride in strides), source.offset
        )

    def extract_slice(self, op: ir.Operation) -> None:
        shape = tensor_shape(op.results[0])
        source = self.out.values[op.operands[0]]
        if isinstance(source, Splat):
            self.out.values[op.results[0]] = Splat(source.value, shape)
            return
        offsets, sizes, steps = (
            list(ir.DenseI64ArrayAttr(op.attributes[name]))
            for name in ("static_offsets", "static_sizes", "static_strides")
        )
        if len(op.operands) > 1:
            raise UnsupportedError("a slice with bounds that depend on data")
        offset = source.offset + sum(start * stride for start, stride in zip(offsets, source.strides, strict=True))
        stepped = [step * stride for step, stride in zip(steps, source.strides, strict=True)]
        if len(shape) != len(sizes):  # rank-reducing: drop unit dims in order
            stepped = kept_dims(sizes, shape, stepped)
        self.out.values[op.results[0]] = View(source.buffer, shape, tuple(stepped), offset)

    # Copies

    def concat(self, op: ir.Operation) -> None:
        result = self.out.new_buffer(op.results[0], f"concat{len(self.out.stages)}")
        dim = ir.IntegerAttr(op.attributes["dim"]).value
        at = 0
        for operand in op.operands:
            source = self.out.values[operand]
            offset = at * result.strides[dim]
            self.out.copy_into(source, View(result.buffer, source.shape, result.strides, offset), op)
            at += source.shape[dim]

    def insert_slice(self, op: ir.Operation) -> None:
        """A part of a tensor that is stored; the rest is what was stored before, or what lies there already."""
        source, (target, result) = self.out.values[op.operands[0]], (op.operands[1], op.results[0])
        whole = self.out.values.get(target)
        if isinstance(whole, View) and not self.out.is_argument(whole.buffer):
            self.out.values[result] = whole
            self.out.owners[whole.buffer] = result
        else:
            whole = self.out.new_buffer(result, f"whole{len(self.out.stages)}")
        starts = ir.DenseI64ArrayAttr(op.attributes["static_offsets"])
        offset = sum(start * stride for start, stride in zip(starts, whole.strides, strict=True))
        self.out.copy_into(source, View(whole.buffer, source.shape, whole.strides, offset), op)

    def pad(self, op: ir.Operation) -> None:
        if len(op.operands) > 1:
            raise UnsupportedError("padding whose amounts depend on data")
        low = list(ir.DenseI64ArrayAttr(op.attributes["static_low"]))
        body = op.regions[0].blocks[0]
        value = scalar_constant(body.operations[len(body.operations) - 1].operands[0])
        if value is None:
            raise UnsupportedError("padding with a value that is not a constant")
        source, low = cropped(self.out.values[op.operands[0]], low, tensor_shape(op.results[0]))
        result = self.out.new_buffer(op.results[0], f"pad{len(self.out.stages)}")
        for part, start in frame(result.shape, low, source.shape):
            offset = sum(at * stride for at, stride in zip(start, result.strides, strict=True))
            self.out.copy_into(Splat(float(value), part), View(result.buffer, part, result.strides, offset), op)
        offset = sum(at * stride for at, stride in zip(low, result.strides, strict=True))
        self.out.copy_into(source, View(result.buffer, source.shape, result.strides, offset), op)

    def call(self, op: ir.Operation) -> None:
        """A finished kernel, which reads and writes buffers as a whole."""
        views = [self.out.values.get(operand) for operand in op.operands]
        reads = [Access(view.buffer, 0, {}) for view in views if isinstance(view, View)]
        result = self.out.new_buffer(op.results[0], f"call{len(self.out.stages)}")
        self.out.add_stage(Stage(StageKind.CALL, [], reads, Access(result.buffer, 0, {}), Node("call")), op)


_HANDLERS: Mapping[str, Callable[[StageReader, ir.Operation], None]] = MappingProxyType(
    {
        "arith.constant": StageReader.constant,
        "tensor.empty": StageReader.skip,
        "tensor.cast": StageReader.forward,
        "tensor.expand_shape": StageReader.expand,
        "tensor.collapse_shape": StageReader.collapse,
        "tensor.extract_slice": StageReader.extract_slice,
        "tensor.concat": StageReader.concat,
        "tensor.insert_slice": StageReader.insert_slice,
        "tensor.pad": StageReader.pad,
        "linalg.generic": lambda reader, op: reader.generics.read(op),
        "func.call": StageReader.call,
        "func.return": lambda reader, op: reader.results.read(op),
    }
)
"""Name of an operation -> what reads it."""
