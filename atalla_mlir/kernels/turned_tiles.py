"""Copies that turn a matrix, 32x32 elements at a time, through the systolic array.

The rows of a tile are pushed as weights and met by the 32 unit vectors, whose products are its columns: 95 cycles for
a tile, of which the transpose unit needs 545. That is exact for all numbers but -0, which becomes +0; an infinity or a
NaN would spoil the columns beside it. A product with a row of zeros shows whether there is one, and then everything is
turned once more in the transpose unit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from atalla_mlir._mlir import ir
from atalla_mlir.codegen.iteration import Access, Buffer
from atalla_mlir.codegen.phase_plan import AHEAD, MAX_STAGES
from atalla_mlir.codegen.turn_plan import TurnPlan
from atalla_mlir.kernels.builder import LANES
from atalla_mlir.kernels.integer_builder import IntegerBuilder
from atalla_mlir.kernels.rings import FIRST_STEPS, PADS, Pads, Part, Ring, part_of, tile_name
from atalla_mlir.target.encoding import DmaShape

SLOTS = 1 << (AHEAD + MAX_STAGES + 1).bit_length()
ELEMENT_BYTES = 2


Position = Sequence[ir.Value]
"""Iterations of each of the plan's loops before a tile, not yet held within the loop."""


def unit_rows(builder: IntegerBuilder) -> tuple[list[ir.Value], ir.Value]:
    """Rows with a one in lane 0, 1, .., 31, and one of zeros."""
    one, zero = builder.constant(1.0), builder.splat(0.0)
    return [builder.insert(one, zero, builder.at(lane)) for lane in range(LANES)], zero


def tiles_again(builder: IntegerBuilder, flaws: ir.Value, tiles: int) -> ir.Value:
    """How many tiles are to be turned once more: all if `flaws` has a NaN, else none."""
    found = builder.mask_bits(builder.compare("ne", flaws, flaws))
    any_found = builder.integer("ltu", builder.number(0), found)
    ((trips, _),) = builder.as_index(builder.integer("mul", any_found, builder.number(tiles))).terms
    return trips


