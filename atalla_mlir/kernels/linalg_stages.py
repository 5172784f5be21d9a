"""Read a function of linalg operations on tensors into stages (`codegen.iteration`).

Views never become operations: transposes, reshapes, slices, broadcasts and pure copies are folded into the strides
of whoever reads them. What strides cannot express (a collapse of dims that do not lie in one run) becomes a copy
stage into a new buffer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from atalla_mlir._mlir import AffineForm, file_position, indexing_forms, ir, location_names, scalar_constant
from atalla_mlir.codegen.iteration import Access, Buffer, Combine, Loop, Node, Stage, StageKind
from atalla_mlir.codegen.row_updates import as_row_update
from atalla_mlir.errors import UnsupportedError
from atalla_mlir.kernels.idioms import extreme, recognised
from atalla_mlir.kernels.integer_nodes import (
    FLOAT_PREDICATES,
    INTEGER_COMBINES,
    Addressing,
    integer_node,
    is_integer_operation,
    read_arg_extreme,
    without_casts,
)
from atalla_mlir.kernels.state_results import state_results

IN_PLACE = "atalla.in_place"
"""On an operation whose result lies where its old content does."""


@dataclass(frozen=True)
class View:
    """A tensor as strides over a buffer: element [i...] is buffer[offset + sum(i * strides)]."""

    buffer: Buffer
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int = 0

    @property
    def is_whole(self) -> bool:
        """Whether the view is its buffer in row-major order."""
        return (
            self.offset == 0
            and math.prod(self.shape) == self.buffer.num_elements
            and all(
                stride == expected
                for stride, expected, extent in zip(self.strides, row_major(self.shape), self.shape, strict=True)
                if extent > 1
            )
        )


@dataclass(frozen=True)
class Splat:
    """A tensor whose elements are all one known value."""

    value: float
    shape: tuple[int, ...]


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


def row_major(shape: Sequence[int]) -> tuple[int, ...]:
    strides: list[int] = []
    step = 1
    for extent in reversed(shape):
        strides.append(step)
        step *= extent
    return tuple(reversed(strides))


def tensor_shape(value: ir.Value) -> tuple[int, ...]:
    shaped = ir.ShapedType(value.type)
    if not shaped.has_static_shape:
        raise UnsupportedError(f"dynamic shape {value.type}")
    return tuple(shaped.shape)


def is_integer_tensor(kind: ir.Type) -> bool:
    """Whether a tensor holds whole numbers; booleans are numbers 0 and 1 of the floating type."""
    element = ir.ShapedType(kind).element_type
    return isinstance(element, ir.IndexType) or (isinstance(element, ir.IntegerType) and element.width > 1)


def read_stages(function: ir.Operation) -> StageList:
    """Stages of a `func.func` with one block; UnsupportedError names an operation that no stage can express."""
    reader = StageReader(function)
    for op in function.regions[0].blocks[0].operations:
        reader.read(op.operation)
    return reader.out


class StageReader:
    """Reads the operations of `function`'s block one by one, in program order."""

    def __init__(self, function: ir.Operation) -> None:
        self.function = function
        self.out = StageList()
        for argument in function.regions[0].blocks[0].arguments:
            self.out.arguments.append(self.new_buffer(argument, f"arg{argument.arg_number}"))
        self.handlers: dict[str, Callable[[ir.Operation], None]] = {
            "arith.constant": self.constant,
            "tensor.empty": self.skip,
            "tensor.cast": self.forward,
            "tensor.expand_shape": self.expand,
            "tensor.collapse_shape": self.collapse,
            "tensor.extract_slice": self.extract_slice,
            "tensor.concat": self.concat,
            "tensor.pad": self.pad,
            "linalg.generic": self.generic,
            "func.call": self.call,
            "func.return": self.results,
        }

    def read(self, op: ir.Operation) -> None:
        handler = self.handlers.get(op.name)
        if handler is None:
            raise UnsupportedError(f"operation {op.name} cannot be lowered")
        handler(op)

    def new_buffer(self, value: ir.Value, name: str) -> View:
        shape = tensor_shape(value)
        buffer = Buffer(name, math.prod(shape), is_integer_tensor(value.type))
        view = View(buffer, shape, row_major(shape))
        self.out.values[value] = view
        self.out.owners[buffer] = value
        return view

    def view(self, value: ir.Value) -> View:
        found = self.out.values.get(value)
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
        self.out.stages.append(stage)
        self.out.stage_ops.append(ops)

    # Views

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
        strides = [_run_stride(source, group) for group in groups]
        if None in strides:
            source = self.copy(source, op)
            strides = [_run_stride(source, group) for group in groups]
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
            stepped = _kept_dims(sizes, shape, stepped)
        self.out.values[op.results[0]] = View(source.buffer, shape, tuple(stepped), offset)

    # Copies

    def copy(self, source: View, op: ir.Operation) -> View:
        """A copy stage of `source` into a new row-major buffer; `op` is the operation that needs it."""
        buffer = Buffer(f"copy{len(self.out.stages)}", math.prod(source.shape), source.buffer.is_integer)
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

    def concat(self, op: ir.Operation) -> None:
        result = self.new_buffer(op.results[0], f"concat{len(self.out.stages)}")
        dim = ir.IntegerAttr(op.attributes["dim"]).value
        at = 0
        for operand in op.operands:
            source = self.out.values[operand]
            offset = at * result.strides[dim]
            self.copy_into(source, View(result.buffer, source.shape, result.strides, offset), op)
            at += source.shape[dim]

    def pad(self, op: ir.Operation) -> None:
        if len(op.operands) > 1:
            raise UnsupportedError("padding whose amounts depend on data")
        low = list(ir.DenseI64ArrayAttr(op.attributes["static_low"]))
        body = op.regions[0].blocks[0]
        value = scalar_constant(body.operations[len(body.operations) - 1].operands[0])
        if value is None:
            raise UnsupportedError("padding with a value that is not a constant")
        source, low = _cropped(self.out.values[op.operands[0]], low, tensor_shape(op.results[0]))
        result = self.new_buffer(op.results[0], f"pad{len(self.out.stages)}")
        for part, start in _frame(result.shape, low, source.shape):
            offset = sum(at * stride for at, stride in zip(start, result.strides, strict=True))
            self.copy_into(Splat(float(value), part), View(result.buffer, part, result.strides, offset), op)
        offset = sum(at * stride for at, stride in zip(low, result.strides, strict=True))
        self.copy_into(source, View(result.buffer, source.shape, result.strides, offset), op)

    def results(self, op: ir.Operation) -> None:
        state = state_results(self.function)
        found = {at: self.result(value, op) for at, value in enumerate(op.operands) if at not in state}
        taken = {view.buffer for view in found.values()} | {self.out.arguments[at].buffer for at in state.values()}
        for at, argument in state.items():
            found[at] = self.new_state(self._computed(op.operands[at]), self.out.arguments[argument], taken, op)
            taken.add(found[at].buffer)
        self.out.results.extend(found[at] for at in sorted(found))
        self.find_row_updates()

    def find_row_updates(self) -> None:
        """Changes in place that are stores of rows take in the comparison that they choose by."""
        conditions: set[Stage] = set()
        for at, stage in enumerate(self.out.stages):
            for condition in self.out.stages[:at] if stage.changes_state else ():
                update = as_row_update(stage, condition)
                if update is not None:
                    self.out.stages[at] = update
                    conditions.add(condition)
                    break
        needed = {access.buffer for stage in self.out.stages for access in stage.reads}
        needed |= {view.buffer for view in self.out.results}
        kept = [at for at, s in enumerate(self.out.stages) if s not in conditions or s.write.buffer in needed]
        self.out.stages = [self.out.stages[at] for at in kept]
        self.out.stage_ops = [self.out.stage_ops[at] for at in kept]

    def result(self, value: ir.Value, op: ir.Operation) -> View:
        """What the function returns as `value`: a buffer of its own."""
        view = self._computed(value)
        if (
            isinstance(view, View)
            and view.is_whole
            and not self._is_argument(view.buffer)
            and not view.buffer.is_counter
        ):
            return view
        return self.new_copy(view, is_integer_tensor(value.type), op)

    def new_copy(self, view: View | Splat, is_integer: bool, op: ir.Operation) -> View:
        if isinstance(view, View):
            return self.copy(view, op)
        target = View(Buffer("splat", math.prod(view.shape), is_integer), view.shape, row_major(view.shape))
        self.copy_into(view, target, op)
        return target

    def _computed(self, value: ir.Value) -> View | Splat:
        found = self.out.values.get(value)
        if found is None:
            raise UnsupportedError(f"result of type {value.type} is not computed")
        return found

    def _is_argument(self, buffer: Buffer) -> bool:
        return isinstance(self.out.owners.get(buffer), ir.BlockArgument)

    def new_state(self, source: View | Splat, state: View, taken: set[Buffer], op: ir.Operation) -> View:
        """The buffer that is to lie where `state` does: that of a stage which changes it in place, or a last copy.

        `taken` are the buffers that have a place already.
        """
        if source == state:
            return state
        if isinstance(source, View) and source.buffer in taken and self._is_argument(source.buffer):
            raise UnsupportedError("a buffer that becomes what another, or an element elsewhere in it, was before")
        if isinstance(source, View) and source.is_whole and source.buffer not in taken and not source.buffer.is_counter:
            writers = [stage for stage in self.out.stages if stage.write.buffer is source.buffer]
            readers = [s for s in self.out.stages if any(read.buffer is state.buffer for read in s.reads)]
            if len(writers) == 1 and writers[0].is_in_place(state.buffer) and readers in ([], writers):
                writers[0].changes_state = True
                return source
        target = self.new_copy(source, state.buffer.is_integer, op)
        self.out.stages[-1].changes_state = True
        return target

    def call(self, op: ir.Operation) -> None:
        """A finished kernel, which reads and writes buffers as a whole."""
        views = [self.out.values.get(operand) for operand in op.operands]
        reads = [Access(view.buffer, 0, {}) for view in views if isinstance(view, View)]
        result = self.new_buffer(op.results[0], f"call{len(self.out.stages)}")
        self.add_stage(Stage(StageKind.CALL, [], reads, Access(result.buffer, 0, {}), Node("call")), op)

    # Computation

    def generic(self, op: ir.Operation) -> None:
        num_outputs = len(op.results)
        inputs, outputs = list(op.operands)[:-num_outputs], list(op.operands)[-num_outputs:]
        forms = indexing_forms(op)
        used = [at for at, result in enumerate(op.results) if any(True for _ in result.uses)]
        if len(used) > 1:
            raise UnsupportedError("an operation with two results that are both used")
        if used == [1]:
            self.arg_extreme(op, inputs, outputs)
            return
        if any(form is None for form in forms):
            raise UnsupportedError("an index that is not affine")
        kinds = ["parallel" in str(kind) for kind in ir.ArrayAttr(op.attributes["iterator_types"])]
        input_forms, output_forms = [form or () for form in forms[: len(inputs)]], forms[len(inputs)] or ()
        if all(kinds) and (self.is_view(op, inputs, input_forms, output_forms) or self.is_count(op, inputs)):
            return
        self.compute(op, inputs, outputs, input_forms, output_forms, kinds)

    def is_view(
        self,
        op: ir.Operation,
        inputs: list[ir.Value],
        input_forms: list[tuple[AffineForm, ...]],
        output_form: tuple[AffineForm, ...],
    ) -> bool:
        """Handle a generic that only moves data: its result is a view of its input, or a splat."""
        block = op.regions[0].blocks[0]
        yielded = block.operations[len(block.operations) - 1].operands[0]
        shape = tensor_shape(op.results[0])
        value = scalar_constant(yielded)
        if value is not None:
            self.out.values[op.results[0]] = Splat(float(value), shape)
            return True
        if not isinstance(yielded, ir.BlockArgument) or yielded.arg_number >= len(inputs):
            return False
        operand, form = inputs[yielded.arg_number], input_forms[yielded.arg_number]
        splat = self.splat_of(operand)
        if splat is not None:
            self.out.values[op.results[0]] = Splat(splat, shape)
            return True
        out_dims = [item.single_dim for item in output_form]
        if None in out_dims or any(len(item.dims) > 1 or item.offset for item in form):
            return False
        source = self.view(operand)
        strides = dict.fromkeys(out_dims, 0)
        for item, stride in zip(form, source.strides, strict=True):
            for dim in item.dims:
                strides[dim] = strides.get(dim, 0) + stride * item.coefficients[dim]
        self.out.values[op.results[0]] = View(
            source.buffer, shape, tuple(strides[dim] for dim in out_dims), source.offset
        )
        return True

    def is_count(self, op: ir.Operation, inputs: list[ir.Value]) -> bool:
        """Handle a generic whose elements are their own positions: they are counted where they are needed."""
        block = op.regions[0].blocks[0]
        shape = tensor_shape(op.results[0])
        source = without_casts(block.operations[len(block.operations) - 1].operands[0])
        if inputs or len(shape) != 1 or isinstance(source, ir.BlockArgument):
            return False
        if source.owner.operation.name != "linalg.index":
            return False
        buffer = Buffer("counter", shape[0], is_integer=True, is_counter=True)
        self.out.values[op.results[0]] = View(buffer, shape, (1,))
        self.out.owners[buffer] = op.results[0]
        return True

    def splat_of(self, value: ir.Value) -> float | None:
        if not isinstance(value.type, ir.RankedTensorType):
            constant = scalar_constant(value)
            if constant is None:
                raise UnsupportedError(f"a scalar operand of type {value.type} that is not a constant")
            return float(constant)
        known = self.out.values.get(value)
        return known.value if isinstance(known, Splat) else None

    def compute(
        self,
        op: ir.Operation,
        inputs: list[ir.Value],
        outputs: list[ir.Value],
        input_forms: list[tuple[AffineForm, ...]],
        output_form: tuple[AffineForm, ...],
        parallel: list[bool],
    ) -> None:
        extents = _extents(inputs, outputs, [*input_forms, output_form], len(parallel))
        loops = [Loop(extent, f"d{dim}") for dim, extent in enumerate(extents)]
        reads: list[Access] = []
        leaves: list[Node] = []
        block = op.regions[0].blocks[0]
        for argument, value, form in zip(block.arguments, inputs, input_forms, strict=False):
            if not any(True for _ in argument.uses):  # the shape of a window, of which only the extents matter
                leaves.append(Node("constant"))
                continue
            splat = self.splat_of(value)
            if splat is not None:
                leaves.append(Node("constant", value=splat))
                continue
            leaves.append(Node("load", read=len(reads)))
            reads.append(_access(self.view(value), form, loops))
        reduced = [loop for loop, is_parallel in zip(loops, parallel, strict=True) if not is_parallel]
        accumulator = block.arguments[len(inputs)]
        addressing = Addressing(loops, reads, self.view)
        body, combine = read_body(block, leaves, accumulator, bool(reduced), addressing)
        target = self.new_buffer(op.results[0], f"t{len(self.out.stages)}")
        write = _access(target, output_form, loops)
        if reduced:
            self.check_initial(outputs[0], combine)
        stage = Stage(StageKind.REDUCE if reduced else StageKind.MAP, loops, reads, write, body, reduced, combine)
        if _is_product(stage) and all(loop.extent == 1 for loop in reduced):
            # an outer product has nothing to add up
            stage.kind, stage.reduced, stage.combine = StageKind.MAP, [], None
        elif _is_product(stage):
            stage.kind = StageKind.PRODUCT
        stage.changes_state = IN_PLACE in op.attributes
        self.add_stage(stage, op)

    def arg_extreme(self, op: ir.Operation, inputs: list[ir.Value], outputs: list[ir.Value]) -> None:
        """The index of the largest or smallest element along a dimension, of which the extreme itself is not wanted."""
        found = read_arg_extreme(op)
        if found is None or len(inputs) != 1:
            raise UnsupportedError("an operation of two results, of which the second is read")
        combine, dim = found
        forms = [form or () for form in indexing_forms(op)]
        extents = _extents(inputs, outputs, [forms[0], forms[1]], len(ir.ArrayAttr(op.attributes["iterator_types"])))
        loops = [Loop(extent, f"d{at}") for at, extent in enumerate(extents)]
        target = self.new_buffer(op.results[1], f"t{len(self.out.stages)}")
        read = _access(self.view(inputs[0]), forms[0], loops)
        write = _access(target, forms[2], loops)
        self.add_stage(Stage(StageKind.REDUCE, loops, [read], write, Node("load", read=0), [loops[dim]], combine), op)

    def check_initial(self, initial: ir.Value, combine: Combine | None) -> None:
        """Reductions start from their identity: anything else would be a fused addition that is not expressed yet."""
        known = self.out.values.get(initial)
        value = known.value if isinstance(known, Splat) else None
        is_integer = is_integer_tensor(initial.type)
        low, high = (-(2.0**31), 2.0**31 - 1) if is_integer else (-3.3e38, 3.3e38)
        fits = value is not None and (
            (combine is Combine.ADD and value == 0.0)
            or (combine is Combine.MAX and value <= low)
            or (combine is Combine.MIN and value >= high)
        )
        if not fits:
            raise UnsupportedError(f"a reduction ({combine}) that starts from {value} instead of its identity")


