"""Addresses of the tiles of a walk: places of blocks in the pads and in DRAM.

All of it is arithmetic on byte offsets and bits (-1 for true, 0 for false) that the loops carry; `TileSchedule` says
what the numbers mean.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from atalla_mlir._mlir import ir
from atalla_mlir.codegen.halved_blocks import HalvedBlocks
from atalla_mlir.codegen.iteration import Access, Buffer, Loop
from atalla_mlir.codegen.row_blocks import Blocks
from atalla_mlir.codegen.tile_schedule import TileSchedule
from atalla_mlir.kernels.affine_index import Index
from atalla_mlir.kernels.builder import Builder
from atalla_mlir.target.encoding import DmaShape

ROW_BYTES = 64
ELEMENT_BYTES = 2
PAD_SHIFT = 30
ROWS_SHIFT = 25
"""Of the pad's number in a transfer's metadata."""
SINK = DmaShape(0, 1, 1, 1).encode()
"""One element: what a transfer moves that is switched off."""
KEPT_PART = "kept"
"""Of rows that one product leaves in the pads for the next one: the part that both look at."""


@dataclass
class Position:
    """A tile of a panel: its outer block in the order of the walk, its inner one, and where the outer one lies.

    That is bytes from the first to its one of the two outer buffers.
    """

    outer: ir.Value
    inner: ir.Value
    buffer: ir.Value

    def pack(self) -> list[ir.Value]:
        return [self.outer, self.inner, self.buffer]


@dataclass
class Panel:
    """One of several panels of which each begins with the outer block that the one before has left in the pads.

    All of it is bits: whether it is not the first, and whether it walks outer blocks from the last one to the first.
    """

    is_later: ir.Value
    goes_back: ir.Value


class TileAddresses:
    """Of one panel: `count` inner blocks from block `first` on; `batch` says where in the batch it lies.

    `results` are the accesses of results and operands of the epilogue, `resident` the tiles, one for each pad, of rows
    that are in the pads already.
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
        resident: Sequence[ir.Value] = (),
        panel: Panel | None = None,
    ) -> None:
        self.builder, self.schedule, self.buffers, self.operands = builder, schedule, buffers, operands
        self.count, self.results, self.resident, self.panel = count, results, resident, panel
        self.pads = schedule.rows.pads
        self.first_block = builder.index_value(first)
        read = [
            (blocks, access)
            for blocks, access in ((schedule.rows, schedule.streamed), (schedule.cols, schedule.pushed))
            if not schedule.is_resident(blocks)
        ]
        accesses = (*(access for _, access in read), *results)
        self.begins = {id(access): self._begin(access, batch) for access in accesses}
        self.outer_distances: dict[int, ir.Value] = {}
        """Bytes in DRAM from an outer block to the next one of the walk, where there is a panel."""
        if panel is not None:
            for access in accesses:
                self._follow(panel, access)
        self.first_addresses = {blocks: self._first_address(blocks) for blocks, _ in read}

    def first(self) -> Position:
        zero = self.builder.index_constant(0)
        if self.panel is None or self.schedule.outer.num_blocks % 2:
            return Position(zero, zero, zero)
        return Position(zero, zero, self.builder.both(self.panel.goes_back, self.buffer_bytes))

    def after(self, at: Position) -> Position:
        """The tile after `at`; after the last one, blocks that exist but mean nothing."""
        builder = self.builder
        goes_on = self.is_before(at.inner, self.count - 1)
        wraps = builder.differ(goes_on, -1)
        inner = builder.both(builder.plus(at.inner, 1), goes_on)
        outer = builder.minus(
            at.outer, builder.both(wraps, self.is_before(at.outer, self.schedule.outer.num_blocks - 1))
        )
        return Position(outer, inner, builder.differ(at.buffer, builder.both(wraps, self.buffer_bytes)))

    def is_before(self, number: ir.Value, last: int) -> ir.Value:
        """Bits of number < last, where number is one of 0..last."""
        return self.builder.is_negative(self.builder.plus(number, -last)) if last else self.builder.index_constant(0)

    @property
    def buffer_bytes(self) -> int:
        """From one of the two outer buffers to the other one."""
        return self.schedule.block_rows(self.schedule.outer) * ROW_BYTES

    def starts(self, at: Position) -> tuple[ir.Value, ir.Value]:
        """Bytes in each pad to the first steps of a tile's blocks of rows and columns."""
        schedule, builder = self.schedule, self.builder
        if isinstance(schedule.rows, HalvedBlocks) and schedule.rows.is_resident:
            inner = self.block_offset(
                schedule.rows, at.inner, *(rows * ROW_BYTES for rows in schedule.rows.block_strides)
            )
        else:
            inner = builder.times(at.inner, schedule.block_rows(schedule.inner) * ROW_BYTES)
        outer = builder.plus(at.buffer, schedule.outer_base * ROW_BYTES)
        return (inner, outer) if schedule.rows_inside else (outer, inner)

    def parts(self, starts: tuple[ir.Value, ir.Value]) -> tuple[list[ir.Value], list[ir.Value]]:
        """The rows and the columns of a step, in the pads that hold some."""
        rows, cols = (
            [self.part(pad, start, name) for pad in range(min(blocks.num_pieces, self.pads))]
            for blocks, start, name in zip(
                (self.schedule.rows, self.schedule.cols), starts, ("rows", "cols"), strict=True
            )
        )
        return rows, cols

    def part(self, pad: int, offset: ir.Value, name: str) -> ir.Value:
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

    def _follow(self, panel: Panel, access: Access) -> None:
        """Lets an access begin with the first outer block of a panel, and go on in its direction."""
        builder, outer = self.builder, self.schedule.outer
        lines, rows = (stride * ELEMENT_BYTES for stride in outer.strides(access))
        forward = outer.lines * lines if outer.blocks_across == 1 else outer.width * rows
        to_last = builder.both(panel.goes_back, (outer.num_blocks - 1) * forward)
        self.begins[id(access)] = builder.plus(self.begins[id(access)], to_last)
        self.outer_distances[id(access)] = builder.select_bits(
            panel.goes_back, builder.index_constant(-forward), builder.index_constant(forward)
        )

    def number(self, blocks: Blocks, at: Position) -> ir.Value:
        """A tile's block of rows or columns, counted from the operand's first."""
        if blocks is not self.schedule.outer:
            return self.builder.plus(at.inner, self.first_block)
        if self.panel is None:
            return at.outer
        last = self.builder.both(self.panel.goes_back, self.schedule.outer.num_blocks)
        return self.builder.plus(self.builder.differ(at.outer, self.panel.goes_back), last)

    def tile_address(self, access: Access, at: Position) -> ir.Value:
        """DRAM address of the first element of a tile in a result or an operand of the epilogue."""
        address = self.begins[id(access)]
        for blocks in (self.schedule.rows, self.schedule.cols):
            place = at.outer if blocks is self.schedule.outer else self.number(blocks, at)
            address = self.builder.plus(address, self.block_bytes(blocks, place, access))
        return address

    def block_bytes(self, blocks: Blocks, number: ir.Value, access: Access) -> ir.Value:
        """Bytes from where an operand in DRAM begins to a block; of an outer one `number` is its place in the walk."""
        if blocks is self.schedule.outer and self.panel is not None:
            return self.builder.times(number, self.outer_distances[id(access)])
        lines, rows = (stride * ELEMENT_BYTES for stride in blocks.strides(access))
        return self.block_offset(blocks, number, lines, rows, blocks.picture_stride(access) * ELEMENT_BYTES)

    def block_offset(self, blocks: Blocks, number: ir.Value, lines: int, rows: int, pictures: int) -> ir.Value:
        """Bytes from the first row of all to that of a block, where lines, the rows of a line and pictures lie so far
        apart."""
        builder, across, count = self.builder, blocks.blocks_across, blocks.blocks_of_picture
        picture, number = self._divided(number, count, blocks.num_blocks)
        line_block, block = self._divided(number, across, count)
        offset = builder.plus(
            builder.times(line_block, blocks.lines * lines), builder.times(block, blocks.width * rows)
        )
        if blocks.num_pictures > 1:
            offset = builder.plus(offset, builder.times(picture, blocks.pictures_together * pictures))
        for at, last, excess in (
            (line_block, count // across - 1, blocks.excess_lines * lines),
            (block, across - 1, blocks.excess * rows),
        ):
            if excess:
                offset = builder.plus(offset, builder.both(builder.equal_bits(at, last), -excess))
        return offset

    def _divided(self, number: ir.Value, size: int, count: int) -> tuple[ir.Value, ir.Value]:
        """Quotient and remainder of a number below `count`."""
        builder, zero = self.builder, self.builder.index_constant(0)
        if size == count:
            return zero, number
        if size == 1:
            return number, zero
        quotient = builder.quotient(number, size, count)
        return quotient, builder.plus(number, builder.times(quotient, -size))

    def _first_address(self, blocks: Blocks) -> ir.Value:
        """Address of the first block that the panel needs."""
        number = self.builder.index_constant(0) if blocks is self.schedule.outer else self.first_block
        return self.block_address(blocks, number)

    def block_address(self, blocks: Blocks, number: ir.Value) -> ir.Value:
        access = self.schedule.access(blocks)
        return self.builder.plus(self.begins[id(access)], self.block_bytes(blocks, number, access))

    # Transfers

    def shape(self, blocks: Blocks, access: Access, piece: int, cols: int) -> DmaShape:
        rows = blocks.rows_of_piece(piece)
        return DmaShape(blocks.pad_of_piece(piece), rows, cols, blocks.pitch(access) if rows > 1 else cols)

    def metadata(self, blocks: Blocks, cols: int, rows: int | None = None) -> int:
        """Of the largest piece, or of that many of its rows."""
        access, rows = self.schedule.access(blocks), rows or blocks.piece_rows
        return DmaShape(0, rows, cols, blocks.pitch(access) if rows > 1 else cols).encode()
