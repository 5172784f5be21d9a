"""Builds `atalla` operations: loops with affine indices, rows, scalars and masks."""

from __future__ import annotations

from collections.abc import Sequence

from atalla_mlir._mlir import create_op, f32_attr, i64_array_attr, i64_attr, ir, string_attr
from atalla_mlir.kernels.affine_index import Index
from atalla_mlir.kernels.attributes import (
    BARE,
    COPY,
    EXPONENTIAL,
    FIRST_LANE,
    IMAGE,
    IN_TURN,
    MULTIPLIES,
    PLACED,
    SPARE,
)
from atalla_mlir.kernels.index_builder import IndexBuilder
from atalla_mlir.target.machine import AX01

LANES = AX01.vector_lanes


class Builder(IndexBuilder):
    """Creates operations at the current insertion point and location."""

    def __init__(self) -> None:
        super().__init__()
        self.row_type = ir.Type.parse("!atalla.row")
        self.scalar_type = ir.Type.parse("!atalla.scalar")
        self.mask_type = ir.Type.parse("!atalla.mask")
        self.tile_type = ir.Type.parse("!atalla.tile")
        self.token_type = ir.Type.parse("!atalla.token")
        self._num_copies = 0
        self.saves_adder = False
        """Whether everything waits for the adder: what can be a product should be one."""

    def is_scalar(self, value: ir.Value) -> bool:
        return value.type == self.scalar_type

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
        mapping, variables = self.mapping(*positions)
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
        mapping, variables = self.mapping(*positions)
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

    def image_tile(self, rows: int, pad: int, first: int, argument: ir.BlockArgument) -> ir.Value:
        """Rows of an image that stays in the pads between kernels, from its row `first` on; an argument says where."""
        tile = self.placed_tile(rows, pad, first)
        tile.owner.operation.attributes[IMAGE] = i64_attr(argument.arg_number)
        return tile

    def alloc_tile(self, rows: int, pad: int, base: int) -> ir.Value:
        attributes = {"rows": i64_attr(rows), "pad": i64_attr(pad), "base": i64_attr(base)}
        return create_op("atalla.alloc_tile", [self.tile_type], [], attributes).results[0]

    def tile_load(self, tile: ir.Value, row: Index, cols: int) -> ir.Value:
        mapping, variables = self.mapping(row)
        attributes = {"map": mapping, "cols": self.i64(cols)}
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
        mapping, variables = self.mapping(at)
        attributes = {"map": mapping, "cols": self.i64(cols)}
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
        tile_map, variables = self.mapping(row, element)
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

    def zero(self, *, exponential: bool = False) -> ir.Value:
        """A zero row that is not shared; adder and multiplier take them in turn, or `exponential` stands in for them.

        That is for rows that are cleared beside additions and stores: it takes neither a scalar port nor their units.
        """
        row = self._row("zero", [])
        if exponential:
            row.owner.operation.attributes[EXPONENTIAL] = ir.UnitAttr.get()
        return row

    def copy(self, row: ir.Value, *, multiplies: bool = False) -> ir.Value:
        """The same row in a register of its own; adder and multiplier take copies in turn unless told otherwise."""
        copy = self._row("copy", [row])
        if multiplies:
            copy.owner.operation.attributes[MULTIPLIES] = ir.UnitAttr.get()
        return copy

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
