"""Semantics of scalar memory, pad rows and scratchpad DMA (machine reference 2.5, 2.10, 2.11), all checked.

An access is checked completely before anything changes, so a trap leaves memory as it was.
"""

from __future__ import annotations

import numpy as np

from atalla_mlir.sim.engine import TrapKind
from atalla_mlir.sim.semantics_scalar import WORD, Action, Binder
from atalla_mlir.sim.state import ELEMENT_BYTES, SCALARS, VECTORS, DmaAccess, State
from atalla_mlir.sim.traps import TrapError
from atalla_mlir.target.encoding import DmaShape

WORD_BYTES = 4


def scalar_address(state: State, base: int, imm: int, size_bytes: int) -> int:
    """The checked DRAM address of a scalar access."""
    address = (state.x[base] + imm) & WORD
    if address % size_bytes:
        raise TrapError(
            TrapKind.MISALIGNED_ACCESS, f"dram address 0x{address:X} is not a multiple of {size_bytes} bytes"
        )
    if address + size_bytes > state.dram.size_bytes:
        raise TrapError(
            TrapKind.DRAM_RANGE, f"dram address 0x{address:X} is outside the {state.dram.size_bytes} bytes of dram"
        )
    state.scalar_address = address
    return address


def _load_word(state: State, rd: int, imm: int, rs1: int) -> Action:
    x, target, words = state.x, rd or SCALARS, state.dram.words

    def execute() -> None:
        x[target] = int(words[scalar_address(state, rs1, imm, WORD_BYTES) // WORD_BYTES])
        state.bytes_loaded += WORD_BYTES

    return execute


def _load_half(state: State, rd: int, imm: int, rs1: int) -> Action:
    x, target, halves = state.x, rd or SCALARS, state.dram.halves

    def execute() -> None:
        x[target] = int(halves[scalar_address(state, rs1, imm, ELEMENT_BYTES) // ELEMENT_BYTES]) << 16
        state.bytes_loaded += ELEMENT_BYTES

    return execute


def _store_word(state: State, rd: int, imm: int, rs1: int) -> Action:
    x, dram = state.x, state.dram

    def execute() -> None:
        address = scalar_address(state, rs1, imm, WORD_BYTES)
        dram.touch(address, address)
        dram.words[address // WORD_BYTES] = x[rd]
        state.bytes_stored += WORD_BYTES

    return execute


def _store_half(state: State, rd: int, imm: int, rs1: int) -> Action:
    x, dram = state.x, state.dram

    def execute() -> None:
        address = scalar_address(state, rs1, imm, ELEMENT_BYTES)
        dram.touch(address, address)
        dram.halves[address // ELEMENT_BYTES] = x[rd] >> 16
        state.bytes_stored += ELEMENT_BYTES

    return execute


def _check_pad(state: State, pad: int) -> None:
    if pad >= state.machine.pads:
        raise TrapError(TrapKind.PAD_RANGE, f"pad {pad} does not exist; the machine has {state.machine.pads} pads")


def _pad_row(state: State, rs1: int, rs2: int, pad: int) -> int:
    x = state.x
    row = (x[rs1] // state.machine.row_bytes + x[rs2]) & WORD
    if row >= state.machine.pad_rows:
        _check_pad(state, pad)
        raise TrapError(TrapKind.PAD_RANGE, f"row {row} is outside the {state.machine.pad_rows} rows of pad {pad}")
    state.pad_row[pad] = row
    return row


def _load_row(state: State, vd: int, rs1: int, rs2: int, num_cols: int, sid: int) -> Action:
    if sid >= state.machine.pads:
        return lambda: _check_pad(state, sid)
    pad, target, cols = state.pads[sid], state.vectors[vd or VECTORS], num_cols + 1

    def execute() -> None:
        target[:] = pad[_pad_row(state, rs1, rs2, sid)]
        target[cols:] = 0

    def execute_full() -> None:
        target[:] = pad[_pad_row(state, rs1, rs2, sid)]

    return execute if cols < state.machine.vector_lanes else execute_full


def _store_row(state: State, vd: int, rs1: int, rs2: int, num_cols: int, sid: int) -> Action:
    if sid >= state.machine.pads:
        return lambda: _check_pad(state, sid)
    pad, source = state.pads[sid], state.vectors[vd][: num_cols + 1]
    cols = len(source)

    def execute() -> None:
        pad[_pad_row(state, rs1, rs2, sid), :cols] = source

    return execute


def checked_dma(state: State, rs1: int, rs2: int, rs3: int) -> DmaAccess:
    """The transfer that the three registers describe, inside pad and DRAM."""
    x, machine = state.x, state.machine
    shape = DmaShape.decode(x[rs3])
    access = DmaAccess(shape.pad, x[rs1] // machine.row_bytes, shape.rows, shape.cols, x[rs2], shape.pitch)
    _check_pad(state, access.pad)
    if access.cols > machine.vector_lanes:
        raise TrapError(TrapKind.PAD_RANGE, f"dma of {access.cols} columns into rows of {machine.vector_lanes} lanes")
    if access.row + access.rows > machine.pad_rows:
        raise TrapError(
            TrapKind.PAD_RANGE,
            f"dma rows {access.row}..{access.row + access.rows - 1} are outside the {machine.pad_rows} rows "
            f"of pad {access.pad}",
        )
    if access.pitch < access.cols:
        raise TrapError(
            TrapKind.DMA_PITCH, f"dma pitch of {access.pitch} elements is less than its {access.cols} columns"
        )
    if access.address % ELEMENT_BYTES:
        raise TrapError(
            TrapKind.MISALIGNED_ACCESS, f"dma address 0x{access.address:X} is not a multiple of {ELEMENT_BYTES} bytes"
        )
    if access.end > state.dram.size_bytes:
        raise TrapError(
            TrapKind.DRAM_RANGE,
            f"dma bytes 0x{access.address:X}..0x{access.end - 1:X} are outside the {state.dram.size_bytes} bytes "
            "of dram",
        )
    state.dma = access
    return access


def _dma_load(state: State, rs1: int, rs2: int, rs3: int) -> Action:
    sixteen = np.uint32(16)

    def execute() -> None:
        dma = checked_dma(state, rs1, rs2, rs3)
        tile = state.dram.tile(dma.address, dma.rows, dma.cols, dma.pitch)
        state.pads[dma.pad, dma.row : dma.row + dma.rows, : dma.cols] = tile.astype(np.uint32) << sixteen
        state.bytes_loaded += ELEMENT_BYTES * dma.rows * dma.cols

    return execute


def _dma_store(state: State, rs1: int, rs2: int, rs3: int) -> Action:
    """A pitch is never less than the columns, so the rows do not overlap in DRAM."""
    sixteen = np.uint32(16)

    def execute() -> None:
        dma = checked_dma(state, rs1, rs2, rs3)
        for first, last in dma.byte_runs():
            state.dram.touch(first, last)
        tile = state.dram.tile(dma.address, dma.rows, dma.cols, dma.pitch)
        tile[:] = state.pads[dma.pad, dma.row : dma.row + dma.rows, : dma.cols] >> sixteen
        state.bytes_stored += ELEMENT_BYTES * dma.rows * dma.cols

    return execute


BINDERS: dict[str, Binder] = {
    "lw.s": _load_word,
    "sw.s": _store_word,
    "lhw.s": _load_half,
    "shw.s": _store_half,
    "vreg.ld": _load_row,
    "vreg.st": _store_row,
    "scpad.ld": _dma_load,
    "scpad.st": _dma_store,
}
