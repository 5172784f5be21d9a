"""The architectural state of one core, as the arrays and lists that instructions work on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from atalla_mlir.sim.memory import Dram
from atalla_mlir.sim.numerics import Bits, Floats
from atalla_mlir.target.machine import Machine
from atalla_mlir.target.registers import FILES, RegisterFile

ALL_ONES = 0xFFFFFFFF
ELEMENT_BYTES = 2
SCALARS = FILES[RegisterFile.SCALAR].count
VECTORS = FILES[RegisterFile.VECTOR].count
MASKS = FILES[RegisterFile.MASK].count


class Array:
    """The weights of the systolic array as a sliding window: a push moves the window one column to the left.

    `window[i, j]` is w_j[order[i]]. The rows are in bit-reversed order, so that adding adjacent pairs of products (4.3
    rule 4) means adding the lower half to the upper half, again and again. The window slides over a wider buffer so
    that a push writes one column instead of moving all; at the edge it starts over at the right.
    """

    _SLACK = 992

    def __init__(self, lanes: int) -> None:
        self.order = bit_reversal(lanes)
        self._lanes = lanes
        self._buffer: Floats = np.zeros((lanes, lanes + self._SLACK), np.float32)
        self._start = self._SLACK
        self.window = self._buffer[:, self._start :]

    def push(self, vector: Floats) -> None:
        if self._start == 0:
            self._buffer[:, self._SLACK :] = self.window.copy()
            self._start = self._SLACK
        self._start -= 1
        self._buffer[:, self._start] = vector[self.order]
        self.window = self._buffer[:, self._start : self._start + self._lanes]

    @property
    def weights(self) -> Floats:
        """A copy in natural order: `weights[k, j]` is w_j[k]."""
        return self.window[self.order]

    def load(self, weights: Floats) -> None:
        self._start = self._SLACK
        self.window = self._buffer[:, self._start :]
        self.window[:] = weights[self.order]


def bit_reversal(count: int) -> npt.NDArray[np.intp]:
    """The numbers 0..count-1 with their bits reversed; its own inverse. `count` is a power of two."""
    bits = count.bit_length() - 1
    return np.array([sum((i >> b & 1) << (bits - 1 - b) for b in range(bits)) for i in range(count)], dtype=np.intp)


class Transposer:
    """The 32x32 transpose unit: rows in, columns out (machine reference 2.13).

    The end of a drain rewinds both counters, so that a partly filled tile is followed by a tile that starts at row 0.
    """

    def __init__(self, lanes: int) -> None:
        self.tile: Bits = np.zeros((lanes, lanes), np.uint32)
        self.row = 0
        self.column = 0

    @property
    def draining(self) -> bool:
        return self.column > 0

    def push(self, vector: Bits) -> None:
        self.tile[self.row] = vector
        self.row = (self.row + 1) % len(self.tile)

    def pop(self) -> Bits:
        column = self.tile[:, self.column].copy()
        self.column += 1
        if self.column == len(self.tile):
            self.row = self.column = 0
        return column


@dataclass(frozen=True)
class DmaAccess:
    """What an SDMA instruction moves: `rows` x `cols` elements between pad rows and DRAM.

    `address` is in bytes, `pitch` in elements.
    """

    pad: int
    row: int
    rows: int
    cols: int
    address: int
    pitch: int

    @property
    def end(self) -> int:
        """The DRAM byte address after the last element."""
        return self.address + ELEMENT_BYTES * ((self.rows - 1) * self.pitch + self.cols)

    def byte_runs(self) -> Iterator[tuple[int, int]]:
        """First and last byte address of each contiguous run in DRAM."""
        if self.pitch == self.cols:
            yield self.address, self.end - 1
            return
        for row in range(self.rows):
            first = self.address + ELEMENT_BYTES * row * self.pitch
            yield first, first + ELEMENT_BYTES * self.cols - 1


@dataclass(frozen=True)
class StateSnapshot:
    """A copy of a `State`; of pads and DRAM only what is in use."""

    x: tuple[int, ...]
    m: tuple[int, ...]
    v: Bits
    pad_rows_used: npt.NDArray[np.bool_]
    pad_data: Bits
    weights: Floats
    transposer: tuple[Bits, int, int]
    dram: dict[int, bytes]
    next_pc: int
    bytes_moved: tuple[int, int]


class State:
    """Registers, pads, array, transposer, DRAM and the next PC.

    Vectors and pad rows are 32-bit patterns (BF16 in the upper half). Each file has one register more than the machine:
    writes to the hard-wired register 0 go there. Memory instructions leave their addresses
    behind in `pad_row`, `scalar_address` and `dma`, for the timing model.
    """

    def __init__(self, machine: Machine) -> None:
        lanes = machine.vector_lanes
        self.machine = machine
        self.x = [0] * (SCALARS + 1)
        self.m = [0] * (MASKS + 1)
        self.v: Bits = np.zeros((VECTORS + 1, lanes), np.uint32)
        self.vectors: list[Bits] = list(self.v)
        self.floats: list[Floats] = list(self.v.view(np.float32))
        self.pads: Bits = np.zeros((machine.pads, machine.pad_rows, lanes), np.uint32)
        self.array = Array(lanes)
        self.transposer = Transposer(lanes)
        self.dram = Dram(machine.dram_bytes)
        self.next_pc = 0
        self.pad_row = [0] * machine.pads
        self.scalar_address = 0
        self.dma = DmaAccess(0, 0, 1, 1, 0, 1)
        self.bytes_loaded = 0
        self.bytes_stored = 0
        self.reset()

    def reset(self) -> None:
        lanes = self.machine.vector_lanes
        self.x[:] = [0] * len(self.x)
        self.m[:] = [0] * len(self.m)
        self.m[0] = ALL_ONES
        self.v[:] = 0
        self.pads[:] = 0
        self.array.load(np.zeros((lanes, lanes), np.float32))
        self.transposer.tile[:] = 0
        self.transposer.row = self.transposer.column = 0
        self.next_pc = 0
        self.bytes_loaded = self.bytes_stored = 0

    def snapshot(self) -> StateSnapshot:
        used = np.asarray(self.pads.any(axis=2))
        unit = self.transposer
        return StateSnapshot(
            x=tuple(self.x),
            m=tuple(self.m),
            v=self.v.copy(),
            pad_rows_used=used,
            pad_data=self.pads[used],
            weights=self.array.weights,
            transposer=(unit.tile.copy(), unit.row, unit.column),
            dram=self.dram.snapshot(),
            next_pc=self.next_pc,
            bytes_moved=(self.bytes_loaded, self.bytes_stored),
        )

    def restore(self, saved: StateSnapshot) -> None:
        self.x[:] = saved.x
        self.m[:] = saved.m
        self.v[:] = saved.v
        self.pads[:] = 0
        self.pads[saved.pad_rows_used] = saved.pad_data
        self.array.load(saved.weights)
        tile, self.transposer.row, self.transposer.column = saved.transposer
        self.transposer.tile[:] = tile
        self.dram.restore(saved.dram)
        self.next_pc = saved.next_pc
        self.bytes_loaded, self.bytes_stored = saved.bytes_moved
