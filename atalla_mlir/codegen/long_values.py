"""Integers that a schedule keeps for longer than its interval: copied on the way, so that no kernel is unrolled.

A value that is still needed when the next iteration makes it again takes two registers that take turns, and the kernel
is as long as two iterations. With a copy in between each part lives for less than the interval. Where a cycle between
has room for the copy all else stays as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from atalla_mlir.codegen.kernel import Kernel
from atalla_mlir.codegen.loop_graph import LoopGraph, build_loop_graph
from atalla_mlir.codegen.machine_ir import Inst, Register
from atalla_mlir.codegen.modulo import ModuloSchedule
from atalla_mlir.codegen.reservations import LoopDemands, ReservationTable
from atalla_mlir.target.isa import BY_MNEMONIC
from atalla_mlir.target.machine import Machine
from atalla_mlir.target.registers import RegisterFile

MAX_SPLIT = 40
"""Values that are copied at most."""


@dataclass(frozen=True)
class SplitBody:
    """A loop body in which `copies` take the place of long values in what reads these late."""

    insts: tuple[Inst, ...]
    copies: dict[Register, Register]
    next_index: int


def split_long_values(kernel: Kernel, first_index: int) -> SplitBody | None:
    """The body with copies of what the kernel keeps for too long, which the later half of its time take over, or None
    where that cannot be copied.

    New registers are numbered from `first_index`.
    """
    return _split(kernel, first_index, _middle)


def copy_in_place(
    kernel: Kernel,
    machine: Machine,
    banks: Mapping[Register, int],
    settled: Collection[Register],
    first_index: int,
) -> Kernel | None:
    """The kernel with copies of what it keeps for too long, in cycles that have room for them; None if there are none.

    What reads a value after the next iteration has made its own reads the copy.
    """
    schedule = kernel.schedule
    split = _split(kernel, first_index, lambda start, _: start + schedule.interval - 1)
    if split is None:
        return None
    graph = build_loop_graph(split.insts, machine, schedule.graph.in_place)
    known = {**banks, **schedule.banks}
    own = {copy: known[register] for register, copy in split.copies.items() if register in known}
    table = ReservationTable(LoopDemands(graph.insts, machine, {**known, **own}, settled), schedule.interval)
    table.settle_banks(schedule.banks)
    cycles = _place_copies(kernel, split, graph, table)
    if cycles is None:
        return None
    bounds, recurrence = schedule.resource_bounds, schedule.recurrence_bound
    banks_with_copies = {**schedule.banks, **own}
    copied = ModuloSchedule(graph, schedule.interval, cycles, bounds, recurrence, banks_with_copies)
    return Kernel(copied, banks, split.next_index)


def _place_copies(
    kernel: Kernel, split: SplitBody, graph: LoopGraph, table: ReservationTable
) -> tuple[int, ...] | None:
    """The cycles of all instructions: those of the kernel, and some with room for the copies, or None."""
    interval, long = kernel.schedule.interval, kernel.long_values()
    originals = {copy: register for register, copy in split.copies.items()}
    copies = {
        index: originals[inst.defs[0]] for index, inst in enumerate(graph.insts) if originals.keys() & {*inst.defs}
    }
    places = iter(kernel.schedule.cycles)
    cycles = [0 if index in copies else next(places) for index in range(len(graph.insts))]
    for index, cycle in enumerate(cycles):
        if index not in copies:
            table.occupy(index, cycle)
    for index, register in copies.items():
        start, end = long[register]
        before = (cycles[edge.first] + edge.latency - edge.distance * interval for edge in graph.incoming[index])
        after = (cycles[edge.second] - edge.latency + edge.distance * interval for edge in graph.outgoing[index])
        found = table.first_fit(index, range(max(end - interval + 1, *before), min(start + interval - 1, *after) + 1))
        if found is None:
            return None
        cycles[index] = found[0]
        table.reserve(index, found[0])
    return tuple(cycles)


def _split(kernel: Kernel, first_index: int, last_own: Callable[[int, int], int]) -> SplitBody | None:
    """The body with copies; `last_own` says of a value's first write and last access in which cycle it is read last."""
    insts, cycles = kernel.schedule.graph.insts, kernel.schedule.cycles
    long = kernel.long_values()
    if len(long) > MAX_SPLIT or not all(_may_split(register, insts) for register in long):
        return None
    names = {register: Register(register.file, first_index + number) for number, register in enumerate(long)}
    body: list[Inst] = []
    written: set[Register] = set()
    for index, inst in enumerate(insts):
        late = [register for register in inst.uses if register in written and cycles[index] > last_own(*long[register])]
        copy = replace(inst)
        copy.replace_registers({register: names[register] for register in late})
        body.append(copy)
        for register in inst.defs:
            if register in long:
                written.add(register)
                body.append(Inst(BY_MNEMONIC["addi.s"], (names[register], register, 0), source=inst.source))
    return SplitBody(tuple(body), names, first_index + len(names))


def _middle(start: int, end: int) -> int:
    return (start + end) // 2


def _may_split(register: Register, insts: Sequence[Inst]) -> bool:
    """Whether a register is an integer that an iteration writes once, before it reads it."""
    if register.file is not RegisterFile.SCALAR or register.pinned is not None:
        return False
    writers = [index for index, inst in enumerate(insts) if register in inst.defs]
    readers = [index for index, inst in enumerate(insts) if register in inst.uses]
    return len(writers) == 1 and all(index > writers[0] for index in readers)
