"""What the loops of a scheduled function came to: their interval beside what the machine and the emitted code allow.

A row is about a block that repeats itself. Loops that were not overlapped have rows too: one stage, registers with one
copy each, and the interval that the list scheduler counts on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from atalla_mlir.codegen.kernel import LoopReport
from atalla_mlir.codegen.loop_graph import recurrence_in_place, resource_bounds
from atalla_mlir.codegen.loops import constant_values, trip_count
from atalla_mlir.codegen.machine_ir import Inst, Register
from atalla_mlir.codegen.schedule import ScheduledBlock, ScheduledFunction
from atalla_mlir.target.encoding import SLOTS
from atalla_mlir.target.machine import Machine

KERNEL_SUFFIX = ".kernel"
"""What pipelining adds to the label of a loop for the block that repeats itself."""


@dataclass(frozen=True)
class LoopRow:
    """One loop. Cycles are those of one iteration in the steady state, packets and instructions those of its code."""

    label: str
    interval: int
    resource_bound: int
    recurrence_bound: int
    bound_by: str
    stages: int
    """Iterations that overlap."""
    unroll: int
    """Iterations that the code advances by at once."""
    packets: int
    instructions: int
    trip_count: int | None
    """Iterations each time the loop is entered; None when that is only known at run time."""

    @property
    def slot_fill(self) -> float:
        return self.instructions / (SLOTS * self.packets)

    @property
    def schedule_bound_cycles(self) -> int | None:
        """What all iterations take at least, by the resources and recurrences of the emitted code."""
        return None if self.trip_count is None else self.trip_count * max(self.resource_bound, self.recurrence_bound)


def loop_rows(scheduled: ScheduledFunction, machine: Machine) -> list[LoopRow]:
    """The loops of a function, in the order of its code."""
    constants = constant_values(scheduled.function)
    pipelined = {report.label + KERNEL_SUFFIX: report for report in scheduled.loops}
    rows: list[LoopRow] = []
    for block in scheduled.blocks:
        report = pipelined.get(block.label)
        if report is not None:
            rows.append(_pipelined_row(block, report, constants))
        elif _repeats(block):
            rows.append(_sequential_row(block, constants, machine))
    return rows


def _repeats(block: ScheduledBlock) -> bool:
    return block.control is not None and block.control.target == block.label


def _pipelined_row(block: ScheduledBlock, report: LoopReport, constants: Mapping[Register, int]) -> LoopRow:
    trips = trip_count(block.control, constants) if _repeats(block) else 1
    return LoopRow(
        label=report.label,
        interval=report.interval,
        resource_bound=max(report.resource_bounds.values(), default=1),
        recurrence_bound=report.recurrence_bound,
        bound_by=report.bound_by,
        stages=report.num_stages,
        unroll=report.unroll,
        packets=report.num_packets,
        instructions=report.slots_filled,
        trip_count=None if trips is None else trips * report.unroll,
    )


def _sequential_row(block: ScheduledBlock, constants: Mapping[Register, int], machine: Machine) -> LoopRow:
    insts = [inst for packet in block.packets for inst in packet]
    body = [inst for inst in insts if not inst.op.is_control]
    resources, recurrence = resource_bounds(body, machine), _own_recurrence(body, block.cycles, machine)
    binding = max(resources, key=lambda name: resources[name])
    return LoopRow(
        label=block.label,
        interval=max(block.cycles, resources[binding], recurrence),
        resource_bound=resources[binding],
        recurrence_bound=recurrence,
        bound_by=binding if resources[binding] >= recurrence else "recurrence",
        stages=1,
        unroll=1,
        packets=len(block.packets),
        instructions=len(insts),
        trip_count=trip_count(block.control, constants),
    )


def _own_recurrence(body: Sequence[Inst], cycles: int, machine: Machine) -> int:
    """The recurrence bound of code in which every register has one copy; it repeats every `cycles`."""
    return min(cycles, recurrence_in_place(body, machine))
