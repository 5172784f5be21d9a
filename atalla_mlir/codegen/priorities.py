"""How urgent the instructions of a block are: the longest chain that hangs on each, and what waits for its unit."""

from __future__ import annotations

from collections import defaultdict

from atalla_mlir.codegen.dependence import DependenceGraph, result_latency
from atalla_mlir.codegen.loop_graph import unit_name
from atalla_mlir.codegen.machine_ir import Register
from atalla_mlir.codegen.resources import demand_of, unit_interval
from atalla_mlir.target.machine import Machine
from atalla_mlir.target.registers import RegisterFile


def priorities(
    graph: DependenceGraph, machine: Machine, carried: frozenset[Register], leaving: frozenset[Register]
) -> list[int]:
    """Heights; what leaves the block is read soon after it.

    In a loop of one block a carried value's producer also waits for nothing less than its next reader.
    """
    heights = graph.heights()
    if not carried:
        for index, inst in enumerate(graph.insts):
            is_slow = inst.op.mnemonic == "scpad.ld" or any(
                register.file is RegisterFile.VECTOR for register in inst.defs
            )
            if is_slow and any(register in leaving for register in inst.defs):
                _raise_height(graph, heights, index, result_latency(inst, machine))
        _queue_heights(graph, heights, machine)
        return heights
    depths = graph.depths()
    first_read: dict[Register, int] = {}
    for index, inst in enumerate(graph.insts):
        for register in inst.uses:
            first_read.setdefault(register, depths[index])
    for index, inst in enumerate(graph.insts):
        for register in inst.defs:
            if register in carried and register in first_read:
                beyond = result_latency(inst, machine) - first_read[register]
                _raise_height(graph, heights, index, beyond)
    _queue_heights(graph, heights, machine)
    return heights


def _queue_heights(graph: DependenceGraph, heights: list[int], machine: Machine) -> None:
    """Raises heights to the time that a unit needs for what it serves afterwards.

    Work without successors, such as clearing accumulators, would else be left to the end and queue up there.
    """
    by_unit: dict[str, list[int]] = defaultdict(list)
    for index, inst in enumerate(graph.insts):
        by_unit[unit_name(inst, demand_of(inst).unit)].append(index)
    for members in by_unit.values():
        needed = 0
        for index in sorted(members, key=lambda index: (heights[index], -index)):
            heights[index] = needed = max(heights[index], needed)
            needed += unit_interval(graph.insts[index], machine)
    for index in range(len(heights) - 1, -1, -1):
        height = heights[index]
        for later, latency in graph.successors[index].items():
            if heights[later] + latency > height:
                height = heights[later] + latency
        heights[index] = height


def _raise_height(graph: DependenceGraph, heights: list[int], index: int, height: int) -> None:
    """Raises one height and what follows from it for the predecessors."""
    pending = [(index, height)]
    while pending:
        at, value = pending.pop()
        if value > heights[at]:
            heights[at] = value
            pending.extend((earlier, value + latency) for earlier, latency in graph.predecessors[at].items())
