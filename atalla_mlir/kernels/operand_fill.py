"""The first blocks of the operands of a walk over tiles, fetched before anything is computed."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from atalla_mlir._mlir import ir
from atalla_mlir.codegen.footprints import FootprintBlocks
from atalla_mlir.codegen.row_blocks import Blocks
from atalla_mlir.kernels.affine_index import Index
from atalla_mlir.kernels.tile_addresses import ELEMENT_BYTES, PAD_SHIFT, ROW_BYTES, SINK, TileAddresses
from atalla_mlir.kernels.transfer_order import piece_order

MANY_STEPS = 8
"""Of one operand, from which on it pays to compute the addresses of a step while the one before is on its way."""


class OperandFill:
    """Fetches the first blocks of both operands before anything is computed."""

    def __init__(self, addresses: TileAddresses) -> None:
        self.addresses, self.builder, self.schedule = addresses, addresses.builder, addresses.schedule
        self.pads, self.operands, self.buffers = addresses.pads, addresses.operands, addresses.buffers

    def fill(self) -> None:
        """Fetch the first block of both operands, before anything is computed."""
        depth, builder = self.schedule.depth, self.builder
        if self.schedule.fetched_footprints is not None:
            builder.wait(self._fill_footprints(self.schedule.fetched_footprints))
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

    def fill_alone(self, blocks: Blocks, iterations: int = 0) -> list[ir.Value]:
        """Fetch the first block of one operand, or so many iterations of the outermost level of it; tokens."""
        builder, levels, lanes = self.builder, self.schedule.depth.levels, self.schedule.depth.lanes
        (base,) = (base for _, other, base in self._first_blocks() if other is blocks)
        extents = [level.extent for level in levels]
        if isinstance(blocks, FootprintBlocks):
            extents[-1] = blocks.transfers
        extents[0] = iterations or extents[0]
        rows = self.schedule.target_jumps(blocks)
        for number in reversed(range(len(levels) - 1)):
            # a jump comes on top of what the levels inside have added
            rows[number] += levels[number + 1].extent * rows[number + 1]

        def level(number: int, row: Index, moved: Index, tokens: list[ir.Value]) -> list[ir.Value]:
            if number == len(levels):
                before = tokens if math.prod(extents) >= MANY_STEPS else ()
                return self._fill_blocks(blocks, row, moved, lanes, before)
            own = levels[number].streamed if blocks is self.schedule.rows else levels[number].pushed

            def body(index: Index, carried: list[ir.Value]) -> list[ir.Value]:
                return level(number + 1, row + index.scaled(rows[number]), moved + index.scaled(own), carried)

            return builder.loop(extents[number], tokens, body)

        return level(0, Index(base), Index(), [builder.ready() for _ in range(blocks.num_pieces)])

    def _fill_footprints(self, rows: FootprintBlocks) -> list[ir.Value]:
        """Image lines come under the first taps of each slice, columns under all of them."""
        builder, cols, lanes = self.builder, self.schedule.cols, self.schedule.depth.lanes
        slices, taps = self.schedule.depth.levels
        bases = {at: base for at, _, base in self._first_blocks()}

        def fill_slice(number: Index, tokens: list[ir.Value]) -> list[ir.Value]:
            def fetch_lines(tap: Index, tokens: list[ir.Value]) -> list[ir.Value]:
                row = number.scaled(rows.slice_rows) + tap.scaled(rows.piece_rows) + bases[0]
                moved = number.scaled(slices.streamed) + tap.scaled(taps.streamed)
                return [*self._fill_blocks(rows, row, moved, lanes), *fetch_columns(tap, tokens[rows.num_pieces :])]

            def fetch_columns(tap: Index, _: list[ir.Value]) -> list[ir.Value]:
                row = (number.scaled(taps.extent) + tap).scaled(cols.rows_per_pad) + bases[1]
                moved = number.scaled(slices.pushed) + tap.scaled(taps.pushed)
                return self._fill_blocks(cols, row, moved, lanes)

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

    def _fill_blocks(
        self, blocks: Blocks, row: Index, moved: Index, lanes: int, before: Sequence[ir.Value] = ()
    ) -> list[ir.Value]:
        """Fetch the pieces of a step of a first block to that row of each pad on, when those `before` are there.

        Transfers wait for them anyway; to say so leaves other registers to the addresses, which are computed meanwhile.
        """
        builder, access, tokens = self.builder, self.schedule.access(blocks), list[ir.Value]()
        for at, piece in enumerate(piece_order(blocks.num_pieces, self.pads)):
            distance = (moved + blocks.piece_offset(piece, access)).scaled(ELEMENT_BYTES)
            shape = self.addresses.shape(blocks, access, piece, lanes)
            word = builder.index_constant(shape.encode())
            target = builder.index_value((row + piece // self.pads * blocks.piece_rows).scaled(ROW_BYTES))
            if self.addresses.panel is not None and blocks is self.schedule.outer:
                # the panel before has left its block
                is_there, sink = self.addresses.panel.is_later, self.schedule.sink_row * ROW_BYTES
                word = builder.select_bits(is_there, builder.index_constant(SINK + (shape.pad << PAD_SHIFT)), word)
                target = builder.select_bits(is_there, builder.index_constant(sink), target)
            address = builder.plus(self.addresses.first_addresses[blocks], builder.index_value(distance))
            builder.wait(before[at : at + 1], orders=False)
            tokens.append(
                builder.transfer(
                    "fetch",
                    self.operands[piece % self.pads],
                    target,
                    address,
                    word,
                    [self.buffers[access.buffer]],
                    rows=shape.rows,
                    cols=lanes,
                )
            )
        return tokens
