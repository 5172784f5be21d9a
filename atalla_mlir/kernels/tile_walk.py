"""A walk over tiles: what is known of each tile before it begins, and of each step.

All of it is arithmetic on byte offsets and bits (-1 for true, 0 for false) that the loops carry.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from atalla_mlir._mlir import ir
from atalla_mlir.codegen.footprints import FootprintBlocks
from atalla_mlir.codegen.iteration import Access
from atalla_mlir.codegen.packed_runs import PackedBlocks
from atalla_mlir.codegen.tile_cost import streams_steps
from atalla_mlir.kernels.block_moves import BlockMoves
from atalla_mlir.kernels.image_rows import DealtRows, ImageRows
from atalla_mlir.kernels.run_moves import RunMoves
from atalla_mlir.kernels.step_moves import StepMoves
from atalla_mlir.kernels.tile_addresses import ROW_BYTES, Position, TileAddresses
from atalla_mlir.kernels.tile_moves import Fetching, Packed, StepPlace, TileMoves, count_levels, take


@dataclass(frozen=True)
class KeptRows:
    """A result that stays in the pads: tile s of block b of rows begins at row (b * steps + s) * `step_rows`."""

    access: Access
    tiles: Sequence[ir.Value]
    """One for each pad."""
    steps: int
    step_rows: int


@dataclass
class TilePlan:
    """Addresses of one tile: bytes in each pad to its rows and columns, what moves under it, where results lie."""

    rows: ir.Value
    cols: ir.Value
    moves: Packed
    results: list[ir.Value]
    """DRAM addresses of the tile in results and in operands of the epilogue."""
    column: list[ir.Value]
    """Bytes to the row of its columns, where there are operands that all rows share."""
    kept: list[ir.Value]
    """Bytes to its rows in what stays in the pads: results, or operands of the epilogue that are images."""

    def pack(self) -> list[ir.Value]:
        return [self.rows, self.cols, *self.moves.pack(), *self.results, *self.column, *self.kept]


@dataclass
class Plan:
    """What is known of a tile before it begins, and the tile after it."""

    tile: TilePlan
    ahead: Position

    def pack(self) -> list[ir.Value]:
        return [*self.tile.pack(), *self.ahead.pack()]


@dataclass
class State:
    """What the loop over tiles carries besides sums and terms."""

    tile: TilePlan
    """Of the present tile; its moves are under way."""
    following: Position
    plan: Plan
    """A place for the plan of the following tile, which is made during this one."""
    sent: list[ir.Value]
    """Tokens of the results of the tile before."""

    def pack(self) -> list[ir.Value]:
        return [*self.tile.pack(), *self.following.pack(), *self.plan.pack(), *self.sent]


@dataclass
class Steps:
    """What the loop over the steps of a tile carries besides sums and terms."""

    number: ir.Value
    """Of the present iteration."""
    is_last: ir.Value
    rows: ir.Value
    """Bytes in a pad to the rows of the next step, which in the last iteration is the following tile's."""
    cols: ir.Value
    counters: list[ir.Value]
    """Iterations of the levels of the depth but the outermost, and of the taps of a line of a window."""
    fetching: Fetching
    tokens: list[ir.Value]

    def pack(self) -> list[ir.Value]:
        single = [self.number, self.is_last, self.rows, self.cols]
        return [*single, *self.counters, *self.fetching.pack(), *self.tokens]