def _is_product(stage: Stage) -> bool:
    """Whether the array computes the stage: a sum of products of two operands.

    When neither operand has a loop of its own that the result is contiguous along, as in a depthwise convolution, each
    lane multiplies and adds for itself instead.
    """
    body = stage.body
    if stage.combine is not Combine.ADD or body.op != "mul" or any(argument.op != "load" for argument in body.args):
        return False
    left, right = (stage.reads[argument.read] for argument in body.args)
    if left is right:
        return False
    shared = [loop for loop in stage.loops if loop not in stage.reduced and left.stride(loop) and right.stride(loop)]
    return not any(loop.extent > 1 and stage.write.stride(loop) == 1 for loop in shared)


_UNARY = {
    "arith.negf": "neg",
    "math.exp": "exp",
    "math.absf": "abs",
    "math.sqrt": "sqrt",
    "math.rsqrt": "rsqrt",
    "math.tanh": "tanh",
    "math.erf": "erf",
    "math.expm1": "expm1",
    "math.log": "log",
    "math.log1p": "log1p",
    "math.sin": "sin",
    "math.cos": "cos",
    "math.floor": "floor",
    "math.ceil": "ceil",
    "math.roundeven": "round",
    "arith.extf": "",
    "arith.truncf": "",
}
_BINARY = {
    "arith.addf": "add",
    "arith.subf": "sub",
    "arith.mulf": "mul",
    "arith.divf": "div",
    "arith.maximumf": "max",
    "arith.maxnumf": "max",
    "arith.minimumf": "min",
    "arith.minnumf": "min",
}
_COMBINES = {"add": Combine.ADD, "max": Combine.MAX, "min": Combine.MIN}


