"""Addresses of a walk over tiles: where blocks lie in the pads and in DRAM, what is fetched when.

All of it is arithmetic on byte offsets and bits (-1 for true, 0 for false) that the loops carry; `TileSchedule` says
what the numbers mean.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from atalla_mlir._mlir import ir
from atalla_mlir.codegen.footprints import FootprintBlocks
from atalla_mlir.codegen.iteration import Access, Buffer, Loop
from atalla_mlir.codegen.product_plan import LANES
from atalla_mlir.codegen.row_blocks import Blocks
from atalla_mlir.codegen.tile_cost import splits_outer
from atalla_mlir.codegen.tile_schedule import TileSchedule
from atalla_mlir.kernels.affine_index import Index
from atalla_mlir.kernels.builder import Builder
from atalla_mlir.target.encoding import DmaShape

ROW_BYTES = 64
ELEMENT_BYTES = 2
PAD_SHIFT = 30
"""Of the pad's number in a transfer's metadata."""
SINK = DmaShape(0, 1, 1, 1).encode()
"""One element: what a transfer moves that is switched off."""
KEPT_PART = "kept"
"""Of rows that one product leaves in the pads for the next one: the part that both look at."""


@dataclass(frozen=True)
class KeptRows:
    """A result that stays in the pads: tile s of block b of rows begins at row (b * steps + s) * `step_rows`."""

    access: Access
    tiles: Sequence[ir.Value]
    """One for each pad."""
    steps: int
    step_rows: int


@dataclass
class Position:
    """A tile of a panel: its outer and inner block, and bytes from the first to its one of the two outer buffers."""

    outer: ir.Value
    inner: ir.Value
    buffer: ir.Value

    def pack(self) -> list[ir.Value]:
        return [self.outer, self.inner, self.buffer]


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


@dataclass
class TilePlan:
    """Addresses of one tile: bytes in each pad to its rows and columns, what moves under it, where results lie."""

    rows: ir.Value
    cols: ir.Value
    moves: Moves
    results: list[ir.Value]
    """DRAM addresses of the tile in results and in operands of the epilogue."""
    column: list[ir.Value]
    """Bytes to the row of its columns, where there are operands that all rows share."""
    kept: list[ir.Value]
    """Bytes to its results that stay in the pads, where some do."""

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
    fetched: list[ir.Value]
    """Tokens of the first step of what moves."""
    sent: list[ir.Value]
    """Tokens of the results of the tile before."""

    def pack(self) -> list[ir.Value]:
        return [*self.tile.pack(), *self.following.pack(), *self.plan.pack(), *self.fetched, *self.sent]


@dataclass
class Steps:
    """What the loop over the steps of a tile carries besides sums and terms."""

    number: ir.Value
    """Of the present iteration."""
    is_last: ir.Value
    rows: ir.Value
    """Bytes in a pad to the rows of the next step, which in the last iteration is the following tile's."""
    cols: ir.Value
    target: ir.Value
    moved: ir.Value
    """Bytes in DRAM from the first step of a depth without tail."""
    counters: list[ir.Value]
    """Iterations of the levels of the depth but the outermost, and of the taps of a line of a window."""
    tokens: list[ir.Value]

    def pack(self) -> list[ir.Value]:
        single = [self.number, self.is_last, self.rows, self.cols, self.target, self.moved]
        return [*single, *self.counters, *self.tokens]


