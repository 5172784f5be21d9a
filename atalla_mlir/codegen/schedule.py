"""List scheduling of blocks into packets.

Every block is scheduled for itself, cycle by cycle, against the dependence latencies and the units' state; a packet
is formed whenever something can issue, so there are no empty packets: the scoreboard interlocks. Instructions are
chosen by the longest chain that hangs on them; when a register file is nearly full, those that would fill it
further wait, except the oldest one, so that pressure never needs to exceed what program order needs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from atalla_mlir.codegen.dependence import DependenceGraph, build_graph, result_latency
from atalla_mlir.codegen.list_scheduler import BlockScheduler, release_cycles
from atalla_mlir.codegen.liveness import BlockLiveness, block_liveness
from atalla_mlir.codegen.machine_ir import Block, Function, Inst, Register
from atalla_mlir.codegen.pressure import NO_LIMITS, PRESSURE_LIMITS, PressureTracker
from atalla_mlir.target.encoding import PACKET_BYTES, SLOTS
from atalla_mlir.target.machine import Machine

COLD_PACKET_CYCLES = 4
"""What a packet costs that runs once, because the instruction cache fills at about this rate (5.6)."""


@dataclass(frozen=True)
class ScheduledBlock:
    """A block as packets in slot order; `cycles` is the estimated time from the first issue to the last."""

    label: str
    packets: tuple[tuple[Inst, ...], ...]
    loop_depth: int
    cycles: int

    @property
    def control(self) -> Inst | None:
        """The control instruction of the last packet, if there is one."""
        return next((inst for inst in self.packets[-1] if inst.op.is_control), None) if self.packets else None


@dataclass(frozen=True)
class ScheduledFunction:
    """Packets over virtual registers; `function` is where they came from."""

    name: str
    blocks: tuple[ScheduledBlock, ...]
    function: Function

    @property
    def num_packets(self) -> int:
        return sum(len(block.packets) for block in self.blocks)


def schedule(function: Function, machine: Machine) -> ScheduledFunction:
    """Packs the instructions of each block into legal packets."""
    function.verify()
    liveness = block_liveness([[(inst,) for inst in block.insts] for block in function.blocks], function.successors())
    blocks = tuple(
        schedule_block(block, block_sets, machine) for block, block_sets in zip(function.blocks, liveness, strict=True)
    )
    return ScheduledFunction(function.name, blocks, function)


def schedule_block(block: Block, liveness: BlockLiveness, machine: Machine) -> ScheduledBlock:
    graph = build_graph(block.insts, machine)
    repeats = block.control is not None and block.control.target == block.label
    priorities = _priorities(graph, machine, carried=liveness.live_in & liveness.live_out if repeats else frozenset())
    packet_cycles = _packet_cycles(block, machine)
    free = BlockScheduler(graph, priorities, PressureTracker(block.insts, liveness, NO_LIMITS), machine, packet_cycles)
    best = free.run()
    if free.pressure.exceeds(PRESSURE_LIMITS):
        releases = release_cycles(graph, best.issue_cycles, machine)
        tracker = PressureTracker(block.insts, liveness, PRESSURE_LIMITS)
        best = BlockScheduler(graph, priorities, tracker, machine, packet_cycles, releases).run()
    packets = tuple(tuple(block.insts[index] for index in _slot_order(packet, graph)) for packet in best.packets)
    return ScheduledBlock(block.label, packets, block.loop_depth, best.cycles)


def _packet_cycles(block: Block, machine: Machine) -> int:
    """Cycles from one packet to the next: more than 1 where every packet must first be fetched from memory."""
    exceeds_cache = len(block.insts) > SLOTS * machine.icache_bytes // PACKET_BYTES
    return COLD_PACKET_CYCLES if block.loop_depth == 0 or exceeds_cache else 1


def _priorities(graph: DependenceGraph, machine: Machine, carried: frozenset[Register]) -> list[int]:
    """Heights; in a loop of one block a carried value's producer also waits for nothing less than its next reader."""
    heights = graph.heights()
    if not carried:
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
    return heights


def _raise_height(graph: DependenceGraph, heights: list[int], index: int, height: int) -> None:
    """Raises one height and what follows from it for the predecessors."""
    pending = [(index, height)]
    while pending:
        at, value = pending.pop()
        if value > heights[at]:
            heights[at] = value
            pending.extend((earlier, value + latency) for earlier, latency in graph.predecessors[at].items())


def _slot_order(packet: Sequence[int], graph: DependenceGraph) -> list[int]:
    """Slots in which readers precede the writer of a register; what only reads comes first and frees registers."""
    order: list[int] = []
    left = sorted(packet, key=lambda index: (len(graph.insts[index].defs) - len(graph.insts[index].uses), index))
    while left:
        ready = next(index for index in left if not any(index in graph.successors[other] for other in left))
        left.remove(ready)
        order.append(ready)
    return order