def read_body(
    block: ir.Block, leaves: Sequence[Node], accumulator: ir.Value, is_reduction: bool, addressing: Addressing
) -> tuple[Node, Combine | None]:
    """The expression that a generic's body yields; of a reduction, what is folded into the accumulator and how."""
    known: dict[ir.Value, Node] = {}

    def node(value: ir.Value) -> Node:
        if isinstance(value, ir.BlockArgument) and value.owner == block:
            if value.arg_number < len(leaves):
                return leaves[value.arg_number]
            raise UnsupportedError("a body that reads its initial value")
        if value not in known:
            known[value] = addressing.node(value, node) or _body_node(value, node)
        return known[value]

    yielded = block.operations[len(block.operations) - 1].operands[0]
    if not is_reduction:
        return recognised(_as_number(node(yielded))), None
    if isinstance(yielded, ir.BlockArgument):
        raise UnsupportedError("a reduction that folds nothing")
    owner = yielded.owner.operation
    name = _BINARY.get(owner.name) or INTEGER_COMBINES.get(owner.name)
    if name not in _COMBINES:
        raise UnsupportedError(f"a reduction by {owner.name}")
    left, right = owner.operands
    if left == accumulator:
        return node(right), _COMBINES[name]
    if right == accumulator:
        return node(left), _COMBINES[name]
    raise UnsupportedError("a reduction that does not fold into its accumulator")


