"""How a product walks its result tiles: which operand stays in the pads, and what moves while the array computes.

The result is cut into tiles of `rows.block` x `cols.block`. One operand, the *inner* one, stays in the pads for a whole
panel of tiles; the *outer* one is held in two buffers, of which one is filled while the other is in use. Tiles are
visited with the inner blocks running fastest. While a tile is computed, at most one block moves: during the first
outer block the next inner one, during the last inner block of a panel the next outer one.

Rows of all blocks lie over all pads in turn, row j of a block in pad j mod 4, so that loads of neighbours and transfers
of a slice use all pads at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from atalla_mlir.codegen.iteration import Access, Loop, Stage
from atalla_mlir.codegen.product_plan import LANES, MAX_SEQUENTIAL_SLICES, ProductPlan

MAX_BLOCK_ROWS = 64
"""Result rows of a tile: twice the lane additions of a slice then just cover the array's time for it (10.2)."""
MAX_PITCH = 1 << 20
SINK_ROWS = 1
"""Rows for transfers that are switched off: they move one element there."""


@dataclass(frozen=True)
class BlockedOperand:
    """Rows of an operand in blocks. The last block ends with the operand, so it may overlap the one before.

    `stride` is the distance of two rows in elements; `depth` elements of each are multiplied.
    """

    access: Access
    loop: Loop | None
    extent: int
    block: int
    pads: int

    @property
    def stride(self) -> int:
        return self.access.stride(self.loop) if self.loop is not None else 0

    @property
    def num_blocks(self) -> int:
        return -(-self.extent // self.block)

    @property
    def excess(self) -> int:
        """Rows by which the last block would stick out."""
        return self.num_blocks * self.block - self.extent

    @property
    def rows_per_pad(self) -> int:
        """Rows of one slice of a block, in the pad that has most of them."""
        return -(-self.block // self.pads)

    def rows_in(self, pad: int) -> int:
        return max(0, -(-(self.block - pad) // self.pads))


@dataclass(frozen=True)
class TileSchedule:
    """The walk over the tiles of one product, and where its operands lie in every pad.

    A panel is `panel_blocks` inner blocks; slice j of a block takes `rows_per_pad` rows. `first_depth` lanes of the
    first slice are in use: a depth that is no multiple of 32 begins with its tail.
    """

    rows: BlockedOperand
    cols: BlockedOperand
    rows_inside: bool
    """Whether blocks of rows are the inner ones, which stay in the pads."""
    depth: int
    panel_blocks: int

    @property
    def inner(self) -> BlockedOperand:
        return self.rows if self.rows_inside else self.cols

    @property
    def outer(self) -> BlockedOperand:
        return self.cols if self.rows_inside else self.rows

    @property
    def slices(self) -> int:
        return -(-self.depth // LANES)

    @property
    def first_depth(self) -> int:
        return self.depth % LANES or LANES

    def block_rows(self, operand: BlockedOperand) -> int:
        """Rows of one pad that a block takes."""
        return self.slices * operand.rows_per_pad

    @property
    def operand_rows(self) -> int:
        """Rows of one pad that hold operands: the panel, two outer blocks and the sink."""
        return self.panel_blocks * self.block_rows(self.inner) + 2 * self.block_rows(self.outer) + SINK_ROWS

    @property
    def outer_base(self) -> int:
        return self.panel_blocks * self.block_rows(self.inner)

    @property
    def sink_row(self) -> int:
        return self.operand_rows - SINK_ROWS

    @property
    def num_panels(self) -> int:
        return -(-self.inner.num_blocks // self.panel_blocks)


def choose_tile_schedule(
    plan: ProductPlan, product: Stage, epilogue: Sequence[Stage], stored: Sequence[Access], *, pads: int, pad_rows: int
) -> TileSchedule | None:
    """A schedule for a product whose operands and results are plain rows in DRAM; None for any other.

    `pad_rows` are the rows of each pad that it may use.
    """
    rows_loop = plan.rows[0] if plan.rows else None
    if len(plan.rows) > 1 or len(plan.cols) != 1 or plan.depth or plan.depth_lane is None or plan.lane is None:
        return None
    if plan.slices > MAX_SEQUENTIAL_SLICES:
        return None
    streamed, pushed = product.reads[plan.streamed], product.reads[plan.pushed]
    depth = plan.depth_lane
    if streamed.stride(depth) != 1 or pushed.stride(depth) != 1:
        return None
    rows_extent = rows_loop.extent if rows_loop is not None else 1
    rows = BlockedOperand(streamed, rows_loop, rows_extent, _block_rows(rows_extent), pads)
    cols = BlockedOperand(pushed, plan.lane, plan.lane.extent, min(LANES, plan.lane.extent), pads)
    lanes = min(LANES, depth.extent)
    if not all(_has_pitch(operand.stride, operand, lanes) for operand in (rows, cols)):
        return None
    if not all(_is_row_access(access, rows, cols) for access in stored):
        return None
    if not _is_plain(product, epilogue, plan, rows, cols):
        return None
    reads = outside_reads(product, epilogue)
    num_columns = sum(is_column_read(read, plan) for read in reads)
    staging = (len(stored) + len(reads) - num_columns) * rows.rows_per_pad
    return _fit(rows, cols, depth.extent, pad_rows - staging - num_columns * cols.num_blocks)


def _block_rows(extent: int) -> int:
    """As few blocks as possible, of about equal size."""
    return -(-extent // -(-extent // MAX_BLOCK_ROWS))


def _has_pitch(stride: int, operand: BlockedOperand, lanes: int) -> bool:
    """Whether one transfer can take every fourth row of a block."""
    return operand.extent == 1 or (lanes <= stride and stride * operand.pads <= MAX_PITCH)


def _is_row_access(access: Access, rows: BlockedOperand, cols: BlockedOperand) -> bool:
    """Whether a result or operand of the epilogue is rows along the lanes that lie far enough apart."""
    if access.stride(cols.loop or Loop(1)) != 1:
        return False
    return rows.loop is None or _has_pitch(access.stride(rows.loop), rows, cols.block)


def _is_plain(
    product: Stage, epilogue: Sequence[Stage], plan: ProductPlan, rows: BlockedOperand, cols: BlockedOperand
) -> bool:
    """Whether the epilogue works on the rows of a tile, with operands that are rows of the same or one row for all."""
    allowed = {*plan.batch, *plan.rows, *plan.cols}
    if any(stage.reduced or not set(stage.loops) <= allowed for stage in epilogue):
        return False
    return all(
        is_column_read(read, plan) or _is_row_access(read, rows, cols) for read in outside_reads(product, epilogue)
    )


def outside_reads(product: Stage, epilogue: Sequence[Stage]) -> list[Access]:
    """What the epilogue reads that the kernel does not compute."""
    written = {stage.write.buffer for stage in (product, *epilogue)}
    return [read for stage in epilogue for read in stage.reads if read.buffer not in written]


def is_column_read(read: Access, plan: ProductPlan) -> bool:
    """Whether an operand is one row that all rows of all tiles share."""
    return set(read.strides) == {plan.lane} and read.stride(plan.lane) == 1 if plan.lane is not None else False


def _fit(rows: BlockedOperand, cols: BlockedOperand, depth: int, pad_rows: int) -> TileSchedule | None:
    """The order with the least traffic whose operands fit; the smaller operand inside when both orders move as much."""
    found: list[tuple[int, int, TileSchedule]] = []
    for rows_inside in (True, False):
        inner, outer = (rows, cols) if rows_inside else (cols, rows)
        one = TileSchedule(rows, cols, rows_inside, depth, 1)
        room = (pad_rows - one.operand_rows) // one.block_rows(inner) + 1
        if room < 1:
            continue
        panels = -(-inner.num_blocks // min(room, inner.num_blocks))
        schedule = TileSchedule(rows, cols, rows_inside, depth, -(-inner.num_blocks // panels))
        found.append((inner.extent + schedule.num_panels * outer.extent, inner.extent, schedule))
    return min(found, key=lambda item: item[:2])[2] if found else None
