"""Kernels on whole numbers, one element at a time in the scalar units: index arithmetic, masks from positions, sums.

Integers come from and go to DRAM by scalar loads and stores. BF16 operands (booleans, numbers to convert) come as rows
of one element; BF16 results are put into rows lane by lane.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from atalla_mlir._mlir import ir
from atalla_mlir.codegen.iteration import Access, Buffer, Combine, Loop, Node, Stage
from atalla_mlir.errors import UnsupportedError
from atalla_mlir.kernels.affine_index import Index
from atalla_mlir.kernels.builder import LANES
from atalla_mlir.kernels.integer_builder import IntegerBuilder
from atalla_mlir.kernels.row_places import lane_segments

Positions = dict[Loop, Index]

_LIMITS = {Combine.ADD: 0, Combine.MAX: -(1 << 31), Combine.MIN: (1 << 31) - 1}
_SWAPPED = {"slt": ("lt", False), "sgt": ("lt", True), "ult": ("ltu", False), "ugt": ("ltu", True)}
_NEGATED = {"sge": "slt", "sle": "sgt", "uge": "ult", "ule": "ugt"}


@dataclass
class IntegerKernel:
    """Emits one stage with integers; `buffers` are the kernel's DRAM arguments."""

    builder: IntegerBuilder
    stage: Stage
    buffers: dict[Buffer, ir.Value]

    def emit(self) -> None:
        loops = [loop for loop in self.stage.loops if loop not in self.stage.reduced]
        if self.stage.write.buffer.is_integer:
            self._nest(loops, {}, self._store_number)
            return
        lane = next((loop for loop in loops if self.stage.write.stride(loop) == 1), None)
        self._nest([loop for loop in loops if loop is not lane], {}, lambda at: self._store_rows(lane, at))

    def _nest(self, loops: Sequence[Loop], at: Positions, body: Callable[[Positions], None]) -> None:
        if not loops:
            body(at)
            return
        self.builder.repeat(loops[0].extent, lambda i: self._nest(loops[1:], {**at, loops[0]: i}, body))

    def _store_number(self, at: Positions) -> None:
        element = Elements(self.builder, self.stage, self.buffers).element(self.stage.write, at)
        value = self._reduced(self.stage.reduced, at) if self.stage.reduced else self._number(at)
        self.builder.word_store(value, self.buffers[self.stage.write.buffer], element)

    def _number(self, at: Positions) -> ir.Value:
        return Elements(self.builder, self.stage, self.buffers, at).number(self.stage.body)

    def _reduced(self, loops: Sequence[Loop], at: Positions) -> ir.Value:
        combine = self.stage.combine
        if combine not in _LIMITS:
            raise UnsupportedError(f"a reduction of integers by {combine}")

        def level(rest: Sequence[Loop], place: Positions, total: ir.Value) -> ir.Value:
            if not rest:
                return self._folded(combine, total, self._number(place))
            (result,) = self.builder.loop(
                rest[0].extent, [total], lambda i, c: [level(rest[1:], {**place, rest[0]: i}, c[0])]
            )
            return result

        return level(loops, at, self.builder.number(_LIMITS[combine]))

    def _folded(self, combine: Combine, total: ir.Value, term: ir.Value) -> ir.Value:
        if combine is Combine.ADD:
            return self.builder.integer("add", total, term)
        left, right = (total, term) if combine is Combine.MAX else (term, total)
        return self.builder.choose(self.builder.integer("lt", left, right), term, total)

    def _store_rows(self, lane: Loop | None, at: Positions) -> None:
        if self.stage.reduced:
            raise UnsupportedError("a floating sum of integers")
        if lane is None:
            self._store_row(None, at, Index(), 1)
            return
        for start, count, cols in lane_segments(lane.extent):
            self.builder.repeat(
                count,
                lambda i, start=start, cols=cols: self._store_row(lane, at, i.scaled(LANES) + start * LANES, cols),
            )

    def _store_row(self, lane: Loop | None, at: Positions, first: Index, cols: int) -> None:
        def filled(index: Index, carried: list[ir.Value]) -> list[ir.Value]:
            place = at if lane is None else {**at, lane: first + index}
            scalar = Elements(self.builder, self.stage, self.buffers, place).scalar(self.stage.body)
            return [self.builder.insert(scalar, carried[0], index)]

        (row,) = self.builder.loop(cols, [self.builder.splat(0.0)], filled)
        write = self.stage.write
        places = at if lane is None else {**at, lane: first}
        loops = list(write.strides)
        self.builder.store(
            row,
            self.buffers[write.buffer],
            [places[loop] for loop in loops],
            [write.strides[loop] for loop in loops],
            offset=write.offset,
            lane_dim=loops.index(lane) if lane is not None else -1,
            lane_stride=1,
            cols=cols,
        )


