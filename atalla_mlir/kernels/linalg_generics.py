"""`linalg.generic` operations as stages, or as views of what they read."""

from __future__ import annotations

from collections.abc import Sequence

from atalla_mlir._mlir import AffineForm, affine_forms, ir, scalar_constant
from atalla_mlir.codegen.iteration import Access, Buffer, Combine, Loop, Node, Stage, StageKind
from atalla_mlir.errors import UnsupportedError
from atalla_mlir.kernels.integer_nodes import Addressing, read_arg_extreme, without_casts
from atalla_mlir.kernels.linalg_bodies import read_body
from atalla_mlir.kernels.stage_list import StageList
from atalla_mlir.kernels.views import Splat, View, is_integer_tensor, tensor_shape

IN_PLACE = "atalla.in_place"
"""On an operation whose result lies where its old content does."""


class GenericReader:
    """Adds what `linalg.generic` operations compute to `out`."""

    def __init__(self, out: StageList) -> None:
        self.out = out
        self._known_forms: dict[ir.Attribute, tuple[AffineForm, ...] | None] = {}
        self._known_kinds: dict[ir.Attribute, list[bool]] = {}

    def read(self, op: ir.Operation) -> None:
        num_outputs = len(op.results)
        inputs, outputs = list(op.operands)[:-num_outputs], list(op.operands)[-num_outputs:]
        forms = self._forms(op)
        used = [at for at, result in enumerate(op.results) if any(True for _ in result.uses)]
        if len(used) > 1:
            raise UnsupportedError("an operation with two results that are both used")
        if used == [1]:
            self._arg_extreme(op, inputs, outputs)
            return
        if any(form is None for form in forms):
            raise UnsupportedError("an index that is not affine")
        kinds = self._kinds(op)
        input_forms, output_forms = [form or () for form in forms[: len(inputs)]], forms[len(inputs)] or ()
        if all(kinds) and (self._is_view(op, inputs, input_forms, output_forms) or self._is_count(op, inputs)):
            return
        self._compute(op, inputs, outputs, input_forms, output_forms, kinds)

    def _forms(self, op: ir.Operation) -> list[tuple[AffineForm, ...] | None]:
        """Of each operand."""
        found: list[tuple[AffineForm, ...] | None] = []
        for attribute in ir.ArrayAttr(op.attributes["indexing_maps"]):
            if attribute not in self._known_forms:
                self._known_forms[attribute] = affine_forms(ir.AffineMapAttr(attribute).value)
            found.append(self._known_forms[attribute])
        return found

    def _kinds(self, op: ir.Operation) -> list[bool]:
        """Whether each loop is parallel."""
        kinds = op.attributes["iterator_types"]
        if kinds not in self._known_kinds:
            self._known_kinds[kinds] = ["parallel" in str(kind) for kind in ir.ArrayAttr(kinds)]
        return self._known_kinds[kinds]

    def _is_view(
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
        splat = self.out.splat_of(operand)
        if splat is not None:
            self.out.values[op.results[0]] = Splat(splat, shape)
            return True
        out_dims = [item.single_dim for item in output_form]
        if None in out_dims or any(len(item.dims) > 1 or item.offset for item in form):
            return False
        source = self.out.view(operand)
        strides = dict.fromkeys(out_dims, 0)
        for item, stride in zip(form, source.strides, strict=True):
            for dim in item.dims:
                strides[dim] = strides.get(dim, 0) + stride * item.coefficients[dim]
        self.out.values[op.results[0]] = View(
            source.buffer, shape, tuple(strides[dim] for dim in out_dims), source.offset
        )
        return True

    def _is_count(self, op: ir.Operation, inputs: list[ir.Value]) -> bool:
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

    def _compute(
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
            splat = self.out.splat_of(value)
            if splat is not None:
                leaves.append(Node("constant", value=splat))
                continue
            leaves.append(Node("load", read=len(reads)))
            reads.append(_access(self.out.view(value), form, loops))
        reduced = [loop for loop, is_parallel in zip(loops, parallel, strict=True) if not is_parallel]
        accumulator = block.arguments[len(inputs)]
        addressing = Addressing(loops, reads, self.out.view)
        body, combine = read_body(block, leaves, accumulator, bool(reduced), addressing)
        target = self.out.new_buffer(op.results[0], f"t{len(self.out.stages)}")
        write = _access(target, output_form, loops)
        if reduced:
            self._check_initial(outputs[0], combine)
        stage = Stage(StageKind.REDUCE if reduced else StageKind.MAP, loops, reads, write, body, reduced, combine)
        if _is_product(stage) and all(loop.extent == 1 for loop in reduced):
            # an outer product has nothing to add up
            stage.kind, stage.reduced, stage.combine = StageKind.MAP, [], None
        elif _is_product(stage):
            stage.kind = StageKind.PRODUCT
        stage.changes_state = IN_PLACE in op.attributes
        self.out.add_stage(stage, op)

    def _arg_extreme(self, op: ir.Operation, inputs: list[ir.Value], outputs: list[ir.Value]) -> None:
        """The index of the largest or smallest element along a dimension, of which the extreme itself is not wanted."""
        found = read_arg_extreme(op)
        if found is None or len(inputs) != 1:
            raise UnsupportedError("an operation of two results, of which the second is read")
        combine, dim = found
        forms = [form or () for form in self._forms(op)]
        extents = _extents(inputs, outputs, [forms[0], forms[1]], len(self._kinds(op)))
        loops = [Loop(extent, f"d{at}") for at, extent in enumerate(extents)]
        target = self.out.new_buffer(op.results[1], f"t{len(self.out.stages)}")
        read = _access(self.out.view(inputs[0]), forms[0], loops)
        write = _access(target, forms[2], loops)
        self.out.add_stage(
            Stage(StageKind.REDUCE, loops, [read], write, Node("load", read=0), [loops[dim]], combine), op
        )

    def _check_initial(self, initial: ir.Value, combine: Combine | None) -> None:
        """Reductions start from their identity: anything else would be a fused addition that is not expressed yet."""
        known = self.out.values.get(initial)
        value = known.value if isinstance(known, Splat) else None
        low, high = _limits(initial.type)
        fits = value is not None and (
            (combine is Combine.ADD and value == 0.0)
            or (combine is Combine.MAX and value <= low)
            or (combine is Combine.MIN and value >= high)
        )
        if not fits:
            raise UnsupportedError(f"a reduction ({combine}) that starts from {value} instead of its identity")


def _limits(result: ir.Type) -> tuple[float, float]:
    """What no element of a tensor type lies below or above; whole numbers have 32 bits or fewer."""
    if not is_integer_tensor(result):
        return -3.3e38, 3.3e38
    bits = min(32, ir.IntegerType(ir.RankedTensorType(result).element_type).width)
    return -(2.0 ** (bits - 1)), 2.0 ** (bits - 1) - 1


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
