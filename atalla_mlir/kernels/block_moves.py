"""What is fetched under the tiles of a walk: whole blocks, a tile or two before they are needed.

During the first outer block of a panel the next inner one comes, during the last inner block the next outer one or half
of it. Which it is are selections with bit masks: a transfer that is switched off moves one element to a row that nobody
reads.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from atalla_mlir._mlir import ir
from atalla_mlir.codegen.footprints import FootprintBlocks
from atalla_mlir.codegen.row_blocks import Blocks
from atalla_mlir.codegen.spared_columns import FEW, MANY, SparedColumns
from atalla_mlir.codegen.tile_cost import MIN_EARLY_TILES, early_iterations, splits_outer
from atalla_mlir.kernels.operand_fill import OperandFill
from atalla_mlir.kernels.tile_addresses import (
    ELEMENT_BYTES,
    PAD_SHIFT,
    ROW_BYTES,
    ROWS_SHIFT,
    SINK,
    Position,
    TileAddresses,
)
from atalla_mlir.kernels.tile_moves import Fetching, StepPlace, count_levels, take
from atalla_mlir.kernels.transfer_order import piece_order


@dataclass
class Moves:
    """What is fetched for a tile; the first piece's place, what other pieces add to it, and what steps add."""

    target: ir.Value
    """Bytes from the begin of a pad's operands to the rows of the first step."""
    address: ir.Value
    shape: ir.Value
    """Metadata of the first piece."""
    first_shape: ir.Value
    """The same of the first step, which may have fewer lanes."""
    for_inner: ir.Value
    for_outer: ir.Value
    target_jumps: list[ir.Value]
    """Bytes in a pad that a step adds, as `jumps`; only the innermost one where the others are 0."""
    limit: list[ir.Value]
    """Taps under which something is fetched, where windows lie in the pads."""
    offsets: list[ir.Value]
    """Bytes in DRAM from the first piece to the others."""
    jumps: list[ir.Value]
    """Bytes in DRAM that a step of each level of the depth adds, when those further in begin again."""

    def pack(self) -> list[ir.Value]:
        single = [self.target, self.address, self.shape, self.first_shape]
        switches = [self.for_inner, self.for_outer]
        return [*single, *switches, *self.target_jumps, *self.limit, *self.offsets, *self.jumps]


