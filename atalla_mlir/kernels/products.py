"""Products on the systolic array: matmul, batched matmul, and whatever else multiplies and sums two operands.

For each block of result rows and each 32 result columns, the slices of the depth are worked off one by one: push the
32 weight vectors, stream the rows, add the results to the accumulators in registers. The epilogue (bias, activation,
residual) runs on the accumulators.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from atalla_mlir._mlir import ir
from atalla_mlir.codegen.iteration import Access, Buffer, Loop, Stage, joined_dims
from atalla_mlir.codegen.product_plan import LANES, MAX_SEQUENTIAL_SLICES, ProductPlan
from atalla_mlir.codegen.row_plan import RowPlan, SumOrder
from atalla_mlir.kernels.builder import Builder, Index
from atalla_mlir.kernels.expression import Evaluated
from atalla_mlir.kernels.rows import Place, RowBody, RowKernel, lane_segments, position_along

Rows = list[ir.Value]
Term = Callable[[Index], Rows]


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
        outer = sum(loop.extent for loop in self.plan.depth)
        blocks = -(-self.plan.slices // self.plan.slices_in_sequence)
        return SumOrder("any", 1, outer + self.plan.slices_in_sequence + blocks + 2)

    def emit(self) -> None:
        self._batch(list(self.plan.batch), Place({}, 1))

    # Result space

    def _batch(self, loops: list[Loop], place: Place) -> None:
        if not loops:
            self._cols(list(self.plan.cols), place)
        else:
            self.builder.repeat(loops[0].extent, lambda i: self._batch(loops[1:], place.at(loops[0], i)))

    def _cols(self, loops: list[Loop], place: Place) -> None:
        if not loops:
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
            self._block([self._inside(place, inner)], place)
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
            self._block([self._inside(place.at(loop, start + at), inner) for at in range(how_many)], place)

        self.builder.repeat(whole, lambda b: block(b.scaled(count), count))
        if rest:
            block(Index(whole * count), rest)

    def _inside(self, place: Place, inner: list[Loop]) -> list[Place]:
        places = [place]
        for loop in inner:
            places = [at.at(loop, Index(step)) for at in places for step in range(loop.extent)]
        return places

    def _block(self, groups: list[list[Place]], place: Place) -> None:
        rows = [at for group in groups for at in group]
        results = self._sum_depth(list(self.plan.depth), rows, {})
        for at, result in zip(rows, results, strict=True):
            self._finish(at, result)

    def _finish(self, place: Place, result: ir.Value) -> None:
        buffer = self.product.write.buffer
        if buffer in self.buffers:
            self.rows_kernel.store(self.product.write, place, result)
        body = RowBody(self.rows_kernel, [place])
        body.values[0][buffer] = Evaluated(result, self.plan.lane is None)
        body.emit()

    # Depth

    def _sum_depth(self, loops: list[Loop], rows: list[Place], depth: dict[Loop, Index]) -> Rows:
        """Sum over the depth: the lane loop's slices innermost, each outer depth loop a further level of sums."""
        if not loops:
            return self._sum_slices(rows, depth)
        return self._fold(loops[0].extent, lambda i: self._sum_depth(loops[1:], rows, {**depth, loops[0]: i}))

    def _sum_slices(self, rows: list[Place], depth: dict[Loop, Index]) -> Rows:
        lane = self.plan.depth_lane
        if lane is None:
            return self._slice(rows, depth, 1)
        full, tail = divmod(lane.extent, LANES)

        def at(index: Index) -> Rows:
            return self._slice(rows, {**depth, lane: index.scaled(LANES)}, LANES)

        def last() -> Rows:
            return self._slice(rows, {**depth, lane: Index(full * LANES)}, tail)

        if self.plan.slices <= MAX_SEQUENTIAL_SLICES:
            return self._block_sum(Index(), full, at, last if tail else None)
        return self._two_levels(len(rows), full, at, last if tail else None)

    def _block_sum(self, start: Index, count: int, at: Term, last: Callable[[], Rows] | None) -> Rows:
        """Slices start..start+count-1, then `last`, added in sequence."""
        total = self._fold(count, lambda i: at(start + i)) if count else []
        if last is None:
            return total
        final = last()
        return self._add(total, final) if total else final

    def _two_levels(self, num_rows: int, full: int, at: Term, last: Callable[[], Rows] | None) -> Rows:
        """Blocks of about the square root of the number of slices; the block sums are added in sequence."""
        block = self.plan.slices_in_sequence
        blocks, rest = divmod(full, block)
        zeros = [self.builder.splat(0.0)] * num_rows

        def one_block(index: Index, carried: Rows) -> Rows:
            return self._add(carried, self._fold(block, lambda i: at(index.scaled(block) + i)))

        total = self.builder.loop(blocks, zeros, one_block)
        if rest or last is not None:
            total = self._add(total, self._block_sum(Index(blocks * block), rest, at, last))
        return total

    def _fold(self, extent: int, term: Term) -> Rows:
        """The sum of `extent` terms in sequence; the first starts the accumulators."""
        total = term(Index())

        def step(index: Index, carried: list[ir.Value]) -> list[ir.Value]:
            return self._add(carried, term(index + 1))

        return self.builder.loop(extent - 1, total, step)

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
