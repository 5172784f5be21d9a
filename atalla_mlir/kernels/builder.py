"""Builds `atalla` operations: loops with affine indices, rows, scalars and masks."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from atalla_mlir._mlir import create_op, f32_attr, i64_array_attr, i64_attr, ir, string_attr
from atalla_mlir.errors import InternalError
from atalla_mlir.target.machine import AX01

LANES = AX01.vector_lanes
QUOTIENT_BITS = 16
PLACED = "placed"
"""On an `atalla.alloc_tile` whose pad and base row are settled; those of others are chosen by `atalla-place-tiles`."""
FIRST_LANE = "first"
"""On an `atalla.reduce` that folds lanes from there on; absent for those from lane 0 on."""
BARE = "bare"
"""On an `atalla.wait` that keeps no access to pads behind it."""
SPARE = "spare"
"""On a tile with rows before and after it that nobody needs."""
COPY = "copy"
"""On a load that must stay apart from others of the same row: its number."""
IN_TURN = "in_turn"
"""On an `atalla.select` that the units of the lanes take in turn."""
TURNS = "atalla.turns"
"""On a tile that exists so many times, to be used in turn by the iterations of a loop."""
OVERLAP = "atalla.overlap"
"""On a loop whose iterations the scheduler is to overlap, transfers included."""


@dataclass(frozen=True)
class Index:
    """An affine expression of loop variables: constant + sum(coefficient * variable)."""

    constant: int = 0
    terms: tuple[tuple[ir.Value, int], ...] = ()

    def __add__(self, other: Index | int) -> Index:
        if isinstance(other, int):
            return Index(self.constant + other, self.terms)
        merged = dict(self.terms)
        for variable, coefficient in other.terms:
            merged[variable] = merged.get(variable, 0) + coefficient
        return Index(self.constant + other.constant, tuple(merged.items()))

    def scaled(self, factor: int) -> Index:
        return Index(self.constant * factor, tuple((variable, factor * c) for variable, c in self.terms))


def affine_map(indices: Sequence[Index]) -> tuple[ir.AffineMapAttr, list[ir.Value]]:
    """The map (variables) -> indices, and the variables in the order of its dims."""
    variables = list(dict.fromkeys(variable for index in indices for variable, _ in index.terms))
    dims = {variable: ir.AffineExpr.get_dim(at) for at, variable in enumerate(variables)}
    results = []
    for index in indices:
        expression = ir.AffineExpr.get_constant(index.constant)
        for variable, coefficient in index.terms:
            expression = dims[variable] * coefficient + expression
        results.append(expression)
    return ir.AffineMapAttr.get(ir.AffineMap.get(len(variables), 0, results)), variables


@dataclass(frozen=True)
class _Arithmetic:
    """A commutative operation on 32-bit integers."""

    evaluate: Callable[[int, int], int]
    neutral: int
    absorbing: int | None = None


_INDEX_ARITHMETIC = {
    "arith.addi": _Arithmetic(operator.add, 0),
    "arith.muli": _Arithmetic(operator.mul, 1, 0),
    "arith.andi": _Arithmetic(operator.and_, -1, 0),
    "arith.xori": _Arithmetic(operator.xor, 0),
}


def _signed(value: int) -> int:
    bits = value & 0xFFFFFFFF
    return bits - (1 << 32) if bits >> 31 else bits


def constant_index(value: ir.Value) -> int | None:
    """The value of an `arith.constant`; None of anything else."""
    owner = value.owner
    if isinstance(owner, ir.Block) or owner.operation.name != "arith.constant":
        return None
    return _signed(ir.IntegerAttr(owner.operation.attributes["value"]).value)


class Builder:
    """Creates operations at the current insertion point and location."""

    def __init__(self) -> None:
        self.row_type = ir.Type.parse("!atalla.row")
        self.scalar_type = ir.Type.parse("!atalla.scalar")
        self.mask_type = ir.Type.parse("!atalla.mask")
        self.tile_type = ir.Type.parse("!atalla.tile")
        self.token_type = ir.Type.parse("!atalla.token")
        self.index_type = ir.IndexType.get()
        self._num_copies = 0

    def is_scalar(self, value: ir.Value) -> bool:
        return value.type == self.scalar_type

    # Loops

    def loop(
        self,
        extent: int,
        initial: Sequence[ir.Value],
        body: Callable[[Index, list[ir.Value]], Sequence[ir.Value]],
        *,
        overlap: bool = False,
    ) -> list[ir.Value]:
        """`for i in 0..extent`: `body(i, carried)` gives what the next iteration carries; the last is returned.

        A single iteration is emitted without a loop; none returns `initial`.
        """
        if extent <= 0:
            return list(initial)
        if extent == 1:
            return list(body(Index(), list(initial)))
        return self._for(self.index_constant(extent), initial, body, overlap=overlap)

    def counted_loop(
        self,
        trips: ir.Value,
        initial: Sequence[ir.Value],
        body: Callable[[Index, list[ir.Value]], Sequence[ir.Value]],
    ) -> list[ir.Value]:
        """`loop` over a number of iterations, 1 or more, that is computed where the kernel runs."""
        return self._for(trips, initial, body, overlap=False)

    def _for(
        self,
        trips: ir.Value,
        initial: Sequence[ir.Value],
        body: Callable[[Index, list[ir.Value]], Sequence[ir.Value]],
        *,
        overlap: bool,
    ) -> list[ir.Value]:
        bounds = [self.index_constant(0), trips, self.index_constant(1)]
        op = create_op("scf.for", [value.type for value in initial], [*bounds, *initial], regions=1)
        if overlap:
            op.attributes[OVERLAP] = ir.UnitAttr.get()
        types = [self.index_type, *(value.type for value in initial)]
        location = ir.Location.current
        block = ir.Block.create_at_start(op.regions[0], types, [location] * len(types))
        with ir.InsertionPoint(block):
            carried = list(block.arguments)
            results = body(Index(0, ((carried[0], 1),)), carried[1:])
            create_op("scf.yield", [], list(results))
        return list(op.results)

    def repeat(self, extent: int, body: Callable[[Index], None], *, overlap: bool = False) -> None:
        """`loop` without carried values."""

        def step(index: Index, _: list[ir.Value]) -> list[ir.Value]:
            body(index)
            return []

        self.loop(extent, [], step, overlap=overlap)

    def at(self, position: int) -> Index:
        """A position that no loop moves."""
        return Index(position)

    def zero_index(self) -> ir.Value:
        """A zero that nothing is computed from in advance, to stand for an index that is not known yet."""
        return create_op(
            "atalla.next_index", [self.index_type], [self.index_constant(-1)], {"last": i64_attr(0)}
        ).results[0]

    def index_constant(self, value: int) -> ir.Value:
        attribute = ir.IntegerAttr.get(self.index_type, value)
        return create_op("arith.constant", [self.index_type], [], {"value": attribute}).results[0]

    # Index arithmetic, on bytes and bits

    def plus(self, left: ir.Value, right: ir.Value | int) -> ir.Value:
        return self._index_op("arith.addi", left, right)

    def minus(self, left: ir.Value, right: ir.Value | int) -> ir.Value:
        known = right if isinstance(right, int) else constant_index(right)
        if known is not None:
            return self.plus(left, -known)
        assert not isinstance(right, int)
        return create_op("arith.subi", [self.index_type], [left, right]).results[0]

    def times(self, left: ir.Value, right: ir.Value | int) -> ir.Value:
        return self._index_op("arith.muli", left, right)

    def both(self, left: ir.Value, right: ir.Value | int) -> ir.Value:
        """Bitwise and."""
        return self._index_op("arith.andi", left, right)

    def differ(self, left: ir.Value, right: ir.Value | int) -> ir.Value:
        """Bitwise exclusive or."""
        return self._index_op("arith.xori", left, right)

    def equal_bits(self, left: ir.Value, right: int) -> ir.Value:
        """-1 if the index has this value, else 0."""
        known = constant_index(left)
        if known is not None:
            return self.index_constant(-1 if known == right else 0)
        return create_op("atalla.equal_bits", [self.index_type], [left, self.index_constant(right)]).results[0]

    def select_bits(self, bits: ir.Value, on_true: ir.Value, on_false: ir.Value) -> ir.Value:
        """`on_true` where `bits` is -1, `on_false` where it is 0."""
        known = constant_index(bits)
        if known is not None:
            return on_true if known else on_false
        return self.differ(on_false, self.both(bits, self.differ(on_true, on_false)))

    def quotient(self, value: ir.Value, divisor: int, limit: int) -> ir.Value:
        """value // divisor for 0 <= value < limit, by a multiplication."""
        if limit * divisor > 1 << QUOTIENT_BITS:
            raise InternalError(f"quotients of numbers below {limit} by {divisor} are not exact")
        product = self.times(value, -(-(1 << QUOTIENT_BITS) // divisor))
        return create_op("arith.shrui", [self.index_type], [product, self.index_constant(QUOTIENT_BITS)]).results[0]

    def is_negative(self, index: ir.Value) -> ir.Value:
        """-1 if the index is negative, else 0."""
        return create_op("arith.shrsi", [self.index_type], [index, self.index_constant(31)]).results[0]

    def at_most(self, index: ir.Value, limit: int) -> ir.Value:
        """min(index, limit)."""
        return create_op("arith.minsi", [self.index_type], [index, self.index_constant(limit)]).results[0]

    def at_least(self, index: ir.Value, limit: int) -> ir.Value:
        """max(index, limit)."""
        return create_op("arith.maxsi", [self.index_type], [index, self.index_constant(limit)]).results[0]

    def address(self, buffer: ir.Value) -> ir.Value:
        """The DRAM byte address of a buffer."""
        return create_op("atalla.buffer_address", [self.index_type], [buffer]).results[0]

    def index_value(self, index: Index) -> ir.Value:
        """An affine expression as one value."""
        total: ir.Value | None = None
        for variable, coefficient in index.terms:
            term = variable if coefficient == 1 else self.times(variable, coefficient)
            total = term if total is None else self.plus(total, term)
        if total is None:
            return self.index_constant(index.constant)
        return self.plus(total, index.constant) if index.constant else total

    def _index_op(self, name: str, left: ir.Value, right: ir.Value | int) -> ir.Value:
        """An operation on integers; what is known here is not computed there."""
        arithmetic = _INDEX_ARITHMETIC[name]
        known, other = constant_index(left), right if isinstance(right, int) else constant_index(right)
        if other is not None:
            if known is not None:
                return self.index_constant(_signed(arithmetic.evaluate(known, other)))
            if other == arithmetic.neutral:
                return left
            if other == arithmetic.absorbing:
                return self.index_constant(other)
        elif known is not None and not isinstance(right, int):
            return self._index_op(name, right, known)
        value = self.index_constant(right) if isinstance(right, int) else right
        return create_op(name, [self.index_type], [left, value]).results[0]

    # Memory

    def load(
        self,
        buffer: ir.Value,
        positions: Sequence[Index],
        strides: Sequence[int],
        *,
        offset: int,
        lane_dim: int,
        lane_stride: int,
        cols: int,
    ) -> ir.Value:
        mapping, variables = affine_map(positions)
        attributes = self._access(mapping, strides, offset, lane_dim, lane_stride, cols)
        return create_op("atalla.load", [self.row_type], [buffer, *variables], attributes).results[0]

    def store(
        self,
        row: ir.Value,
        buffer: ir.Value,
        positions: Sequence[Index],
        strides: Sequence[int],
        *,
        offset: int,
        lane_dim: int,
        lane_stride: int,
        cols: int,
    ) -> None:
        mapping, variables = affine_map(positions)
        attributes = self._access(mapping, strides, offset, lane_dim, lane_stride, cols)
        create_op("atalla.store", [], [row, buffer, *variables], attributes)

    @staticmethod
    def _access(
        mapping: ir.AffineMapAttr, strides: Sequence[int], offset: int, lane_dim: int, lane_stride: int, cols: int
    ) -> dict[str, ir.Attribute]:
        return {
            "map": mapping,
            "strides": i64_array_attr(strides),
            "offset": i64_attr(offset),
            "lane_dim": i64_attr(lane_dim),
            "lane_stride": i64_attr(lane_stride),
            "cols": i64_attr(cols),
        }

    def placed_tile(self, rows: int, pad: int, base: int, *, spare: int = 0) -> ir.Value:
        """A tile whose place is settled; before and after its rows are `spare` ones, which belong to nobody."""
        tile = self.alloc_tile(rows, pad, base + spare)
        tile.owner.operation.attributes[PLACED] = ir.UnitAttr.get()
        if spare:
            tile.owner.operation.attributes[SPARE] = ir.UnitAttr.get()
        return tile

    def alloc_tile(self, rows: int, pad: int, base: int) -> ir.Value:
        attributes = {"rows": i64_attr(rows), "pad": i64_attr(pad), "base": i64_attr(base)}
        return create_op("atalla.alloc_tile", [self.tile_type], [], attributes).results[0]

    def tile_load(self, tile: ir.Value, row: Index, cols: int) -> ir.Value:
        mapping, variables = affine_map([row])
        attributes = {"map": mapping, "cols": i64_attr(cols)}
        return create_op("atalla.tile_load", [self.row_type], [tile, *variables], attributes).results[0]

    def again(self, row: ir.Value) -> ir.Value:
        """The row in another register, loaded once more where it comes from a tile; otherwise the row itself.

        For a use that comes late or writes over its operand: a load costs less than a lane operation.
        """
        if isinstance(row.owner, ir.Block) or row.owner.name != "atalla.tile_load":
            return row
        load = row.owner.operation
        with ir.InsertionPoint.after(load):
            copy = load.clone()
        self._num_copies += 1
        copy.attributes[COPY] = i64_attr(self._num_copies)
        return copy.results[0]

    def tile_store(self, row: ir.Value, tile: ir.Value, at: Index, cols: int) -> None:
        mapping, variables = affine_map([at])
        attributes = {"map": mapping, "cols": i64_attr(cols)}
        create_op("atalla.tile_store", [], [row, tile, *variables], attributes)

    def dma(
        self,
        kind: str,
        tile: ir.Value,
        buffer: ir.Value,
        row: Index,
        element: Index,
        *,
        rows: int,
        cols: int,
        pitch: int,
    ) -> ir.Value:
        """One transfer; `kind` is `dma_load` or `dma_store`. Returns its token."""
        tile_map, variables = affine_map([row, element])
        row_map, element_map = (
            ir.AffineMapAttr.get(ir.AffineMap.get(len(variables), 0, [result])) for result in tile_map.value.results
        )
        attributes = {
            "tile_map": row_map,
            "dram_map": element_map,
            "rows": i64_attr(rows),
            "cols": i64_attr(cols),
            "pitch": i64_attr(pitch),
        }
        return create_op(f"atalla.{kind}", [self.token_type], [tile, buffer, *variables], attributes).results[0]

    def tile_at(self, tile: ir.Value, offset: ir.Value, part: str) -> ir.Value:
        """The rows of a tile from a byte offset on; parts with different names do not overlap while in use."""
        return create_op("atalla.tile_at", [self.tile_type], [tile, offset], {"part": string_attr(part)}).results[0]

    def transfer(
        self,
        kind: str,
        tile: ir.Value,
        offset: ir.Value,
        address: ir.Value,
        shape: ir.Value,
        buffers: Sequence[ir.Value],
        *,
        rows: int,
        cols: int,
    ) -> ir.Value:
        """A transfer (`fetch` or `send`) with computed offset, address (both in bytes) and metadata word; its token.

        `rows` and `cols` are the most that the metadata asks for.
        """
        attributes = {"rows": i64_attr(rows), "cols": i64_attr(cols)}
        operands = [tile, offset, address, shape, *buffers]
        return create_op(f"atalla.{kind}", [self.token_type], operands, attributes).results[0]

    def ready(self) -> ir.Value:
        """The token of no transfer."""
        return create_op("atalla.ready", [self.token_type]).results[0]

    def next_index(self, index: ir.Value, last: int) -> ir.Value:
        """min(index + 1, last)."""
        return create_op("atalla.next_index", [self.index_type], [index], {"last": i64_attr(last)}).results[0]

    def wait(self, tokens: Sequence[ir.Value], *, orders: bool = True) -> None:
        """Wait for transfers; without `orders` nothing counts on that but the registers that they keep busy."""
        if tokens:
            op = create_op("atalla.wait", [], list(tokens))
            if not orders:
                op.attributes[BARE] = ir.UnitAttr.get()

    # Values

    def constant(self, value: float) -> ir.Value:
        return create_op("atalla.constant", [self.scalar_type], [], {"value": f32_attr(value)}).results[0]

    def broadcast(self, scalar: ir.Value) -> ir.Value:
        return self._row("broadcast", [scalar])

    def splat(self, value: float) -> ir.Value:
        return self.broadcast(self.constant(value))

    def zero(self) -> ir.Value:
        """A zero row that is not shared."""
        return self._row("zero", [])

    def copy(self, row: ir.Value) -> ir.Value:
        """The same row in a register of its own."""
        return self._row("copy", [row])

    def as_row(self, value: ir.Value) -> ir.Value:
        return self.broadcast(value) if self.is_scalar(value) else value

    def extract(self, row: ir.Value, lane: int = 0) -> ir.Value:
        return create_op("atalla.extract", [self.scalar_type], [row], {"lane": i64_attr(lane)}).results[0]

    def binary(self, kind: str, lhs: ir.Value, rhs: ir.Value, lanes: int = LANES) -> ir.Value:
        """`add`, `sub` or `mul` of a row with a row or scalar; lanes from `lanes` on keep lhs."""
        return self._row(kind, [lhs, rhs], {"lanes": i64_attr(lanes)})

    def masked_add(self, mask: ir.Value, lhs: ir.Value, rhs: ir.Value) -> ir.Value:
        """lhs + rhs in the lanes of the mask, lhs in the others."""
        return self._row("masked_add", [mask, lhs, rhs])

    def masked_mul(self, mask: ir.Value, lhs: ir.Value, rhs: ir.Value) -> ir.Value:
        """lhs * rhs in the lanes of the mask, lhs in the others."""
        return self._row("masked_mul", [mask, lhs, rhs])

    def masked_rsub(self, mask: ir.Value, lhs: ir.Value, rhs: ir.Value) -> ir.Value:
        """rhs - lhs in the lanes of the mask, lhs in the others."""
        return self._row("masked_rsub", [mask, lhs, rhs])

    def scalar_op(self, kind: str, *operands: ir.Value) -> ir.Value:
        return create_op(f"atalla.{kind}", [self.scalar_type], list(operands)).results[0]

    def exp(self, source: ir.Value) -> ir.Value:
        return self._row("exp", [source])

    def compare(self, predicate: str, lhs: ir.Value, rhs: ir.Value) -> ir.Value:
        attributes = {"predicate": string_attr(predicate)}
        return create_op("atalla.compare", [self.mask_type], [lhs, rhs], attributes).results[0]

    def select(self, mask: ir.Value, on_true: ir.Value, on_false: ir.Value) -> ir.Value:
        return self._row("select", [mask, on_true, self.as_row(on_false)])

    def merge(self, mask: ir.Value, on_true: ir.Value, on_false: ir.Value) -> ir.Value:
        """`select` among many: the adder and the multiplier take them in turn."""
        row = self.select(mask, on_true, on_false)
        row.owner.operation.attributes[IN_TURN] = ir.UnitAttr.get()
        return row

    def lanes_of(self, bits: ir.Value) -> ir.Value:
        """The mask with the bits of an index."""
        return create_op("atalla.lanes_of", [self.mask_type], [bits]).results[0]

    def lane_mask(self, first: int, last: int) -> ir.Value:
        attributes = {"first": i64_attr(first), "last": i64_attr(last)}
        return create_op("atalla.lane_mask", [self.mask_type], [], attributes).results[0]

    def reduce(self, kind: str, source: ir.Value, lanes: int = LANES, first: int = 0) -> ir.Value:
        """The fold of `lanes` lanes from lane `first` on, in all lanes."""
        attributes: dict[str, ir.Attribute] = {"kind": string_attr(kind), "lanes": i64_attr(lanes)}
        if first:
            attributes[FIRST_LANE] = i64_attr(first)
        return self._row("reduce", [source], attributes)

    def push(self, row: ir.Value) -> None:
        create_op("atalla.push", [], [row])

    def gemm(self, row: ir.Value) -> ir.Value:
        return self._row("gemm", [row])

    def transpose_push(self, row: ir.Value) -> None:
        create_op("atalla.transpose_push", [], [row])

    def transpose_pop(self) -> ir.Value:
        return self._row("transpose_pop", [])

    def _row(
        self, name: str, operands: Sequence[ir.Value], attributes: dict[str, ir.Attribute] | None = None
    ) -> ir.Value:
        return create_op(f"atalla.{name}", [self.row_type], list(operands), attributes).results[0]
