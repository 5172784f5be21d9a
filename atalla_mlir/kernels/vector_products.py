"""One row times a matrix: the matrix streams through the array as fast as DRAM gives it (see `vector_product_plan`).

For each block of columns and each part of the depth, the slices of the row become the array's weights; then the loop
over slices fetches a slice of the block's matrix rows while those of the slice before go through the array. The results
of all columns stay in a pad; the epilogue runs over them at the end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from atalla_mlir._mlir import ir
from atalla_mlir.codegen.fetch_ahead import first_columns
from atalla_mlir.codegen.iteration import Access, Buffer, Stage
from atalla_mlir.codegen.placement import MAX_DMA_ROWS
from atalla_mlir.codegen.row_plan import SumOrder, choose_row_plan
from atalla_mlir.codegen.vector_product_plan import LANES, VectorProductPlan
from atalla_mlir.kernels.affine_index import Index
from atalla_mlir.kernels.ahead import AheadArguments
from atalla_mlir.kernels.builder import Builder
from atalla_mlir.kernels.expression import Evaluated
from atalla_mlir.kernels.row_places import Place, divided
from atalla_mlir.kernels.rows import RowKernel
from atalla_mlir.kernels.tile_addresses import ELEMENT_BYTES, PAD_SHIFT, ROW_BYTES, SINK
from atalla_mlir.kernels.transfer_order import falling_order, start_order
from atalla_mlir.target.encoding import DmaShape

Rows = list[ir.Value]


@dataclass
class FinishedRows(RowKernel):
    """The epilogue's view of memory: the product lies in a tile, 32 results a row."""

    product: Buffer | None = None
    tile: ir.Value | None = None

    def load(self, access: Access, place: Place) -> Evaluated:
        if access.buffer is not self.product or self.tile is None:
            return super().load(access, place)
        position = Index(access.offset)
        for loop, stride in access.strides.items():
            position = position + place.positions[loop].scaled(stride)
        return Evaluated(self.builder.tile_load(self.tile, divided(position, LANES), LANES), False)


@dataclass
class _Stream:
    """The slice of the matrix that the next iteration works on, and what is fetched in it."""

    buffer: ir.Value
    """Byte offset of the half of the tiles that holds the slice."""
    slice_number: ir.Value
    """Of what is fetched next."""
    block: ir.Value
    addresses: list[ir.Value]
    """In DRAM, for each pad."""
    shapes: list[ir.Value]
    tokens: list[ir.Value]
    columns: list[ir.Value]
    """Tokens of the columns that come whole."""

    def pack(self) -> list[ir.Value]:
        single = [self.buffer, self.slice_number, self.block]
        return [*single, *self.addresses, *self.shapes, *self.tokens, *self.columns]

    @staticmethod
    def unpack(values: Sequence[ir.Value], pads: int) -> _Stream:
        buffer, slice_number, block, *rest = values
        addresses, shapes, tokens = (rest[at : at + pads] for at in range(0, 3 * pads, pads))
        return _Stream(buffer, slice_number, block, addresses, shapes, tokens, rest[3 * pads :])


