"""Seeded random packet programs from the instruction table, legal and illegal, for comparing engines.

A program works on a small part of the machine (few registers, rows and DRAM bytes), so that its instructions meet:
dependences, bank and port conflicts, rows of transfers in flight, cache lines, write ports. It has straight code,
counted loops, calls, forward jumps, memory traffic with mostly valid addresses, masks and special values. Some programs
are broken on purpose.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from random import Random

import numpy as np

from atalla_mlir.sim.engine import Rows
from atalla_mlir.target import isa
from atalla_mlir.target.encoding import PACKET_BYTES, SLOTS, WORD_MASK, DmaShape
from atalla_mlir.target.isa import Instruction, Operand, Role, Unit
from atalla_mlir.target.machine import AX01, MACHINES, ArrayInterlock, Machine, ReduceMode
from atalla_mlir.target.packets import SlotContent, packet_violations
from atalla_mlir.target.registers import RegisterFile
from atalla_mlir.testing.programs import Slot, word

__all__ = ["RandomProgram", "generate", "random_machine"]

DRAM_BYTES = 1 << 18
PAD_ROWS = 64

# Scalar registers by use; instructions that are not about memory or control write only the last group, mostly.
COUNTERS = range(1, 4)
LINKS = range(4, 6)
POINTERS = range(8, 16)
PAD_ADDRESSES = range(16, 20)
SHAPES = range(20, 24)
OFFSETS = range(24, 28)
NUMBERS = range(28, 40)
VECTORS = range(12)
MASKS = range(6)

SPECIAL_BF16 = (
    *(0x0000, 0x8000, 0x0001, 0x8001, 0x007F, 0x0080, 0x3F80, 0xBF80, 0x7F7F, 0xFF7F, 0x7F80, 0xFF80),
    *(0x7FC0, 0xFFC0, 0x7F81, 0xFFFF, 0x4F00, 0xCF00, 0x4EFF, 0x42B1, 0xC2AF),
)
SPECIAL_INTEGERS = (0, 1, 2, 31, 32, 33, 0x7F, 0x80, 0xFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0x00FF00FF, 0x01010000)

_FLAVOURS = ("scalar", "vector", "memory", "dma", "pads", "array", "mixed", "mixed")
_MEMORY_UNITS = (Unit.EX5, Unit.VLSU, Unit.SDMA)
_FLAVOUR_UNITS: dict[str, tuple[Unit, ...]] = {
    "scalar": (Unit.EX1, Unit.EX2, Unit.EX3, Unit.EX4, Unit.MTS),
    "vector": (Unit.LANE_ALU, Unit.LANE_MUL, Unit.LANE_EXP, Unit.REDUCTION, Unit.MTS, Unit.VLSU),
    "memory": (*_MEMORY_UNITS, Unit.EX1),
    "array": (Unit.GSAU, Unit.VLSU, Unit.LANE_ALU, Unit.SDMA),
    "dma": (Unit.SDMA, Unit.EX5),
    "pads": (Unit.VLSU,),
    "transpose": (Unit.VLSU, Unit.LANE_ALU),
    "mixed": tuple(unit for unit in Unit if unit not in (Unit.NONE, Unit.TRANSPOSE)),
}


@dataclass(frozen=True)
class RandomProgram:
    """A program with everything that a run of it depends on; `seed` made it."""

    seed: int
    machine: Machine
    packets: tuple[tuple[int, ...], ...]
    """Four 40-bit words a packet; the first is at PC 0."""
    scalars: dict[int, int]
    masks: dict[int, int]
    vectors: Rows
    pads: Rows
    """By pad and row."""
    dram: bytes

    def with_packets(self, packets: tuple[tuple[int, ...], ...]) -> RandomProgram:
        return dataclasses.replace(self, packets=packets)


def generate(seed: int, machine: Machine | None = None) -> RandomProgram:
    """The program of a seed, on the given machine or a random one."""
    random = Random(seed)
    drawn = random_machine(random) if machine is None else machine
    builder = _Builder(random, drawn)
    builder.build()
    bits = np.random.default_rng(seed)
    pads = _patterns(bits, (drawn.pads, drawn.pad_rows, drawn.vector_lanes))
    return RandomProgram(
        seed=seed,
        machine=drawn,
        packets=tuple(builder.packets),
        scalars=builder.initial_scalars(),
        masks={number: random.choice((0, 1, 0xFFFFFFFF, random.getrandbits(32))) for number in MASKS if number},
        vectors=_patterns(bits, (len(VECTORS), drawn.vector_lanes)),
        pads=pads,
        dram=_patterns(bits, (drawn.dram_bytes // 2,)).tobytes(),
    )


def random_machine(random: Random) -> Machine:
    """A parameter set, usually with some fields changed; small memories, so that limits are met."""
    base = random.choice([AX01, AX01, AX01, *MACHINES.values()])
    options: dict[str, object] = {"dram_bytes": DRAM_BYTES, "pad_rows": PAD_ROWS}
    choices: dict[str, tuple[object, ...]] = {
        "reduce": tuple(ReduceMode),
        "array_interlock": tuple(ArrayInterlock),
        "gsau_credits": (0, 0, 2, 44),
        "vector_lanes": (32, 32, 32, 16, 8, 1),
        "physical_lanes": (16, 32, 4),
        "pads": (4, 4, 2, 1),
        "icache_bytes": (8192, 0, 256),
        "dcache_bytes": (4096, 256, 512),
        "dcache_mshrs": (8, 1, 2),
        "dcache_targets_per_mshr": (8, 1, 2),
        "lsu_queue": (4, 1),
        "pad_queue": (32, 2, 4),
        "btb_entries": (64, 0, 2),
        "reductions_in_flight": (4, 1),
        "transpose_queue": (2, 1, 4),
        "dram_burst_bytes": (32, 8, 64),
        "dram_bursts_per_cycle": (1.0, 0.3, 30 / 32, 2.0),
        "dram_latency_cycles": (6, 0, 48),
        "sdma_row_serial": (True, False),
        "sdma_startup_cycles": (2, 0, 520),
        "lanes_pipelined": (True, False),
        "mul_shares_alu": (False, True),
        "pad_row_interval": (3, 1),
        "mispredict_penalty_cycles": (3, 0),
        "dcache_ways": (4, 1, 2),
    }
    for name in random.sample(sorted(choices), random.choice((0, 0, 1, 3, 8))):
        options[name] = random.choice(choices[name])
    if random.random() < 0.05:
        options["dram_bytes"] = DRAM_BYTES - random.randrange(1, 8)
    return base.with_options(name=base.name, **options)


def _patterns(bits: np.random.Generator, shape: tuple[int, ...]) -> Rows:
    """BF16 patterns: mostly numbers of moderate size, some special values, some random bits."""
    kind = bits.integers(0, 100, shape)
    values = bits.integers(0x3C00, 0x4280, shape) | bits.integers(0, 2, shape) << 15
    values = np.where(kind < 3, np.array(SPECIAL_BF16)[bits.integers(0, len(SPECIAL_BF16), shape)], values)
    values = np.where(kind == 99, bits.integers(0, 1 << 16, shape), values)
    return values.astype(np.uint16)


class _Builder:
    """Packets in order; jumps are drawn as packet counts, so nothing needs patching but calls and forward jumps."""

    def __init__(self, random: Random, machine: Machine) -> None:
        self._random = random
        self._machine = machine
        self.packets: list[tuple[int, ...]] = []
        self._flavour = random.choice(_FLAVOURS)
        self._is_wild = random.random() < 0.15
        """Whether addresses may be anything."""

    def build(self) -> None:
        random = self._random
        for _ in range(random.choice((1, 2, 4, 8))):
            self._flavour = random.choice(_FLAVOURS)
            random.choice((self._straight, self._loop, self._loop, self._call, self._skip, self._transpose))()
        if random.random() < 0.1:
            self._break_something()
        if random.random() < 0.97:
            self._packet([("halt.s",)])
            self._straight()

    def initial_scalars(self) -> dict[int, int]:
        random, machine = self._random, self._machine
        values = {number: random.choice(SPECIAL_INTEGERS) for number in NUMBERS}
        values |= {number: random.randrange(0, machine.dram_bytes // 2) & ~3 for number in POINTERS}
        values[POINTERS[0]] = 0x100
        values |= {number: random.randrange(PAD_ROWS // 2) * machine.row_bytes for number in PAD_ADDRESSES}
        values |= {number: self._shape() for number in SHAPES}
        values |= {number: random.randrange(0, 8) for number in OFFSETS}
        return values

    def _shape(self) -> int:
        random, lanes = self._random, self._machine.vector_lanes
        rows = random.choice((1, 2, random.randint(1, 32), 32 if self._is_wild else 16))
        cols = random.choice((1, lanes, random.randint(1, lanes), random.randint(1, 32) if self._is_wild else lanes))
        pitch = random.choice((cols, cols, cols + random.randrange(64), cols + random.randrange(1 << 10)))
        return DmaShape(random.randrange(self._machine.pads), rows, cols, pitch).encode()

    # Structure

    def _straight(self) -> None:
        for _ in range(self._random.choice((1, 3, 10, 25))):
            self._random_packet()

    def _loop(self) -> None:
        """Counts up to a number of rounds with the increment of its branch; the body may itself hold a loop."""
        random, counter = self._random, self._random.choice(COUNTERS)
        rounds, step = random.choice((1, 2, 5, 20, 60)), random.choice((1, 1, 3))
        limit = random.choice(LINKS)
        self._packet([("addi.s", counter, 0, 0)])
        self._packet([("addi.s", limit, 0, rounds * step)])
        start = len(self.packets)
        for _ in range(random.choice((1, 2, 4, 9))):
            self._random_packet()
        distance = (start - len(self.packets)) * PACKET_BYTES
        self._packet(self._with(2, "blt.s", counter, limit, distance, step))

    def _call(self) -> None:
        """Jumps over a function, calls it once or twice and returns from it."""
        random, link = self._random, self._random.choice(LINKS)
        body = random.choice((1, 3, 6))
        self._packet([("jal", 0, (body + 2) * PACKET_BYTES)])
        start = len(self.packets)
        for _ in range(body):
            self._random_packet()
        self._packet([("jalr", 0, link, 0)])
        for _ in range(random.choice((1, 2))):
            self._packet(self._with(1, "jal", link, (start - len(self.packets)) * PACKET_BYTES))

    def _transpose(self) -> None:
        """Pushes, then pops of all columns, other instructions in between; now and then in the wrong order."""
        random, columns = self._random, self._machine.vector_lanes
        pops = columns if random.random() < 0.9 else random.randrange(columns)
        self._flavour = "transpose"
        for name, count in (("tpus.vi", random.randrange(columns + 4)), ("tpop.vi", pops), ("tpus.vi", 1)):
            for _ in range(count):
                self._packet(self._with(random.choice((0, 0, 2)), name, random.choice(VECTORS)))

    def _skip(self) -> None:
        """A forward branch over some packets, taken or not as the registers will have it."""
        random = self._random
        name = random.choice([op.mnemonic for op in isa.INSTRUCTIONS if op.is_branch])
        count = random.choice((1, 2, 4))
        operands = (random.choice(NUMBERS), random.choice(NUMBERS), (count + 1) * PACKET_BYTES, random.randrange(128))
        self._packet(self._with(2, name, *operands))
        for _ in range(count):
            self._random_packet()

    def _break_something(self) -> None:
        random = self._random
        choice = random.randrange(5)
        if choice == 0:
            self.packets.append(tuple(random.getrandbits(40) & WORD_MASK for _ in range(SLOTS)))
        elif choice == 1:
            self._packet([("jal", 0, random.choice((8, -4, 1 << 20, -(1 << 20), 40 * PACKET_BYTES)))])
        elif choice == 2:
            self._packet([("jalr", 5, random.choice(NUMBERS), random.randrange(-100, 100))])
        elif choice == 3:
            slots = [slot for _ in range(SLOTS) for slot in self._draw(1)][:SLOTS]
            self._packet(slots)
        else:
            where = random.randrange(len(self.packets)) if self.packets else 0
            if self.packets:
                words = list(self.packets[where])
                words[random.randrange(SLOTS)] ^= 1 << random.randrange(40)
                self.packets[where] = tuple(words)

    # Packets

    def _random_packet(self) -> None:
        self._packet(self._draw(self._random.choice((1, 2, 3, 4, 4))))

    def _with(self, count: int, mnemonic: str, *operands: int) -> list[Slot]:
        """A control instruction and up to `count` others that may share its packet."""
        return self._draw(count + 1, (isa.BY_MNEMONIC[mnemonic], operands))

    def _draw(self, count: int, *given: SlotContent) -> list[Slot]:
        """Up to `count` instructions that may share a packet, the given ones among them; no other control."""
        chosen = list(given)
        for _ in range(count * 2):
            op = self._random.choice(self._pool())
            slot = (op, tuple(self._operand(op, operand) for operand in op.operands))
            if not packet_violations([*chosen, slot]):
                chosen.append(slot)
            if len(chosen) == count:
                break
        return [(op.mnemonic, *operands) for op, operands in chosen]

    def _pool(self) -> list[Instruction]:
        units = _FLAVOUR_UNITS[self._flavour]
        return [op for op in isa.hardware_instructions() if op.unit in units and not op.is_control]

    def _packet(self, slots: list[Slot]) -> None:
        """Fills slots at random places; some free ones are zero words, some `nop.s`."""
        random = self._random
        words = [random.choice((0, isa.NOP.opcode)) for _ in range(SLOTS)]
        places = sorted(random.sample(range(SLOTS), len(slots)))
        for place, slot in zip(places, slots, strict=True):
            words[place] = word(*slot)
        self.packets.append(tuple(words))

    # Operands

    def _operand(self, op: Instruction, operand: Operand) -> int:
        random = self._random
        if operand.file is RegisterFile.VECTOR:
            return random.choice(VECTORS) if random.random() < 0.98 else random.randrange(256)
        if operand.file is RegisterFile.MASK:
            return random.choice((0, 0, 1, *MASKS))
        if operand.file is RegisterFile.SCALAR:
            return self._scalar(op, operand)
        return self._immediate(op, operand)

    def _scalar(self, op: Instruction, operand: Operand) -> int:
        random = self._random
        if self._is_wild and random.random() < 0.2:
            return random.randrange(40)
        if op.unit is Unit.SDMA:
            return random.choice({"rs1": PAD_ADDRESSES, "rs2": POINTERS, "rs3": SHAPES}[operand.name])
        if op.unit is Unit.VLSU:
            return random.choice((0, *OFFSETS) if operand.name == "rs2" else (0, *PAD_ADDRESSES))
        if op.unit is Unit.EX5 and operand.name == "rs1":
            return random.choice((POINTERS[0], *POINTERS))
        if operand.role is Role.WRITE and random.random() < 0.97:
            return random.choice((0, *NUMBERS))
        return random.choice((0, *NUMBERS, *PAD_ADDRESSES, *OFFSETS))

    def _immediate(self, op: Instruction, operand: Operand) -> int:
        random, field = self._random, operand.field
        if op.unit is Unit.EX5:
            value = random.choice((0, 4, 64, random.randrange(0, 2048, 4), -(random.randrange(0, 256, 4))))
            return value + 2 * (op.mnemonic in ("lhw.s", "shw.s")) * random.randrange(2)
        if operand.name == "sid":
            return random.randrange(self._machine.pads if random.random() < 0.99 else 4)
        if operand.name == "num_cols":
            return random.choice((31, 31, self._machine.vector_lanes - 1, random.randrange(32)))
        bits = field.width_bits
        value = random.choice((0, 1, random.getrandbits(bits), random.getrandbits(min(bits, 5))))
        return field.minimum + (value - field.minimum) % (1 << bits) * field.scale
