"""Iterative modulo scheduling: one iteration of a loop body laid out so that a new one can start every II cycles.

II starts at the larger of the resource and the recurrence bound; at each II the instructions are placed next to what
they depend on (`loop_placement`) or, where the body moves data, cycle by cycle (`forward_placement`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from atalla_mlir.codegen.forward_placement import LOADING_SHARES, ForwardPlacement, is_ahead
from atalla_mlir.codegen.loop_graph import LoopGraph, recurrence_bound, resource_bounds
from atalla_mlir.codegen.loop_placement import Placement
from atalla_mlir.codegen.machine_ir import Register
from atalla_mlir.codegen.reservations import LoopDemands
from atalla_mlir.target.isa import Format
from atalla_mlir.target.machine import Machine

FINENESS = 64
"""The search raises II by a fraction of this."""
PHASE_ORDERS = 6
"""Orders of the pads in which the phases of their transfers are tried."""


@dataclass(frozen=True)
class ModuloSchedule:
    """One iteration: the cycle of each instruction; `interval` is II, with the bounds that machine and loop set."""

    graph: LoopGraph
    interval: int
    cycles: tuple[int, ...]
    resource_bounds: Mapping[str, int]
    recurrence_bound: int
    banks: Mapping[Register, int] = field(default_factory=dict)
    """Banks of vector registers that keep the packets free of conflicts."""

    @property
    def resource_bound(self) -> int:
        return max(self.resource_bounds.values(), default=1)

    @property
    def bound(self) -> int:
        """The least II that resources and recurrences allow."""
        return max(self.resource_bound, self.recurrence_bound)

    @property
    def num_stages(self) -> int:
        return max(self.cycles, default=0) // self.interval + 1

    @property
    def longest_lifetime(self) -> int:
        """Cycles for which some value is kept at most."""
        return max(
            (
                self.cycles[edge.second] + edge.distance * self.interval - self.cycles[edge.first]
                for edge in self.graph.edges
                if edge.is_result
            ),
            default=0,
        )

    def rows(self) -> list[list[int]]:
        """The instructions of each cycle modulo II."""
        rows: list[list[int]] = [[] for _ in range(self.interval)]
        for index, cycle in enumerate(self.cycles):
            rows[cycle % self.interval].append(index)
        return rows


def modulo_schedule(
    graph: LoopGraph, machine: Machine, banks: Mapping[Register, int], max_interval: int, min_interval: int = 1
) -> ModuloSchedule | None:
    """A schedule with the smallest II found in the given range, or None when there is none."""
    bounds = resource_bounds(graph.insts, machine)
    recurrence = recurrence_bound(graph, max_interval + 1)
    interval = max(*bounds.values(), recurrence, min_interval)
    demands = LoopDemands(graph.insts, machine, banks)
    # where placing forwards finds nothing, placing next to what is placed already may
    ways: list[list[Callable[[LoopGraph, LoopDemands, int], Placement]]] = [[Placement]]
    if _overlaps_transfers(graph):
        ways.insert(0, [partial(ForwardPlacement, turn=turn) for turn in range(_num_orders(graph))])
    for number, attempts in enumerate(ways):
        if number in graph.given_up:
            continue
        for at in intervals(interval, max_interval):
            found = [
                ModuloSchedule(graph, at, tuple(cycles), bounds, recurrence, placement.banks())
                for placement, cycles in _placements(attempts, graph, demands, at)
            ]
            if found:
                return min(found, key=lambda schedule: schedule.longest_lifetime)
        if attempts is not ways[-1]:
            graph.given_up.add(number)
    return None


def intervals(first: int, last: int) -> Iterator[int]:
    """Intervals to try, in steps of a fraction of them."""
    while first <= last:
        yield first
        first += max(1, first // FINENESS)


def _placements(
    attempts: Sequence[Callable[[LoopGraph, LoopDemands, int], Placement]],
    graph: LoopGraph,
    demands: LoopDemands,
    interval: int,
) -> Iterator[tuple[Placement, list[int]]]:
    """The attempts that find a place for everything, with the cycles; one where transfers are waited for, else all."""
    for attempt in attempts:
        placement = attempt(graph, demands, interval)
        cycles = placement.run()
        if cycles is not None:
            yield placement, cycles
            if not is_ahead(graph):
                return


def _num_orders(graph: LoopGraph) -> int:
    """Attempts at one interval: orders of the pads or, where nothing waits for transfers, shares of the interval over
    which loads are spread."""
    return len(LOADING_SHARES) if is_ahead(graph) else PHASE_ORDERS


def _overlaps_transfers(graph: LoopGraph) -> bool:
    """Whether the body moves data by DMA: such bodies are long, and what they compute hardly forms circles."""
    return any(inst.op.format is Format.SDMA for inst in graph.insts)