class VectorProduct:
    """Emits a row times a matrix, and the epilogue. `buffers` are the kernel's DRAM arguments by buffer."""

    def __init__(
        self,
        builder: Builder,
        product: Stage,
        epilogue: Sequence[Stage],
        plan: VectorProductPlan,
        buffers: dict[Buffer, ir.Value],
        block: ir.Block,
        *,
        fetches_ahead: bool = False,
    ) -> None:
        self.builder, self.product, self.plan, self.buffers = builder, product, plan, buffers
        operand = ir.BlockArgument(buffers[plan.matrix.buffer]).arg_number
        self.first_columns = first_columns(plan, operand) if fetches_ahead else None
        """What the launch before fetches, None where kernels know nothing of each other."""
        self.ahead = AheadArguments(builder, block) if self.first_columns is not None else None
        self.order = start_order(plan.pads) if self.ahead is None else falling_order(plan.pads)
        """In which transfers begin: whichever finds the better rhythm beside the loads of the loop, as measured."""
        self.rows_kernel: FinishedRows | None = None
        if epilogue:
            stored = [stage.write for stage in epilogue if stage.write.buffer in buffers]
            row_plan = choose_row_plan(epilogue, stored)
            self.rows_kernel = FinishedRows(builder, epilogue, row_plan, buffers, block)
        with ir.InsertionPoint.at_block_begin(block):
            self._allocate()

    def sum_order(self) -> SumOrder:
        return SumOrder("any", 1, self.plan.roundings)

    def emit(self) -> None:
        self._load_row()
        stream = self._first()
        count = self.plan.blocks

        def block(index: Index, carried: list[ir.Value]) -> list[ir.Value]:
            stream, sums = self._block(self._unpack(carried))
            for chunk, row in enumerate(sums):
                at = index.scaled(self.plan.block_chunks) + chunk
                self.builder.tile_store(row, self.results, at, LANES)
            return stream.pack()

        done = self._unpack(self.builder.loop(count, stream.pack(), block))
        if self.ahead is None:
            self.builder.wait([*done.tokens, *done.columns])
        self._finish()
        if self.ahead is not None:
            # what comes for the next product comes beside the epilogue
            self.builder.wait([*done.tokens, *done.columns])

    def _unpack(self, values: Sequence[ir.Value]) -> _Stream:
        return _Stream.unpack(values, self.plan.pads)

    # Pads

    def _allocate(self) -> None:
        plan = self.plan
        sliced, whole = 2 * plan.sliced_columns, plan.whole_columns * self._column_rows
        place, base = (self.builder.placed_tile, sliced + whole) if self.ahead is None else (self.ahead.tile, 0)
        self.halves = [place(sliced, pad, 0) for pad in range(plan.pads)]
        self.whole = [place(whole, pad, sliced) for pad in range(plan.pads)] if whole else []
        self.part_rows = -(-plan.part_slices // plan.pads)
        """Rows of each pad that hold the slices of the row for one part of the depth."""
        whole, rest = plan.parts
        rows = self.part_rows * (whole + (rest > 0))
        self.row_tiles = [self.builder.placed_tile(rows, pad, base) for pad in range(plan.pads)]
        self.results = self.builder.placed_tile(plan.blocks * plan.block_chunks, 0, base + rows)

    @property
    def _column_rows(self) -> int:
        """Rows of a pad for a column that comes whole: the next product may have longer parts."""
        return MAX_DMA_ROWS if self.ahead is not None else self.plan.part_slices

    def _load_row(self) -> None:
        """Slice s of a part of the depth lies in pad s mod `pads`."""
        whole, rest = self.plan.parts
        self.builder.repeat(whole, lambda part: self._load_part(part, self.plan.part_slices))
        if rest:
            self._load_part(Index(whole), rest)

    def _load_part(self, part: Index, count: int) -> None:
        plan, row = self.plan, self.plan.row
        start = part.scaled(plan.part_slices * LANES) + row.offset
        tokens = [
            self.builder.dma(
                "dma_load",
                self.row_tiles[pad],
                self.buffers[row.buffer],
                part.scaled(self.part_rows),
                start + pad * LANES,
                rows=plan.rows_in_pad(pad, count),
                cols=LANES,
                pitch=LANES * plan.pads,
            )
            for pad in range(min(plan.pads, count))
        ]
        self.builder.wait(tokens)

    # The stream

    def _first(self) -> _Stream:
        builder, plan = self.builder, self.plan
        begin = builder.plus(builder.address(self.buffers[plan.matrix.buffer]), plan.matrix.offset * ELEMENT_BYTES)
        pitch = plan.column_pitch * ELEMENT_BYTES
        zero = builder.index_constant(0)
        addresses = [builder.plus(begin, pad * pitch) for pad in range(plan.pads)]
        shapes = [self._unless_there(pad, self._shape(pad, zero)) for pad in range(plan.pads)]
        idle = [builder.ready() for _ in range(plan.pads)]
        whole = [builder.ready() for _ in range(plan.pads * plan.whole_columns)]
        half = zero if self.ahead is None else self.ahead.half
        stream = self._fetched(_Stream(self._other(half), zero, zero, addresses, shapes, idle, whole))
        for number in range(plan.whole_columns):
            self._fetch_column(stream, number, is_first=True)
        return stream

    def _unless_there(self, pad: int, shape: ir.Value) -> ir.Value:
        """Of what the launch before may have fetched: its first element then comes once more."""
        if self.ahead is None:
            return shape
        element = self.builder.index_constant(SINK | pad << PAD_SHIFT)
        return self.builder.select_bits(self.ahead.is_there, element, shape)

    def _other(self, buffer: ir.Value) -> ir.Value:
        return self.builder.differ(buffer, self.plan.sliced_columns * ROW_BYTES)

    def _fetched(self, stream: _Stream) -> _Stream:
        """Wait for the slice that the present iteration works on, and begin to fetch the one after it."""
        builder, plan = self.builder, self.plan
        buffer = self._other(stream.buffer)
        builder.wait([stream.tokens[pad] for pad in self.order])
        tokens: dict[int, ir.Value] = {}
        for pad in self.order:
            tokens[pad] = builder.transfer(
                "fetch",
                builder.tile_at(self.halves[pad], builder.index_constant(0), "next"),
                buffer,
                stream.addresses[pad],
                stream.shapes[pad],
                [self.buffers[plan.matrix.buffer]],
                rows=plan.sliced_columns,
                cols=LANES,
            )
        return self._after(stream, buffer, [tokens[pad] for pad in range(plan.pads)])

    def _after(self, stream: _Stream, buffer: ir.Value, tokens: list[ir.Value]) -> _Stream:
        """The slice that is being fetched; then comes the next one, or the first of the next block of columns."""
        builder, plan = self.builder, self.plan
        number = builder.plus(stream.slice_number, 1)
        wraps = builder.equal_bits(number, plan.slices)
        block = builder.plus(stream.block, builder.both(wraps, 1))
        jump = (plan.block_columns * plan.column_pitch - plan.slices * LANES) * ELEMENT_BYTES
        step = builder.plus(builder.both(wraps, jump), ROW_BYTES)
        addresses = [builder.plus(address, step) for address in stream.addresses]
        if self.ahead is not None:
            ends = builder.both(wraps, builder.equal_bits(block, plan.blocks))
            jumps = self._jumps_ahead(self.ahead)
            addresses = [builder.plus(at, builder.both(ends, jump)) for at, jump in zip(addresses, jumps, strict=True)]
        shapes = [self._shape(pad, block) for pad in range(plan.pads)]
        number = builder.both(number, builder.differ(wraps, -1))
        return _Stream(buffer, number, block, addresses, shapes, tokens, stream.columns)

    def _jumps_ahead(self, ahead: AheadArguments) -> list[ir.Value]:
        """Bytes from behind the matrix to the next one, for each pad."""
        builder, plan = self.builder, self.plan
        size = plan.blocks * plan.block_columns * plan.column_pitch
        matrix = builder.address(self.buffers[plan.matrix.buffer])
        distance = builder.minus(ahead.address, builder.plus(matrix, (plan.matrix.offset + size) * ELEMENT_BYTES))
        further = builder.plus(ahead.pitch, -plan.column_pitch * ELEMENT_BYTES)
        return [builder.plus(distance, builder.times(further, pad)) for pad in range(plan.pads)]

    def _shape(self, pad: int, block: ir.Value) -> ir.Value:
        """Metadata of a pad's transfer: the last block has fewer columns; behind it is the next matrix, or nothing."""
        builder, plan = self.builder, self.plan

        def of(columns: int) -> ir.Value:
            rows = min(plan.rows_in_pad(pad, columns), plan.sliced_columns)
            nothing = SINK | pad << PAD_SHIFT
            pitch = plan.column_pitch * plan.pads
            return builder.index_constant(DmaShape(pad, rows, LANES, pitch).encode() if rows else nothing)

        shape = of(plan.block_columns)
        if plan.last_columns != plan.block_columns:
            shape = builder.select_bits(builder.equal_bits(block, plan.blocks - 1), of(plan.last_columns), shape)
        behind = of(0) if self.ahead is None else builder.plus(self.ahead.slice_shape, pad << PAD_SHIFT)
        return builder.select_bits(builder.equal_bits(block, plan.blocks), behind, shape)

    def _fetch_column(self, stream: _Stream, number: int, *, is_first: bool = False) -> None:
        """Begin to fetch, on each pad, a column of the part whose first slice has just been asked for."""
        builder, plan = self.builder, self.plan
        row, nothing = plan.sliced_columns + number, builder.index_constant(SINK)
        is_last, is_behind = (builder.equal_bits(stream.block, plan.blocks - at) for at in (1, 0))
        pitch = builder.index_constant(plan.pads * plan.column_pitch * ELEMENT_BYTES)
        behind = nothing
        if self.ahead is not None:
            pitch = builder.select_bits(is_behind, builder.times(self.ahead.pitch, plan.pads), pitch)
            behind = self.ahead.column_shape
        shape = builder.select_bits(is_behind, behind, self._column_shape(stream))
        # the stream is a slice further than the part
        offset = builder.plus(builder.times(pitch, row), -ROW_BYTES)
        for pad in self.order:
            # the last block may not have this column
            is_short = row >= plan.rows_in_pad(pad, plan.last_columns)
            word = builder.select_bits(is_last, nothing, shape) if is_short else shape
            word = builder.plus(word, pad << PAD_SHIFT)
            stream.columns[number * plan.pads + pad] = builder.transfer(
                "fetch",
                self.whole[pad],
                builder.index_constant(number * self._column_rows * ROW_BYTES),
                builder.plus(stream.addresses[pad], offset),
                self._unless_there(pad, word) if is_first else word,
                [self.buffers[plan.matrix.buffer]],
                rows=self._column_rows,
                cols=LANES,
            )

    def _column_shape(self, stream: _Stream) -> ir.Value:
        """Metadata of the transfer of a column: the last part of the depth may have fewer slices."""
        builder, size, (whole, rest) = self.builder, self.plan.part_slices, self.plan.parts

        def of(slices: int) -> ir.Value:
            return builder.index_constant(DmaShape(0, slices, LANES, LANES).encode())

        if not rest or not whole:
            return of(rest or size)
        return builder.select_bits(builder.equal_bits(stream.slice_number, whole * size + 1), of(rest), of(size))

    # A block of columns

    def _block(self, stream: _Stream) -> tuple[_Stream, Rows]:
        """The results of a block: for each part of the depth, the lanes of its accumulators added."""
        whole, rest = self.plan.parts

        def part(index: Index, carried: list[ir.Value]) -> list[ir.Value]:
            stream, columns = self._part(self._unpack(carried[chunks:]), index, self.plan.part_slices)
            return [*self._add(carried[:chunks], self._across(columns, stream)), *stream.pack()]

        chunks = self.plan.block_chunks
        zeros = [self.builder.zero() for _ in range(chunks)]
        carried = self.builder.loop(whole, [*zeros, *stream.pack()], part)
        totals, stream = carried[:chunks], self._unpack(carried[chunks:])
        if rest:
            stream, columns = self._part(stream, Index(whole), rest)
            totals = self._add(totals, self._across(columns, stream))
        return stream, totals

    def _add(self, left: Rows, right: Rows) -> Rows:
        return [self.builder.binary("add", a, b) for a, b in zip(left, right, strict=True)]

    def _part(self, stream: _Stream, part: Index, count: int) -> tuple[_Stream, Rows]:
        """For each column an accumulator whose lane s is the product of slice s."""
        builder, plan = self.builder, self.plan
        nothing = builder.splat(0.0)
        for at in reversed(range(LANES)):
            tile, row = self.row_tiles[at % plan.pads], part.scaled(self.part_rows) + at // plan.pads
            builder.push(builder.tile_load(tile, row, LANES) if at < count else nothing)
        columns = plan.block_columns
        builder.wait(stream.columns)

        def step(index: Index, carried: list[ir.Value]) -> list[ir.Value]:
            sums, bit, stream = carried[:columns], carried[columns], self._unpack(carried[columns + 1 :])
            following = self._fetched(stream)
            tiles = [builder.tile_at(tile, stream.buffer, "present") for tile in self.halves]
            lane = builder.lanes_of(bit)
            for column, total in enumerate(sums):
                at, pad = divmod(column, plan.pads)
                tile, place = tiles[pad], Index(at)
                if at >= plan.sliced_columns:
                    tile, place = self.whole[pad], index + (at - plan.sliced_columns) * self._column_rows
                row = builder.tile_load(tile, place, LANES)
                sums[column] = builder.merge(lane, builder.gemm(row), total)
            return [*sums, builder.plus(bit, bit), *following.pack()]

        zeros = [builder.zero() for _ in range(columns)]
        carried = builder.loop(count, [*zeros, builder.index_constant(1), *stream.pack()], step)
        return self._unpack(carried[columns + 1 :]), carried[:columns]

    def _across(self, columns: Rows, stream: _Stream) -> Rows:
        """The sum of the lanes of each column, 32 columns to a row; meanwhile columns of the next part come whole."""
        builder, sums = self.builder, list[ir.Value]()
        ones = builder.splat(1.0)
        for first in range(0, len(columns), LANES):
            for number in range(first // LANES, self.plan.whole_columns, self.plan.block_chunks):
                self._fetch_column(stream, number)
            for column in reversed(columns[first : first + LANES]):
                builder.push(column)
            sums.append(builder.gemm(ones))
        return sums

    # The end

    def _finish(self) -> None:
        write = self.product.write
        if write.buffer in self.buffers:
            self._send(write)
        if self.rows_kernel is not None:
            self.rows_kernel.product, self.rows_kernel.tile = write.buffer, self.results
            self.rows_kernel.emit()

    def _send(self, write: Access) -> None:
        whole, tail = divmod(self.plan.columns, LANES)
        pieces = [(first, min(MAX_DMA_ROWS, whole - first), LANES) for first in range(0, whole, MAX_DMA_ROWS)]
        if tail:
            pieces.append((whole, 1, tail))
        for first, rows, cols in pieces:
            token = self.builder.dma(
                "dma_store",
                self.results,
                self.buffers[write.buffer],
                Index(first),
                Index(write.offset + first * LANES),
                rows=rows,
                cols=cols,
                pitch=cols,
            )
            self.builder.wait([token])
