"""Choose the roles of operands and loops of a product (matmul, batched matmul, convolution) on the systolic array.

One operand is *pushed*: its rows become weight columns, 32 at a time, and its own loop runs along the lanes of the
result. The other is *streamed*: each of its rows gives one row of results. The lanes of both are a slice of 32 of one
reduced loop.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from atalla_mlir.codegen.iteration import Access, Loop, Stage
from atalla_mlir.errors import UnsupportedError

LANES = 32
# Slices that are added in sequence before a second level of sums starts (machine reference 4.7).
MAX_SEQUENTIAL_SLICES = 32
MAX_SCALARS = 96
"""Numbers of an epilogue that are kept in scalar registers; others hold addresses."""


@dataclass(frozen=True)
class ProductPlan:
    """Roles of a product's loops; tuples are outermost first.

    `batch` index both operands and the result, `rows` the streamed operand and the result, `cols` the pushed operand
    and the result (the last one, `lane`, lies in the lanes), `depth` is reduced (`depth_lane` in the lanes).
    """

    streamed: int
    pushed: int
    batch: tuple[Loop, ...]
    rows: tuple[Loop, ...]
    cols: tuple[Loop, ...]
    lane: Loop | None
    depth: tuple[Loop, ...]
    depth_lane: Loop | None
    block_rows: int
    rows_first: bool = False
    """Whether all columns of a block of rows come one after the other, and not all blocks of some columns."""

    @property
    def slices(self) -> int:
        """32-deep slices along the depth lanes."""
        return 1 if self.depth_lane is None else -(-self.depth_lane.extent // LANES)

    @property
    def depth_levels(self) -> tuple[tuple[Loop, ...], tuple[Loop, ...]]:
        """`depth` as loops over blocks and loops within a block, which has at most 32 slices where that can be."""
        count, inner = self.slices, len(self.depth)
        while inner and count * self.depth[inner - 1].extent <= MAX_SEQUENTIAL_SLICES:
            inner -= 1
            count *= self.depth[inner].extent
        return self.depth[:inner], self.depth[inner:]

    @property
    def slices_in_sequence(self) -> int:
        """Slices that are added one after the other; the sums of such blocks are then added likewise."""
        return slice_block(self.slices, full=0 if self.depth_lane is None else self.depth_lane.extent // LANES)


def slice_block(slices: int, full: int) -> int:
    """Slices per block: all up to 32 of them, beyond that about the square root of their number.

    A divisor of the number of full slices close to the root is preferred: no block is then left over.
    """
    if slices <= MAX_SEQUENTIAL_SLICES:
        return max(1, slices)
    root = math.isqrt(slices - 1) + 1
    divisors = [
        size for size in range(2, MAX_SEQUENTIAL_SLICES + 1) if full % size == 0 and root <= 2 * size <= 4 * root
    ]
    return min(divisors, key=lambda size: abs(size - root), default=root)


def choose_product_plan(product: Stage, stored: Sequence[Access]) -> ProductPlan:
    """Roles by the layout of the result: its contiguous loop must come from the pushed operand."""
    streamed, pushed = 0, 1
    if _unit_loop_side(product, stored) == 0:
        streamed, pushed = 1, 0
    left, right = product.reads[streamed], product.reads[pushed]
    parallel = [loop for loop in product.loops if loop not in product.reduced]
    # results that a loop repeats, as replicated borders of one pixel do, are made for each of its iterations
    batch = [loop for loop in parallel if (left.stride(loop) == 0) == (right.stride(loop) == 0)]
    rows = [loop for loop in parallel if left.stride(loop) and not right.stride(loop)]
    cols = [loop for loop in parallel if right.stride(loop) and not left.stride(loop)]
    key = stored[0].stride
    batch.sort(key=key, reverse=True)
    rows.sort(key=left.stride, reverse=True)
    lane = next((loop for loop in cols if all(access.stride(loop) == 1 for access in stored)), None)
    if cols and lane is None:
        raise UnsupportedError("a product whose results are not contiguous along a loop of one operand")
    others = sorted((loop for loop in cols if loop is not lane), key=key, reverse=True)
    depth_lane = min(product.reduced, key=lambda loop: _depth_cost(loop, left, right), default=None)
    others_deep = (loop for loop in product.reduced if loop is not depth_lane)
    depth = tuple(sorted(others_deep, key=left.stride, reverse=True))
    plan = ProductPlan(
        streamed,
        pushed,
        tuple(batch),
        tuple(rows),
        tuple([*others, lane] if lane is not None else others),
        lane,
        depth,
        depth_lane,
        0,
    )
    return _with_block_rows(plan)


def with_scalars(plan: ProductPlan, epilogue: Sequence[Stage]) -> ProductPlan:
    """The plan for an epilogue that reads numbers for each row.

    Where all columns are straight code such a number is loaded once, so it is kept from one part of them to the next
    one: blocks of rows are then as small as the scalar registers hold theirs.
    """
    lane = plan.lane
    if lane is None or not LANES < lane.extent < 2 * LANES:
        return plan
    reads = [read for stage in epilogue for read in stage.reads if not read.stride(lane)]
    numbers = sum(any(read.stride(loop) for loop in plan.rows) for read in reads)
    if numbers * math.prod(loop.extent for loop in plan.rows) <= MAX_SCALARS:
        return plan
    return replace(plan, rows_first=True, block_rows=min(plan.block_rows, max(1, MAX_SCALARS // numbers)))


def _unit_loop_side(product: Stage, stored: Sequence[Access]) -> int | None:
    """Which operand (0 or 1) alone is indexed by the loop along which all results are contiguous."""
    for loop in product.loops:
        if loop in product.reduced or not all(access.stride(loop) == 1 for access in stored):
            continue
        sides = [side for side in (0, 1) if product.reads[side].stride(loop)]
        return sides[0] if len(sides) == 1 else None
    return None


def _depth_cost(loop: Loop, streamed: Access, pushed: Access) -> tuple[int, int]:
    """Fewest transposed operands first, then fewest slices for the depth that the loop covers."""
    transposed = (streamed.stride(loop) != 1) * 2 + (pushed.stride(loop) != 1)
    return (transposed, -loop.extent)


def _with_block_rows(plan: ProductPlan) -> ProductPlan:
    """Rows of results held in registers: 64, or 56 beside a second level of sums."""
    limit = 64 if plan.slices <= MAX_SEQUENTIAL_SLICES and not plan.depth_levels[0] else 56
    return ProductPlan(**{**plan.__dict__, "block_rows": limit})
