"""Products tile by tile: the next operands move, and results leave, while the array computes.

For each tile: the array works on the first slice of the depth (at the end of the tile before), a loop adds the results
of a slice while the array works on the next one, and fetches one slice of the block that is needed next in each
iteration, and the epilogue writes results to a staging area that is sent to DRAM under the next tile. All of a panel's
tiles are one loop: which tile comes next and what to fetch for it is computed with selections instead of branches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from atalla_mlir._mlir import ir
from atalla_mlir.codegen.iteration import Access, Buffer, Loop, Stage
from atalla_mlir.codegen.product_plan import LANES, ProductPlan
from atalla_mlir.codegen.row_plan import RowPlan, SumOrder
from atalla_mlir.codegen.tile_schedule import BlockedOperand, TileSchedule, is_column_read, outside_reads
from atalla_mlir.kernels.builder import Builder, Index
from atalla_mlir.kernels.expression import Evaluated
from atalla_mlir.kernels.rows import Place, RowBody, RowKernel
from atalla_mlir.target.encoding import DmaShape

ROW_BYTES = 64
PAD_SHIFT = 30
"""Of the pad's number in a transfer's metadata."""
ELEMENT_BYTES = 2
Rows = list[ir.Value]


@dataclass
class _StagedRows(RowKernel):
    """The epilogue's view of memory: rows of the tile that is being finished, in staging areas."""

    staging: dict[tuple[Buffer, int], list[ir.Value]] = field(default_factory=dict)
    """By buffer and offset of an access: a tile for each pad."""
    columns: dict[tuple[Buffer, int], ir.Value] = field(default_factory=dict)
    """Rows that all rows of the tile share, by buffer and offset."""
    row: int = 0

    def load(self, access: Access, place: Place) -> Evaluated:
        key = (access.buffer, access.offset)
        if key in self.columns:
            return Evaluated(self.columns[key], False)
        tiles = self.staging[key]
        return Evaluated(self._staged_row(tiles), False)

    def _staged_row(self, tiles: list[ir.Value]) -> ir.Value:
        return self.builder.tile_load(tiles[self.row % len(tiles)], Index(self.row // len(tiles)), LANES)

    def store(self, access: Access, place: Place, value: ir.Value) -> None:
        tiles = self.staging[access.buffer, access.offset]
        tile = tiles[self.row % len(tiles)]
        self.builder.tile_store(self.builder.as_row(value), tile, Index(self.row // len(tiles)), LANES)


@dataclass
class _Position:
    """A tile of a panel: its outer and inner block, and bytes from the first to its one of the two outer buffers."""

    outer: ir.Value
    inner: ir.Value
    buffer: ir.Value

    def pack(self) -> list[ir.Value]:
        return [self.outer, self.inner, self.buffer]


@dataclass
class _Moves:
    """What is fetched for a tile: where to (bytes from a tile's begin, and from slice to slice), from where (for the
    first pad, and from pad to pad), and the metadata of the first pad's rows and of the first slice's."""

    target: ir.Value
    step: ir.Value
    address: ir.Value
    row: ir.Value
    shape: ir.Value
    first_shape: ir.Value

    def pack(self) -> list[ir.Value]:
        return [self.target, self.step, self.address, self.row, self.shape, self.first_shape]


@dataclass
class _State:
    """What the loop over tiles carries besides the accumulators.

    `at` is the present tile and `following` the next one; `moves` are under way, `next_moves` come with the next tile.
    """

    at: _Position
    following: _Position
    moves: _Moves
    next_moves: _Moves
    fetched: list[ir.Value]
    """Tokens of the first slice of `moves`."""
    sent: list[ir.Value]
    """Tokens of the results of the tile before."""

    def pack(self) -> list[ir.Value]:
        places, moves = [*self.at.pack(), *self.following.pack()], [*self.moves.pack(), *self.next_moves.pack()]
        return [*places, *moves, *self.fetched, *self.sent]

    @staticmethod
    def unpack(values: Sequence[ir.Value], pads: int) -> _State:
        rest = iter(values)

        def take(count: int) -> list[ir.Value]:
            return [next(rest) for _ in range(count)]

        places = _Position(*take(3)), _Position(*take(3))
        return _State(*places, _Moves(*take(6)), _Moves(*take(6)), take(pads), list(rest))


class TiledProduct:
    """Emits one product with its epilogue. `buffers` are the kernel's DRAM arguments by buffer."""

    def __init__(
        self,
        builder: Builder,
        product: Stage,
        epilogue: Sequence[Stage],
        plan: ProductPlan,
        schedule: TileSchedule,
        buffers: dict[Buffer, ir.Value],
        block: ir.Block,
    ) -> None:
        self.builder, self.product, self.epilogue = builder, product, list(epilogue)
        self.plan, self.schedule, self.buffers, self.block = plan, schedule, buffers, block
        self.pads = schedule.rows.pads
        outer = (*plan.batch, *plan.rows, *plan.cols)
        self.rows_kernel = _StagedRows(builder, self.epilogue, RowPlan(plan.lane, outer, 1, 1), buffers, block)
        self.stored = [stage.write for stage in (product, *epilogue) if stage.write.buffer in buffers]
        reads = outside_reads(product, epilogue)
        self.column_reads = [read for read in reads if is_column_read(read, plan)]
        self.staged_reads = [read for read in reads if not is_column_read(read, plan)]

    def sum_order(self) -> SumOrder:
        """Slices in sequence, the tail of the depth first."""
        if self.schedule.depth % LANES and self.schedule.slices > 1:
            return SumOrder("any", 1, self.schedule.slices + 2)
        return SumOrder("slices", self.schedule.slices)

    def emit(self) -> None:
        self._allocate()
        self._load_columns()
        self._batch(list(self.plan.batch), {})

    # Pads

    def _allocate(self) -> None:
        rows = self.schedule.rows.rows_per_pad
        base = 0
        with ir.InsertionPoint.at_block_begin(self.block):
            self.operands = self._tiles(base, self.schedule.operand_rows)
            base += self.schedule.operand_rows
            for access in [*self.stored, *self.staged_reads]:
                self.rows_kernel.staging[access.buffer, access.offset] = self._tiles(base, rows)
                base += rows
            self.column_tiles: list[ir.Value] = []
            for at, _ in enumerate(self.column_reads):
                pad = at % self.pads
                self.column_tiles.append(self.builder.placed_tile(self.schedule.cols.num_blocks, pad, base))
                base += self.schedule.cols.num_blocks

    def _tiles(self, base: int, rows: int) -> list[ir.Value]:
        return [self.builder.placed_tile(rows, pad, base) for pad in range(self.pads)]

    def _load_columns(self) -> None:
        """Operands that are one row for all: 32 elements a block of columns, the last ending with the operand."""
        tokens: list[ir.Value] = []
        cols = self.schedule.cols
        for access, tile in zip(self.column_reads, self.column_tiles, strict=True):
            buffer = self.buffers[access.buffer]
            aligned = cols.num_blocks - (1 if cols.excess else 0)
            for first in range(0, aligned, LANES):
                count = min(LANES, aligned - first)
                start = Index(access.offset + first * cols.block)
                tokens.append(
                    self.builder.dma(
                        "dma_load", tile, buffer, Index(first), start, rows=count, cols=cols.block, pitch=cols.block
                    )
                )
            if cols.excess:
                start = Index(access.offset + cols.extent - cols.block)
                tokens.append(
                    self.builder.dma(
                        "dma_load", tile, buffer, Index(aligned), start, rows=1, cols=cols.block, pitch=cols.block
                    )
                )
        self.builder.wait(tokens)

    # Panels

    def _batch(self, loops: list[Loop], at: dict[Loop, Index]) -> None:
        if loops:
            self.builder.repeat(loops[0].extent, lambda i: self._batch(loops[1:], {**at, loops[0]: i}))
            return
        schedule = self.schedule
        whole, rest = divmod(schedule.inner.num_blocks, schedule.panel_blocks)
        size = schedule.panel_blocks
        self.builder.repeat(whole, lambda panel: _Panel(self, at, panel.scaled(size), size, whole * size).emit())
        if rest:
            _Panel(self, at, Index(whole * size), rest, whole * size + rest).emit()


class _Panel:
    """All tiles of `count` inner blocks from block `first` on; `end` is the number of inner blocks up to which panels
    like this one reach."""

    def __init__(self, kernel: TiledProduct, batch: dict[Loop, Index], first: Index, count: int, end: int) -> None:
        self.kernel, self.batch, self.first, self.count = kernel, batch, first, count
        self.builder, self.schedule, self.pads = kernel.builder, kernel.schedule, kernel.pads
        # the last block of the operand, counted from the panel's first, if it is one of this panel's
        self.has_last_inner = end == self.schedule.inner.num_blocks
        self.num_tiles = self.schedule.outer.num_blocks * count

    def emit(self) -> None:
        schedule, builder = self.schedule, self.builder
        self._note_addresses()
        self._fill()
        zero = builder.index_constant(0)
        first = _Position(zero, zero, zero)
        second = self._after(first)
        moves = self._moves(first)
        idle = [builder.ready() for _ in self._sends()]
        if self.num_tiles == 1:
            state = _State(first, second, moves, moves, [], idle)
            state, _, _ = self._tile(state, self._zeros(), self._start(first), is_last=True)
            builder.wait(state.sent)
            return
        state = _State(first, second, moves, self._moves(second), self._fetch_first(moves), idle)
        count = schedule.rows.block

        def tile(_: Index, carried: list[ir.Value]) -> list[ir.Value]:
            state = _State.unpack(carried[2 * count :], self.pads)
            new, sums, terms = self._tile(state, carried[:count], carried[count : 2 * count], is_last=False)
            return [*sums, *terms, *new.pack()]

        initial = [*self._zeros(), *self._start(first), *state.pack()]
        results = builder.loop(self.num_tiles, initial, tile)
        last = _State.unpack(results[2 * count :], self.pads)
        builder.wait([*last.fetched, *last.sent])

    def _after(self, at: _Position) -> _Position:
        """The tile after `at`; beyond the last one, blocks that exist but mean nothing."""
        builder = self.builder
        wraps = builder.equal_bits(at.inner, self.count - 1)
        outer = builder.plus(at.outer, builder.both(wraps, 1))
        inner = builder.both(builder.plus(at.inner, 1), builder.differ(wraps, -1))
        return _Position(outer, inner, builder.differ(at.buffer, builder.both(wraps, self._buffer_bytes())))

    # Addresses, in bytes

    def _start_of(self, operand: BlockedOperand, access: Access, first: Index) -> ir.Value:
        """DRAM address of block `first` of an operand, slice 0 counted from the first element of the depth."""
        offset = Index(access.offset)
        for loop, index in self.batch.items():
            offset = offset + index.scaled(access.stride(loop))
        offset = offset + first.scaled(operand.block * operand.stride)
        address = self.kernel.builder.address(self.kernel.buffers[access.buffer])
        return self.builder.plus(address, self.builder.index_value(offset.scaled(ELEMENT_BYTES)))

    def _note_addresses(self) -> None:
        schedule = self.schedule
        self.inner_start = self._start_of(schedule.inner, schedule.inner.access, self.first)
        self.outer_start = self._start_of(schedule.outer, schedule.outer.access, Index())
        self.excess_block = self._excess_block()

    def _excess_block(self) -> ir.Value | None:
        """Number within this panel of the inner block that is moved back so as not to stick out."""
        inner = self.schedule.inner
        if not inner.excess or not self.has_last_inner:
            return None
        last = Index(inner.num_blocks - 1) + self.first.scaled(-1)
        return self.builder.index_value(last)

    def _offset(self, operand: BlockedOperand, block: ir.Value, row_bytes: int) -> ir.Value:
        """Bytes from the panel's first block to `block`, rows being `row_bytes` apart."""
        builder = self.builder
        offset = builder.times(block, operand.block * row_bytes)
        if not operand.excess:
            return offset
        back = -operand.excess * row_bytes
        if operand is self.schedule.inner:
            if self.excess_block is None:
                return offset
            bits = builder.equal_bits(builder.plus(block, builder.times(self.excess_block, -1)), 0)
        else:
            bits = builder.equal_bits(block, operand.num_blocks - 1)
        return builder.plus(offset, builder.both(bits, back))

    # Fetching

    def _shape(self, operand: BlockedOperand, pad: int, cols: int) -> DmaShape:
        rows = max(1, operand.rows_in(pad))
        pitch = operand.stride * self.pads if rows > 1 else cols
        return DmaShape(pad, rows, cols, max(pitch, cols))

    def _fill(self) -> None:
        """The first outer and the first inner block, before anything is computed."""
        schedule = self.schedule
        tokens = self._fill_block(schedule.outer, self.outer_start, schedule.outer_base)
        tokens += self._fill_block(schedule.inner, self.inner_start, 0)
        self.builder.wait(tokens)

    def _fill_block(self, operand: BlockedOperand, start: ir.Value, base: int) -> list[ir.Value]:
        """Fetch a block slice by slice to the rows from `base` on; tokens of the last slice."""
        builder, first_depth = self.builder, self.schedule.first_depth
        pads = [pad for pad in range(self.pads) if operand.rows_in(pad)]
        step = operand.rows_per_pad * ROW_BYTES
        starts = {pad: builder.plus(start, pad * operand.stride * ELEMENT_BYTES) for pad in pads}

        def fetch(target: ir.Value, moved: ir.Value, cols: int) -> list[ir.Value]:
            shapes = {pad: self._shape(operand, pad, cols) for pad in pads}
            return [
                builder.transfer(
                    "fetch",
                    self.kernel.operands[pad],
                    target,
                    builder.plus(starts[pad], moved),
                    builder.index_constant(shape.encode()),
                    [self.kernel.buffers[operand.access.buffer]],
                    rows=shape.rows,
                    cols=cols,
                )
                for pad, shape in shapes.items()
            ]

        def fetch_slice(index: Index, _: list[ir.Value]) -> list[ir.Value]:
            target = builder.index_value(index.scaled(step) + (base * ROW_BYTES + step))
            moved = builder.index_value(index.scaled(LANES * ELEMENT_BYTES) + self._slice_bytes(1))
            return fetch(target, moved, LANES)

        first = builder.index_constant(self._first_slice_bytes())
        tokens = fetch(builder.index_constant(base * ROW_BYTES), first, first_depth)
        return builder.loop(self.schedule.slices - 1, tokens, fetch_slice)

    def _first_slice_bytes(self) -> int:
        """Where slice 0 begins in a row of DRAM: a tail lies at its end."""
        has_tail = self.schedule.first_depth < LANES
        return (self.schedule.depth - self.schedule.first_depth) * ELEMENT_BYTES if has_tail else 0

    def _slice_bytes(self, number: int) -> int:
        """Where slice `number` > 0 begins in a row of DRAM."""
        has_tail = self.schedule.first_depth < LANES
        return (number - has_tail) * LANES * ELEMENT_BYTES

    def _moves(self, at: _Position) -> _Moves:
        """What to fetch under a tile: the next inner block, the next outer one, or nothing."""
        schedule, builder = self.schedule, self.builder
        last_inner = builder.equal_bits(at.inner, self.count - 1)
        is_last_outer = builder.equal_bits(at.outer, schedule.outer.num_blocks - 1)
        for_inner = builder.both(builder.equal_bits(at.outer, 0), builder.differ(last_inner, -1))
        for_outer = builder.both(last_inner, builder.differ(is_last_outer, -1))
        next_inner, next_outer = builder.plus(at.inner, 1), builder.plus(at.outer, 1)
        other = builder.differ(at.buffer, self._buffer_bytes())
        sources = (
            (
                for_inner,
                schedule.inner,
                builder.plus(self.inner_start, self._block_offset(schedule.inner, next_inner)),
                builder.times(next_inner, schedule.block_rows(schedule.inner) * ROW_BYTES),
            ),
            (
                for_outer,
                schedule.outer,
                builder.plus(self.outer_start, self._block_offset(schedule.outer, next_outer)),
                builder.plus(other, schedule.outer_base * ROW_BYTES),
            ),
        )
        target = builder.index_constant(schedule.sink_row * ROW_BYTES)
        step = row = builder.index_constant(0)
        address = self.inner_start
        sink = DmaShape(0, 1, 1, 1).encode()
        shape = first_shape = builder.index_constant(sink)
        for bits, operand, start, begin in sources:
            target = builder.select_bits(bits, begin, target)
            address = builder.select_bits(bits, start, address)
            step = builder.plus(step, builder.both(bits, operand.rows_per_pad * ROW_BYTES))
            row = builder.plus(row, builder.both(bits, operand.stride * ELEMENT_BYTES))
            # only one of the operands moves, so constants can be mixed
            shape = builder.differ(shape, builder.both(bits, self._shape(operand, 0, LANES).encode() ^ sink))
            first = self._shape(operand, 0, schedule.first_depth).encode()
            first_shape = builder.differ(first_shape, builder.both(bits, first ^ sink))
        return _Moves(target, step, address, row, shape, first_shape)

    def _block_offset(self, operand: BlockedOperand, block: ir.Value) -> ir.Value:
        return self._offset(operand, block, operand.stride * ELEMENT_BYTES)

    def _buffer_bytes(self) -> int:
        return self.schedule.block_rows(self.schedule.outer) * ROW_BYTES

    def _fetch_first(self, moves: _Moves) -> list[ir.Value]:
        """Start to move the first slice."""
        addresses = self._pad_addresses(moves)
        first = [self.builder.plus(address, self._first_slice_bytes()) for address in addresses]
        return self._fetch(moves.target, first, self._pad_shapes(moves.first_shape))

    def _pad_addresses(self, moves: _Moves) -> list[ir.Value]:
        """Where the rows of each pad begin."""
        addresses = [moves.address]
        while len(addresses) < self.pads:
            addresses.append(self.builder.plus(addresses[-1], moves.row))
        return addresses

    def _pad_shapes(self, shape: ir.Value) -> list[ir.Value]:
        return [self.builder.plus(shape, pad << PAD_SHIFT) for pad in range(self.pads)]

    def _fetch(self, target: ir.Value, addresses: Sequence[ir.Value], shapes: Sequence[ir.Value]) -> list[ir.Value]:
        schedule, builder = self.schedule, self.builder
        buffers = list(
            dict.fromkeys(self.kernel.buffers[operand.access.buffer] for operand in (schedule.inner, schedule.outer))
        )
        # mostly the block with fewer rows moves, or nothing
        rows = min(schedule.inner.rows_per_pad, schedule.outer.rows_per_pad)
        return [
            builder.transfer(
                "fetch", self._part(pad, builder.index_constant(0), "next"), target, address, shape, buffers,
                rows=rows, cols=LANES,
            )
            for pad, (address, shape) in enumerate(zip(addresses, shapes, strict=True))
        ]  # fmt: skip

    def _part(self, pad: int, offset: ir.Value, name: str) -> ir.Value:
        return self.builder.tile_at(self.kernel.operands[pad], offset, name)

    # Tiles

    def _parts(self, at: _Position) -> tuple[list[ir.Value], list[ir.Value]]:
        """The blocks of rows and of columns of a tile, in each pad."""
        schedule, builder = self.schedule, self.builder
        inner_offset = builder.times(at.inner, schedule.block_rows(schedule.inner) * ROW_BYTES)
        outer_offset = builder.plus(at.buffer, schedule.outer_base * ROW_BYTES)
        inner = [self._part(pad, inner_offset, "inner") for pad in range(self.pads)]
        outer = [self._part(pad, outer_offset, "outer") for pad in range(self.pads)]
        return (inner, outer) if schedule.rows_inside else (outer, inner)

    def _slice(self, rows: list[ir.Value], cols: list[ir.Value], number: Index, deep: int) -> Rows:
        """Products of all rows of a tile with slice `number` of its columns, `deep` lanes deep."""
        schedule, builder, pads = self.schedule, self.builder, self.pads
        at_cols = number.scaled(schedule.cols.rows_per_pad)
        for col in reversed(range(LANES)):
            if col < schedule.cols.block:
                builder.push(builder.tile_load(cols[col % pads], at_cols + col // pads, deep))
            else:
                builder.push(builder.splat(0.0))
        at_rows = number.scaled(schedule.rows.rows_per_pad)
        return [
            builder.gemm(builder.tile_load(rows[row % pads], at_rows + row // pads, deep))
            for row in range(schedule.rows.block)
        ]

    def _start(self, at: _Position) -> Rows:
        """The products of a tile's first slice."""
        return self._slice(*self._parts(at), Index(), self.schedule.first_depth)

    def _tile(self, state: _State, sums: Rows, terms: Rows, *, is_last: bool) -> tuple[_State, Rows, Rows]:
        """Finish the tile whose first slice is in `terms`; start the next one unless this is the last.

        Each iteration adds the slice before: the array's results are then there long before they are needed.
        """
        schedule, builder = self.schedule, self.builder
        rows, cols = self._parts(state.at)
        staged = self._fetch_staged(state.at)
        count = schedule.rows.block
        if not is_last:
            sources, shapes = self._pad_addresses(state.moves), self._pad_shapes(state.moves.shape)

        def add_slice(index: Index, carried: list[ir.Value]) -> list[ir.Value]:
            added = self._add(carried[:count], carried[count : 2 * count])
            following = self._slice(rows, cols, index + 1, LANES)
            if is_last:
                return [*added, *following]
            target, moved = carried[2 * count : 2 * count + 2]
            fetched = self._fetch(target, [builder.plus(source, moved) for source in sources], shapes)
            moves = [builder.plus(target, state.moves.step), builder.plus(moved, LANES * ELEMENT_BYTES)]
            return [*added, *following, *moves, *fetched]

        initial = [*sums, *terms]
        if not is_last:
            moved = builder.index_constant(self._slice_bytes(1))
            initial += [builder.plus(state.moves.target, state.moves.step), moved, *state.fetched]
        results = builder.loop(schedule.slices - 1, initial, add_slice)
        builder.wait([*results[2 * count + 2 :], *staged, *state.sent])
        if is_last:
            sent = self._finish(state.at, self._add(results[:count], results[count:]))
            return _State(state.at, state.at, state.moves, state.moves, [], sent), [], []
        fetched = self._fetch_first(state.next_moves)
        total = self._add(results[:count], results[count : 2 * count])
        started = self._start(state.following)
        sent = self._finish(state.at, total)
        after = self._after(state.following)
        new = _State(state.following, after, state.next_moves, self._moves(after), fetched, sent)
        return new, self._zeros(), started

    def _add(self, left: Rows, right: Rows) -> Rows:
        return [self.builder.binary("add", a, b) for a, b in zip(left, right, strict=True)]

    def _zeros(self) -> Rows:
        return [self.builder.zero() for _ in range(self.schedule.rows.block)]

    # Results

    def _tile_address(self, access: Access, at: _Position) -> ir.Value:
        """DRAM address of the first element of the present tile in a result or an operand of the epilogue."""
        schedule, builder = self.schedule, self.builder
        offset = Index(access.offset)
        for loop, index in self.batch.items():
            offset = offset + index.scaled(access.stride(loop))
        row_stride = access.stride(schedule.rows.loop) if schedule.rows.loop is not None else 0
        inner_stride = row_stride if schedule.rows_inside else 1
        offset = offset + self.first.scaled(schedule.inner.block * inner_stride)
        address = builder.plus(
            builder.address(self.kernel.buffers[access.buffer]), builder.index_value(offset.scaled(ELEMENT_BYTES))
        )
        for operand, block in ((schedule.inner, at.inner), (schedule.outer, at.outer)):
            stride = row_stride if operand is schedule.rows else 1
            address = builder.plus(address, self._offset(operand, block, stride * ELEMENT_BYTES))
        return address

    def _sends(self) -> list[tuple[Access, int]]:
        """A transfer for each result and each pad that holds rows of it."""
        return [
            (access, pad)
            for access in self.kernel.stored
            for pad in range(self.pads)
            if self.schedule.rows.rows_in(pad)
        ]

    def _move_staged(self, kind: str, access: Access, pad: int, address: ir.Value) -> ir.Value:
        schedule, builder = self.schedule, self.builder
        stride = access.stride(schedule.rows.loop) if schedule.rows.loop is not None else 0
        rows, cols = schedule.rows.rows_in(pad), schedule.cols.block
        shape = DmaShape(pad, rows, cols, stride * self.pads if rows > 1 else cols)
        return builder.transfer(
            kind,
            self.kernel.rows_kernel.staging[access.buffer, access.offset][pad],
            builder.index_constant(0),
            builder.plus(address, pad * stride * ELEMENT_BYTES),
            builder.index_constant(shape.encode()),
            [self.kernel.buffers[access.buffer]],
            rows=rows,
            cols=cols,
        )

    def _fetch_staged(self, at: _Position) -> list[ir.Value]:
        """Operands of the epilogue that differ from row to row."""
        tokens: list[ir.Value] = []
        for access in self.kernel.staged_reads:
            address = self._tile_address(access, at)
            pads = [pad for pad in range(self.pads) if self.schedule.rows.rows_in(pad)]
            tokens.extend(self._move_staged("fetch", access, pad, address) for pad in pads)
        return tokens

    def _finish(self, at: _Position, total: Rows) -> list[ir.Value]:
        """Run the epilogue on the rows of a tile and send the results."""
        schedule, builder, kernel = self.schedule, self.builder, self.kernel
        rows_kernel = kernel.rows_kernel
        block = at.outer if schedule.rows_inside else at.inner
        if kernel.column_reads:
            number = block if schedule.rows_inside else builder.plus(block, builder.index_value(self.first))
            offset = builder.times(number, ROW_BYTES)
            for access, tile in zip(kernel.column_reads, kernel.column_tiles, strict=True):
                part = builder.tile_at(tile, offset, "block")
                rows_kernel.columns[access.buffer, access.offset] = builder.tile_load(
                    part, Index(), schedule.cols.block
                )
        buffer = kernel.product.write.buffer
        place = Place({}, LANES)
        for row, value in enumerate(total):
            rows_kernel.row = row
            if buffer in kernel.buffers:
                rows_kernel.store(kernel.product.write, place, value)
            body = RowBody(rows_kernel, [place])
            body.values[0][buffer] = Evaluated(value, False)
            body.emit()
        addresses = {id(access): self._tile_address(access, at) for access in kernel.stored}
        return [self._move_staged("send", access, pad, addresses[id(access)]) for access, pad in self._sends()]
