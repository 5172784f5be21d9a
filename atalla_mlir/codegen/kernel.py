"""The kernel of a software pipeline: a modulo schedule unrolled so that values in flight have registers of their own.

Iterations overlap, so a value may still be needed when the next iteration writes its register. Such a register gets as
many copies as iterations need it at once, taking turns, and the kernel is unrolled until the turns come round (modulo
variable expansion).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

from atalla_mlir.codegen.bank_search import search_banks
from atalla_mlir.codegen.issue_waits import scheduled_pass_waits
from atalla_mlir.codegen.loop_graph import carried_reads, first_writers
from atalla_mlir.codegen.machine_ir import M1, X0, Inst, Register
from atalla_mlir.codegen.modulo import ModuloSchedule
from atalla_mlir.codegen.resources import Room, demand_of
from atalla_mlir.codegen.slots import slot_order
from atalla_mlir.target.isa import BY_MNEMONIC
from atalla_mlir.target.machine import Machine
from atalla_mlir.target.registers import RegisterFile


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


class Kernel:
    """The kernel of one schedule; new registers are numbered from `first_index`."""

    def __init__(self, schedule: ModuloSchedule, banks: Mapping[Register, int], first_index: int) -> None:
        self.schedule = schedule
        self._graph = schedule.graph
        self._reads = carried_reads(schedule.graph)
        self.next_index = first_index
        self._known_banks = {**banks, **schedule.banks}
        self.banks: dict[Register, int] = dict(schedule.banks)
        self._lifetimes = self._measure_lifetimes()
        self._copies = self._choose_copies()
        self._known_cycles: int | None = None
        self.counts_on_banks = False
        """Whether the loop runs for so long that its registers should keep the banks of the schedule."""
        self.names = {register: self._name_copies(register) for register in self._copies}

    # Registers

    def _measure_lifetimes(self) -> dict[Register, tuple[int, int]]:
        """First write and last access of the value that an iteration gives each register, in that iteration's time."""
        interval, cycles = self.schedule.interval, self.schedule.cycles
        starts: dict[Register, int] = {}
        ends: dict[Register, int] = {}
        for index, inst in enumerate(self._graph.insts):
            for register in inst.defs:
                starts[register] = min(starts.get(register, cycles[index]), cycles[index])
                ends[register] = max(ends.get(register, 0), cycles[index])
        writers = first_writers(self._graph)
        for (index, register), distance in self._reads.items():
            end = cycles[index] + distance * interval
            # what an instruction reads it may overwrite itself
            ends[register] = max(ends[register], end - (index == writers[register]))
        return {register: (starts[register], ends[register]) for register in starts}

    def _choose_copies(self) -> dict[Register, int]:
        interval = self.schedule.interval
        needed = {
            register: 1 if register in self._graph.in_place else (end - start) // interval + 1
            for register, (start, end) in self._lifetimes.items()
        }
        self.unroll = max(needed.values(), default=1)
        divisors = [count for count in range(1, self.unroll + 1) if self.unroll % count == 0]
        return {register: next(count for count in divisors if count >= copies) for register, copies in needed.items()}

    def long_values(self) -> dict[Register, tuple[int, int]]:
        """Registers that have several copies: first write and last access of a value, in its iteration's time."""
        return {register: self._lifetimes[register] for register, count in self._copies.items() if count > 1}

    def _name_copies(self, register: Register) -> tuple[Register, ...]:
        """The registers that take turns; the value of the last iteration ends up in `register` itself."""
        count = self._copies[register]
        own = (self.schedule.num_stages - 2) % count
        return tuple(register if number == own else self._new_copy(register) for number in range(count))

    def _new_copy(self, register: Register) -> Register:
        copy = Register(register.file, self.next_index)
        self.next_index += 1
        if register in self._known_banks:
            self.banks[copy] = self._known_banks[register]
        return copy

    def banks_with_fewer_waits(self, machine: Machine) -> dict[Register, int]:
        """Banks for the registers of the schedule with which its packets wait for less."""
        return search_banks(self.schedule, self._known_banks, self._lifetimes, machine)

    def max_live(self) -> dict[RegisterFile, int]:
        """Most values in flight in a cycle of the kernel, per file, of registers that the body writes."""
        interval = self.schedule.interval
        always = dict.fromkeys(RegisterFile, 0)
        changes = {file: [0] * (interval + 1) for file in RegisterFile}
        for register, (start, end) in self._lifetimes.items():
            if register in self._graph.in_place:
                start, end = 0, interval - 1
            whole, rest = divmod(end - start + 1, interval)
            first, change = start % interval, changes[register.file]
            over = max(0, first + rest - interval)
            always[register.file] += whole
            change[first] += 1
            change[first + rest - over] -= 1
            change[0] += over > 0
            change[over] -= over > 0
        return {file: always[file] + max(accumulate(change)) for file, change in changes.items()}

    def iteration_cycles(self, machine: Machine) -> int:
        """II, with what packets wait that read several registers of one bank; in loops that wait for no transfer also
        with what they wait for rows that come late."""
        if self._known_cycles is None:
            if self.schedule.hides_transfers and self.unroll == 1:
                self._known_cycles = self.pass_cycles(machine)
            else:
                self._known_cycles = self._cycles_with_conflicts()
        return self._known_cycles

    def pass_cycles(self, machine: Machine) -> int:
        """Cycles of an iteration, of a kernel that is not unrolled, if nothing waits for transfers."""
        schedule, banks = self.schedule, self._known_banks
        return scheduled_pass_waits(schedule.graph, schedule.cycles, schedule.interval, banks, machine).cycles

    def _cycles_with_conflicts(self) -> int:
        lost = 0
        for row in self.schedule.rows():
            reads = {register for index in row for register in self._graph.insts[index].port_reads}
            known = reads & self._known_banks.keys()
            most = max(Counter((register.file, self._known_banks[register]) for register in known).values(), default=1)
            lost += most if most > 1 else 0
        return self.schedule.interval + lost

    @property
    def num_packets(self) -> int:
        """Packets of the kernel."""
        return self.unroll * len({cycle % self.schedule.interval for cycle in self.schedule.cycles})

    def initial_copies(self) -> list[Inst]:
        """Puts what the first iteration reads of the one before it where it expects it."""
        copies: list[Inst] = []
        carried = dict.fromkeys(register for (_, register), distance in self._reads.items() if distance)
        for register in carried:
            expected = self.names[register][-1]
            if expected is not register:
                copies.extend(copy_value(expected, register, self.new_scalar))
        return copies

    def new_scalar(self) -> Register:
        """A scalar register that nothing else uses."""
        self.next_index += 1
        return Register(RegisterFile.SCALAR, self.next_index - 1)

    def packets(self, branch: Inst | None) -> list[tuple[Inst, ...]]:
        """The kernel, with the branch that repeats it in its last packet or after it."""
        packets: list[tuple[Inst, ...]] = []
        last_stage, interval = self.schedule.num_stages - 1, self.schedule.interval
        for copy in range(self.unroll):
            for row in self.schedule.rows():
                insts = [
                    self.renamed(index, last_stage + copy - self.schedule.cycles[index] // interval) for index in row
                ]
                if insts:
                    packets.append(slot_order(insts))
        if branch is not None:
            if _has_room(packets[-1], branch):
                packets[-1] = (*packets[-1], branch)
            else:
                packets.append((branch,))
        return packets

    def renamed(self, index: int, iteration: int) -> Inst:
        """Instruction `index` of one iteration, on the registers whose turn it is."""
        inst = self._graph.insts[index]
        operands: list[Register | int | str] = []
        for operand, value in zip(inst.op.operands, inst.operands, strict=True):
            if isinstance(value, Register) and value in self.names:
                names = self.names[value]
                distance = 0 if operand.is_written else self._reads.get((index, value), 0)
                operands.append(names[(iteration - distance) % len(names)])
            else:
                operands.append(value)
        return inst.with_operands(tuple(operands))

    def report(self, label: str, packets: Sequence[tuple[Inst, ...]]) -> LoopReport:
        """What the loop called `label` became."""
        return LoopReport(
            label=label,
            interval=self.schedule.interval,
            resource_bounds=self.schedule.resource_bounds,
            recurrence_bound=self.schedule.recurrence_bound,
            num_stages=self.schedule.num_stages,
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


def constant(register: Register, value: int) -> list[Inst]:
    """`register = value` for 0 <= value < 2^31."""
    addition = BY_MNEMONIC["addi.s"]
    if addition.by_name["imm"].field.fits(value):
        return [Inst(addition, (register, X0, value))]
    return [Inst(BY_MNEMONIC["lui.s"], (register, value >> 7)), Inst(addition, (register, register, value & 0x7F))]


def _has_room(packet: Sequence[Inst], inst: Inst) -> bool:
    room = Room()
    for other in packet:
        room.take(demand_of(other))
    return room.fits(demand_of(inst))
