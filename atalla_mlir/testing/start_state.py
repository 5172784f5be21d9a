"""Random register, pad and DRAM contents for programs that engines are compared on: rich in values that need care."""

from __future__ import annotations

from dataclasses import dataclass, replace
from random import Random

import numpy as np
import numpy.typing as npt

from atalla_mlir.sim.engine import Engine, Rows
from atalla_mlir.target.machine import Machine
from atalla_mlir.target.registers import FILES, RegisterFile

SPECIAL_BF16 = (
    *(0x0000, 0x8000, 0x3F80, 0xBF80, 0x4000, 0x3F00),  # zeros, ones, 2, 1/2
    *(0x7F80, 0xFF80),  # infinities
    *(0x7FC0, 0xFFC0, 0x7F81, 0xFF81, 0x7FFF, 0xFFFF),  # NaNs, quiet and signalling
    *(0x0001, 0x8001, 0x007F, 0x0080, 0x8080),  # subnormals, smallest normals
    *(0x7F7F, 0xFF7F, 0x4F00, 0xCF00, 0x42B1, 0xC2AE),  # largest, +-2^31, ends of exp's range
)
SPECIAL_INTEGERS = (0, 1, 2, 3, 31, 32, 33, 0x7F, 0x7FFFFFFF, 0x80000000, 0x80000001, 0xFFFFFFFF, 0xFFFF8000)


@dataclass(frozen=True, eq=False)
class StartState:
    """What a program finds. `pads` holds the first rows of every pad, `dram` bytes from `dram_base` on."""

    scalars: tuple[int, ...]
    masks: tuple[int, ...]
    vectors: Rows
    pads: npt.NDArray[np.uint16]
    dram_base: int
    dram: bytes

    def apply(self, engine: Engine) -> None:
        for file, values in (
            (RegisterFile.SCALAR, self.scalars),
            (RegisterFile.MASK, self.masks),
            (RegisterFile.VECTOR, self.vectors),
        ):
            for index, value in enumerate(values):
                if np.any(value):
                    engine.write_register(file, index, value)
        for pad, rows in enumerate(self.pads):
            engine.write_pad(pad, 0, rows)
        engine.write_dram(self.dram_base, self.dram)

    def without_memories(self) -> StartState:
        """The same registers over zeros."""
        return replace(self, pads=np.zeros_like(self.pads), dram=bytes(len(self.dram)))

    def without_vectors(self) -> StartState:
        return replace(self, vectors=np.zeros_like(self.vectors))

    def without_scalars(self, indices: frozenset[int]) -> StartState:
        return replace(self, scalars=tuple(0 if i in indices else value for i, value in enumerate(self.scalars)))

    def without_masks(self) -> StartState:
        return replace(self, masks=(0,) * len(self.masks))


def random_bf16(random: Random, shape: tuple[int, ...]) -> npt.NDArray[np.uint16]:
    """BF16 patterns: mostly of moderate size, some rows of any bits, some with special values strewn in."""
    generator = np.random.default_rng(random.getrandbits(32))
    moderate = (generator.standard_normal(shape).astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)
    special = generator.choice(np.array(SPECIAL_BF16, np.uint16), shape)
    anything = generator.integers(0, 1 << 16, shape, dtype=np.uint16)
    kind = generator.random(shape[:-1])[..., None]
    strewn = np.where(generator.random(shape) < 0.06, special, moderate)
    return np.where(kind < 0.7, moderate, np.where(kind < 0.85, strewn, np.where(kind < 0.93, anything, special)))


def random_scalar(random: Random) -> int:
    """A 32-bit pattern: an integer, a BF16 value in the upper half, or one with bits below it."""
    match random.randrange(6):
        case 0:
            return random.choice(SPECIAL_INTEGERS)
        case 1:
            return random.getrandbits(32)
        case 2:
            return random.randrange(-64, 64) & 0xFFFFFFFF
        case 3:
            return random.choice(SPECIAL_BF16) << 16 | (random.getrandbits(16) if random.random() < 0.2 else 0)
        case _:
            value = np.float32(random.gauss(0, 4)).view(np.uint32)
            return int(value) & 0xFFFF0000


def random_mask(random: Random) -> int:
    choices = (0, 0xFFFFFFFF, 1 << random.randrange(32), (1 << random.randrange(33)) - 1, random.getrandbits(32))
    return random.choice(choices)


def random_state(random: Random, machine: Machine, *, pad_rows: int, dram_base: int, dram_bytes: int) -> StartState:
    lanes = machine.vector_lanes
    scalars = (0, *(random_scalar(random) for _ in range(1, FILES[RegisterFile.SCALAR].count)))
    masks = (0, *(random_mask(random) for _ in range(1, FILES[RegisterFile.MASK].count)))
    vectors = random_bf16(random, (FILES[RegisterFile.VECTOR].count, lanes))
    vectors[0] = 0
    pads = random_bf16(random, (machine.pads, min(pad_rows, machine.pad_rows), lanes))
    dram = random_bf16(random, (dram_bytes // 64, 32)).tobytes()
    return StartState(scalars, masks, vectors, pads, dram_base, dram)