def _body_node(value: ir.Value, node: Callable[[ir.Value], Node]) -> Node:
    constant = scalar_constant(value)
    if constant is not None:
        return Node("constant", value=float(constant))
    op = value.owner.operation
    name = op.name
    if name in _UNARY:
        source = node(op.operands[0])
        return Node(_UNARY[name], (source,)) if _UNARY[name] else source
    if name in _BINARY:
        return Node(_BINARY[name], tuple(node(operand) for operand in op.operands))
    if name == "math.fpowi":
        return Node("powi", tuple(node(operand) for operand in op.operands))
    if name == "arith.select":
        condition, on_true, on_false = (node(operand) for operand in op.operands)
        condition = _as_condition(condition)
        return extreme(condition, on_true, on_false) or Node("select", (condition, on_true, on_false))
    if name in _LOGICAL and _is_boolean(value):
        left, right = (_as_number(node(operand)) for operand in op.operands)
        return _LOGICAL[name](left, right)
    if name == "arith.cmpf":
        predicate = FLOAT_PREDICATES[ir.IntegerAttr(op.attributes["predicate"]).value]
        return Node("cmp_" + predicate, tuple(node(operand) for operand in op.operands))
    if is_integer_operation(op):
        return integer_node(op, node)
    raise UnsupportedError(f"operation {name} inside a linalg body")


