"""The `atalla` dialect: kernels on rows and tiles, between linalg and instructions.

A *row* is the content of one vector register (32 BF16 lanes), a *scalar* one BF16 value in a scalar register, a *mask*
one bit a lane, an *integer* a whole number of 32 bits in a scalar register. Kernels first read and write rows of
`!atalla.dram` buffers directly; `atalla-place-tiles` then brings the data into tiles of the scratchpad pads with DMA.
Loops are `scf.for` from 0 by 1, to a constant or to a number that is computed before; with `atalla.may_be_empty` that
may be 0.

Addresses are affine in the loop variables: an access has one position per dimension of its buffer's index space (the
affine map's results) and a stride in elements per dimension, element = offset + sum(position * stride); lane i adds
i * lane_stride. `lane_dim` is the dimension along which the lanes run, -1 when there is none (then cols is 1).
"""

import importlib
from collections.abc import Sequence
from typing import Any

from atalla_mlir._mlir import ext, ir
from atalla_mlir.dialects.atalla_checks import check_access, check_map, check_range, fail, integer_attribute
from atalla_mlir.dialects.dialect_base import load_once
from atalla_mlir.target.machine import AX01

Operand, Result, Region = ext.Operand, ext.Result, ext.Region


class Atalla(ext.Dialect, name="atalla"):
    pass


class RowType(Atalla.Type, name="row"):
    pass


class ScalarType(Atalla.Type, name="scalar"):
    pass


class MaskType(Atalla.Type, name="mask"):
    pass


class DramType(Atalla.Type, name="dram"):
    pass


class TileType(Atalla.Type, name="tile"):
    pass


class TokenType(Atalla.Type, name="token"):
    pass


class IntegerType(Atalla.Type, name="integer"):
    pass


class KernelOp(Atalla.Operation, name="kernel", traits=[ir.IsIsolatedFromAboveTrait]):
    """A kernel: its region's arguments are the DRAM buffers of its inputs, then of its outputs.

    `sizes` holds the elements of each buffer. It implements the private function called
    `kernel`, which keeps the tensor types of its callers.
    """

    kernel: ir.StringAttr
    num_inputs: ir.IntegerAttr
    sizes: Any
    body: Region


class EndOp(Atalla.Operation, name="end", traits=[ir.IsTerminatorTrait]):
    """Ends a kernel."""


class LoadOp(Atalla.Operation, name="load", traits=[ext.Pure]):
    """A row read straight from DRAM: lane i < cols is element(map(indices)) + i * lane_stride; other lanes are +0.0."""

    buffer: Operand[DramType]
    indices: Sequence[Operand[ir.IndexType]]
    map: ir.AffineMapAttr
    strides: Any
    offset: ir.IntegerAttr
    lane_dim: ir.IntegerAttr
    lane_stride: ir.IntegerAttr
    cols: ir.IntegerAttr
    row: Result[RowType]

    def verify_invariants(op):
        return check_access(op, len(op.operands) - 1)


class StoreOp(Atalla.Operation, name="store"):
    """Write lanes 0..cols-1 of a row straight to DRAM, addressed as in `atalla.load`."""

    row: Operand[RowType]
    buffer: Operand[DramType]
    indices: Sequence[Operand[ir.IndexType]]
    map: ir.AffineMapAttr
    strides: Any
    offset: ir.IntegerAttr
    lane_dim: ir.IntegerAttr
    lane_stride: ir.IntegerAttr
    cols: ir.IntegerAttr

    def verify_invariants(op):
        return check_access(op, len(op.operands) - 2)


class AllocTileOp(Atalla.Operation, name="alloc_tile"):
    """A tile: `rows` consecutive rows of pad `pad`, from row `base` of the kernel's arena on that pad.

    With `image` it counts from where an image begins, and rows before that belong to the image as well.
    """

    rows: ir.IntegerAttr
    pad: ir.IntegerAttr
    base: ir.IntegerAttr
    tile: Result[TileType]

    def verify_invariants(op):
        return (
            check_range(op, "pad", 0, AX01.pads - 1)
            and check_range(op, "rows", 1, AX01.pad_rows)
            and check_range(op, "base", 1 - AX01.pad_rows if "image" in op.attributes else 0, AX01.pad_rows - 1)
        )


class TileLoadOp(Atalla.Operation, name="tile_load"):
    """Row `map(indices)` of a tile; lanes from `cols` on are +0.0."""

    tile: Operand[TileType]
    indices: Sequence[Operand[ir.IndexType]]
    map: ir.AffineMapAttr
    cols: ir.IntegerAttr
    row: Result[RowType]

    def verify_invariants(op):
        return check_map(op, "map", len(op.operands) - 1, 1) and check_range(op, "cols", 1, AX01.vector_lanes)


class TileStoreOp(Atalla.Operation, name="tile_store"):
    """Write lanes 0..cols-1 of a row to row `map(indices)` of a tile."""

    row: Operand[RowType]
    tile: Operand[TileType]
    indices: Sequence[Operand[ir.IndexType]]
    map: ir.AffineMapAttr
    cols: ir.IntegerAttr

    def verify_invariants(op):
        return check_map(op, "map", len(op.operands) - 2, 1) and check_range(op, "cols", 1, AX01.vector_lanes)