@dataclass
class TurnedTiles:
    """Emits a plan; `buffers` are the kernel's DRAM arguments by buffer."""

    builder: IntegerBuilder
    plan: TurnPlan
    buffers: dict[Buffer, ir.Value]
    block: ir.Block

    def emit(self) -> None:
        builder = self.builder
        self.pads = Pads(builder, self.block)
        counts = [(LANES // PADS, LANES)] * PADS
        self.coming, self.going = (self.pads.ring(SLOTS, counts, 1.0) for _ in range(2))
        self.units, self.zero = unit_rows(builder)
        flaws = self._turn_in_array()
        self._turn_again(flaws)

    # Through the array

    def _turn_in_array(self) -> ir.Value:
        """All tiles; a row with a NaN in some lane if any element is infinite or a NaN."""
        builder = self.builder
        size = self.coming.slot_bytes(self.coming.parts[0])
        for step in range(AHEAD):
            counter = [builder.index_constant(value) for value in self._position(step)]
            self._move("fetch", self.coming, counter, builder.index_constant(step % SLOTS * size), FIRST_STEPS)
        behind = -MAX_STAGES
        slots = (AHEAD, 0, 0, behind)
        initial = [builder.index_constant(step % SLOTS * size) for step in slots]
        first_sent = (behind * LANES, *(0 for _ in self.plan.loops[1:]))
        initial += [builder.index_constant(value) for value in (*self._position(AHEAD), *first_sent)]
        tokens = [builder.ready() for _ in range(2 * PADS)]
        results = builder.loop(
            self.plan.tiles + MAX_STAGES,
            [builder.zero(), *initial, *tokens],
            lambda _, carried: self._iteration(carried, size),
            overlap=True,
        )
        builder.wait(results[-len(tokens) :])
        return results[0]

    def _position(self, step: int) -> list[int]:
        """Of tile number `step`; the slowest loop goes on where there is none."""
        position: list[int] = []
        for loop in self.plan.loops[:-1]:
            step, at = divmod(step, self.plan.count(loop))
            position.append(at * self.plan.step(loop))
        return [*position, step * self.plan.step(self.plan.loops[-1])]

    def _iteration(self, carried: Sequence[ir.Value], size: int) -> list[ir.Value]:
        builder = self.builder
        flaws, filled, read, written, sent = carried[:5]
        size_of_position = len(self.plan.loops)
        coming, going = carried[5 : 5 + size_of_position], carried[5 + size_of_position : 5 + 2 * size_of_position]
        tokens = carried[5 + 2 * size_of_position :]
        for token in tokens:
            # until a transfer is complete its address register must not be taken for anything else
            builder.wait([token], orders=False)
        started = self._move("fetch", self.coming, coming, filled)
        rows = self._rows(self.coming, read, tile_name("read"))
        for row in reversed(rows):
            builder.push(row)
        outcome = [builder.gemm(unit) for unit in self.units]
        flaws = builder.binary("add", flaws, builder.gemm(self.zero))
        tiles = self._tiles(self.going, written, tile_name("write"))
        for item, row in enumerate(outcome):
            part = part_of(self.going, item)
            builder.tile_store(row, tiles[id(part)], builder.at(item - part.first), LANES)
        started += self._move("send", self.going, going, sent)
        slots = [builder.both(builder.plus(slot, size), size * SLOTS - 1) for slot in (filled, read, written, sent)]
        return [flaws, *slots, *self._following(coming), *self._following(going), *started]

    def _following(self, position: Position) -> list[ir.Value]:
        """The tile below, or the first of the next column of tiles, and so on."""
        builder, plan = self.builder, self.plan
        following: list[ir.Value] = []
        carry: ir.Value | None = None
        for loop, at in zip(plan.loops, position, strict=True):
            step = plan.step(loop)
            moved = builder.plus(at, step if carry is None else builder.both(carry, step))
            if loop is plan.loops[-1]:
                return [*following, moved]
            carry = builder.equal_bits(moved, step * plan.count(loop))
            following.append(builder.both(moved, builder.differ(carry, -1)))
        return following

    def _rows(self, ring: Ring, slot: ir.Value, name: str) -> list[ir.Value]:
        tiles = self._tiles(ring, slot, name)
        rows: list[ir.Value] = []
        for item in range(LANES):
            part = part_of(ring, item)
            rows.append(self.builder.tile_load(tiles[id(part)], self.builder.at(item - part.first), LANES))
        return rows

    def _tiles(self, ring: Ring, slot: ir.Value, name: str) -> dict[int, ir.Value]:
        return {id(part): self.builder.tile_at(part.tile, slot, name) for part in ring.parts}

    def _move(self, kind: str, ring: Ring, position: Position, slot: ir.Value, name: str = "") -> list[ir.Value]:
        """Start the transfers of a tile of the source (`fetch`) or of the result (`send`); their tokens."""
        access = self.plan.source if kind == "fetch" else self.plan.result
        address, pitch = self._address(access, position), self._pitch(access)
        tiles = self._tiles(ring, slot, name or tile_name(kind))
        tokens: list[ir.Value] = []
        for part in ring.parts:
            start = self.builder.plus(address, ELEMENT_BYTES * part.first * pitch)
            tokens.append(self._transfer(kind, tiles[id(part)], access, start, part, pitch))
        return tokens

    def _transfer(self, kind: str, tile: ir.Value, access: Access, start: ir.Value, part: Part, pitch: int) -> ir.Value:
        shape = DmaShape(part.pad, part.count, LANES, pitch)
        builder = self.builder
        nothing, metadata = builder.index_constant(0), builder.index_constant(shape.encode())
        buffers = [self.buffers[access.buffer]]
        return builder.transfer(kind, tile, nothing, start, metadata, buffers, rows=part.count, cols=LANES)

    def _pitch(self, access: Access) -> int:
        return access.stride(self.plan.across if access is self.plan.source else self.plan.down)

    def _address(self, access: Access, position: Position) -> ir.Value:
        """Where a tile begins in DRAM; the last ones are moved back into the matrix, those before the first onto it."""
        builder, plan = self.builder, self.plan
        total = builder.plus(builder.address(self.buffers[access.buffer]), ELEMENT_BYTES * access.offset)
        for loop, at in zip(plan.loops, position, strict=True):
            inside = at
            if loop is plan.loops[-1] or loop.extent % plan.step(loop):
                inside = builder.at_most(inside, loop.extent - plan.step(loop))
            if loop is plan.down and access is plan.result:
                inside = builder.at_least(inside, 0)
            total = builder.plus(total, builder.times(inside, ELEMENT_BYTES * access.stride(loop)))
        return total

    # Once more, where there is an infinity or a NaN

    def _turn_again(self, flaws: ir.Value) -> None:
        """Turn all tiles in the transpose unit if `flaws` says so."""
        builder = self.builder
        tiles = tiles_again(builder, flaws, self.plan.tiles)
        pads = self.pads.quiet(2)
        raw, turned = (Part(self.pads.tile(LANES, pad, 1.0), pad, 0, LANES) for pad in pads)

        def tile(_: object, carried: list[ir.Value]) -> list[ir.Value]:
            source, result = self.plan.source, self.plan.result
            address = self._address(source, carried)
            builder.wait([self._transfer("fetch", raw.tile, source, address, raw, self._pitch(source))])
            for item in range(LANES):
                builder.transpose_push(builder.tile_load(raw.tile, builder.at(item), LANES))
            for item in range(LANES):
                builder.tile_store(builder.transpose_pop(), turned.tile, builder.at(item), LANES)
            address = self._address(result, carried)
            builder.wait([self._transfer("send", turned.tile, result, address, turned, self._pitch(result))])
            return self._following(carried)

        builder.counted_loop(tiles, [builder.index_constant(0) for _ in self.plan.loops], tile)