# Booleans are stored as 0.0 and 1.0; a comparison is a condition until it must be a number.
_ZERO, _ONE = Node("constant", value=0.0), Node("constant", value=1.0)
_LOGICAL: dict[str, Callable[[Node, Node], Node]] = {
    "arith.andi": lambda left, right: Node("mul", (left, right)),
    "arith.ori": lambda left, right: Node("max", (left, right)),
    "arith.xori": lambda left, right: Node("select", (Node("cmp_une", (left, right)), _ONE, _ZERO)),
}


def _is_boolean(value: ir.Value) -> bool:
    return isinstance(value.type, ir.IntegerType) and ir.IntegerType(value.type).width == 1


def _as_number(node: Node) -> Node:
    return Node("select", (node, _ONE, _ZERO)) if node.op.startswith("cmp_") else node


def _as_condition(node: Node) -> Node:
    return node if node.op.startswith("cmp_") else Node("cmp_une", (node, _ZERO))


def _access(view: View, form: Sequence[AffineForm], loops: Sequence[Loop]) -> Access:
    offset, strides = view.offset, dict.fromkeys(loops, 0)
    for item, stride in zip(form, view.strides, strict=True):
        offset += item.offset * stride
        for dim in item.dims:
            strides[loops[dim]] += item.coefficients[dim] * stride
    return Access(view.buffer, offset, strides)


