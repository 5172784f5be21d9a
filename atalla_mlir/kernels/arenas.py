"""Arenas: the room in scratchpad pads that a kernel asks the firmware for on entry and gives back at its end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from atalla_mlir._mlir import integer_value, ir
from atalla_mlir.codegen.machine_ir import SPARE_MARK, TURNS_MARK
from atalla_mlir.dialects.ax01_builder import Builder
from atalla_mlir.kernels.attributes import IMAGE, SPARE, TURNS
from atalla_mlir.kernels.kernel_constants import KernelConstants
from atalla_mlir.target.machine import Machine
from atalla_mlir.target.registers import ARGUMENT_BASE, RESULT, RegisterFile

ALLOCATION = "atalla.alloc_tile"
ALLOCATE, FREE, PANIC = "spad_alloc", "spad_free", "panic"
PAGES_EXHAUSTED = 1
"""Low byte of the code that a kernel passes to `panic` when a pad has no free run; the pad is in the next byte."""
SPILL_PAGES = 2


@dataclass(frozen=True)
class Tile:
    """`rows` rows of a pad from row `base` of its arena on; `name` is what the scheduler knows them by."""

    pad: int
    base: int
    rows: int
    name: str
    turns: int = 1
    """How many times it exists; iterations of a loop use them in turn."""
    image: int | None = None
    """The argument that `base` counts from, of an image: the entry function has asked for its rows."""


def taken(builder: Builder, number: int) -> ir.Value:
    """The present content of a scalar register, in a virtual one."""
    return builder.copy(builder.get_register(RegisterFile.SCALAR, number), builder.types[RegisterFile.SCALAR])


def turns_of(tile: ir.Operation) -> int:
    """How many times an allocated tile exists."""
    return integer_value(tile.attributes[TURNS]) if TURNS in tile.attributes else 1


def end_row(tile: ir.Operation) -> int:
    """The row of its pad behind an allocated tile."""
    base, rows = (integer_value(tile.attributes[key]) for key in ("base", "rows"))
    return base + turns_of(tile) * rows


class Arenas:
    """One arena for each pad that `allocations` of a kernel lie on; `arguments` are what it was called with."""

    def __init__(
        self,
        allocations: Sequence[ir.Operation],
        builder: Builder,
        machine: Machine,
        constants: KernelConstants,
        arguments: Sequence[ir.Value],
    ) -> None:
        self.b, self.arguments = builder, arguments
        self.machine = machine
        self.constants = constants
        self.tiles: dict[ir.Value, Tile] = {}
        self.bases: dict[int, ir.Value] = {}
        """Byte address of each pad's arena."""
        self.pages: dict[int, int] = {}
        self._collect_tiles(allocations)

    def _collect_tiles(self, allocations: Sequence[ir.Operation]) -> None:
        """Tiles by their values, and how many pages each pad needs for them."""
        for at, op in enumerate(allocations):
            pad, base, rows = (integer_value(op.attributes[key]) for key in ("pad", "base", "rows"))
            turns = turns_of(op)
            image = integer_value(op.attributes[IMAGE]) if IMAGE in op.attributes else None
            marks = (f"{TURNS_MARK}{turns}" if turns > 1 else "") + (SPARE_MARK if SPARE in op.attributes else "")
            self.tiles[op.results[0]] = Tile(pad, base, rows, f"t{at}{marks}", turns, image)
            if image is None:
                needed = -(-end_row(op) // self.machine.page_rows)
                self.pages[pad] = max(self.pages.get(pad, 0), needed)

    def base(self, tile: Tile) -> ir.Value:
        """Byte address that the base of a tile counts from."""
        return self.bases[tile.pad] if tile.image is None else self.arguments[tile.image]

    def allocate(self) -> None:
        spill_pad = min(self.pages, key=lambda pad: self.pages[pad], default=0)
        for pad in sorted({*self.pages, spill_pad}):
            pages = self.pages.get(pad, 0) + (SPILL_PAGES if pad == spill_pad else 0)
            for position, value in enumerate((pad, pages, 0)):
                self._argument(position, value)
            self.b.call(ALLOCATE)
            self.bases[pad] = self.b.beq_s(taken(self.b, RESULT), self.constants.integer(-1), f"exhausted{pad}", 0)
            if pad == spill_pad:
                self._spill_area(pad)
            self.pages[pad] = pages

    def _argument(self, position: int, value: int | ir.Value) -> None:
        into = self.b.pinned(RegisterFile.SCALAR, ARGUMENT_BASE + position)
        if isinstance(value, int):
            self.b.addi_s(self.constants.x0, value, into=into)
        else:
            self.b.copy(value, into)

    def _spill_area(self, pad: int) -> None:
        offset = self.pages.get(pad, 0) * self.machine.page_bytes
        base = self.constants.plus(self.bases[pad], offset) if offset else self.b.addi_s(self.bases[pad], 0)
        op = base.owner.operation
        op.attributes["atalla.spill_rows"] = self.b.integer(SPILL_PAGES * self.machine.page_rows)
        op.attributes["atalla.spill_pad"] = self.b.integer(pad)

    def free(self) -> None:
        for pad, base in self.bases.items():
            for position, value in enumerate((pad, base, self.pages[pad])):
                self._argument(position, value)
            self.b.call(FREE)

    def panics(self) -> None:
        """Where the branches after `spad_alloc` go when there are no pages; `panic` does not return."""
        for pad in self.bases:
            self.b.label(f"exhausted{pad}")
            self._argument(0, PAGES_EXHAUSTED | pad << 8)
            self.b.call(PANIC)
            self.b.jalr(self.constants.x0, 0, into=self.b.pinned(RegisterFile.SCALAR, 0))

    def pad_rows(self) -> list[int]:
        """Rows of each pad that the kernel asks for."""
        return [self.pages.get(pad, 0) * self.machine.page_rows for pad in range(self.machine.pads)]
