"""Products on the systolic array: matmul, batched matmul, and whatever else multiplies and sums two operands.

For each block of result rows and each 32 result columns, the slices of the depth are worked off one by one: push the
32 weight vectors, stream the rows, add the results to the accumulators in registers. The epilogue (bias, activation,
residual) runs on the accumulators.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from atalla_mlir._mlir import ir
from atalla_mlir.codegen.iteration import Access, Buffer, Loop, Stage, joined_dims
from atalla_mlir.codegen.product_plan import LANES, MAX_SEQUENTIAL_SLICES, ProductPlan
from atalla_mlir.codegen.row_plan import RowPlan, SumOrder
from atalla_mlir.kernels.affine_index import Index
from atalla_mlir.kernels.builder import Builder
from atalla_mlir.kernels.expression import Evaluated
from atalla_mlir.kernels.row_body import RowBody
from atalla_mlir.kernels.row_places import Place, at_all, lane_segments, position_along
from atalla_mlir.kernels.rows import RowKernel

Rows = list[ir.Value]


@dataclass
class ProductKernel:
    """Emits a product and its epilogue. `buffers` are the kernel's DRAM arguments by buffer."""

    builder: Builder
    product: Stage
    epilogue: Sequence[Stage]
    plan: ProductPlan
    buffers: dict[Buffer, ir.Value]
    block: ir.Block

    def __post_init__(self) -> None:
        outer = (*self.plan.batch, *self.plan.rows, *self.plan.cols)
        row_plan = RowPlan(self.plan.lane, outer, 1, 1)
        self.rows_kernel = RowKernel(self.builder, self.epilogue, row_plan, self.buffers, self.block)

    def sum_order(self) -> SumOrder:
        """How the product adds: slices of 32 terms in blocks; unknown in detail when the depth is several loops."""
        if not self.plan.depth:
            return SumOrder("slices", self.plan.slices_in_sequence)
        outer, inner = self.plan.depth_levels
        blocks = math.prod(loop.extent for loop in outer)
        slices = math.prod(loop.extent for loop in inner) * self.plan.slices
        if not inner and self.plan.slices > MAX_SEQUENTIAL_SLICES:
            slices = self.plan.slices_in_sequence + -(-self.plan.slices // self.plan.slices_in_sequence) + 1
        return SumOrder("any", 1, blocks + slices + 3)

    def emit(self) -> None:
        self._batch(list(self.plan.batch), Place({}, 1))

    # Result space

    def _batch(self, loops: list[Loop], place: Place) -> None:
        if not loops:
            self._cols(list(self.plan.cols), place)
        else:
            self.builder.repeat(loops[0].extent, lambda i: self._batch(loops[1:], place.at(loops[0], i)))

    def _cols(self, loops: list[Loop], place: Place) -> None:
        if not loops or (loops[0] is self.plan.lane and self.plan.rows_first):
            self._row_blocks(list(self.plan.rows), place)
        elif loops[0] is self.plan.lane:
            for start, count, cols in lane_segments(loops[0].extent):
                self.builder.repeat(
                    count,
                    lambda i, start=start, cols=cols: self._cols(
                        loops[1:], place.at(loops[0], i.scaled(LANES) + start * LANES, cols)
                    ),
                )
        else:
            self.builder.repeat(loops[0].extent, lambda i: self._cols(loops[1:], place.at(loops[0], i)))

    def _row_blocks(self, loops: list[Loop], place: Place) -> None:
        """Cut the row loops into blocks; the innermost loops that fit are unrolled whole."""
        unrolled = 1
        inner: list[Loop] = []
        while loops and unrolled * loops[-1].extent <= self.plan.block_rows:
            inner.insert(0, loops.pop())
            unrolled *= inner[0].extent
        if not loops:
            self._row_block([self._inside(place, inner)])
            return
        self._blocks_of(loops, inner, max(1, self.plan.block_rows // unrolled), place)

    def _blocks_of(self, loops: list[Loop], inner: list[Loop], count: int, place: Place) -> None:
        """Loop over all but the last of `loops`; take the last one in blocks of `count`."""
        if len(loops) > 1:
            self.builder.repeat(
                loops[0].extent, lambda i: self._blocks_of(loops[1:], inner, count, place.at(loops[0], i))
            )
            return
        loop = loops[0]
        whole, rest = divmod(loop.extent, count)

        def block(start: Index, how_many: int) -> None:
            self._row_block([self._inside(place.at(loop, start + at), inner) for at in range(how_many)])

        self.builder.repeat(whole, lambda b: block(b.scaled(count), count))
        if rest:
            block(Index(whole * count), rest)

    def _inside(self, place: Place, inner: list[Loop]) -> list[Place]:
        places = [place]
        for loop in inner:
            places = [at.at(loop, Index(step)) for at in places for step in range(loop.extent)]
        return places

    def _row_block(self, groups: list[list[Place]]) -> None:
        rows = [at for group in groups for at in group]
        lane = self.plan.lane
        if lane is None or not self.plan.rows_first:
            self._tile(rows)
            return
        for chunk, _, cols in lane_segments(lane.extent):  # one chunk each
            self._tile(at_all(rows, lane, Index(chunk * LANES), cols))

    def _tile(self, rows: list[Place]) -> None:
        results = self._sum_depth(rows)
        for at, result in zip(rows, results, strict=True):
            self._finish(at, result)

    def _finish(self, place: Place, result: ir.Value) -> None:
        buffer = self.product.write.buffer
        if buffer in self.buffers:
            self.rows_kernel.store(self.product.write, place, result)
        body = RowBody(self.rows_kernel, [place])
        body.values[0][buffer] = Evaluated(result, self.plan.lane is None)
        body.emit()

    # Depth. The results of a slice are added while the array works on the next one, so each loop carries the sums so
    # far and the terms that are to be added next.

    def _sum_depth(self, rows: list[Place]) -> Rows:
        """Sum over the depth in blocks of up to 32 slices; the sums of blocks are added in sequence."""
        outer, inner = self.plan.depth_levels
        if not outer:
            return self._block(list(inner), rows, {})

        def level(loops: Sequence[Loop], depth: dict[Loop, Index], total: Rows) -> Rows:
            if not loops:
                return self._add(total, self._block(list(inner), rows, depth))
            loop = loops[0]
            return self.builder.loop(loop.extent, total, lambda i, so_far: level(loops[1:], {**depth, loop: i}, so_far))

        return level(outer, {}, self._zeros(rows))

    def _block(self, loops: list[Loop], rows: list[Place], depth: dict[Loop, Index]) -> Rows:
        if not loops and self.plan.slices > MAX_SEQUENTIAL_SLICES:
            return self._two_levels(rows, depth)
        if not self.plan.depth:
            return self._one_loop(rows)
        count = len(rows)

        def level(loops: list[Loop], depth: dict[Loop, Index], carried: Rows) -> Rows:
            if not loops:
                return self._slices(rows, depth, carried)
            loop = loops[0]
            return self.builder.loop(
                loop.extent, carried, lambda i, so_far: level(loops[1:], {**depth, loop: i}, so_far)
            )

        carried = level(loops, depth, [*self._zeros(rows), *self._zeros(rows)])
        return self._add(carried[:count], carried[count:])

    def _one_loop(self, rows: list[Place]) -> Rows:
        """The sum over a depth of one loop; the first slice starts the accumulators."""
        lane = self.plan.depth_lane
        if lane is None:
            return self._slice(rows, {}, 1)
        full, tail = divmod(lane.extent, LANES)
        if not full:
            return self._slice(rows, {lane: Index()}, tail)

        def step(index: Index, total: list[ir.Value]) -> Rows:
            return self._add(total, self._slice(rows, {lane: (index + 1).scaled(LANES)}, LANES))

        total = self.builder.loop(full - 1, self._slice(rows, {lane: Index()}, LANES), step)
        return self._add(total, self._slice(rows, {lane: Index(full * LANES)}, tail)) if tail else total

    def _slices(self, rows: list[Place], depth: dict[Loop, Index], carried: Rows) -> Rows:
        """All slices of the lane loop."""
        lane = self.plan.depth_lane
        if lane is None:
            return self._step(rows, depth, 1, carried)
        full, tail = divmod(lane.extent, LANES)
        carried = self._full_slices(rows, depth, Index(), full, carried)
        return self._step(rows, {**depth, lane: Index(full * LANES)}, tail, carried) if tail else carried

    def _full_slices(
        self, rows: list[Place], depth: dict[Loop, Index], start: Index, count: int, carried: Rows
    ) -> Rows:
        lane = self.plan.depth_lane
        assert lane is not None

        def step(index: Index, so_far: list[ir.Value]) -> Rows:
            return self._step(rows, {**depth, lane: (start + index).scaled(LANES)}, LANES, so_far)

        return self.builder.loop(count, carried, step)

    def _step(self, rows: list[Place], depth: dict[Loop, Index], deep: int, carried: Rows) -> Rows:
        sums = self._add(carried[: len(rows)], carried[len(rows) :])
        return [*sums, *self._slice(rows, depth, deep)]

    def _two_levels(self, rows: list[Place], depth: dict[Loop, Index]) -> Rows:
        """Blocks of about the square root of the number of slices; the block sums are added in sequence."""
        lane = self.plan.depth_lane
        assert lane is not None
        size = self.plan.slices_in_sequence
        full, tail = divmod(lane.extent, LANES)
        blocks, rest = divmod(full, size)
        zeros = [*self._zeros(rows), *self._zeros(rows)]

        def one_block(index: Index, total: list[ir.Value]) -> Rows:
            carried = self._full_slices(rows, depth, index.scaled(size), size, zeros)
            return self._add(total, self._add(carried[: len(rows)], carried[len(rows) :]))

        total = self.builder.loop(blocks, self._zeros(rows), one_block)
        if rest or tail:
            carried = self._full_slices(rows, depth, Index(blocks * size), rest, zeros)
            carried = self._step(rows, {**depth, lane: Index(full * LANES)}, tail, carried) if tail else carried
            total = self._add(total, self._add(carried[: len(rows)], carried[len(rows) :]))
        return total

    def _zeros(self, rows: list[Place]) -> Rows:
        return [self.builder.splat(0.0)] * len(rows)

    def _add(self, left: Rows, right: Rows) -> Rows:
        return [self.builder.binary("add", a, b) for a, b in zip(left, right, strict=True)]

    def _slice(self, rows: list[Place], depth: dict[Loop, Index], deep: int) -> Rows:
        """Products of all rows with one tile of weights, `deep` lanes deep."""
        lane = self.plan.lane
        pushed = self.product.reads[self.plan.pushed]
        place = rows[0]
        for col in reversed(range(place.cols if lane is not None else 1)):
            at = place.positions | depth
            if lane is not None:
                at[lane] = place.positions[lane] + col
            self.builder.push(self._operand(pushed, at, deep))
        streamed = self.product.reads[self.plan.streamed]
        return [self.builder.gemm(self._operand(streamed, at.positions | depth, deep)) for at in rows]

    def _operand(self, access: Access, positions: dict[Loop, Index], deep: int) -> ir.Value:
        lane = self.plan.depth_lane
        stride = access.stride(lane) if lane is not None else 0
        dims, lane_dim = joined_dims(access, lane)
        return self.builder.load(
            self.buffers[access.buffer],
            [position_along(dim, positions) for dim in dims],
            [dim.stride for dim in dims],
            offset=access.offset,
            lane_dim=lane_dim,
            lane_stride=stride or 1,
            cols=deep if stride else 1,
        )
