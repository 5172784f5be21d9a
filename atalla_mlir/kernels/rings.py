"""Rings in the pads: slots for the steps of a loop, in parts that lie on different pads (`kernels.phased_rows`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from atalla_mlir._mlir import ir
from atalla_mlir.codegen.iteration import Access
from atalla_mlir.codegen.machine_ir import AHEAD_MARK, ANY_OBJECT
from atalla_mlir.codegen.phase_plan import MAX_STAGES, ring_rows
from atalla_mlir.kernels.builder import LANES, Builder

PADS = 4
ROW_BYTES = 2 * LANES


@dataclass
class Part:
    """Items `first` .. `first + count` - 1 of a step, in a tile of their own; `cols` elements in each."""

    tile: ir.Value
    pad: int
    first: int
    count: int
    cols: int = LANES


@dataclass
class Ring:
    """A tile of `slots` slots, in one or more parts that lie on different pads."""

    parts: list[Part]
    slots: int

    def slot_bytes(self, part: Part) -> int:
        return ring_rows(part.count) * ROW_BYTES


@dataclass
class Stream:
    """A buffer of DRAM that moves through a ring."""

    access: Access
    buffer: ir.Value
    ring: Ring
    step_bytes: int
    start: int
    """Element of the buffer with which the first step begins."""


@dataclass(frozen=True)
class Counter:
    """What the loop carries from `initial` on: each iteration adds `step` and keeps the bits of `mask`."""

    initial: int
    step: int
    mask: int = -1


class Pads:
    """Where tiles go: pads in pairs, those with the least to do first."""

    def __init__(self, builder: Builder, block: ir.Block) -> None:
        self.builder = builder
        self.block = block
        self.used = [0] * PADS
        self.work = [0.0] * PADS

    def tile(self, rows: int, pad: int, work: float) -> ir.Value:
        with ir.InsertionPoint.at_block_begin(self.block):
            tile = self.builder.placed_tile(rows, pad, self.used[pad])
        self.used[pad] += rows
        self.work[pad] += work
        return tile

    def quiet(self, count: int) -> list[int]:
        """The pads with the least work, in the order of their numbers."""
        return sorted(sorted(range(PADS), key=lambda pad: (self.work[pad], pad))[:count])

    def ring(self, slots: int, counts: Sequence[tuple[int, int]], work: float) -> Ring:
        """A ring whose parts have the given (items, cols), one after the other; `work` is that of an item."""
        chosen = self.quiet(min(len(counts), PADS))
        parts: list[Part] = []
        first = 0
        for at, (count, cols) in enumerate(counts):
            pad = chosen[at % len(chosen)]
            tile = self.tile(slots * ring_rows(count), pad, work * count)
            parts.append(Part(tile, pad, first, count, cols))
            first += count
        return Ring(parts, slots)


FIRST_STEPS = ANY_OBJECT
"""Name of the rows that are filled before a loop begins: all that the loop does with rings comes after that."""


def tile_name(use: str, stages: int = MAX_STAGES) -> str:
    """Name of rows for one use of them; the scheduler keeps different uses apart by iterations alone, so many."""
    return f"{use}{AHEAD_MARK}{stages}"


def part_of(ring: Ring, item: int) -> Part:
    return next(part for part in ring.parts if part.first <= item < part.first + part.count)


def access_key(access: Access) -> object:
    return (access.buffer, access.offset, frozenset(access.strides.items()))
