"""Software pipelines: a loop of one block becomes prologue, kernel and epilogue around a modulo schedule.

Iterations overlap, so a value may still be needed when the next iteration writes its register: the kernel is unrolled
and such registers get a copy for each iteration in flight (modulo variable expansion). Iterations that are left over
because the kernel advances by several at once run first, in the original order. Loops with a trip count known at
compile time are pipelined when that saves cycles; the others stay.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from atalla_mlir.codegen.liveness import BlockLiveness, block_liveness
from atalla_mlir.codegen.loop_graph import build_loop_graph, carried_reads
from atalla_mlir.codegen.machine_ir import M1, X0, Block, Function, Inst, Register
from atalla_mlir.codegen.modulo import ModuloSchedule, modulo_schedule
from atalla_mlir.codegen.resources import Room, demand_of
from atalla_mlir.codegen.slots import slot_order
from atalla_mlir.codegen.spill import Packets, constant_definitions
from atalla_mlir.target.encoding import PACKET_BYTES
from atalla_mlir.target.isa import BY_MNEMONIC
from atalla_mlir.target.machine import Machine
from atalla_mlir.target.registers import FILES, RegisterFile

REGISTER_LIMITS: Mapping[RegisterFile, int] = {
    RegisterFile.SCALAR: FILES[RegisterFile.SCALAR].count - 16,
    RegisterFile.VECTOR: FILES[RegisterFile.VECTOR].count - 6,
    RegisterFile.MASK: FILES[RegisterFile.MASK].count - 3,
}
"""Values in flight beyond which a kernel is not accepted."""
MAX_INTERVAL_GROWTH = 1.3
"""By how much II may exceed its bound before the search ends."""


COLD_PACKET_CYCLES = 4
"""What a packet costs that runs once, because the instruction cache fills at about this rate (5.6)."""


@dataclass(frozen=True)
class LoopReport:
    """What became of a loop. Cycles are those of one iteration in the steady state."""

    label: str
    interval: int
    resource_bounds: Mapping[str, int]
    recurrence_bound: int
    num_stages: int
    unroll: int
    num_packets: int
    slots_filled: int
    max_live: Mapping[RegisterFile, int]

    @property
    def bound_by(self) -> str:
        """The resource that bounds II, or `recurrence`."""
        name, bound = max(self.resource_bounds.items(), key=lambda item: item[1])
        return name if bound >= self.recurrence_bound else "recurrence"


@dataclass(frozen=True)
class CountedLoop:
    """A block that repeats itself `trip_count` times: its body without the branch that counts."""

    block: Block
    body: tuple[Inst, ...]
    trip_count: int


@dataclass(frozen=True)
class LoopContext:
    """Where a loop stands. `cycles` and `packets` are those of one iteration as it is; `surrounding_packets` the other
    code of the loop around it, None when there is none; `live_through` values that the body does not write."""

    cycles: int
    packets: int
    surrounding_packets: int | None
    live_through: Mapping[RegisterFile, int]

    def fetch_cycles(self, num_packets: int, machine: Machine) -> int:
        """Time to fetch a loop of `num_packets` and what the instruction cache loses to it, each time it is entered."""
        if self.surrounding_packets is None:
            return COLD_PACKET_CYCLES * num_packets
        total = num_packets + self.surrounding_packets
        return COLD_PACKET_CYCLES * total if total * PACKET_BYTES > machine.icache_bytes else 0


@dataclass(frozen=True)
class PipelinedLoop:
    """The blocks that replace a loop, the banks of the registers that they add, and the report."""

    blocks: tuple[Block, ...]
    banks: Mapping[Register, int]
    report: LoopReport
    next_index: int


def find_counted_loop(block: Block, constants: Mapping[Register, int]) -> CountedLoop | None:
    """The block as a loop `for counter = 1; counter < limit; counter += 1` with a known limit, or None."""
    branch = block.control
    if branch is None or branch.op.mnemonic != "blt.s" or branch.target != block.label or block.packets is not None:
        return None
    counter, limit, _, increment = branch.operands
    if not isinstance(counter, Register) or not isinstance(limit, Register) or increment != 1:
        return None
    body = tuple(block.insts[:-1])
    if any(counter in inst.registers or limit in inst.defs for inst in body):
        return None
    if limit not in constants or constants.get(counter) != 1:
        return None
    return CountedLoop(block, body, constants[limit])


def constant_values(function: Function) -> dict[Register, int]:
    """Registers that hold one constant whenever a loop starts: written once by constants, or also by loop counters."""
    blocks: list[Packets] = [[(inst,) for inst in block.insts if not inst.op.is_branch] for block in function.blocks]
    values: dict[Register, int] = {}
    for register, chain in constant_definitions(blocks).items():
        value = 0
        for inst in chain:
            immediate = inst.operands[-1]
            assert isinstance(immediate, int)
            value = immediate << 7 if inst.op.mnemonic == "lui.s" else value + immediate
        values[register] = value
    return values


def pipeline_loops(
    function: Function, machine: Machine, banks: dict[Register, int], costs: Sequence[tuple[int, int]]
) -> tuple[Function, tuple[LoopReport, ...]]:
    """The function with loops pipelined where that pays, and their reports; adds the banks of new registers to `banks`.

    `costs` are cycles and packets of each block as it stands.
    """
    constants = constant_values(function)
    liveness = block_liveness([[(inst,) for inst in block.insts] for block in function.blocks], function.successors())
    next_index = max((register.index for register in function.registers()), default=0) + 1
    packets = [num_packets for _, num_packets in costs]
    blocks: list[Block] = []
    reports: list[LoopReport] = []
    for index, block in enumerate(function.blocks):
        loop = find_counted_loop(block, constants)
        pipelined = None
        if loop is not None:
            surrounding = _surrounding_packets(function.blocks, packets, index)
            through = _count_live_through(loop, liveness[index])
            context = LoopContext(*costs[index], surrounding, through)
            pipelined = pipeline_loop(loop, machine, banks, next_index, context)
        if pipelined is None:
            blocks.append(block)
            continue
        blocks.extend(pipelined.blocks)
        banks.update(pipelined.banks)
        reports.append(pipelined.report)
        next_index = pipelined.next_index
        packets[index] = sum(len(part.packets or part.insts) for part in pipelined.blocks)
    return replace(function, blocks=blocks), tuple(reports)


def _surrounding_packets(blocks: Sequence[Block], packets: Sequence[int], index: int) -> int | None:
    """Packets of the other blocks of the loop around block `index`; None when it stands in no other loop."""
    depth = blocks[index].loop_depth
    if depth <= 1:
        return None
    first, last = index, index
    while first > 0 and blocks[first - 1].loop_depth >= depth - 1:
        first -= 1
    while last + 1 < len(blocks) and blocks[last + 1].loop_depth >= depth - 1:
        last += 1
    return sum(packets[first : last + 1]) - packets[index]


def _count_live_through(loop: CountedLoop, liveness: BlockLiveness) -> dict[RegisterFile, int]:
    """Registers that hold a value throughout the loop and that its body does not write."""
    written = {register for inst in loop.body for register in inst.defs}
    through = [register for register in liveness.live_in | liveness.live_out if register not in written]
    return {file: sum(register.file is file for register in through) for file in RegisterFile}


def pipeline_loop(
    loop: CountedLoop, machine: Machine, banks: Mapping[Register, int], first_index: int, context: LoopContext
) -> PipelinedLoop | None:
    """The loop as a software pipeline, or None when that is not possible or not faster.

    New registers are numbered from `first_index`.
    """
    graph = build_loop_graph(loop.body, machine)
    schedule = modulo_schedule(graph, machine, banks, context.cycles - 1)
    while schedule is not None:
        expansion = _Expansion(loop, schedule, banks, first_index)
        live = expansion.max_live()
        if all(live[file] + context.live_through[file] <= limit for file, limit in REGISTER_LIMITS.items()):
            return expansion.build() if expansion.is_faster(context, machine) else None
        growth = max(1, schedule.interval // 16)
        limit = min(context.cycles - 1, int(schedule.bound * MAX_INTERVAL_GROWTH))
        schedule = modulo_schedule(graph, machine, banks, limit, schedule.interval + growth)
    return None


class _Expansion:
    """Prologue, kernel and epilogue of one schedule."""

    def __init__(
        self, loop: CountedLoop, schedule: ModuloSchedule, banks: Mapping[Register, int], first_index: int
    ) -> None:
        self._loop = loop
        self._schedule = schedule
        self._graph = schedule.graph
        self._reads = carried_reads(schedule.graph)
        self._next_index = first_index
        self._known_banks = banks
        self._banks: dict[Register, int] = {}
        self._lifetimes = self._measure_lifetimes()
        self._copies = self._choose_copies()
        self._names = {register: self._name_copies(register) for register in self._copies}

    # Registers

    def _measure_lifetimes(self) -> dict[Register, tuple[int, int]]:
        """First write and last access of the value that an iteration gives each register, in that iteration's time."""
        interval, cycles = self._schedule.interval, self._schedule.cycles
        starts: dict[Register, int] = {}
        ends: dict[Register, int] = {}
        first_writer: dict[Register, int] = {}
        for index, inst in enumerate(self._graph.insts):
            for register in inst.defs:
                first_writer.setdefault(register, index)
                starts[register] = min(starts.get(register, cycles[index]), cycles[index])
                ends[register] = max(ends.get(register, 0), cycles[index])
        for (index, register), distance in self._reads.items():
            end = cycles[index] + distance * interval
            # what an instruction reads it may overwrite itself
            ends[register] = max(ends[register], end - (index == first_writer[register]))
        return {register: (starts[register], ends[register]) for register in starts}

    def _choose_copies(self) -> dict[Register, int]:
        interval = self._schedule.interval
        needed = {
            register: 1 if register in self._graph.in_place else (end - start) // interval + 1
            for register, (start, end) in self._lifetimes.items()
        }
        self.unroll = max(needed.values(), default=1)
        divisors = [count for count in range(1, self.unroll + 1) if self.unroll % count == 0]
        return {register: next(count for count in divisors if count >= copies) for register, copies in needed.items()}

    def _name_copies(self, register: Register) -> tuple[Register, ...]:
        """The registers that take turns; the value of the last iteration ends up in `register` itself."""
        count = self._copies[register]
        own = (self._schedule.num_stages - 2) % count
        return tuple(register if number == own else self._new_copy(register) for number in range(count))

    def _new_copy(self, register: Register) -> Register:
        copy = Register(register.file, self._next_index)
        self._next_index += 1
        if register in self._known_banks:
            self._banks[copy] = self._known_banks[register]
        return copy

    def max_live(self) -> dict[RegisterFile, int]:
        """Most values in flight in a cycle of the kernel, per file, of registers that the body writes."""
        interval = self._schedule.interval
        live = {file: [0] * interval for file in RegisterFile}
        for register, (start, end) in self._lifetimes.items():
            if register in self._graph.in_place:
                start, end = 0, interval - 1
            whole, rest = divmod(end - start + 1, interval)
            row = live[register.file]
            for cycle in range(interval):
                row[cycle] += whole + ((cycle - start) % interval < rest)
        return {file: max(rows, default=0) for file, rows in live.items()}

    # Code

    @property
    def num_packets(self) -> int:
        """Packets of the kernel."""
        return self.unroll * sum(bool(row) for row in self._schedule.rows())

    @property
    def _kernel_trips(self) -> int:
        return (self._loop.trip_count - self._schedule.num_stages + 1) // self.unroll

    @property
    def _left_over(self) -> int:
        """Iterations that run before the pipeline."""
        return (self._loop.trip_count - self._schedule.num_stages + 1) % self.unroll

    def is_faster(self, context: LoopContext, machine: Machine) -> bool:
        """Whether the pipeline saves cycles, the time to fetch its code included."""
        if self._kernel_trips < 1:
            return False
        stages, interval = self._schedule.num_stages, self._schedule.interval
        iterations = self._loop.trip_count - self._left_over
        # prologue and epilogue together hold every instruction (stages - 1) times
        packets = self.num_packets + (stages - 1) * self.num_packets // self.unroll
        packets += context.packets if self._left_over else 0
        pipelined = self._left_over * context.cycles + (iterations + stages - 1) * interval
        sequential = self._loop.trip_count * context.cycles
        pipelined += context.fetch_cycles(packets, machine)
        return pipelined < sequential + context.fetch_cycles(context.packets, machine)

    def build(self) -> PipelinedLoop:
        block, depth = self._loop.block, max(0, self._loop.block.loop_depth - 1)
        label = block.label
        fill = (self._schedule.num_stages - 1) * self._schedule.interval
        prologue = self._instances(range(self._schedule.num_stages - 1), lambda cycle: cycle < fill)
        epilogue = self._instances(range(self._schedule.num_stages - 1), lambda cycle: cycle >= fill)
        counter, limit = self._new_scalar(), self._new_scalar()
        packets = self._kernel_packets(counter, limit, f"{label}.kernel")
        enter = [*self._initial_copies(), *prologue]
        if self._kernel_trips > 1:
            enter += [*_constant(counter, 1), *_constant(limit, self._kernel_trips)]
        insts = [inst for packet in packets for inst in packet]
        kernel = Block(f"{label}.kernel", insts, block.loop_depth, tuple(packets))
        blocks = [
            *self._left_over_blocks(depth),
            Block(f"{label}.prologue", enter, depth),
            kernel,
            Block(f"{label}.epilogue", epilogue, depth),
        ]
        return PipelinedLoop(tuple(blocks), self._banks, self._report(packets), self._next_index)

    def _left_over_blocks(self, depth: int) -> list[Block]:
        """The first iterations, as they were, under the loop's own label."""
        label, count = self._loop.block.label, self._left_over
        if count <= 1:
            return [Block(label, [_copy(inst) for inst in self._loop.body * count], depth)]
        counter, limit = self._new_scalar(), self._new_scalar()
        again = Inst(BY_MNEMONIC["blt.s"], (counter, limit, f"{label}.first", 1))
        return [
            Block(label, [*_constant(counter, 1), *_constant(limit, count)], depth),
            Block(f"{label}.first", [*(_copy(inst) for inst in self._loop.body), again], depth + 1),
        ]

    def _initial_copies(self) -> list[Inst]:
        """Puts what the first iteration reads of the one before it where it expects it."""
        copies: list[Inst] = []
        carried = dict.fromkeys(register for (_, register), distance in self._reads.items() if distance)
        for register in carried:
            expected = self._names[register][-1]
            if expected is not register:
                copies.extend(copy_value(expected, register, self._new_scalar))
        return copies

    def _new_scalar(self) -> Register:
        self._next_index += 1
        return Register(RegisterFile.SCALAR, self._next_index - 1)

    def _instances(self, iterations: Iterable[int], wanted: Callable[[int], bool]) -> list[Inst]:
        """Instructions of some iterations in order of time, without memory ranges, which belong to one iteration."""
        interval, cycles = self._schedule.interval, self._schedule.cycles
        timed: dict[int, list[Inst]] = defaultdict(list)
        for iteration in iterations:
            for index, cycle in enumerate(cycles):
                at = iteration * interval + cycle
                if wanted(at):
                    timed[at].append(_without_ranges(self._renamed(index, iteration)))
        return [inst for at in sorted(timed) for inst in slot_order(timed[at])]

    def _kernel_packets(self, counter: Register, limit: Register, label: str) -> list[tuple[Inst, ...]]:
        packets: list[tuple[Inst, ...]] = []
        last_stage, interval = self._schedule.num_stages - 1, self._schedule.interval
        for copy in range(self.unroll):
            for row in self._schedule.rows():
                insts = [
                    self._renamed(index, last_stage + copy - self._schedule.cycles[index] // interval) for index in row
                ]
                if insts:
                    packets.append(slot_order(insts))
        if self._kernel_trips > 1:
            branch = Inst(BY_MNEMONIC["blt.s"], (counter, limit, label, 1))
            if _has_room(packets[-1], branch):
                packets[-1] = (*packets[-1], branch)
            else:
                packets.append((branch,))
        return packets

    def _renamed(self, index: int, iteration: int) -> Inst:
        """Instruction `index` of one iteration, on the registers whose turn it is."""
        inst = self._graph.insts[index]
        operands: list[Register | int | str] = []
        for operand, value in zip(inst.op.operands, inst.operands, strict=True):
            if isinstance(value, Register) and value in self._names:
                names = self._names[value]
                distance = 0 if operand.is_written else self._reads.get((index, value), 0)
                operands.append(names[(iteration - distance) % len(names)])
            else:
                operands.append(value)
        return replace(inst, operands=tuple(operands))

    def _report(self, packets: Sequence[tuple[Inst, ...]]) -> LoopReport:
        return LoopReport(
            label=self._loop.block.label,
            interval=self._schedule.interval,
            resource_bounds=self._schedule.resource_bounds,
            recurrence_bound=self._schedule.recurrence_bound,
            num_stages=self._schedule.num_stages,
            unroll=self.unroll,
            num_packets=len(packets),
            slots_filled=sum(len(packet) for packet in packets),
            max_live=self.max_live(),
        )


def copy_value(destination: Register, source: Register, new_scalar: Callable[[], Register]) -> list[Inst]:
    """The instructions that copy a register of any file."""
    match destination.file:
        case RegisterFile.SCALAR:
            return [Inst(BY_MNEMONIC["addi.s"], (destination, source, 0))]
        case RegisterFile.VECTOR:
            return [Inst(BY_MNEMONIC["sub.vs"], (destination, source, X0, M1))]
        case RegisterFile.MASK:
            bits = new_scalar()
            return [Inst(BY_MNEMONIC["mv.mts"], (bits, source)), Inst(BY_MNEMONIC["mv.stm"], (destination, bits))]


def _constant(register: Register, value: int) -> list[Inst]:
    """`register = value` for 0 <= value < 2^31."""
    addition = BY_MNEMONIC["addi.s"]
    if addition.by_name["imm"].field.fits(value):
        return [Inst(addition, (register, X0, value))]
    return [Inst(BY_MNEMONIC["lui.s"], (register, value >> 7)), Inst(addition, (register, register, value & 0x7F))]


def _copy(inst: Inst) -> Inst:
    return replace(inst)


def _without_ranges(inst: Inst) -> Inst:
    memory = tuple(replace(ref, low=None, high=None) for ref in inst.memory)
    return replace(inst, memory=memory)


def _has_room(packet: Sequence[Inst], inst: Inst) -> bool:
    room = Room()
    for other in packet:
        room.take(demand_of(other))
    return room.fits(demand_of(inst))