def _extents(
    inputs: Sequence[ir.Value], outputs: Sequence[ir.Value], forms: Sequence[Sequence[AffineForm]], num_loops: int
) -> list[int]:
    """Iterations of each loop, from the operand dims that it alone indexes."""
    extents = [0] * num_loops
    for value, form in zip([*inputs, outputs[0]], forms, strict=True):
        if not isinstance(value.type, ir.RankedTensorType):
            continue
        for item, extent in zip(form, tensor_shape(value), strict=True):
            if item.single_dim is not None:
                extents[item.single_dim] = extent
    return extents


def reassociation(op: ir.Operation) -> list[list[int]]:
    groups = ir.ArrayAttr(op.attributes["reassociation"])
    return [[ir.IntegerAttr(dim).value for dim in ir.ArrayAttr(group)] for group in groups]


def _run_stride(view: View, group: Sequence[int]) -> int | None:
    """Stride of the dims of `group` taken as one; None when they do not lie in one run."""
    dims = [dim for dim in group if view.shape[dim] > 1]
    if not dims:
        return 0
    for outer, inner in pairwise(dims):
        if view.strides[outer] != view.strides[inner] * view.shape[inner]:
            return None
    return view.strides[dims[-1]]


def _kept_dims(sizes: Sequence[int], shape: Sequence[int], strides: Sequence[int]) -> list[int]:
    """Strides of the dims that a rank-reducing slice keeps."""
    kept: list[int] = []
    wanted = list(shape)
    for size, stride in zip(sizes, strides, strict=True):
        if wanted and size == wanted[0] and (size != 1 or len(wanted) > 0):
            kept.append(stride)
            wanted.pop(0)
        elif size != 1:
            raise UnsupportedError(f"a slice of {list(sizes)} that becomes {list(shape)}")
    return kept


def _cropped(source: View | Splat, low: Sequence[int], shape: Sequence[int]) -> tuple[View | Splat, list[int]]:
    """The part of `source` that padding keeps, and where it starts: negative amounts cut off instead of adding."""
    starts = [max(0, -amount) for amount in low]
    ends = [min(extent, size - amount) for extent, size, amount in zip(source.shape, shape, low, strict=True)]
    extents = tuple(max(0, end - start) for start, end in zip(starts, ends, strict=True))
    if isinstance(source, Splat):
        return Splat(source.value, extents), [max(0, amount) for amount in low]
    offset = source.offset + sum(start * stride for start, stride in zip(starts, source.strides, strict=True))
    return View(source.buffer, extents, source.strides, offset), [max(0, amount) for amount in low]


def _frame(
    shape: Sequence[int], low: Sequence[int], inner: Sequence[int]
) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Boxes (shape, start) that tile `shape` outside the box `inner` at `low`."""
    boxes: list[tuple[tuple[int, ...], tuple[int, ...]]] = []
    start, extent = [0] * len(shape), list(shape)
    for dim, (first, size) in enumerate(zip(low, inner, strict=True)):
        for begin, end in ((0, first), (first + size, shape[dim])):
            if end > begin:
                part, at = list(extent), list(start)
                part[dim], at[dim] = end - begin, begin
                boxes.append((tuple(part), tuple(at)))
        start[dim], extent[dim] = first, size
    return boxes
