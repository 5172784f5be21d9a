"""What is fetched under the tiles of a walk whose steps are packed runs (`codegen.packed_runs`): blocks of rows.

Under the last tile but one before a block is needed its rows come, under the last one the heads of them. All columns
are there before the first tile. Which elements a step takes is computed from step to step, as `Runs.steps` does.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from atalla_mlir._mlir import ir
from atalla_mlir.codegen.packed_runs import PackedBlocks
from atalla_mlir.codegen.product_plan import LANES
from atalla_mlir.kernels.affine_index import Index
from atalla_mlir.kernels.operand_fill import OperandFill
from atalla_mlir.kernels.tile_addresses import ELEMENT_BYTES, PAD_SHIFT, ROW_BYTES, SINK, Position, TileAddresses
from atalla_mlir.kernels.tile_moves import Fetching, StepPlace, take
from atalla_mlir.kernels.transfer_order import piece_order
from atalla_mlir.target.encoding import DmaShape


@dataclass
class RunSource:
    """Where the block of rows that is fetched goes to and comes from, and which part of its steps."""

    target: ir.Value
    """Bytes from the row that nobody reads."""
    address: ir.Value
    for_rows: ir.Value
    """Bits: whether whole rows are fetched."""
    for_heads: ir.Value
    """Bits: whether heads are; where both are 0, nothing is."""
    gap: ir.Value
    """Bytes by which what is fetched of a step with a head lies behind the head."""

    def pack(self) -> list[ir.Value]:
        return [self.target, self.address, self.for_rows, self.for_heads, self.gap]


@dataclass
class _Step:
    """A step as `RunStep`, in values: bytes, lanes and bits."""

    moved: ir.Value
    """Bytes to the element in the first lane."""
    lanes: ir.Value
    joins: ir.Value
    """Bits: whether a head takes over the first lanes."""
    left: ir.Value
    """Of the run that it ends in."""


class RunMoves(OperandFill):
    """Moves the blocks of rows of the one panel."""

    def __init__(self, addresses: TileAddresses, rows: PackedBlocks) -> None:
        super().__init__(addresses)
        self.rows, self.runs = rows, rows.packed
        self.num_pieces = rows.num_pieces
        self.joins = self.schedule.joins_tiles
        """Whether a tile fetches a step less in its loop over steps: each iteration then fetches one."""
        self.heads_wait = not self.runs.steps[-1].head
        """Whether the last step is part of one run."""
        one, two = (self._shape(lanes) for lanes in (1, 2))
        self.lane_shape, self.no_lanes = two - one, 2 * one - two
        """Of the metadata of a transfer: what a lane adds, and what is left without any."""

    def _shape(self, lanes: int) -> int:
        rows = self.rows.piece_rows
        return DmaShape(0, rows, lanes, self.rows.pitch(self.schedule.streamed) if rows > 1 else LANES).encode()

    # Before the first tile

    def fill(self) -> None:
        """Fetch the first block of rows and all blocks of columns."""
        builder, rows, first, last = self.builder, self.rows, list[ir.Value](), list[ir.Value]()
        for number, step in enumerate(self.runs.steps):
            row = Index(self.schedule.outer_base + number * rows.rows_per_pad)
            first += self._fill_blocks(rows, row, Index(step.element), step.lanes)
            if step.head:
                last += self._fill_blocks(rows, row, Index(step.head_element), step.head)
        builder.repeat(self.addresses.count, self._fill_columns)
        builder.wait([*first, *last])

    def _fill_columns(self, block: Index) -> None:
        """Fetch a block of columns."""
        builder, schedule = self.builder, self.schedule
        cols, access, tokens = schedule.cols, schedule.pushed, list[ir.Value]()
        begin = self.addresses.block_address(cols, builder.index_value(block))
        for number, step in enumerate(self.runs.steps):
            row = block.scaled(schedule.block_rows(cols)) + number * cols.rows_per_pad
            for piece in piece_order(cols.num_pieces, self.pads):
                shape = self.addresses.shape(cols, access, piece, step.lanes)
                tokens.append(
                    builder.transfer(
                        "fetch",
                        self.operands[piece % self.pads],
                        builder.index_value((row + piece // self.pads * cols.piece_rows).scaled(ROW_BYTES)),
                        builder.plus(begin, (cols.piece_offset(piece, access) + step.pushed) * ELEMENT_BYTES),
                        builder.index_constant(shape.encode()),
                        [self.buffers[access.buffer]],
                        rows=shape.rows,
                        cols=step.lanes,
                    )
                )
        builder.wait(tokens)

    # Beside the tiles

    def of_tile(self, at: Position) -> RunSource:
        builder, addresses, count = self.builder, self.addresses, self.addresses.count
        has_next = addresses.is_before(at.outer, self.rows.num_blocks - 1)
        is_late = builder.differ(addresses.is_before(at.inner, count - 2), -1)
        for_rows = addresses.is_before(at.inner, count - 1)
        moves = builder.both(has_next, is_late)
        other = builder.differ(at.buffer, addresses.buffer_bytes)
        return RunSource(
            target=builder.plus(other, (self.schedule.outer_base - self.schedule.sink_row) * ROW_BYTES),
            address=addresses.block_address(self.rows, builder.minus(at.outer, has_next)),
            for_rows=builder.both(moves, for_rows),
            for_heads=builder.both(moves, builder.differ(for_rows, -1)),
            gap=builder.both(for_rows, self.runs.gap * ELEMENT_BYTES),
        )

    def fetch_first(self, moves: RunSource) -> list[ir.Value]:
        """The first step of rows. Heads begin an iteration later: there is one less of them, and results leave now."""
        first = self._begin(moves)
        if self.heads_wait:
            moves = replace(moves, for_heads=self.builder.index_constant(0))
        return self._fetch(first, moves)

    def first(self, moves: RunSource) -> Fetching:
        begin, builder = self._begin(moves), self.builder
        after = self._after(begin)
        if not self.heads_wait:
            return after
        goes_on = builder.differ(moves.for_heads, -1)

        def moved(here: ir.Value, there: ir.Value) -> ir.Value:
            return builder.plus(here, builder.both(goes_on, builder.minus(there, here)))

        counters = [moved(*pair) for pair in zip(begin.counters, after.counters, strict=True)]
        return Fetching(moved(begin.target, after.target), moved(begin.moved, after.moved), counters)

    def fetch(self, fetching: Fetching, moves: RunSource, at: StepPlace) -> list[ir.Value]:
        return self._fetch(fetching, moves, None if self.joins else at.is_last)

    def next(self, fetching: Fetching, moves: RunSource, at: StepPlace) -> Fetching:
        return self._after(fetching)

    def _begin(self, moves: RunSource) -> Fetching:
        """The first step. Counters are elements that are left of a run, and minus the runs after it."""
        numbers = (self.runs.size, 1 - self.runs.count)
        counters = [self.builder.index_constant(number) for number in numbers]
        return Fetching(moves.target, self.builder.index_constant(0), counters)

    def _step(self, fetching: Fetching) -> _Step:
        builder, runs, (left, others) = self.builder, self.runs, fetching.counters
        missing = builder.plus(left, -LANES)
        joins = builder.both(builder.is_negative(missing), builder.is_negative(others))
        beyond = builder.plus(missing, builder.both(joins, runs.size))
        missing = builder.both(builder.is_negative(beyond), beyond)
        return _Step(
            moved=builder.plus(fetching.moved, builder.both(joins, runs.gap * ELEMENT_BYTES)),
            lanes=builder.plus(missing, LANES),
            joins=joins,
            left=builder.minus(beyond, missing),
        )

    def _after(self, fetching: Fetching) -> Fetching:
        builder, step = self.builder, self._step(fetching)
        moved = builder.plus(step.moved, builder.times(step.lanes, ELEMENT_BYTES))
        left, others = step.left, builder.minus(fetching.counters[1], step.joins)
        if self.runs.end_in_steps:
            begins = builder.is_negative(builder.plus(left, -1))
            moved = builder.plus(moved, builder.both(begins, self.runs.gap * ELEMENT_BYTES))
            left, others = builder.plus(left, builder.both(begins, self.runs.size)), builder.minus(others, begins)
        return Fetching(builder.plus(fetching.target, self.rows.rows_per_pad * ROW_BYTES), moved, [left, others])

    def _fetch(self, fetching: Fetching, moves: RunSource, is_behind: ir.Value | None = None) -> list[ir.Value]:
        """Fetch one part of a step; what has no such part, and what is behind the last one, an element for nobody."""
        builder, step, left = self.builder, self._step(fetching), fetching.counters[0]
        exists = builder.plus(moves.for_rows, builder.both(moves.for_heads, step.joins))
        if is_behind is not None:
            exists = builder.both(exists, builder.differ(is_behind, -1))
        lanes = builder.plus(step.lanes, builder.both(moves.for_heads, builder.minus(left, step.lanes)))
        shape = builder.plus(builder.times(lanes, self.lane_shape), self.no_lanes)
        shape = builder.differ(builder.both(exists, builder.differ(shape, SINK)), SINK)
        target = builder.plus(builder.both(exists, fetching.target), self.schedule.sink_row * ROW_BYTES)
        moved = builder.plus(fetching.moved, builder.both(step.joins, moves.gap))
        address = builder.plus(moves.address, builder.both(exists, moved))
        return [
            builder.transfer(
                "fetch",
                self.addresses.part(piece, builder.index_constant(0), "next"),
                target,
                builder.plus(address, self.rows.piece_offset(piece, self.schedule.streamed) * ELEMENT_BYTES),
                builder.plus(shape, piece << PAD_SHIFT),
                [self.buffers[self.schedule.streamed.buffer]],
                rows=self.rows.piece_rows,
                cols=LANES,
            )
            for piece in piece_order(self.num_pieces, self.pads)
        ]

    # What loops carry

    def moves_from(self, rest: Iterator[ir.Value]) -> RunSource:
        target, address, for_rows, for_heads, gap = take(rest, 5)
        return RunSource(target, address, for_rows, for_heads, gap)

    def fetching_from(self, rest: Iterator[ir.Value]) -> Fetching:
        target, moved, *counters = take(rest, 4)
        return Fetching(target, moved, counters)
