"""The `atalla` dialect: kernels on rows and tiles, between linalg and instructions.

A *row* is the content of one vector register (32 BF16 lanes), a *scalar* one BF16 value in a scalar register, a *mask*
one bit a lane, an *integer* a whole number of 32 bits in a scalar register. Kernels first read and write rows of
`!atalla.dram` buffers directly; `atalla-place-tiles` then brings the data into tiles of the scratchpad pads with DMA.
Loops are `scf.for` from 0 by 1, to a constant or to a number of at least 1 that is computed before.

Addresses are affine in the loop variables: an access has one position per dimension of its buffer's index space (the
affine map's results) and a stride in elements per dimension, element = offset + sum(position * stride); lane i adds
i * lane_stride. `lane_dim` is the dimension along which the lanes run, -1 when there is none (then cols is 1).
"""

import importlib
from collections.abc import Sequence
from typing import Any, Optional

from atalla_mlir._mlir import ext, ir
from atalla_mlir.dialects.dialect_base import load_once
from atalla_mlir.target.machine import AX01

Operand, Result, Region = ext.Operand, ext.Result, ext.Region

PREDICATES = ("gt", "lt", "eq", "ne")
REDUCTIONS = ("add", "max", "min")


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


def _fail(op: Any, message: str) -> bool:
    op.location.emit_error(f"'{op.operation.name}' op {message}")
    return False


def _integer(op: Any, name: str) -> Optional[int]:
    if name not in op.attributes:
        return None
    attribute = op.attributes[name].maybe_downcast()
    return attribute.value if isinstance(attribute, ir.IntegerAttr) else None


def _check_range(op: Any, name: str, low: int, high: int) -> bool:
    value = _integer(op, name)
    if value is not None and not low <= value <= high:
        return _fail(op, f"{name} must be in {low}..{high}, got {value}")
    return True


def check_word(op: Any, name: str, words: Sequence[str]) -> bool:
    if name in op.attributes:
        attribute = op.attributes[name].maybe_downcast()
        if isinstance(attribute, ir.StringAttr) and attribute.value not in words:
            return _fail(op, f"{name} must be one of {', '.join(words)}, got '{attribute.value}'")
    return True


def _map(op: Any, name: str) -> Any:
    if name not in op.attributes:
        return None
    attribute = op.attributes[name].maybe_downcast()
    return attribute.value if isinstance(attribute, ir.AffineMapAttr) else None


def check_map(op: Any, name: str, num_ivs: int, num_results: Optional[int]) -> bool:
    affine_map = _map(op, name)
    if affine_map is None:
        return _fail(op, f"needs an affine map '{name}'")
    if affine_map.n_dims != num_ivs or affine_map.n_symbols:
        return _fail(op, f"map '{name}' takes {affine_map.n_dims} indices, but the op has {num_ivs}")
    if num_results is not None and len(affine_map.results) != num_results:
        return _fail(op, f"map '{name}' must have {num_results} results, got {len(affine_map.results)}")
    return True


def _check_access(op: Any, num_ivs: int) -> bool:
    strides: Any = op.attributes["strides"].maybe_downcast() if "strides" in op.attributes else None
    if not isinstance(strides, ir.DenseI64ArrayAttr):
        return _fail(op, "needs 'strides', an array of one stride per dimension")
    rank = len(list(strides))
    return (
        check_map(op, "map", num_ivs, rank)
        and _check_range(op, "cols", 1, AX01.vector_lanes)
        and _check_range(op, "lane_dim", -1, rank - 1)
    )


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
        return _check_access(op, len(op.operands) - 1)


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
        return _check_access(op, len(op.operands) - 2)


class AllocTileOp(Atalla.Operation, name="alloc_tile"):
    """A tile: `rows` consecutive rows of pad `pad`, from row `base` of the kernel's arena on that pad."""

    rows: ir.IntegerAttr
    pad: ir.IntegerAttr
    base: ir.IntegerAttr
    tile: Result[TileType]

    def verify_invariants(op):
        return (
            _check_range(op, "pad", 0, AX01.pads - 1)
            and _check_range(op, "rows", 1, AX01.pad_rows)
            and _check_range(op, "base", 0, AX01.pad_rows - 1)
        )


class TileLoadOp(Atalla.Operation, name="tile_load"):
    """Row `map(indices)` of a tile; lanes from `cols` on are +0.0."""

    tile: Operand[TileType]
    indices: Sequence[Operand[ir.IndexType]]
    map: ir.AffineMapAttr
    cols: ir.IntegerAttr
    row: Result[RowType]

    def verify_invariants(op):
        return check_map(op, "map", len(op.operands) - 1, 1) and _check_range(op, "cols", 1, AX01.vector_lanes)