class Elements:
    """Evaluates nodes of a stage for one element, as whole numbers or as BF16 scalars; `at` says which element."""

    def __init__(
        self, builder: IntegerBuilder, stage: Stage, buffers: dict[Buffer, ir.Value], at: Positions | None = None
    ) -> None:
        self._builder = builder
        self._stage = stage
        self._buffers = buffers
        self._at = at or {}

    def element(self, access: Access, at: Positions | None = None) -> Index:
        """Which element of its buffer an access means."""
        found = Index(access.offset)
        for loop, stride in access.strides.items():
            found = found + (self._at if at is None else at)[loop].scaled(stride)
        for node, stride in access.indirect:
            found = found + self._builder.as_index(self.number(node)).scaled(stride)
        return found

    def number(self, node: Node) -> ir.Value:
        """The value of `node` as a whole number."""
        b = self._builder
        if node.op == "constant":
            return b.number(_checked(node.value))
        if node.op == "load":
            return self._loaded_number(self._stage.reads[node.read])
        if node.op == "truth" or node.op.startswith("cmp_"):
            return self.condition(node.args[0] if node.op == "truth" else node)
        if node.op == "to_int":
            return b.from_scalar(self.scalar(node.args[0]))
        if node.op == "select":
            return b.choose(self.condition(node.args[0]), self.number(node.args[1]), self.number(node.args[2]))
        if not node.op.startswith("int_"):
            raise UnsupportedError(f"a whole number from the operation {node.op}")
        left, right = (self.number(argument) for argument in node.args)
        kind = node.op.removeprefix("int_")
        if kind in ("max", "min"):
            smaller = b.integer("lt", left, right)
            return b.choose(smaller, *((right, left) if kind == "max" else (left, right)))
        return b.integer(kind, left, right)

    def scalar(self, node: Node) -> ir.Value:
        """The value of `node` as a BF16 scalar."""
        b = self._builder
        if node.op == "constant":
            return b.constant(node.value)
        if node.op == "load":
            return self._loaded_scalar(self._stage.reads[node.read])
        if node.op == "to_float":
            return b.to_scalar(self.number(node.args[0]))
        if node.op == "select":
            condition, yes, no = node.args
            if (yes.op, yes.value, no.op, no.value) == ("constant", 1.0, "constant", 0.0):
                return b.to_scalar(self.condition(condition))
            bits = (b.scalar_bits(self.scalar(argument)) for argument in (yes, no))
            return b.from_bits(b.choose(self.condition(condition), *bits))
        if node.op in ("add", "sub", "mul"):
            return b.scalar_op(f"scalar_{node.op}", *(self.scalar(argument) for argument in node.args))
        raise UnsupportedError(f"the operation {node.op} on numbers beside integers")

    def condition(self, node: Node) -> ir.Value:
        """A boolean as 1 or 0."""
        b = self._builder
        if node.op.startswith("cmp_int_"):
            return self._compared(node.op.removeprefix("cmp_int_"), *node.args)
        is_stored = node.op == "cmp_une" and (node.args[1].op, node.args[1].value) == ("constant", 0.0)
        if is_stored or node.op == "load":  # booleans are stored as 1.0 and 0.0
            return b.from_scalar(self.scalar(node.args[0] if is_stored else node))
        raise UnsupportedError(f"the comparison {node.op} of numbers beside integers")

    def _compared(self, predicate: str, left: Node, right: Node) -> ir.Value:
        b = self._builder
        if predicate in _NEGATED:
            return b.negated(self._compared(_NEGATED[predicate], left, right))
        a, c = self.number(left), self.number(right)
        if predicate in ("eq", "ne"):
            different = b.is_nonzero(b.integer("xor", a, c))
            return b.negated(different) if predicate == "eq" else different
        kind, swapped = _SWAPPED[predicate]
        return b.integer(kind, c, a) if swapped else b.integer(kind, a, c)

    def _loaded_number(self, access: Access) -> ir.Value:
        if access.buffer.is_counter:
            return self._builder.counter(self.element(access))
        if not access.buffer.is_integer:
            raise UnsupportedError("a whole number from a floating tensor without a conversion")
        return self._builder.word_load(self._buffers[access.buffer], self.element(access))

    def _loaded_scalar(self, access: Access) -> ir.Value:
        if access.buffer.is_integer or access.buffer.is_counter:
            raise UnsupportedError("a floating number from an integer tensor without a conversion")
        loops = list(access.strides)
        row = self._builder.load(
            self._buffers[access.buffer],
            [self._at[loop] for loop in loops],
            [access.strides[loop] for loop in loops],
            offset=access.offset,
            lane_dim=-1,
            lane_stride=1,
            cols=1,
        )
        return self._builder.extract(row)


def _checked(value: float) -> int:
    """A whole number written in the model."""
    if not -(2**31) <= value < 2**31:
        raise UnsupportedError(f"the number {int(value)} has more than 32 bits")
    return int(value)