class TileWalk:
    """Emits the arithmetic and the transfers of operands for the tiles of one panel.

    The panel is `count` inner blocks from block `first` on; `batch` says where in the batch it lies. `results` are the
    accesses of results and operands of the epilogue.
    """

    def __init__(
        self,
        builder: Builder,
        schedule: TileSchedule,
        buffers: Mapping[Buffer, ir.Value],
        operands: Sequence[ir.Value],
        batch: Mapping[Loop, Index],
        first: Index,
        count: int,
        results: Sequence[Access],
        has_columns: bool,
        kept: KeptRows | None = None,
        resident: Sequence[ir.Value] = (),
    ) -> None:
        self.results, self.has_columns, self.kept, self.resident = results, has_columns, kept, resident
        self.builder, self.schedule, self.buffers, self.operands = builder, schedule, buffers, operands
        self.count = count
        self.pads = schedule.rows.pads
        self.first_block = builder.index_value(first)
        self.moving = [
            blocks
            for blocks, many in ((schedule.inner, count), (schedule.outer, schedule.outer.num_blocks))
            if many > 1 and not schedule.is_resident(blocks)
        ]
        """Operands of which other blocks than the first are fetched."""
        self.num_pieces = max((blocks.num_pieces for blocks in self.moving), default=0)
        operands_read = [
            (blocks, access)
            for blocks, access in ((schedule.rows, schedule.streamed), (schedule.cols, schedule.pushed))
            if not schedule.is_resident(blocks)
        ]
        accesses = (*(access for _, access in operands_read), *results)
        self.splits = count > 1 and splits_outer(schedule)
        """Whether outer blocks but the first two come in two halves, under the last two tiles before them."""
        self.begins = {id(access): self._begin(access, batch) for access in accesses}
        self.first_addresses = {blocks: self._first_address(blocks) for blocks, _ in operands_read}

    # Places of tiles

    def first(self) -> Position:
        zero = self.builder.index_constant(0)
        return Position(zero, zero, zero)

    def after(self, at: Position) -> Position:
        """The tile after `at`; after the last one, blocks that exist but mean nothing."""
        builder = self.builder
        goes_on = self._is_before(at.inner, self.count - 1)
        wraps = builder.differ(goes_on, -1)
        inner = builder.both(builder.plus(at.inner, 1), goes_on)
        outer = builder.minus(
            at.outer, builder.both(wraps, self._is_before(at.outer, self.schedule.outer.num_blocks - 1))
        )
        return Position(outer, inner, builder.differ(at.buffer, builder.both(wraps, self._buffer_bytes())))

    def _is_before(self, number: ir.Value, last: int) -> ir.Value:
        """Bits of number < last, where number is one of 0..last."""
        return self.builder.is_negative(self.builder.plus(number, -last)) if last else self.builder.index_constant(0)

    def _buffer_bytes(self) -> int:
        return self.schedule.block_rows(self.schedule.outer) * ROW_BYTES

    def _starts(self, at: Position) -> tuple[ir.Value, ir.Value]:
        """Bytes in each pad to the first steps of a tile's blocks of rows and columns."""
        schedule, builder = self.schedule, self.builder
        inner = builder.times(at.inner, schedule.block_rows(schedule.inner) * ROW_BYTES)
        outer = builder.plus(at.buffer, schedule.outer_base * ROW_BYTES)
        return (inner, outer) if schedule.rows_inside else (outer, inner)

    def parts(self, starts: tuple[ir.Value, ir.Value]) -> tuple[list[ir.Value], list[ir.Value]]:
        """The rows and the columns of a step, in the pads that hold some."""
        rows, cols = (
            [self._part(pad, start, name) for pad in range(min(blocks.num_pieces, self.pads))]
            for blocks, start, name in zip(
                (self.schedule.rows, self.schedule.cols), starts, ("rows", "cols"), strict=True
            )
        )
        return rows, cols

    def _part(self, pad: int, offset: ir.Value, name: str) -> ir.Value:
        if name == "rows" and self.resident:
            return self.builder.tile_at(self.resident[pad], offset, KEPT_PART)
        return self.builder.tile_at(self.operands[pad], offset, name)

    # Addresses in DRAM

    def _begin(self, access: Access, batch: Mapping[Loop, Index]) -> ir.Value:
        """Address of the first element of an access in this part of the batch."""
        offset = Index(access.offset)
        for loop, index in batch.items():
            offset = offset + index.scaled(access.stride(loop))
        address = self.builder.address(self.buffers[access.buffer])
        return self.builder.plus(address, self.builder.index_value(offset.scaled(ELEMENT_BYTES)))

    def _number(self, blocks: Blocks, at: Position) -> ir.Value:
        """A tile's block of rows or columns, counted from the operand's first."""
        if blocks is self.schedule.outer:
            return at.outer
        return self.builder.plus(at.inner, self.first_block)

    def plan(self, at: Position) -> Plan:
        """What is known of a tile before it begins."""
        rows, cols = self._starts(at)
        results = [self._tile_address(access, at) for access in self.results]
        column_block = self._number(self.schedule.cols, at)
        column = [self.builder.times(column_block, ROW_BYTES)] if self.has_columns else []
        kept = [self._kept_bytes(self.kept, self._number(self.schedule.rows, at), column_block)] if self.kept else []
        return Plan(TilePlan(rows, cols, self._moves(at), results, column, kept), self.after(at))

    def _kept_bytes(self, kept: KeptRows, row_block: ir.Value, column_block: ir.Value) -> ir.Value:
        """From the first row of a pad that stays to those of a tile."""
        step = self.builder.plus(self.builder.times(row_block, kept.steps), column_block)
        return self.builder.times(step, kept.step_rows * ROW_BYTES)

    def _tile_address(self, access: Access, at: Position) -> ir.Value:
        """DRAM address of the first element of a tile in a result or an operand of the epilogue."""
        address = self.begins[id(access)]
        for blocks in (self.schedule.rows, self.schedule.cols):
            address = self.builder.plus(address, self._block_bytes(blocks, self._number(blocks, at), access))
        return address

    def _block_bytes(self, blocks: Blocks, number: ir.Value, access: Access) -> ir.Value:
        """Bytes from the first row of an operand to that of a block."""
        builder, across = self.builder, blocks.blocks_across
        if across == blocks.num_blocks:
            line_block, block = builder.index_constant(0), number
        elif across == 1:
            line_block, block = number, builder.index_constant(0)
        else:
            line_block = builder.quotient(number, across, blocks.num_blocks)
            block = builder.plus(number, builder.times(line_block, -across))
        lines, rows = (stride * ELEMENT_BYTES for stride in blocks.strides(access))
        offset = builder.plus(
            builder.times(line_block, blocks.lines * lines), builder.times(block, blocks.width * rows)
        )
        for at, last, excess in (
            (line_block, blocks.num_blocks // across - 1, blocks.excess_lines * lines),
            (block, across - 1, blocks.excess * rows),
        ):
            if excess:
                offset = builder.plus(offset, builder.both(builder.equal_bits(at, last), -excess))
        return offset

    # Fetching

    def shape(self, blocks: Blocks, access: Access, piece: int, cols: int) -> DmaShape:
        rows = blocks.rows_of_piece(piece)
        return DmaShape(piece % self.pads, rows, cols, blocks.pitch(access) if rows > 1 else cols)

    def _metadata(self, blocks: Blocks, cols: int, rows: int | None = None) -> int:
        """Of the first piece, which is the largest, or of that many of its rows."""
        access = self.schedule.access(blocks)
        if rows is not None:
            return DmaShape(0, rows, cols, blocks.pitch(access) if rows > 1 else cols).encode()
        return self.shape(blocks, access, 0, cols).encode()

    def fill(self) -> None:
        """Fetch the first block of both operands, before anything is computed."""
        depth, builder = self.schedule.depth, self.builder
        if self.schedule.footprints is not None:
            builder.wait(self._fill_footprints(self.schedule.footprints))
            return
        tail = int(depth.has_tail)
        start = Index(self.schedule.tail_offset)
        tokens = self._fill_step(Index(), (start, start), depth.first_lanes) if tail else self._idle_fill()

        def level(number: int, step: Index, moved: tuple[Index, Index], tokens: list[ir.Value]) -> list[ir.Value]:
            if number == len(depth.levels):
                return self._fill_step(step + tail, moved, depth.lanes)
            here = depth.levels[number]

            def body(index: Index, carried: list[ir.Value]) -> list[ir.Value]:
                further = (moved[0] + index.scaled(here.streamed), moved[1] + index.scaled(here.pushed))
                return level(number + 1, step.scaled(here.extent) + index, further, carried)

            return builder.loop(here.extent - tail, tokens, body)

        builder.wait(level(0, Index(), (Index(), Index()), tokens))

    def _fill_footprints(self, rows: FootprintBlocks) -> list[ir.Value]:
        """Image lines come under the first taps of each slice, columns under all of them."""
        builder, cols = self.builder, self.schedule.cols
        slices, taps = self.schedule.depth.levels
        bases = {at: base for at, _, base in self._first_blocks()}

        def fill_slice(number: Index, tokens: list[ir.Value]) -> list[ir.Value]:
            def fetch_lines(tap: Index, tokens: list[ir.Value]) -> list[ir.Value]:
                row = number.scaled(rows.slice_rows) + tap.scaled(rows.piece_rows) + bases[0]
                moved = number.scaled(slices.streamed) + tap.scaled(taps.streamed)
                return [*self._fill_blocks(rows, row, moved, LANES), *fetch_columns(tap, tokens[rows.num_pieces :])]

            def fetch_columns(tap: Index, _: list[ir.Value]) -> list[ir.Value]:
                row = (number.scaled(taps.extent) + tap).scaled(cols.rows_per_pad) + bases[1]
                moved = number.scaled(slices.pushed) + tap.scaled(taps.pushed)
                return self._fill_blocks(cols, row, moved, LANES)

            tokens = builder.loop(rows.transfers, tokens, fetch_lines)
            line_tokens, tokens = tokens[: rows.num_pieces], tokens[rows.num_pieces :]
            rest = taps.extent - rows.transfers
            tokens = builder.loop(rest, tokens, lambda tap, kept: fetch_columns(tap + rows.transfers, kept))
            return [*line_tokens, *tokens]

        return builder.loop(slices.extent, self._idle_fill(), fill_slice)

    def _first_blocks(self) -> Iterator[tuple[int, Blocks, int]]:
        """What is filled: place among (rows, cols), blocks, and the first row of each pad that a first block takes."""
        schedule = self.schedule
        for at, blocks in enumerate((schedule.rows, schedule.cols)):
            if schedule.is_resident(blocks):
                continue
            yield at, blocks, (0 if blocks is schedule.inner else schedule.outer_base)

    def _idle_fill(self) -> list[ir.Value]:
        return [self.builder.ready() for _, blocks, _ in self._first_blocks() for _ in range(blocks.num_pieces)]

    def _fill_step(self, step: Index, moved: tuple[Index, Index], lanes: int) -> list[ir.Value]:
        """Fetch one step of the first blocks; `moved` are elements from its first one in both operands."""
        tokens: list[ir.Value] = []
        for at, blocks, base in self._first_blocks():
            tokens += self._fill_blocks(blocks, step.scaled(blocks.rows_per_pad) + base, moved[at], lanes)
        return tokens

    def _fill_blocks(self, blocks: Blocks, row: Index, moved: Index, lanes: int) -> list[ir.Value]:
        """Fetch the pieces of a step of a first block to that row of each pad on."""
        builder, access, tokens = self.builder, self.schedule.access(blocks), list[ir.Value]()
        for piece in range(blocks.num_pieces):
            distance = (moved + blocks.piece_offset(piece, access)).scaled(ELEMENT_BYTES)
            shape = self.shape(blocks, access, piece, lanes)
            tokens.append(
                builder.transfer(
                    "fetch",
                    self.operands[piece % self.pads],
                    builder.index_value((row + piece // self.pads * blocks.piece_rows).scaled(ROW_BYTES)),
                    builder.plus(self.first_addresses[blocks], builder.index_value(distance)),
                    builder.index_constant(shape.encode()),
                    [self.buffers[access.buffer]],
                    rows=shape.rows,
                    cols=lanes,
                )
            )
        return tokens

    def _first_address(self, blocks: Blocks) -> ir.Value:
        """Address of the first block that the panel needs."""
        number = self.builder.index_constant(0) if blocks is self.schedule.outer else self.first_block
        return self._block_address(blocks, number)

    def _block_address(self, blocks: Blocks, number: ir.Value) -> ir.Value:
        access = self.schedule.access(blocks)
        return self.builder.plus(self.begins[id(access)], self._block_bytes(blocks, number, access))

    def _moves(self, at: Position) -> Moves:
        """What to fetch under a tile: the next inner block, the next outer one or half of it, or nothing."""
        schedule, builder = self.schedule, self.builder
        inner, outer, lanes = schedule.inner, schedule.outer, schedule.depth.lanes
        is_first = builder.index_constant(-1) if outer.num_blocks == 1 else self._is_before(at.outer, 1)
        has_next = self._is_before(at.outer, outer.num_blocks - 1)
        is_last = builder.differ(self._is_before(at.inner, self.count - 1), -1)
        is_late = builder.differ(self._is_before(at.inner, self.count - 2), -1) if self.splits else is_last
        stays = schedule.is_resident(inner)
        for_inner = builder.both(is_first, self._is_before(at.inner, self.count - 1))
        if stays:
            for_inner = builder.index_constant(0)
        for_outer = builder.both(has_next, builder.both(is_late, builder.differ(for_inner, -1)))
        of_half = builder.both(for_outer, builder.differ(is_first, -1)) if self.splits else builder.index_constant(0)
        second = builder.both(of_half, is_last)

        def mixed(of_inner: int, of_outer: int) -> ir.Value:
            return builder.differ(builder.both(for_inner, of_inner ^ of_outer), of_outer)

        def metadata(lanes: int) -> ir.Value:
            whole, half = self._metadata(outer, lanes), self._metadata(outer, lanes, self._half_rows)
            shape = builder.differ(builder.both(for_inner, self._metadata(inner, lanes) ^ SINK), SINK)
            shape = builder.differ(shape, builder.both(for_outer, whole ^ SINK))
            return builder.differ(shape, builder.both(of_half, whole ^ half))

        # where nothing moves, single elements go to the buffer that is not in use
        next_inner, next_outer = builder.plus(at.inner, 1), builder.minus(at.outer, has_next)
        other = builder.differ(at.buffer, self._buffer_bytes())
        target = builder.plus(other, schedule.outer_base * ROW_BYTES)
        address = self._block_address(outer, next_outer)
        if not stays:
            place = builder.times(next_inner, schedule.block_rows(inner) * ROW_BYTES)
            target = builder.select_bits(for_inner, place, target)
            own = self._block_address(inner, builder.plus(next_inner, self.first_block))
            address = builder.select_bits(for_inner, own, address)
        target = builder.plus(target, builder.both(second, self._second_half * ROW_BYTES))
        pitch = outer.pitch(schedule.access(outer)) * ELEMENT_BYTES
        address = builder.plus(address, builder.both(second, self._second_half * pitch))
        shape = metadata(lanes)
        first_shape = metadata(schedule.depth.first_lanes) if schedule.depth.has_tail else shape
        target_jumps = [
            mixed(of_inner * ROW_BYTES, of_outer * ROW_BYTES)
            for of_inner, of_outer in zip(schedule.target_jumps(inner), schedule.target_jumps(outer), strict=True)
        ][-self._num_target_jumps :]
        limit = [mixed(*(self._num_fetched(blocks) for blocks in (inner, outer)))] if schedule.footprints else []
        offsets = [
            mixed(*(self._piece_bytes(blocks, piece) for blocks in (inner, outer)))
            for piece in range(1, self.num_pieces)
        ]
        jumps = [
            mixed(of_inner * ELEMENT_BYTES, of_outer * ELEMENT_BYTES)
            for of_inner, of_outer in zip(schedule.jumps(inner), schedule.jumps(outer), strict=True)
        ]
        return Moves(target, address, shape, first_shape, for_inner, for_outer, target_jumps, limit, offsets, jumps)

    @property
    def _half_rows(self) -> int:
        """Rows of a piece that come under each of the last two tiles; those in the middle may come twice."""
        return -(-self.schedule.outer.piece_rows // 2)

    @property
    def _second_half(self) -> int:
        return self.schedule.outer.piece_rows - self._half_rows

    @property
    def _num_target_jumps(self) -> int:
        return len(self.schedule.depth.levels) if self.schedule.footprints else 1

    def _num_fetched(self, blocks: Blocks) -> int:
        """Taps of each slice under which something of an operand is fetched."""
        return blocks.transfers if isinstance(blocks, FootprintBlocks) else self.schedule.depth.levels[-1].extent

    def _piece_bytes(self, blocks: Blocks, piece: int) -> int:
        if piece >= blocks.num_pieces:
            return 0
        return blocks.piece_offset(piece, self.schedule.access(blocks)) * ELEMENT_BYTES

    def fetch_first(self, moves: Moves) -> list[ir.Value]:
        """Start to move the first step."""
        address = self.builder.plus(moves.address, self.schedule.tail_offset * ELEMENT_BYTES)
        return self._fetch(moves, moves.target, address, moves.first_shape)

    def _fetch(self, moves: Moves, target: ir.Value, address: ir.Value, shape: ir.Value) -> list[ir.Value]:
        # those that are switched off in most steps first: whatever follows on their pads waits for them
        pieces = sorted(range(self.num_pieces), key=lambda piece: piece < self.pads)
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
        return builder.transfer(
            "fetch",
            self._part(pad, builder.index_constant(0), "next"),
            target,
            builder.plus(address, moves.offsets[piece - 1]) if piece else address,
            builder.plus(shape, pad << PAD_SHIFT),
            list(dict.fromkeys(self.buffers[schedule.access(blocks).buffer] for blocks, _ in owners)),
            # mostly the block with fewer rows moves, or nothing
            rows=1 if piece >= self.pads else min(blocks.piece_rows for blocks, _ in owners),
            cols=schedule.depth.lanes,
        )

    # Steps

    def first_steps(self, tile: TilePlan, fetched: list[ir.Value]) -> Steps:
        """Of the first iteration: the array works on the second step, which is fetched for a later tile too."""
        depth, builder, schedule = self.schedule.depth, self.builder, self.schedule
        zero, moves = builder.index_constant(0), tile.moves
        if depth.steps == 1:
            return Steps(zero, builder.index_constant(-1), tile.rows, tile.cols, moves.target, zero, [], fetched)
        footprints = schedule.footprints
        row_step = footprints.tap_levels[-1][1] if footprints else schedule.step_rows(schedule.rows)
        rows = builder.plus(tile.rows, row_step * ROW_BYTES)
        cols = builder.plus(tile.cols, schedule.step_rows(schedule.cols) * ROW_BYTES)
        target = builder.plus(moves.target, moves.target_jumps[-1])
        moved = zero if depth.has_tail else moves.jumps[-1]
        last = len(depth.levels) - 1
        counters = [builder.index_constant(1 if level == last else 0) for level in range(1, last + 1)]
        counters += [builder.index_constant(1)] * self._num_line_counters
        return Steps(zero, zero, rows, cols, target, moved, counters, fetched)

    def step(self, steps: Steps, moves: Moves, following: TilePlan) -> Steps:
        """Fetch a step of the block that moves; what the next iteration works on.

        In the last iteration one element of the step before is fetched again.
        """
        depth, builder, schedule = self.schedule.depth, self.builder, self.schedule
        builder.wait(steps.tokens)
        shape = builder.select_bits(steps.is_last, builder.index_constant(SINK), moves.shape)
        target, moved = steps.target, steps.moved
        if moves.limit:
            # a slice has more taps than image lines
            moves_now = builder.is_negative(builder.minus(steps.counters[0], moves.limit[0]))
            moves_now = builder.both(moves_now, builder.differ(steps.is_last, -1))
            shape = builder.differ(builder.both(moves_now, builder.differ(moves.shape, SINK)), SINK)
            target = builder.select_bits(moves_now, target, builder.index_constant(schedule.sink_row * ROW_BYTES))
            moved = builder.both(moves_now, moved)
        tokens = self._fetch(moves, target, builder.plus(moves.address, moved), shape)
        number = builder.plus(steps.number, 1)
        if depth.steps == 1:
            return Steps(
                number, steps.is_last, steps.rows, steps.cols, steps.target, steps.moved, steps.counters, tokens
            )
        will_not = self._is_before(number, depth.steps - 1)
        will_be_last = builder.differ(will_not, -1)
        counters, wraps = self._count(steps.counters)
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
        target = builder.plus(steps.target, builder.both(will_not, self._distance(moves.target_jumps, wraps)))
        moved = builder.plus(steps.moved, builder.both(will_not, self._distance(moves.jumps, wraps)))
        return Steps(number, will_be_last, rows, cols, target, moved, counters, tokens)

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

    def _count(self, counters: Sequence[ir.Value]) -> tuple[list[ir.Value], list[ir.Value]]:
        """The counters of the next step, innermost last, and for each of them bits of whether it begins again."""
        builder, levels = self.builder, self.schedule.depth.levels
        counted: list[ir.Value] = []
        wrapped: list[ir.Value] = []
        carry = builder.index_constant(1)
        for level in range(len(levels) - 1, 0, -1):
            counter = builder.plus(counters[level - 1], carry)
            wraps = builder.equal_bits(counter, levels[level].extent)
            counted.insert(0, builder.both(counter, builder.differ(wraps, -1)))
            wrapped.insert(0, wraps)
            carry = builder.both(wraps, 1)
        return counted, wrapped

    def _distance(self, jumps: Sequence[ir.Value], wraps: Sequence[ir.Value]) -> ir.Value:
        """What a step adds: the innermost jump, and those of the levels that go on."""
        distance = jumps[-1]
        for jump, wrap in reversed(list(zip(jumps[:-1], wraps, strict=False))):
            distance = self.builder.plus(distance, self.builder.both(wrap, jump))
        return distance

    # What loops carry

    def unpack(self, values: Sequence[ir.Value]) -> State:
        rest = iter(values)
        tile, following = self._tile_from(rest), self._position_from(rest)
        plan = Plan(self._tile_from(rest), self._position_from(rest))
        return State(tile, following, plan, _take(rest, self.num_pieces), list(rest))

    def unpack_plan(self, values: Sequence[ir.Value]) -> Plan:
        rest = iter(values)
        return Plan(self._tile_from(rest), self._position_from(rest))

    def unpack_steps(self, values: Sequence[ir.Value]) -> Steps:
        rest = iter(values)
        number, is_last, rows, cols, target, moved = _take(rest, 6)
        counters = _take(rest, len(self.schedule.depth.levels) - 1 + self._num_line_counters)
        return Steps(number, is_last, rows, cols, target, moved, counters, _take(rest, self.num_pieces))

    def _tile_from(self, rest: Iterator[ir.Value]) -> TilePlan:
        rows, cols = _take(rest, 2)
        moves, results = self._moves_from(rest), _take(rest, len(self.results))
        column, kept = _take(rest, int(self.has_columns)), _take(rest, int(self.kept is not None))
        return TilePlan(rows, cols, moves, results, column, kept)

    def _position_from(self, rest: Iterator[ir.Value]) -> Position:
        outer, inner, buffer = _take(rest, 3)
        return Position(outer, inner, buffer)

    def _moves_from(self, rest: Iterator[ir.Value]) -> Moves:
        target, address, shape, first_shape, for_inner, for_outer = _take(rest, 6)
        target_jumps, limit = (
            _take(rest, self._num_target_jumps),
            _take(rest, int(self.schedule.footprints is not None)),
        )
        offsets, jumps = _take(rest, max(0, self.num_pieces - 1)), _take(rest, len(self.schedule.depth.levels))
        return Moves(target, address, shape, first_shape, for_inner, for_outer, target_jumps, limit, offsets, jumps)


def _take(values: Iterator[ir.Value], count: int) -> list[ir.Value]:
    return [next(values) for _ in range(count)]
