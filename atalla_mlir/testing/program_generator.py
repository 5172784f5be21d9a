"""Seeded random packet programs, legal and illegal, made from the instruction table.

A program has loops, skips, calls and computed jumps around packets of random instructions whose addresses mostly make
sense: registers with a purpose (addresses, shapes, counters, links) are kept apart from those that hold data, and are
written only now and then. One program in a few has a fault planted: an illegal packet, an undefined opcode, an address
or a destination that leads nowhere.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

from atalla_mlir.target import isa
from atalla_mlir.target.encoding import INSTRUCTION_BITS, OPCODE, PACKET_BYTES, SLOTS, DmaShape, pack_packet
from atalla_mlir.target.isa import BY_MNEMONIC, Format, Instruction, Role, Unit
from atalla_mlir.target.machine import Machine
from atalla_mlir.target.packets import packet_violations
from atalla_mlir.target.registers import FILES, RegisterFile
from atalla_mlir.testing.programs import word
from atalla_mlir.testing.start_state import StartState, random_state

Words = tuple[int, ...]
Slot = tuple[Instruction, tuple[int, ...]]

_NOP = word("nop.s")
_HALT = word("halt.s")
_ROWS_USED = 72
"""Rows of a pad that addresses with a purpose reach."""
_WINDOW_BYTES = 1 << 14

_WEIGHTS = {
    Unit.EX1: 3,
    Unit.EX2: 2,
    Unit.EX3: 2,
    Unit.EX4: 1,
    Unit.EX5: 3,
    Unit.LANE_ALU: 4,
    Unit.LANE_MUL: 3,
    Unit.LANE_EXP: 1,
    Unit.REDUCTION: 2,
    Unit.GSAU: 6,
    Unit.MTS: 2,
    Unit.VLSU: 6,
    Unit.SDMA: 2,
}
_BY_UNIT: dict[Unit, list[Instruction]] = {}
for _instruction in isa.hardware_instructions():
    if not _instruction.is_control:
        _BY_UNIT.setdefault(_instruction.unit, []).append(_instruction)
_OPCODE_BITS = OPCODE.maximum
_UNDEFINED = [n for n in range(_OPCODE_BITS + 1) if n not in isa.BY_OPCODE or isa.BY_OPCODE[n].is_pseudo]
_BRANCHES = [row for row in isa.INSTRUCTIONS if row.is_branch]


@dataclass(frozen=True)
class Step:
    """One action on an engine: a run, after a jump to `launch_pc` when that is given."""

    launch_pc: int | None = None
    max_packets: int = 400
    breakpoints: frozenset[int] = frozenset()


@dataclass(frozen=True, eq=False)
class Program:
    """Packets from PC 0 on, what they find, and how they are run."""

    seed: int
    machine: Machine
    packets: tuple[Words, ...]
    start: StartState
    steps: tuple[Step, ...]

    @property
    def code(self) -> bytes:
        return b"".join(map(pack_packet, self.packets))


@dataclass(frozen=True)
class _Registers:
    """Register numbers by purpose."""

    data: tuple[int, ...]
    pad_bases: tuple[int, ...]
    row_offsets: tuple[int, ...]
    dram_bases: tuple[int, ...]
    shapes: tuple[int, ...]
    counters: tuple[int, ...]
    limits: tuple[int, ...]
    links: tuple[int, ...]
    subroutines: tuple[int, ...]
    vectors: tuple[int, ...]
    masks: tuple[int, ...]


def _draw_registers(random: Random) -> _Registers:
    numbers = iter(random.sample(range(1, FILES[RegisterFile.SCALAR].count), 40))

    def take(count: int) -> tuple[int, ...]:
        return tuple(next(numbers) for _ in range(count))

    vectors = random.sample(range(FILES[RegisterFile.VECTOR].count), random.choice((6, 12, 24)))
    masks = random.sample(range(FILES[RegisterFile.MASK].count), 5)
    return _Registers(
        *(take(count) for count in (10, 4, 4, 4, 4, 4, 2, 2, 2)), vectors=(0, *vectors), masks=(0, *masks)
    )


class _Generator:
    def __init__(self, seed: int, machine: Machine) -> None:
        self._random = Random(seed)
        self._seed = seed
        self._machine = machine
        self._registers = _draw_registers(self._random)
        self._packets: list[Words] = []
        self._calls: list[int] = []
        """Packets that call the subroutine."""
        self._depth = 0
        self._wild = self._random.random() < 0.03
        self._units = list(_WEIGHTS)
        self._pad: int | None = None
        """The only pad that row accesses use, in sections that crowd one."""

    # The program

    def build(self) -> Program:
        random = self._random
        for _ in range(random.randrange(1, 6)):
            self._section()
        if random.random() < 0.93:
            self._packets.append((_HALT,) + (_NOP,) * (SLOTS - 1) if random.random() < 0.7 else self._halting())
        subroutine = self._subroutine()
        if random.random() < 0.25:
            self._plant_fault()
        return Program(self._seed, self._machine, tuple(self._packets), self._start(subroutine), self._steps())

    def _halting(self) -> Words:
        """Every other slot of the packet still executes."""
        return self._packet(fixed=[(isa.HALT, ())])

    def _start(self, subroutine: int) -> StartState:
        random, machine, registers = self._random, self._machine, self._registers
        window = min(_WINDOW_BYTES, machine.dram_bytes)
        base = random.choice(
            (0, (machine.dram_bytes - window) & ~63, random.randrange(machine.dram_bytes - window + 1) & ~63)
        )
        state = random_state(random, machine, pad_rows=_ROWS_USED, dram_base=base, dram_bytes=window)
        scalars = list(state.scalars)
        highest = max(min(_ROWS_USED, machine.pad_rows) - 32, 0)
        for number in registers.pad_bases:
            scalars[number] = random.randrange(highest + 1) * machine.row_bytes + random.randrange(machine.row_bytes)
        for number in registers.row_offsets:
            scalars[number] = random.randrange(min(32, machine.pad_rows))
        for number in registers.dram_bases:
            scalars[number] = base + random.randrange(0, max(window - 2048, 4), 4)
        for number in registers.shapes:
            scalars[number] = self._shape()
        for number in registers.limits:
            scalars[number] = random.randrange(1, 9)
        for number in (*registers.subroutines, *registers.links):
            scalars[number] = subroutine * PACKET_BYTES
        return StartState(tuple(scalars), state.masks, state.vectors, state.pads, base, state.dram)

    def _shape(self) -> int:
        random = self._random
        cols = random.choice((1, 16, 31, 32, random.randrange(1, 33)))
        cols = min(cols, self._machine.vector_lanes)
        pitch = random.choice((cols, cols + 1, cols + random.randrange(64)))
        return DmaShape(random.randrange(self._machine.pads), random.randrange(1, 33), cols, pitch).encode()

    def _steps(self) -> tuple[Step, ...]:
        random, pcs = self._random, [index * PACKET_BYTES for index in range(len(self._packets))]
        if random.random() < 0.7:
            return (Step(),)
        steps: list[Step] = []
        for _ in range(random.randrange(2, 6)):
            launch = random.choice(pcs) if random.random() < 0.2 else None
            points = frozenset(random.sample(pcs, min(2, len(pcs)))) if random.random() < 0.4 else frozenset[int]()
            steps.append(Step(launch, random.choice((1, 2, 7, 30, 200)), points))
        return tuple(steps)

    # Sections

    def _section(self) -> None:
        self._depth += 1
        makers: list[Callable[[], None]] = [self._straight, self._straight, self._crowd, self._call, self._transpose]
        if self._depth < 3:
            makers += [self._loop, self._loop, self._loop, self._skip]
        self._random.choice(makers)()
        self._depth -= 1

    def _straight(self) -> None:
        for _ in range(self._random.randrange(1, 12)):
            self._packets.append(self._packet())

    def _crowd(self) -> None:
        """Packets that want few units, and one pad."""
        random = self._random
        self._units = random.sample(list(_WEIGHTS), random.randrange(1, 4))
        if random.random() < 0.4:
            self._units = [Unit.VLSU, Unit.SDMA]
        self._pad = random.randrange(self._machine.pads)
        for _ in range(random.randrange(4, 20)):
            self._packets.append(self._packet())
        self._units, self._pad = list(_WEIGHTS), None

    def _body(self) -> None:
        for _ in range(self._random.randrange(1, 3)):
            self._section() if self._random.random() < 0.4 else self._random.choice((self._straight, self._crowd))()

    def _loop(self) -> None:
        """Counts from a small number up to a limit register; the increment may be 0 (until the step limit)."""
        counter = self._registers.counters[self._depth]
        limit = self._random.choice(self._registers.limits)
        self._packets.append(self._packet(fixed=[self._slot("addi.s", counter, 0, self._random.randrange(3))]))
        first = len(self._packets)
        self._body()
        distance = (first - len(self._packets)) * PACKET_BYTES
        branch = self._slot(self._random.choice(("blt.s", "blt.s", "ble.s", "bne.s")), counter, limit, distance, 1)
        if distance >= -2040:
            self._packets.append(self._packet(fixed=[branch]))

    def _skip(self) -> None:
        """A forward branch on data around a body."""
        at = len(self._packets)
        self._packets.append(())
        self._body()
        distance = min((len(self._packets) - at) * PACKET_BYTES, 2040)
        op = self._random.choice(_BRANCHES)
        left, right = self._data(), self._data()
        branch = self._slot(op.mnemonic, left, right, distance, self._random.choice((0, 1, 127)))
        self._packets[at] = self._packet(fixed=[branch])

    def _call(self) -> None:
        link, target = self._registers.links[0], self._random.choice(self._registers.subroutines)
        if self._random.random() < 0.5:
            self._packets.append(self._packet(fixed=[self._slot("jalr", link, target, 0)]))
        else:
            self._calls.append(len(self._packets))
            self._packets.append(self._packet(fixed=[self._slot("jal", link, 0)]))

    def _subroutine(self) -> int:
        """Appends the subroutine behind the end and points the calls at it; its first packet."""
        first = len(self._packets)
        for _ in range(self._random.randrange(4)):
            self._packets.append(self._packet())
        self._packets.append(self._packet(fixed=[self._slot("jalr", 0, self._registers.links[0], 0)]))
        for at in self._calls:
            target = word("jal", self._registers.links[0], (first - at) * PACKET_BYTES)
            opcode = BY_MNEMONIC["jal"].opcode
            self._packets[at] = tuple(target if OPCODE.extract(w) == opcode else w for w in self._packets[at])
        return first

    def _transpose(self) -> None:
        """Pushes, then all the pops of a drain."""
        lanes = self._machine.vector_lanes
        for _ in range(self._random.choice((0, 1, 3, lanes, lanes + 2))):
            self._packets.append(self._packet(fixed=[self._slot("tpus.vi", self._vector())], fill=1))
        for _ in range(lanes):
            self._packets.append(self._packet(fixed=[self._slot("tpop.vi", self._vector())], fill=1))

    # Packets

    def _packet(self, fixed: Sequence[Slot] = (), fill: int = SLOTS) -> Words:
        """A legal packet that holds `fixed` and at most `fill` random instructions."""
        random = self._random
        slots = list(fixed)
        for _ in range(random.randrange(fill + 1)):
            candidate = self._instruction()
            at = random.randrange(len(slots) + 1)
            trial = [*slots[:at], candidate, *slots[at:]]
            if not packet_violations(trial):
                slots = trial
        return self._words(slots)

    def _words(self, slots: Sequence[Slot]) -> Words:
        """Encoded, with empty slots strewn in and bits set that no field covers."""
        random = self._random
        words = [self._word(*slot) for slot in slots]
        while len(words) < SLOTS:
            words.insert(random.randrange(len(words) + 1), random.choice((_NOP, _NOP, 0)))
        return tuple(words)

    def _word(self, op: Instruction, operands: tuple[int, ...]) -> int:
        encoded = word(op.mnemonic, *operands)
        return encoded | random_unused_bits(self._random, op) if self._random.random() < 0.1 else encoded

    # Instructions

    def _slot(self, mnemonic: str, *operands: int) -> Slot:
        return BY_MNEMONIC[mnemonic], operands

    def _instruction(self) -> Slot:
        random = self._random
        unit = random.choices(self._units, [_WEIGHTS[unit] for unit in self._units])[0]
        op = random.choice(_BY_UNIT[unit])
        return op, tuple(self._operand(op, operand) for operand in op.operands)

    def _operand(self, op: Instruction, operand: isa.Operand) -> int:
        random, registers = self._random, self._registers
        if random.random() < (0.05 if self._wild else 0.001):
            return _anything(random, operand)
        if operand.file is RegisterFile.VECTOR:
            return self._vector()
        if operand.file is RegisterFile.MASK:
            return random.choice(registers.masks)
        if operand.file is RegisterFile.SCALAR:
            return self._scalar_operand(op, operand)
        if op.format is Format.M:
            return random.randrange(-512, 512) * (4 if op.mnemonic in ("lw.s", "sw.s") else 2)
        if operand.name == "sid":
            return self._pad if self._pad is not None else random.randrange(self._machine.pads)
        if operand.name == "num_cols":
            return random.choice((31, random.randrange(32)))
        return _anything(random, operand)

    def _scalar_operand(self, op: Instruction, operand: isa.Operand) -> int:
        random, registers = self._random, self._registers
        purposes = {
            (Format.M, "rs1"): registers.dram_bases,
            (Format.VM, "rs1"): registers.pad_bases,
            (Format.VM, "rs2"): registers.row_offsets,
            (Format.SDMA, "rs1"): registers.pad_bases,
            (Format.SDMA, "rs2"): registers.dram_bases,
            (Format.SDMA, "rs3"): registers.shapes,
        }
        purpose = purposes.get((op.format, operand.name))
        if purpose is not None:
            return random.choice(purpose)
        if operand.role is Role.READ and random.random() < 0.2:
            return random.choice(registers.pad_bases + registers.counters)
        return self._data()

    def _data(self) -> int:
        return 0 if self._random.random() < 0.05 else self._random.choice(self._registers.data)

    def _vector(self) -> int:
        return self._random.choice(self._registers.vectors)

    # Faults

    def _plant_fault(self) -> None:
        random = self._random
        at = random.randrange(len(self._packets))
        faults = (self._unchecked, self._undefined, self._wild_access, self._wild_jump, self._early_push, self._meeting)
        self._packets[at] = random.choice(faults)()

    def _unchecked(self) -> Words:
        return self._words([self._instruction() for _ in range(self._random.randrange(2, SLOTS + 1))])

    def _undefined(self) -> Words:
        words = list(self._packet())
        bits = self._random.getrandbits(INSTRUCTION_BITS)
        words[self._random.randrange(SLOTS)] = bits & ~_OPCODE_BITS | self._random.choice(_UNDEFINED)
        return tuple(words)

    def _wild_access(self) -> Words:
        """A memory instruction on registers that hold anything, or a transfer of an impossible shape."""
        random, registers = self._random, self._registers
        if random.random() < 0.3:
            shape = random.choice((*registers.dram_bases, *registers.data))
            return self._words([self._slot("scpad.ld", registers.pad_bases[0], registers.dram_bases[0], shape)])
        op = random.choice([row for row in isa.INSTRUCTIONS if row.is_memory])
        operands = [
            self._data() if item.file is RegisterFile.SCALAR else _anything(random, item) for item in op.operands
        ]
        return self._words([(op, tuple(operands))])

    def _wild_jump(self) -> Words:
        random = self._random
        jumps = (
            self._slot("jal", self._data(), random.choice((-20, 10, 20 * random.randrange(-90, 90), 1 << 20))),
            self._slot("jalr", self._data(), 0, random.randrange(-2048, 2048)),
            self._slot("jalr", self._data(), self._data(), 0),
            self._slot("beq.s", 0, 0, 4 * random.randrange(-512, 512), 1),
        )
        return self._packet(fixed=[random.choice(jumps)])

    def _early_push(self) -> Words:
        return self._packet(fixed=[self._slot(self._random.choice(("tpus.vi", "tpop.vi")), self._vector())])

    def _meeting(self) -> Words:
        """A scalar load beside a store of scratchpad DMA: the same DRAM word now and then."""
        random, registers = self._random, self._registers
        address = random.choice(registers.dram_bases)
        load = self._slot(random.choice(("lw.s", "lhw.s")), self._data(), random.choice((0, 4, 64, 2044)), address)
        store = self._slot("scpad.st", registers.pad_bases[0], address, registers.shapes[0])
        return self._words([load, store] if random.random() < 0.5 else [store, load])


def _anything(random: Random, operand: isa.Operand) -> int:
    field = operand.field
    return random.choice(
        (field.minimum, field.maximum, random.randrange(field.minimum, field.maximum + 1, field.scale))
    )


def random_unused_bits(random: Random, op: Instruction) -> int:
    """Bits of the word that belong to no field of `op`; the decoder ignores them."""
    used = _OPCODE_BITS
    for operand in op.operands:
        for piece in operand.field.pieces:
            used |= ((1 << piece.width_bits) - 1) << piece.low
    return random.getrandbits(INSTRUCTION_BITS) & ~used


def generate(seed: int, machine: Machine) -> Program:
    """The program of a seed: the same for the same seed and machine."""
    return _Generator(seed, machine).build()
