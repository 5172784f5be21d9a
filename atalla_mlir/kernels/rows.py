"""Kernels that work row by row: maps, reductions, and chains of them over the same rows (softmax, norms).

Each iteration of the plan's outer loops is independent. Inside it, stages with equal inner loops share a loop nest; a
value that one nest computes and a later one reads stays in registers when the lanes are the only inner loop and few,
else it goes to a temporary tile.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from atalla_mlir._mlir import ir
from atalla_mlir.codegen.iteration import Access, Buffer, Combine, Loop, Stage, joined_dims
from atalla_mlir.codegen.row_plan import LANES, MAX_REGISTER_CHUNKS, RowPlan, SumOrder, sum_order
from atalla_mlir.kernels.affine_index import Index
from atalla_mlir.kernels.builder import Builder
from atalla_mlir.kernels.expression import Evaluated
from atalla_mlir.kernels.functions.bound import FunctionBound
from atalla_mlir.kernels.row_body import RowBody
from atalla_mlir.kernels.row_places import Place, divided, lane_segments, position_along


@dataclass
class RowKernel:
    """Emits one loop nest of stages that share loops. `buffers` are the kernel's DRAM arguments by buffer."""

    builder: Builder
    stages: Sequence[Stage]
    plan: RowPlan
    buffers: dict[Buffer, ir.Value]
    block: ir.Block
    """The kernel's body; tiles for temporaries are allocated at its begin."""
    temporaries: dict[Buffer, tuple[ir.Value, list[Loop]]] = field(default_factory=dict)
    expansions: dict[Stage, FunctionBound] = field(default_factory=dict)
    """Stages with a function that had to be expanded, and how exact it is."""

    def emit(self) -> None:
        self._outer(list(self.plan.outer), Place({}, self._only_cols()))

    def emit_rest(self, row: Loop, done: int) -> None:
        """What iterations of the outer loop `row` from `done` on compute."""
        self._rest(list(self.plan.outer), Place({}, self._only_cols()), row, done)

    def _rest(self, loops: list[Loop], place: Place, row: Loop, done: int) -> None:
        if not loops:
            RowBody(self, [place]).emit()
            return
        loop, inner = loops[0], loops[1:]
        first = done if loop is row else 0
        if loop is self.plan.lane:
            for start, count, cols in lane_segments(loop.extent):
                skipped = max(0, first // LANES - start)
                self.builder.repeat(
                    count - skipped,
                    lambda i, start=start + skipped, cols=cols: self._rest(
                        inner, place.at(loop, i.scaled(LANES) + start * LANES, cols), row, done
                    ),
                )
        elif not inner:
            self._rows(loop.extent - first, Index(first), lambda i: place.at(loop, i))
        else:
            self.builder.repeat(loop.extent - first, lambda i: self._rest(inner, place.at(loop, i + first), row, done))

    @property
    def lanes_in_registers(self) -> bool:
        """Whether a whole row is unrolled: the lanes are the only inner loop, and short."""
        lane = self.plan.lane
        others = {
            loop for stage in self.stages for loop in stage.loops if loop is not lane and loop not in self.plan.outer
        }
        return lane is not None and not others and -(-lane.extent // LANES) <= MAX_REGISTER_CHUNKS

    def sum_orders(self) -> list[SumOrder | None]:
        """For each stage how it adds; None for stages that do not."""
        return [
            sum_order(stage.reduced, self.plan, lanes_in_registers=self.lanes_in_registers)
            if stage.reduced and stage.combine is Combine.ADD
            else None
            for stage in self.stages
        ]

    def _only_cols(self) -> int:
        lane = self.plan.lane
        return LANES if lane is None else min(LANES, lane.extent)

    # Outer loops

    def _outer(self, loops: list[Loop], place: Place) -> None:
        if not loops:
            RowBody(self, [place]).emit()
        elif len(loops) == 1:
            self._row_loop(loops[0], place)
        elif loops[0] is self.plan.lane:
            for start, count, cols in lane_segments(loops[0].extent):
                self.builder.repeat(
                    count,
                    lambda i, start=start, cols=cols: self._outer(
                        loops[1:], place.at(loops[0], i.scaled(LANES) + start * LANES, cols)
                    ),
                )
        else:
            self.builder.repeat(loops[0].extent, lambda i: self._outer(loops[1:], place.at(loops[0], i)))

    def _row_loop(self, loop: Loop, place: Place) -> None:
        if loop is not self.plan.lane:
            self._blocked(loop.extent, lambda i: place.at(loop, i))
            return
        for start, count, cols in lane_segments(loop.extent):
            self._blocked(
                count,
                lambda i, start=start, cols=cols: place.at(loop, i.scaled(LANES) + start * LANES, cols),
            )

    def _blocked(self, extent: int, row: Callable[[Index], Place]) -> None:
        """Rows 0..extent-1 in blocks; `row` gives the place of a row."""
        block = min(self.plan.block_rows, extent)
        self.builder.repeat(extent // block, lambda b: self._rows(block, b.scaled(block), row))
        if extent % block:
            self._rows(extent % block, Index(extent - extent % block), row)

    def _rows(self, count: int, start: Index, row: Callable[[Index], Place]) -> None:
        unroll = min(self.plan.unroll, count)

        def several(first: Index, how_many: int) -> None:
            if how_many:
                RowBody(self, [row(first + at) for at in range(how_many)]).emit()

        self.builder.repeat(
            count // unroll, lambda i: several(start + i.scaled(unroll), unroll), overlap=self.plan.overlap
        )
        several(start + (count - count % unroll), count % unroll)

    # Memory

    def load(self, access: Access, place: Place) -> Evaluated:
        """A value from DRAM: a row along the lanes, or one element, as a scalar, when the lanes do not index it."""
        lane = self.plan.lane
        stride = access.stride(lane) if lane is not None else 0
        dims, lane_dim = joined_dims(access, lane)
        row = self.builder.load(
            self.buffers[access.buffer],
            [position_along(dim, place.positions) for dim in dims],
            [dim.stride for dim in dims],
            offset=access.offset,
            lane_dim=lane_dim,
            lane_stride=stride or 1,
            cols=place.cols if stride else 1,
        )
        return Evaluated(row, False) if stride else Evaluated(self.builder.extract(row), True)

    def load_side_by_side(self, access: Access, first: Place, count: int) -> ir.Value | None:
        """Elements for `count` places, up to 32, in the lanes of a row; None where DRAM does not hold them in a row.

        Each place needs one for all of its lanes: extracting it costs less than loading it.
        """
        if count == 1 or not self.plan.outer or self.plan.outer[-1] is self.plan.lane:
            return None
        row, lane = self.plan.outer[-1], self.plan.lane
        if access.stride(row) != 1 or (lane is not None and access.stride(lane)):
            return None
        at = first.positions[row]
        if at.constant % LANES or any(coefficient % LANES for _, coefficient in at.terms):
            return None
        dims, row_dim = joined_dims(access, row)
        return self.builder.load(
            self.buffers[access.buffer],
            [position_along(dim, first.positions) for dim in dims],
            [dim.stride for dim in dims],
            offset=access.offset,
            lane_dim=row_dim,
            lane_stride=1,
            cols=count,
        )

    def store(self, access: Access, place: Place, value: ir.Value) -> None:
        lane = self.plan.lane
        stride = access.stride(lane) if lane is not None else 0
        loops = list(access.strides)
        self.builder.store(
            self.builder.as_row(value),
            self.buffers[access.buffer],
            [place.positions[loop] for loop in loops],
            [access.strides[loop] for loop in loops],
            offset=access.offset,
            lane_dim=loops.index(lane) if lane is not None and stride else -1,
            lane_stride=stride or 1,
            cols=place.cols if stride else 1,
        )

    def temporary(self, access: Access, place: Place, which: int) -> tuple[ir.Value, Index]:
        """The tile of an intermediate buffer and the row in it for `place`, of the `which`-th row side by side."""
        if access.buffer not in self.temporaries:
            inner = [loop for loop in access.strides if loop not in self.plan.outer]
            rows = math.prod(self._tile_extent(loop) for loop in inner) * self.plan.unroll
            with ir.InsertionPoint.at_block_begin(self.block):
                tile = self.builder.alloc_tile(rows, 0, 0)
            self.temporaries[access.buffer] = (tile, inner)
        tile, inner = self.temporaries[access.buffer]
        row, step = Index(), 1
        for loop in reversed(inner):
            position = place.positions[loop]
            if loop is self.plan.lane:
                position = divided(position, LANES)
            row = row + position.scaled(step)
            step *= self._tile_extent(loop)
        return tile, row + which * step

    def _tile_extent(self, loop: Loop) -> int:
        return -(-loop.extent // LANES) if loop is self.plan.lane else loop.extent
