"""State of the emulator: float32 vectors, two pads of 32 rows, memory as a dictionary of 32-bit words."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

WORD = 0xFFFFFFFF
LANES = 32
PADS = 2
PAD_ROWS = 32
SCALARS = 256
VECTORS = 256
MASKS = 16


class LegacyState:
    """Scalar registers hold unsigned 32-bit numbers; memory keys are any integers, looked up exactly."""

    def __init__(self) -> None:
        self.memory: dict[int, int] = {}
        self.reset()

    def reset(self) -> None:
        self.x = [0] * SCALARS
        self.m = [WORD] + [0] * (MASKS - 1)
        self.v: Floats = np.zeros((VECTORS, LANES), np.float32)
        self.pads: Floats = np.zeros((PADS, PAD_ROWS, LANES), np.float32)
        self.weights: Floats = np.zeros((LANES, LANES), np.float32)
        """`weights[k, j]` is element k of column j."""
        self.pushes = 0
        self.next_pc = 0

    def write_scalar(self, index: int, value: int) -> None:
        if index:
            self.x[index] = value & WORD

    def write_vector(self, index: int, values: Floats) -> None:
        if index:
            self.v[index] = values

    # DMA and linear vector accesses go through the aligned word; scalar ones use the key as it is.

    def read_half(self, address: int) -> int:
        return self.memory.get(address & ~3, 0) >> (8 * (address & 2)) & 0xFFFF

    def write_half(self, address: int, half: int) -> None:
        key, shift = address & ~3, 8 * (address & 2)
        self.memory[key] = self.memory.get(key, 0) & ~(0xFFFF << shift) & WORD | half << shift


def float_of(bits: int) -> float:
    """The float32 value of a register."""
    return float(np.uint32(bits & WORD).view(np.float32))


def bits_of(value: float | np.float32) -> int:
    return int(np.float32(value).view(np.uint32))


def rounded(values: Floats) -> Floats:
    """Operands of lane operations: nearest even to BF16."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    result = (bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) & np.uint32(0xFFFF0000)
    nan = np.isnan(values)
    return (
        np.where(nan, bits & np.uint32(0x80000000) | np.uint32(0x7FC00000), result).astype(np.uint32).view(np.float32)
    )


def truncated(values: Floats) -> npt.NDArray[np.uint16]:
    """Stores to memory drop the low half."""
    return (np.ascontiguousarray(values, np.float32).view(np.uint32) >> np.uint32(16)).astype(np.uint16)


def lanes_of(mask: int) -> npt.NDArray[np.bool_]:
    return (mask >> np.arange(LANES, dtype=np.uint64) & np.uint64(1)).astype(bool)


def mask_of(lanes: npt.NDArray[np.bool_]) -> int:
    return int.from_bytes(np.packbits(lanes, bitorder="little").tobytes(), "little")