class TileStoreOp(Atalla.Operation, name="tile_store"):
    """Write lanes 0..cols-1 of a row to row `map(indices)` of a tile."""

    row: Operand[RowType]
    tile: Operand[TileType]
    indices: Sequence[Operand[ir.IndexType]]
    map: ir.AffineMapAttr
    cols: ir.IntegerAttr

    def verify_invariants(op):
        return check_map(op, "map", len(op.operands) - 2, 1) and _check_range(op, "cols", 1, AX01.vector_lanes)


def _check_dma(op: Any) -> bool:
    num_ivs = len(op.operands) - 2
    cols, pitch = _integer(op, "cols"), _integer(op, "pitch")
    if cols is not None and pitch is not None and pitch < cols:
        return _fail(op, f"pitch {pitch} is smaller than cols {cols}")
    return (
        check_map(op, "tile_map", num_ivs, 1)
        and check_map(op, "dram_map", num_ivs, 1)
        and _check_range(op, "rows", 1, 32)
        and _check_range(op, "cols", 1, AX01.vector_lanes)
        and _check_range(op, "pitch", 1, 1 << 20)
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


class ZeroOp(Atalla.Operation, name="zero"):
    """A row of +0.0 in a register of its own: what an accumulator starts from."""

    row: Result[RowType]


class CopyOp(Atalla.Operation, name="copy"):
    """The same row, bit by bit, in a register of its own."""

    source: Operand[RowType]
    row: Result[RowType]


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


class ConstantOp(Atalla.Operation, name="constant", traits=[ext.Pure]):
    """A BF16 constant in a scalar register."""

    value: ir.FloatAttr
    scalar: Result[ScalarType]


class BroadcastOp(Atalla.Operation, name="broadcast", traits=[ext.Pure]):
    """A row whose lanes all hold the scalar (a -0.0 becomes +0.0)."""

    scalar: Operand[ScalarType]
    row: Result[RowType]


class ExtractOp(Atalla.Operation, name="extract", traits=[ext.Pure]):
    """The value of one lane of a row."""

    row: Operand[RowType]
    lane: ir.IntegerAttr
    scalar: Result[ScalarType]

    def verify_invariants(op):
        return _check_range(op, "lane", 0, AX01.vector_lanes - 1)


def _check_lanes(op: Any) -> bool:
    return _check_range(op, "lanes", 1, AX01.vector_lanes)


class AddOp(Atalla.Operation, name="add", traits=[ext.Pure]):
    """bf(lhs + rhs) in lanes 0..lanes-1; other lanes are lhs. rhs is a row or a scalar."""

    lhs: Operand[RowType]
    rhs: Operand[Any]
    lanes: ir.IntegerAttr
    row: Result[RowType]

    def verify_invariants(op):
        return _check_lanes(op)


class SubOp(Atalla.Operation, name="sub", traits=[ext.Pure]):
    """bf(lhs - rhs) in lanes 0..lanes-1; other lanes are lhs. rhs is a row or a scalar."""

    lhs: Operand[RowType]
    rhs: Operand[Any]
    lanes: ir.IntegerAttr
    row: Result[RowType]

    def verify_invariants(op):
        return _check_lanes(op)


class MulOp(Atalla.Operation, name="mul", traits=[ext.Pure]):
    """bf(lhs * rhs) in lanes 0..lanes-1; other lanes are lhs. rhs is a row or a scalar."""

    lhs: Operand[RowType]
    rhs: Operand[Any]
    lanes: ir.IntegerAttr
    row: Result[RowType]

    def verify_invariants(op):
        return _check_lanes(op)


class MaskedAddOp(Atalla.Operation, name="masked_add", traits=[ext.Pure]):
    """bf(lhs + rhs) in the lanes of the mask; other lanes are lhs. rhs is a row or a scalar."""

    mask: Operand[MaskType]
    lhs: Operand[RowType]
    rhs: Operand[Any]
    row: Result[RowType]


class MaskedMulOp(Atalla.Operation, name="masked_mul", traits=[ext.Pure]):
    """bf(lhs * rhs) in the lanes of the mask; other lanes are lhs. rhs is a row or a scalar."""

    mask: Operand[MaskType]
    lhs: Operand[RowType]
    rhs: Operand[Any]
    row: Result[RowType]


class MaskedRsubOp(Atalla.Operation, name="masked_rsub", traits=[ext.Pure]):
    """bf(rhs - lhs) in the lanes of the mask; other lanes are lhs."""

    mask: Operand[MaskType]
    lhs: Operand[RowType]
    rhs: Operand[RowType]
    row: Result[RowType]


class ExpOp(Atalla.Operation, name="exp", traits=[ext.Pure]):
    """bf(e^x) in every lane."""

    source: Operand[RowType]
    row: Result[RowType]


class CompareOp(Atalla.Operation, name="compare", traits=[ext.Pure]):
    """Bit i of the mask is `lhs[i] predicate rhs[i]`; IEEE, so any NaN gives 0, except for `ne`. rhs: row or scalar."""

    lhs: Operand[RowType]
    rhs: Operand[Any]
    predicate: ir.StringAttr
    mask: Result[MaskType]

    def verify_invariants(op):
        return check_word(op, "predicate", PREDICATES)


class SelectOp(Atalla.Operation, name="select", traits=[ext.Pure]):
    """Lane i is on_true[i] where the mask is set, else on_false[i]. on_true is a row or a scalar."""

    mask: Operand[MaskType]
    on_true: Operand[Any]
    on_false: Operand[RowType]
    row: Result[RowType]


class LaneMaskOp(Atalla.Operation, name="lane_mask", traits=[ext.Pure]):
    """The mask of lanes first..last."""

    first: ir.IntegerAttr
    last: ir.IntegerAttr
    mask: Result[MaskType]

    def verify_invariants(op):
        first, last = _integer(op, "first"), _integer(op, "last")
        if first is not None and last is not None and first > last:
            return _fail(op, f"first lane {first} comes after last lane {last}")
        return _check_range(op, "first", 0, AX01.vector_lanes - 1) and _check_range(
            op, "last", 0, AX01.vector_lanes - 1
        )


class LanesOfOp(Atalla.Operation, name="lanes_of", traits=[ext.Pure]):
    """The mask whose lane i is bit i of an index."""

    bits: Operand[ir.IndexType]
    mask: Result[MaskType]


class ReduceOp(Atalla.Operation, name="reduce", traits=[ext.Pure]):
    """Fold lanes 0..lanes-1 of a row; every lane of the result holds it. `kind` is add, max or min."""

    source: Operand[RowType]
    kind: ir.StringAttr
    lanes: ir.IntegerAttr
    row: Result[RowType]

    def verify_invariants(op):
        return check_word(op, "kind", REDUCTIONS) and _check_lanes(op)


class ScalarAddOp(Atalla.Operation, name="scalar_add", traits=[ext.Pure]):
    """bf(lhs + rhs) in the scalar unit."""

    lhs: Operand[ScalarType]
    rhs: Operand[ScalarType]
    scalar: Result[ScalarType]


class ScalarSubOp(Atalla.Operation, name="scalar_sub", traits=[ext.Pure]):
    """bf(lhs - rhs) in the scalar unit."""

    lhs: Operand[ScalarType]
    rhs: Operand[ScalarType]
    scalar: Result[ScalarType]


class ScalarMulOp(Atalla.Operation, name="scalar_mul", traits=[ext.Pure]):
    """bf(lhs * rhs) in the scalar unit."""

    lhs: Operand[ScalarType]
    rhs: Operand[ScalarType]
    scalar: Result[ScalarType]


class ReciprocalOp(Atalla.Operation, name="reciprocal", traits=[ext.Pure]):
    """bf(1 / x) in the scalar unit."""

    source: Operand[ScalarType]
    scalar: Result[ScalarType]


class SqrtOp(Atalla.Operation, name="sqrt", traits=[ext.Pure]):
    """bf(sqrt(x)) in the scalar unit."""

    source: Operand[ScalarType]
    scalar: Result[ScalarType]


class PushOp(Atalla.Operation, name="push"):
    """Shift a row into the array as weight column 0: push the vector of the last output lane first."""

    row: Operand[RowType]


class GemmOp(Atalla.Operation, name="gemm"):
    """Lane j of the result is the dot product of the row with weight column j (machine reference 2.9)."""

    source: Operand[RowType]
    row: Result[RowType]


class TransposePushOp(Atalla.Operation, name="transpose_push"):
    """Push a row into the transpose unit; 32 pushes fill it."""

    row: Operand[RowType]


class TransposePopOp(Atalla.Operation, name="transpose_pop"):
    """The next column of the 32 rows that were pushed; all 32 columns must be popped."""

    row: Result[RowType]


def load() -> None:
    """Load the dialect into the current context; loading it again does nothing."""
    importlib.import_module("atalla_mlir.dialects.atalla_integers")  # its operations register themselves
    load_once(Atalla)