class BlockMoves(OperandFill):
    """Moves the blocks of one panel, of which the first ones are in the pads already if it `is_filled`."""

    def __init__(self, addresses: TileAddresses, *, is_filled: bool) -> None:
        super().__init__(addresses)
        schedule, self.count = self.schedule, addresses.count
        self.moving = [
            blocks
            for blocks, many in ((schedule.inner, self.count), (schedule.outer, schedule.outer.num_blocks))
            if many > 1 and not schedule.is_resident(blocks)
        ]
        """Operands of which other blocks than the first are fetched."""
        self.num_pieces = max((blocks.num_pieces for blocks in self.moving), default=0)
        self.splits = self.count > 1 and splits_outer(schedule)
        """Whether outer blocks but the first two come in two halves, under the last two tiles before them."""
        self.joins = schedule.joins_tiles
        """Whether a tile fetches a step less in its loop over steps: each iteration then fetches one."""
        enough = self.count >= MIN_EARLY_TILES + self.splits
        self.early = early_iterations(schedule) if enough and not is_filled else 0
        """What of the first outer block comes before the first tile if that fetches the rest of it, else 0."""

    def fill(self) -> None:
        if self.early:
            self.builder.wait(self.fill_alone(self.schedule.outer, self.early))
        else:
            super().fill()

    def of_tile(self, at: Position) -> Moves:
        """What to fetch under a tile: the next inner block, the next outer one or half of it, or nothing."""
        schedule, builder = self.schedule, self.builder
        inner, outer, lanes = schedule.inner, schedule.outer, schedule.depth.lanes
        is_first = builder.index_constant(-1) if outer.num_blocks == 1 else self.addresses.is_before(at.outer, 1)
        has_next = self.addresses.is_before(at.outer, outer.num_blocks - 1)
        is_last = builder.differ(self.addresses.is_before(at.inner, self.count - 1), -1)
        is_late = builder.differ(self.addresses.is_before(at.inner, self.count - 2), -1) if self.splits else is_last
        stays = schedule.is_resident(inner)
        for_inner = builder.both(is_first, self.addresses.is_before(at.inner, self.count - 1))
        if stays:
            for_inner = builder.index_constant(0)
        for_outer = builder.both(has_next, builder.both(is_late, builder.differ(for_inner, -1)))
        of_half = builder.both(for_outer, builder.differ(is_first, -1)) if self.splits else builder.index_constant(0)
        second = builder.both(of_half, is_last)
        is_own = builder.both(is_first, self.addresses.is_before(at.inner, 1)) if self.early else None
        if is_own is not None:
            for_outer, has_next = builder.differ(for_outer, is_own), builder.differ(has_next, is_own)

        def mixed(of_inner: int, of_outer: int) -> ir.Value:
            return builder.differ(builder.both(for_inner, of_inner ^ of_outer), of_outer)

        def metadata(lanes: int) -> ir.Value:
            whole, half = self.addresses.metadata(outer, lanes), self.addresses.metadata(outer, lanes, self._half_rows)
            of_inner = SINK if stays else self.addresses.metadata(inner, lanes)
            shape = builder.differ(builder.both(for_inner, of_inner ^ SINK), SINK)
            shape = builder.differ(shape, builder.both(for_outer, whole ^ SINK))
            return builder.differ(shape, builder.both(of_half, whole ^ half))

        # where nothing moves, single elements go to the buffer that is not in use
        next_inner, next_outer = builder.plus(at.inner, 1), builder.minus(at.outer, has_next)
        other = builder.differ(at.buffer, self.addresses.buffer_bytes)
        target = builder.plus(other, schedule.outer_base * ROW_BYTES)
        address = self.addresses.block_address(outer, next_outer)
        if not stays:
            place = builder.times(next_inner, schedule.block_rows(inner) * ROW_BYTES)
            target = builder.select_bits(for_inner, place, target)
            own = self.addresses.block_address(inner, builder.plus(next_inner, self.addresses.first_block))
            address = builder.select_bits(for_inner, own, address)
        if is_own is not None:
            rows, elements = self._early_distances
            target = builder.plus(target, builder.both(is_own, rows * ROW_BYTES - self.addresses.buffer_bytes))
            address = builder.plus(address, builder.both(is_own, elements * ELEMENT_BYTES))
        target = builder.plus(target, builder.both(second, self._second_half * ROW_BYTES))
        pitch = outer.pitch(schedule.access(outer)) * ELEMENT_BYTES
        address = builder.plus(address, builder.both(second, self._second_half * pitch))
        shape = metadata(lanes)
        first_shape = metadata(schedule.depth.first_lanes) if schedule.depth.has_tail else shape
        moved = (outer, outer) if stays else (inner, outer)
        address = builder.plus(address, mixed(*(self._piece_bytes(blocks, 0) for blocks in moved)))
        target_jumps = [
            mixed(of_inner * ROW_BYTES, of_outer * ROW_BYTES)
            for of_inner, of_outer in zip(*(schedule.target_jumps(blocks) for blocks in moved), strict=True)
        ][-self._num_target_jumps :]
        limit = [mixed(*map(self._num_fetched, moved))] if schedule.fetched_footprints else []
        offsets = [
            mixed(*(self._further_bytes(blocks, piece) for blocks in moved)) for piece in range(1, self.num_pieces)
        ]
        jumps = [
            mixed(of_inner * ELEMENT_BYTES, of_outer * ELEMENT_BYTES)
            for of_inner, of_outer in zip(schedule.jumps(inner), schedule.jumps(outer), strict=True)
        ]
        return Moves(target, address, shape, first_shape, for_inner, for_outer, target_jumps, limit, offsets, jumps)

    @property
    def _early_distances(self) -> tuple[int, int]:
        """Rows of a pad and elements in DRAM from the first step of an outer block to the one after those at first."""
        depth, outer = self.schedule.depth, self.schedule.outer
        steps = self.early * depth.steps // depth.levels[0].extent
        level = depth.levels[0]
        along = level.streamed if outer is self.schedule.rows else level.pushed
        return steps * self.schedule.step_rows(outer), self.early * along

    @property
    def _half_rows(self) -> int:
        """Rows of a piece that come under each of the last two tiles; those in the middle may come twice."""
        return -(-self.schedule.outer.piece_rows // 2)

    @property
    def _second_half(self) -> int:
        return self.schedule.outer.piece_rows - self._half_rows

    @property
    def _num_target_jumps(self) -> int:
        return len(self.schedule.depth.levels) if self.schedule.fetched_footprints else 1

    def _num_fetched(self, blocks: Blocks) -> int:
        """Taps of each slice under which something of an operand is fetched."""
        return blocks.transfers if isinstance(blocks, FootprintBlocks) else self.schedule.depth.levels[-1].extent

    def _further_bytes(self, blocks: Blocks, piece: int) -> int:
        """From the first piece to another one."""
        return self._piece_bytes(blocks, piece) - self._piece_bytes(blocks, 0) if piece < blocks.num_pieces else 0

    def _piece_bytes(self, blocks: Blocks, piece: int) -> int:
        """From the first row of a block."""
        return blocks.piece_offset(piece, self.schedule.access(blocks)) * ELEMENT_BYTES

    def fetch_first(self, moves: Moves) -> list[ir.Value]:
        """Start to move the first step."""
        address = self.builder.plus(moves.address, self.schedule.tail_offset * ELEMENT_BYTES)
        return self._fetch(moves, moves.target, address, moves.first_shape)

    def _fetch(self, moves: Moves, target: ir.Value, address: ir.Value, shape: ir.Value) -> list[ir.Value]:
        # those that are switched off in most steps first: whatever follows on their pads waits for them
        pieces = sorted(piece_order(self.num_pieces, self.pads), key=lambda piece: piece < self.pads)
        return [self._fetch_piece(piece, moves, target, address, shape) for piece in pieces]

    def _fetch_piece(self, piece: int, moves: Moves, target: ir.Value, address: ir.Value, shape: ir.Value) -> ir.Value:
        """One piece of whichever operand moves; what has no such piece moves nothing.

        Only one operand, that of rows, has more pieces than there are pads.
        """
        schedule, builder = self.schedule, self.builder
        operands = ((schedule.inner, moves.for_inner), (schedule.outer, moves.for_outer))
        owners = [(blocks, bits) for blocks, bits in operands if blocks in self.moving and piece < blocks.num_pieces]
        if len(owners) < len(self.moving) or piece >= self.pads:
            blocks, bits = owners[0]
            further = builder.plus(target, piece // self.pads * blocks.piece_rows * ROW_BYTES)
            target = builder.select_bits(bits, further, builder.index_constant(schedule.sink_row * ROW_BYTES))
            shape = builder.differ(builder.both(bits, builder.differ(shape, SINK)), SINK)
        pad = piece % self.pads
        if isinstance(schedule.outer, SparedColumns) and schedule.outer.is_spared(pad):
            # what moves nothing has one row in any case
            shape = builder.both(shape, ~(((MANY - 1) ^ (FEW - 1)) << ROWS_SHIFT))
        return builder.transfer(
            "fetch",
            self.addresses.part(pad, builder.index_constant(0), "next"),
            target,
            builder.plus(address, moves.offsets[piece - 1]) if piece else address,
            builder.plus(shape, pad << PAD_SHIFT),
            list(dict.fromkeys(self.buffers[schedule.access(blocks).buffer] for blocks, _ in owners)),
            # mostly the block with fewer rows moves, or nothing
            rows=1 if piece >= self.pads else min(blocks.rows_of_piece(piece) for blocks, _ in owners),
            cols=schedule.depth.lanes,
        )

    def first(self, moves: Moves) -> Fetching:
        """Of the second step, which the first iteration fetches."""
        if self.schedule.depth.steps == 1:
            return Fetching(moves.target, self.builder.index_constant(0), [])
        target = self.builder.plus(moves.target, moves.target_jumps[-1])
        moved = self.builder.index_constant(0) if self.schedule.depth.has_tail else moves.jumps[-1]
        outer = len(self.schedule.depth.levels) - 2
        counters = [self.builder.index_constant(1 if level == outer else 0) for level in range(outer + 1)]
        return Fetching(target, moved, counters if self.joins else [])

    def fetch(self, fetching: Fetching, moves: Moves, at: StepPlace) -> list[ir.Value]:
        """Fetch a step; where none is left for the last iteration, one element of the step before again."""
        builder = self.builder
        target, moved, shape = fetching.target, fetching.moved, moves.shape
        if moves.limit:
            # a slice has more taps than image lines
            tap = (fetching.counters if self.joins else at.counters)[0]
            goes_on = builder.is_negative(builder.minus(tap, moves.limit[0]))
            if not self.joins:
                goes_on = builder.both(goes_on, builder.differ(at.is_last, -1))
            shape = builder.differ(builder.both(goes_on, builder.differ(moves.shape, SINK)), SINK)
            sink = builder.index_constant(self.schedule.sink_row * ROW_BYTES)
            target, moved = builder.select_bits(goes_on, target, sink), builder.both(goes_on, moved)
        elif not self.joins:
            shape = builder.select_bits(at.is_last, builder.index_constant(SINK), shape)
        return self._fetch(moves, target, builder.plus(moves.address, moved), shape)

    def next(self, fetching: Fetching, moves: Moves, at: StepPlace) -> Fetching:
        if self.schedule.depth.steps == 1:
            return fetching
        builder, counters, wraps = self.builder, list[ir.Value](), at.wraps
        if self.joins:
            counters, wraps = count_levels(builder, self.schedule.depth, fetching.counters)
        distances = [self._distance(jumps, wraps) for jumps in (moves.target_jumps, moves.jumps)]
        if not self.joins:
            distances = [builder.both(at.will_not_be_last, distance) for distance in distances]
        target, moved = builder.plus(fetching.target, distances[0]), builder.plus(fetching.moved, distances[1])
        return Fetching(target, moved, counters)

    def _distance(self, jumps: Sequence[ir.Value], wraps: Sequence[ir.Value]) -> ir.Value:
        """What a step adds: the innermost jump, and those of the levels that go on."""
        distance = jumps[-1]
        for jump, wrap in reversed(list(zip(jumps[:-1], wraps, strict=False))):
            distance = self.builder.plus(distance, self.builder.both(wrap, jump))
        return distance

    # What loops carry

    def moves_from(self, rest: Iterator[ir.Value]) -> Moves:
        target, address, shape, first_shape, for_inner, for_outer = take(rest, 6)
        target_jumps = take(rest, self._num_target_jumps)
        limit = take(rest, int(self.schedule.fetched_footprints is not None))
        offsets, jumps = take(rest, max(0, self.num_pieces - 1)), take(rest, len(self.schedule.depth.levels))
        return Moves(target, address, shape, first_shape, for_inner, for_outer, target_jumps, limit, offsets, jumps)

    def fetching_from(self, rest: Iterator[ir.Value]) -> Fetching:
        target, moved = take(rest, 2)
        return Fetching(target, moved, take(rest, len(self.schedule.depth.levels) - 1 if self.joins else 0))