class TileWalk:
    """Emits the arithmetic of the tiles of one panel.

    The epilogue `has_columns` when it reads rows that all share; the panel `is_filled` when its first blocks are in the
    pads before it begins.
    """

    def __init__(
        self,
        addresses: TileAddresses,
        *,
        has_columns: bool,
        kept: KeptRows | None = None,
        images: Sequence[ImageRows | DealtRows] = (),
        is_filled: bool = False,
    ) -> None:
        self.addresses, self.has_columns, self.kept, self.images = addresses, has_columns, kept, images
        self.builder, self.schedule, self.results = addresses.builder, addresses.schedule, addresses.results
        self.moves = self._choose_moves(is_filled)

    def _choose_moves(self, is_filled: bool) -> TileMoves:
        if isinstance(self.schedule.rows, PackedBlocks):
            return RunMoves(self.addresses, self.schedule.rows)
        if streams_steps(self.schedule):
            return StepMoves(self.addresses)
        return BlockMoves(self.addresses, is_filled=is_filled)

    def plan(self, at: Position) -> Plan:
        """What is known of a tile before it begins."""
        rows, cols = self.addresses.starts(at)
        results = [self.addresses.tile_address(access, at) for access in self.results]
        column_block = self.addresses.number(self.schedule.cols, at)
        column = [self.builder.times(column_block, ROW_BYTES)] if self.has_columns else []
        row_block = self.addresses.number(self.schedule.rows, at)
        kept = [self._image_bytes(rows, row_block, column_block) for rows in self.images]
        if self.kept:
            kept.append(self._kept_bytes(self.kept, row_block, column_block))
        return Plan(TilePlan(rows, cols, self.moves.of_tile(at), results, column, kept), self.addresses.after(at))

    def _kept_bytes(self, kept: KeptRows, row_block: ir.Value, column_block: ir.Value) -> ir.Value:
        """From the first row of a pad that stays to those of a tile."""
        step = self.builder.plus(self.builder.times(row_block, kept.steps), column_block)
        return self.builder.times(step, kept.step_rows * ROW_BYTES)

    def _image_bytes(self, rows: ImageRows | DealtRows, row_block: ir.Value, column_block: ir.Value) -> ir.Value:
        """From the first row of an image's part to the rows of a tile in the first one."""
        offset = self.addresses.block_offset(self.schedule.rows, row_block, *rows.byte_strides)
        offset = self.builder.plus(offset, self.builder.times(column_block, rows.image.slice_rows * ROW_BYTES))
        return self.builder.plus(offset, rows.first_bytes)

    # Steps

    def first_steps(self, tile: TilePlan, fetched: list[ir.Value]) -> Steps:
        """Of the first iteration: the array works on the second step, which is fetched for a later tile too."""
        depth, builder, schedule = self.schedule.depth, self.builder, self.schedule
        zero, fetching = builder.index_constant(0), self.moves.first(tile.moves)
        if depth.steps == 1:
            return Steps(zero, builder.index_constant(-1), tile.rows, tile.cols, [], fetching, fetched)
        footprints = schedule.footprints
        row_step = footprints.step_rows if footprints else schedule.step_rows(schedule.rows)
        rows = builder.plus(tile.rows, row_step * ROW_BYTES)
        cols = builder.plus(tile.cols, schedule.step_rows(schedule.cols) * ROW_BYTES)
        last = len(depth.levels) - 1
        counters = [builder.index_constant(1 if level == last else 0) for level in range(1, last + 1)]
        counters += [builder.index_constant(1)] * self._num_line_counters
        return Steps(zero, zero, rows, cols, counters, fetching, fetched)

    def _fetch(self, steps: Steps, moves: Packed, place: StepPlace) -> tuple[list[ir.Value], Fetching]:
        """Fetch a step when the one before is there; tokens, and where the next one goes."""
        self.builder.wait(steps.tokens)
        tokens = self.moves.fetch(steps.fetching, moves, place)
        return tokens, self.moves.next(steps.fetching, moves, place)

    def step(self, steps: Steps, moves: Packed, following: TilePlan, *, fetches: bool = True) -> Steps:
        """What the next iteration works on; unless told otherwise, fetch a step of the block that moves."""
        depth, builder, schedule = self.schedule.depth, self.builder, self.schedule
        number = builder.plus(steps.number, 1)
        if depth.steps == 1:
            tokens, fetching = self._fetch(steps, moves, StepPlace(number, steps.is_last, steps.is_last, [], []))
            return Steps(number, steps.is_last, steps.rows, steps.cols, [], fetching, tokens)
        will_not = self.addresses.is_before(number, depth.steps - 1)
        will_be_last = builder.differ(will_not, -1)
        counters, wraps = count_levels(builder, depth, steps.counters)
        place = StepPlace(number, steps.is_last, will_not, steps.counters, wraps)
        tokens, fetching = self._fetch(steps, moves, place) if fetches else (steps.tokens, steps.fetching)
        row_distance = builder.index_constant(schedule.step_rows(schedule.rows) * ROW_BYTES)
        if schedule.footprints is not None:
            row_distance, counters = self._next_tap(schedule.footprints, steps.counters, counters, wraps)
        rows, cols = (
            builder.select_bits(will_be_last, start, builder.plus(at, distance))
            for start, at, distance in (
                (following.rows, steps.rows, row_distance),
                (following.cols, steps.cols, schedule.step_rows(schedule.cols) * ROW_BYTES),
            )
        )
        return Steps(number, will_be_last, rows, cols, counters, fetching, tokens)

    @property
    def _num_line_counters(self) -> int:
        return int(self.schedule.footprints is not None and len(self.schedule.footprints.tap_levels) > 1)

    def _next_tap(
        self,
        footprints: FootprintBlocks,
        counters: Sequence[ir.Value],
        counted: Sequence[ir.Value],
        wraps: Sequence[ir.Value],
    ) -> tuple[ir.Value, list[ir.Value]]:
        """Bytes in the pads from what a tap sees to what the next one sees, and the counters with that of its line."""
        builder = self.builder
        if not footprints.tap_levels:
            return builder.index_constant(footprints.slice_rows * ROW_BYTES), list(counted)
        (inner, near), *others = reversed(footprints.tap_levels)
        outer, far = others[0] if others else (inner, near)
        distance = builder.plus(
            builder.index_constant(near * ROW_BYTES),
            builder.both(wraps[0], (footprints.slice_rows - outer * far) * ROW_BYTES),
        )
        if not others:
            return distance, list(counted)
        tap = builder.plus(counters[-1], 1)
        ends = builder.equal_bits(tap, inner)
        distance = builder.plus(distance, builder.both(ends, (far - inner * near) * ROW_BYTES))
        return distance, [*counted, builder.both(tap, builder.differ(ends, -1))]

    # What loops carry

    def unpack(self, values: Sequence[ir.Value]) -> State:
        rest = iter(values)
        tile, following = self._tile_from(rest), self._position_from(rest)
        plan = Plan(self._tile_from(rest), self._position_from(rest))
        return State(tile, following, plan, list(rest))

    def unpack_plan(self, values: Sequence[ir.Value]) -> Plan:
        rest = iter(values)
        return Plan(self._tile_from(rest), self._position_from(rest))

    def unpack_steps(self, values: Sequence[ir.Value]) -> Steps:
        rest = iter(values)
        number, is_last, rows, cols = take(rest, 4)
        counters = take(rest, len(self.schedule.depth.levels) - 1 + self._num_line_counters)
        fetching = self.moves.fetching_from(rest)
        return Steps(number, is_last, rows, cols, counters, fetching, take(rest, self.moves.num_pieces))

    def _tile_from(self, rest: Iterator[ir.Value]) -> TilePlan:
        rows, cols = take(rest, 2)
        moves, results = self.moves.moves_from(rest), take(rest, len(self.results))
        column, kept = take(rest, int(self.has_columns)), take(rest, len(self.images) + int(self.kept is not None))
        return TilePlan(rows, cols, moves, results, column, kept)

    def _position_from(self, rest: Iterator[ir.Value]) -> Position:
        outer, inner, buffer = take(rest, 3)
        return Position(outer, inner, buffer)
