"""What is fetched under the tiles of a walk with one inner block: outer blocks, a few steps before they are needed.

The first tile then waits for the inner block only. The steps of a tile fetch the later ones of its own outer block, and
the last of them the first ones of the following tile's.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from atalla_mlir._mlir import ir
from atalla_mlir.codegen.tile_cost import STEPS_AHEAD
from atalla_mlir.kernels.affine_index import Index
from atalla_mlir.kernels.operand_fill import OperandFill
from atalla_mlir.kernels.tile_addresses import ELEMENT_BYTES, PAD_SHIFT, ROW_BYTES, SINK, Position, TileAddresses
from atalla_mlir.kernels.tile_moves import Fetching, StepPlace, count_levels, take
from atalla_mlir.kernels.transfer_order import piece_order


@dataclass
class StepSource:
    """Where the outer block of a tile and that of the following one lie: bytes in a pad and in DRAM."""

    target: ir.Value
    address: ir.Value
    next_target: ir.Value
    next_distance: ir.Value
    """From the address of the one to that of the other."""

    def pack(self) -> list[ir.Value]:
        return [self.target, self.address, self.next_target, self.next_distance]


class StepMoves(OperandFill):
    """Moves the outer blocks of one panel of one inner block."""

    def __init__(self, addresses: TileAddresses) -> None:
        super().__init__(addresses)
        self.blocks = self.schedule.outer
        self.access = self.schedule.access(self.blocks)
        self.num_pieces = self.blocks.num_pieces
        self.step_bytes = self.schedule.step_rows(self.blocks) * ROW_BYTES
        self.joins = self.schedule.joins_tiles
        self.ahead = STEPS_AHEAD + self.joins
        """Steps by which a transfer comes before its use: one of them to arrive."""

    def fill(self) -> None:
        """Fetch the inner block if it is not in the pads, and what the first steps of the first outer one need."""
        inner = self.schedule.inner
        tokens = [] if self.schedule.is_resident(inner) else self.fill_alone(inner)
        lanes, base = self.schedule.depth.lanes, self.schedule.outer_base
        for step in range(self.ahead):
            moved, row = Index(self._distance_to(step)), Index(base + step * self.schedule.step_rows(self.blocks))
            tokens += self._fill_blocks(self.blocks, row, moved, lanes)
        self.builder.wait(tokens)

    def of_tile(self, at: Position) -> StepSource:
        builder, addresses = self.builder, self.addresses
        has_next = addresses.is_before(at.outer, self.blocks.num_blocks - 1)
        base = self.schedule.outer_base * ROW_BYTES
        other = builder.differ(at.buffer, addresses.buffer_bytes)
        address = addresses.block_address(self.blocks, at.outer)
        following = addresses.block_address(self.blocks, builder.minus(at.outer, has_next))
        return StepSource(
            target=builder.plus(at.buffer, base),
            address=address,
            next_target=builder.plus(other, base),
            next_distance=builder.minus(following, address),
        )

    def fetch_first(self, moves: StepSource) -> list[ir.Value]:
        """What the first iteration but one needs."""
        target = self.builder.plus(moves.target, self.ahead * self.step_bytes)
        address = self.builder.plus(moves.address, self._distance_to(self.ahead) * ELEMENT_BYTES)
        return self._fetch(target, address)

    def first(self, moves: StepSource) -> Fetching:
        """Of what the first iteration fetches."""
        builder, step = self.builder, self.ahead + 1
        return Fetching(
            builder.plus(moves.target, step * self.step_bytes),
            builder.index_constant(self._distance_to(step) * ELEMENT_BYTES),
            [builder.index_constant(index) for index in self._counters_at(step)[1:]],
        )

    def fetch(self, fetching: Fetching, moves: StepSource, at: StepPlace) -> list[ir.Value]:
        """Fetch a step; where none is left for the last iteration, one element, which comes again as a whole."""
        is_off = None if self.joins else at.is_last
        return self._fetch(fetching.target, self.builder.plus(moves.address, fetching.moved), is_off)

    def next(self, fetching: Fetching, moves: StepSource, at: StepPlace) -> Fetching:
        builder = self.builder
        *jumps, distance = (builder.index_constant(jump * ELEMENT_BYTES) for jump in self.schedule.jumps(self.blocks))
        counters, wraps = count_levels(builder, self.schedule.depth, fetching.counters)
        for wrap, jump in zip(wraps, jumps, strict=True):
            distance = builder.plus(distance, builder.both(wrap, jump))
        # the next iteration is the first one to fetch for the following tile
        goes_over = builder.equal_bits(at.next_number, self.schedule.depth.steps - self.ahead - (not self.joins))
        target = builder.plus(fetching.target, self.step_bytes)
        moved = builder.plus(fetching.moved, distance)
        return Fetching(
            builder.select_bits(goes_over, moves.next_target, target),
            builder.select_bits(goes_over, moves.next_distance, moved),
            counters,
        )

    def moves_from(self, rest: Iterator[ir.Value]) -> StepSource:
        target, address, next_target, next_distance = take(rest, 4)
        return StepSource(target, address, next_target, next_distance)

    def fetching_from(self, rest: Iterator[ir.Value]) -> Fetching:
        target, moved = take(rest, 2)
        return Fetching(target, moved, take(rest, len(self.schedule.depth.levels) - 1))

    def _counters_at(self, step: int) -> list[int]:
        """Iterations of the levels of the depth, outermost first."""
        counters: list[int] = []
        for level in reversed(self.schedule.depth.levels):
            step, index = divmod(step, level.extent)
            counters.insert(0, index)
        return counters

    def _distance_to(self, step: int) -> int:
        """Elements in DRAM from the first step of a block to another one."""
        is_rows = self.blocks is self.schedule.rows
        return sum(
            index * (level.streamed if is_rows else level.pushed)
            for index, level in zip(self._counters_at(step), self.schedule.depth.levels, strict=True)
        )

    def _fetch(self, target: ir.Value, address: ir.Value, is_off: ir.Value | None = None) -> list[ir.Value]:
        """Fetch the pieces of a step; one element of each where the bits `is_off` are set."""
        return [
            self.builder.transfer(
                "fetch",
                self.addresses.part(piece, self.builder.index_constant(0), "next"),
                target,
                self.builder.plus(address, self.blocks.piece_offset(piece, self.access) * ELEMENT_BYTES),
                self.builder.plus(self._shape(self.blocks.rows_of_piece(piece), is_off), piece << PAD_SHIFT),
                [self.buffers[self.access.buffer]],
                rows=self.blocks.rows_of_piece(piece),
                cols=self.schedule.depth.lanes,
            )
            for piece in piece_order(self.num_pieces, self.pads)
        ]

    def _shape(self, rows: int, is_off: ir.Value | None) -> ir.Value:
        """Metadata of so many rows of a step in pad 0."""
        builder, lanes = self.builder, self.schedule.depth.lanes
        shape = builder.index_constant(self.addresses.metadata(self.blocks, lanes, rows))
        return shape if is_off is None else builder.select_bits(is_off, builder.index_constant(SINK), shape)