def _check_dma(op: Any) -> bool:
    num_ivs = len(op.operands) - 2
    cols, pitch = integer_attribute(op, "cols"), integer_attribute(op, "pitch")
    if cols is not None and pitch is not None and pitch < cols:
        return fail(op, f"pitch {pitch} is smaller than cols {cols}")
    return (
        check_map(op, "tile_map", num_ivs, 1)
        and check_map(op, "dram_map", num_ivs, 1)
        and check_range(op, "rows", 1, 32)
        and check_range(op, "cols", 1, AX01.vector_lanes)
        and check_range(op, "pitch", 1, 1 << 20)
    )


class DmaLoadOp(Atalla.Operation, name="dma_load"):
    """One transfer DRAM to tile: `rows` rows of `cols` elements, `pitch` elements apart in DRAM.

    `tile_map` gives the first row of the tile, `dram_map` the first element of the buffer. The data may be read after
    `atalla.wait` on the token.
    """

    tile: Operand[TileType]
    buffer: Operand[DramType]
    indices: Sequence[Operand[ir.IndexType]]
    tile_map: ir.AffineMapAttr
    dram_map: ir.AffineMapAttr
    rows: ir.IntegerAttr
    cols: ir.IntegerAttr
    pitch: ir.IntegerAttr
    token: Result[TokenType]

    def verify_invariants(op):
        return _check_dma(op)


class DmaStoreOp(Atalla.Operation, name="dma_store"):
    """One transfer tile to DRAM, as `atalla.dma_load`; after `atalla.wait` the tile's rows may be written again."""

    tile: Operand[TileType]
    buffer: Operand[DramType]
    indices: Sequence[Operand[ir.IndexType]]
    tile_map: ir.AffineMapAttr
    dram_map: ir.AffineMapAttr
    rows: ir.IntegerAttr
    cols: ir.IntegerAttr
    pitch: ir.IntegerAttr
    token: Result[TokenType]

    def verify_invariants(op):
        return _check_dma(op)


class TileAtOp(Atalla.Operation, name="tile_at", traits=[ext.Pure]):
    """The rows of a tile from byte `offset` on, as a tile of its own.

    `part` names these rows: the scheduler takes for granted that parts with different names do not overlap while both
    are in use, and that nobody uses the whole tile beside them.
    """

    tile: Operand[TileType]
    offset: Operand[ir.IndexType]
    part: ir.StringAttr
    rows: Result[TileType]


class BufferAddressOp(Atalla.Operation, name="buffer_address", traits=[ext.Pure]):
    """The DRAM byte address of a buffer's first element."""

    buffer: Operand[DramType]
    address: Result[ir.IndexType]


class EqualBitsOp(Atalla.Operation, name="equal_bits", traits=[ext.Pure]):
    """-1 (all bits) if two indices are equal, else 0: what a selection by `arith.andi` and `arith.xori` needs."""

    left: Operand[ir.IndexType]
    right: Operand[ir.IndexType]
    bits: Result[ir.IndexType]


class FetchOp(Atalla.Operation, name="fetch"):
    """One transfer DRAM to tile of which everything is computed: tile row `offset` / 64, DRAM byte `address`, and the
    metadata word `shape` (its pad must be that of the tile).

    `buffers` are those that the address may lie in; `rows` and `cols` are the most that `shape` asks for.
    """

    tile: Operand[TileType]
    offset: Operand[ir.IndexType]
    address: Operand[ir.IndexType]
    shape: Operand[ir.IndexType]
    buffers: Sequence[Operand[DramType]]
    rows: ir.IntegerAttr
    cols: ir.IntegerAttr
    token: Result[TokenType]


class SendOp(Atalla.Operation, name="send"):
    """One transfer tile to DRAM, as `atalla.fetch`."""

    tile: Operand[TileType]
    offset: Operand[ir.IndexType]
    address: Operand[ir.IndexType]
    shape: Operand[ir.IndexType]
    buffers: Sequence[Operand[DramType]]
    rows: ir.IntegerAttr
    cols: ir.IntegerAttr
    token: Result[TokenType]


class ReadyOp(Atalla.Operation, name="ready", traits=[ext.Pure]):
    """The token of no transfer: waiting for it returns at once."""

    token: Result[TokenType]


class NextIndexOp(Atalla.Operation, name="next_index", traits=[ext.Pure]):
    """min(index + 1, last): the iteration to prefetch."""

    index: Operand[ir.IndexType]
    last: ir.IntegerAttr
    next: Result[ir.IndexType]


class WaitOp(Atalla.Operation, name="wait"):
    """Wait until the transfers of the tokens are complete."""

    tokens: Sequence[Operand[TokenType]]


def load() -> None:
    """Load the dialect into the current context; loading it again does nothing."""
    for part in ("atalla_integers", "atalla_rows"):
        importlib.import_module(f"atalla_mlir.dialects.{part}")  # its operations register themselves
    load_once(Atalla)
