"""Dependences of a loop body across iterations, and the lower bounds on its initiation interval (II).

An edge with latency d and distance k says: the instruction of iteration i + k issues at least d cycles after the other
one of iteration i. Registers that get a fresh copy in each iteration (modulo variable expansion) leave only true
dependences between iterations; a register that an instruction reads and overwrites in place keeps all of them.
"""

from __future__ import annotations

import ctypes
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import NamedTuple

from atalla_mlir.codegen.dependence import (
    PACKET,
    DependenceGraph,
    add_memory_edges,
    add_unit_order_edges,
    dma_bursts,
    result_latency,
)
from atalla_mlir.codegen.machine_ir import AHEAD_MARK, ANY_OBJECT, TURNS_MARK, Inst, Register, order_key
from atalla_mlir.codegen.native_library import Edges, library
from atalla_mlir.codegen.recurrences import largest_mean
from atalla_mlir.codegen.resources import UnitKey, demand_of, unit_interval
from atalla_mlir.target.encoding import SLOTS
from atalla_mlir.target.isa import LANE_OPS_PER_PACKET, LANE_UNITS, Format, Latency, Unit
from atalla_mlir.target.machine import Machine
from atalla_mlir.target.registers import FILES, RegisterFile

CHANNEL = "DRAM channel"
"""The name of what all transfers share, among the bounds of a loop."""
PORT_WAIT = 6
"""Cycles for which what lanes make may wait for the write port of its bank, where the array is busy all the time."""

LOAD_WAIT = 1
"""Cycles for which rows from the pads may wait for it: for those of other pads, which go first."""


class LoopEdge(NamedTuple):
    """`second` of iteration i + distance issues at least `latency` cycles after `first` of iteration i.

    `is_result` marks values on their way: they arrive later when the unit of `first` is queued.
    """

    first: int
    second: int
    latency: int
    distance: int
    is_result: bool


Spans = list[list[tuple[int, int, bool]]]


@dataclass(frozen=True, eq=False)
class LoopGraph:
    """The dependences of a body without its counter and branch. Equal only to itself.

    Nodes are the instructions and after them barriers, which only have edges: what they follow and what follows them.
    `in_place` registers have one copy for all iterations.
    """

    insts: tuple[Inst, ...]
    num_nodes: int
    edges: tuple[LoopEdge, ...]
    in_place: frozenset[Register]

    @cached_property
    def incoming(self) -> list[list[LoopEdge]]:
        lists: list[list[LoopEdge]] = [[] for _ in range(self.num_nodes)]
        for edge in self.edges:
            lists[edge.second].append(edge)
        return lists

    @cached_property
    def is_ahead(self) -> bool:
        """Whether transfers bring what is used some iterations later only, so that nothing waits for them."""
        return any(AHEAD_MARK in ref.object for inst in self.insts for ref in inst.memory_refs())

    @cached_property
    def before(self) -> list[list[tuple[int, int, int, bool]]]:
        """What comes before each node, itself not counted: (node, latency, distance, whether that is a result)."""
        return [
            [(e.first, e.latency, e.distance, e.is_result) for e in edges if e.first != e.second]
            for edges in self.incoming
        ]

    @cached_property
    def after(self) -> list[list[tuple[int, int, int, bool]]]:
        """What comes after each node, as in `before`."""
        return [
            [(e.second, e.latency, e.distance, e.is_result) for e in edges if e.first != e.second]
            for edges in self.outgoing
        ]

    def spans(self, interval: int) -> tuple[Spans, Spans]:
        """What comes before and after each node at an II: (node, cycles that must lie between, whether that is a
        result, so that a delay comes on top)."""
        if interval not in self._known_spans:
            self._known_spans.clear()
            before, after = (
                [
                    [(other, latency - distance * interval, is_result) for other, latency, distance, is_result in edges]
                    for edges in lists
                ]
                for lists in (self.before, self.after)
            )
            self._known_spans[interval] = before, after
        return self._known_spans[interval]

    @cached_property
    def _known_spans(self) -> dict[int, tuple[Spans, Spans]]:
        """Those asked for last: several attempts are made at one II."""
        return {}

    @cached_property
    def near_incoming(self) -> list[list[tuple[int, int]]]:
        """For each node the nodes that it depends on in the same iteration, with latencies."""
        return [[(e.first, e.latency) for e in edges if not e.distance] for edges in self.incoming]

    @cached_property
    def near_neighbours(self) -> list[list[int]]:
        """For each node the nodes that it depends on in the same iteration or that depend on it."""
        return [
            [edge.first for edge in incoming if not edge.distance]
            + [edge.second for edge in outgoing if not edge.distance]
            for incoming, outgoing in zip(self.incoming, self.outgoing, strict=True)
        ]

    @cached_property
    def longest_latency(self) -> int:
        return max((edge.latency for edge in self.edges), default=0)

    @cached_property
    def heights(self) -> list[int]:
        """Cycles from each node to the end of the longest chain from it in an iteration, whose edges lead forwards."""
        heights = [0] * self.num_nodes
        for index in range(self.num_nodes - 1, -1, -1):
            for first, _, latency, distance, _ in self.incoming[index]:
                if not distance and heights[index] + latency > heights[first]:
                    heights[first] = heights[index] + latency
        return heights

    @cached_property
    def depths(self) -> list[int]:
        """Cycles to each node from the beginning of the longest chain to it inside an iteration."""
        depths = [0] * self.num_nodes
        for index in range(self.num_nodes):
            for _, second, latency, distance, _ in self.outgoing[index]:
                if not distance and depths[index] + latency > depths[second]:
                    depths[second] = depths[index] + latency
        return depths

    @cached_property
    def circles(self) -> list[set[int]]:
        """Sets of nodes that depend on each other in a circle, over iterations."""
        return _find_circles(self)

    @cached_property
    def recurrence(self) -> int:
        """The least II at which no chain of dependences catches up with itself."""
        native = library()
        if native is not None:
            return _native_recurrence(native, self.num_nodes, [edge[:4] for edge in self.edges])
        own = (-(-edge.latency // edge.distance) for edge in self.edges if edge.first == edge.second)
        bound = max(1, max(own, default=1))
        for circle in self.circles:
            edges = [
                (edge.first, edge.second, edge.latency, edge.distance)
                for node in circle
                for edge in self.outgoing[node]
                if edge.second in circle and edge.second != node
            ]
            bound = max(bound, largest_mean(circle, edges))
        return bound

    @cached_property
    def outgoing(self) -> list[list[LoopEdge]]:
        lists: list[list[LoopEdge]] = [[] for _ in range(self.num_nodes)]
        for edge in self.edges:
            lists[edge.first].append(edge)
        return lists


def build_loop_graph(
    insts: Sequence[Inst], machine: Machine, in_place: frozenset[Register] = frozenset(), lane_wait: int = 0
) -> LoopGraph:
    """Dependences inside an iteration and to the next one; longer distances follow from these.

    Registers in `in_place` keep one copy for all iterations even where several were possible. With `lane_wait` lanes
    take what comes from the array or from lanes as many cycles later than they could.
    """
    body = tuple(insts)
    in_place = in_place | _in_place_registers(body)
    edges = _edges(body, machine, in_place, lane_wait)
    return LoopGraph(body, edges.num_nodes, edges.found(), in_place)


def _edges(body: tuple[Inst, ...], machine: Machine, in_place: frozenset[Register], lane_wait: int = 0) -> _EdgeSet:
    latencies = [result_latency(inst, machine) for inst in body]
    port_wait = _port_waits(body, machine, lane_wait)
    edges = _EdgeSet(body)
    for first, second, latency in _edges_inside(body, latencies, in_place, machine, port_wait):
        edges.add(first, second, latency, 0)
    for first, second, latency in _register_edges_across(body, latencies, in_place):
        edges.add(first, second, latency, 1)
    for first, second, latency in _unit_order_edges_across(body, machine):
        edges.add(first, second, latency, 1)
    _add_memory_order_across(edges, latencies)
    return edges


def edges_to_next(insts: Sequence[Inst], machine: Machine) -> list[tuple[int, int, int]]:
    """(first, second, latency): what an instruction of the next iteration waits for, all registers having one copy.

    Accesses to memory are left out.
    """
    latencies = [result_latency(inst, machine) for inst in insts]
    in_place = frozenset(register for inst in insts for register in inst.defs)
    found: dict[tuple[int, int], int] = {}
    for first, second, latency in (
        *_register_edges_across(insts, latencies, in_place),
        *_unit_order_edges_across(insts, machine),
    ):
        found[first, second] = max(found.get((first, second), 0), latency)
    return [(first, second, latency) for (first, second), latency in found.items()]


class _EdgeSet:
    """Edges under construction; of several between the same nodes the longest latency stays."""

    def __init__(self, insts: tuple[Inst, ...]) -> None:
        self.insts = insts
        self.num_nodes = len(insts)
        self.latencies: dict[tuple[int, int, int], int] = {}
        """By first and second node and distance."""

    def add(self, first: int, second: int, latency: int, distance: int) -> None:
        key = first, second, distance
        if self.latencies.get(key, -1) < latency:
            self.latencies[key] = latency

    def found(self) -> tuple[LoopEdge, ...]:
        return tuple(
            LoopEdge(first, second, latency, distance, self._is_result(first, second))
            for (first, second, distance), latency in self.latencies.items()
        )

    def add_barrier(self, before: Sequence[tuple[int, int]], after: Sequence[int], distance: int) -> None:
        """All of `before`, given with latencies, precede all of `after` `distance` iterations later."""
        barrier = self.num_nodes
        self.num_nodes += 1
        for first, latency in before:
            self.add(first, barrier, latency, 0)
        for second in after:
            self.add(barrier, second, 0, distance)

    def _is_result(self, first: int, second: int) -> bool:
        size = len(self.insts)
        if first >= size or second >= size:
            return False
        uses = self.insts[second].uses
        return any(register in uses for register in self.insts[first].defs)


def _in_place_registers(insts: Sequence[Inst]) -> frozenset[Register]:
    """Registers without a copy per iteration: fixed ones, and those updated in place from the last iteration."""
    first_writes: dict[Register, Inst] = {}
    read_first: set[Register] = set()
    for inst in insts:
        read_first.update(register for register in inst.uses if register not in first_writes)
        for register in inst.defs:
            first_writes.setdefault(register, inst)
    return frozenset(
        register
        for register, inst in first_writes.items()
        if register.pinned is not None or (register in read_first and _overwrites(inst, register))
    )


def _overwrites(first_write: Inst, register: Register) -> bool:
    """Whether the first write of a carried register needs the previous iteration's value in the same register."""
    return first_write.merges or any(
        operand.is_read and operand.is_written and value is register
        for operand, value in zip(first_write.op.operands, first_write.operands, strict=True)
    )


def _edges_inside(
    insts: Sequence[Inst],
    latencies: Sequence[int],
    in_place: frozenset[Register],
    machine: Machine,
    port_wait: Callable[[Inst, Inst], int],
) -> list[tuple[int, int, int]]:
    """Edges of one iteration. A read of the last iteration's copy does not hold up the write of this one's."""
    graph = DependenceGraph(insts, [{} for _ in insts], [{} for _ in insts])
    add_memory_edges(graph, latencies)
    add_unit_order_edges(graph, machine)
    writer: dict[Register, int] = {}
    readers: dict[Register, list[int]] = defaultdict(list)
    for index, inst in enumerate(insts):
        for register in inst.uses:
            if register in writer:
                maker = writer[register]
                graph.add_edge(maker, index, latencies[maker] + port_wait(insts[maker], inst))
            if register in writer or register in in_place:
                readers[register].append(index)
        for register in inst.defs:
            for reader in readers.pop(register, ()):
                if reader != index:
                    graph.add_edge(reader, index, 0)
            if register in writer:
                graph.add_edge(writer[register], index, max(PACKET, latencies[writer[register]]))
            writer[register] = index
    return [
        (first, second, latency)
        for first, following in enumerate(graph.successors)
        for second, latency in following.items()
    ]


def _port_waits(insts: Sequence[Inst], machine: Machine, lane_wait: int) -> Callable[[Inst, Inst], int]:
    """By how much a second instruction should keep away from a first one that makes what it reads.

    Rows from the array and the pads go first at the write ports of the banks (5.3). Where the array is busy all the
    time, as with several slices in an iteration, what lanes make of its rows waits: stores, which nothing waits for,
    allow for that.
    """
    num_pushes = sum(inst.op.latency is Latency.WEIGHT_PUSH for inst in insts)
    streamed = {register for inst in insts if inst.op.unit is Unit.GSAU for register in inst.defs}

    def wait(first: Inst, second: Inst) -> int:
        if lane_wait and first.op.unit is Unit.VLSU:
            return LOAD_WAIT
        is_lane = first.op.unit in LANE_UNITS
        if second.op.unit in LANE_UNITS and (is_lane or first.op.unit is Unit.GSAU):
            return lane_wait
        is_sum = is_lane and (lane_wait > 0 or not streamed.isdisjoint(first.uses))
        return PORT_WAIT if is_sum and _is_store(second) else 0

    return wait if num_pushes > machine.vector_lanes else lambda first, second: 0


def _is_store(inst: Inst) -> bool:
    return inst.op.unit is Unit.VLSU and not inst.defs


def _register_edges_across(
    insts: Sequence[Inst], latencies: Sequence[int], in_place: frozenset[Register]
) -> list[tuple[int, int, int]]:
    last_write: dict[Register, int] = {}
    reads: dict[Register, list[int]] = defaultdict(list)
    for index, inst in enumerate(insts):
        for register in inst.uses:
            reads[register].append(index)
        for register in inst.defs:
            last_write[register] = index
    found: list[tuple[int, int, int]] = []
    written: set[Register] = set()
    for index, inst in enumerate(insts):
        for register in inst.uses:
            if register in last_write and register not in written:
                found.append((last_write[register], index, latencies[last_write[register]]))
        for register in inst.defs:
            if register in in_place and register not in written:
                found.extend((reader, index, 0) for reader in reads[register])
                found.append((last_write[register], index, max(PACKET, latencies[last_write[register]])))
            written.add(register)
    return found


def _unit_order_edges_across(insts: Sequence[Inst], machine: Machine) -> list[tuple[int, int, int]]:
    """Order on the hidden state of units: the edges from one iteration to the next of two that follow each other."""
    places = [at for at, inst in enumerate(insts) if order_key(inst) is not None]
    twice = [insts[at] for at in places] * 2
    graph = DependenceGraph(twice, [{} for _ in twice], [{} for _ in twice])
    add_unit_order_edges(graph, machine)
    size = len(places)
    return [
        (places[first], places[second - size], latency)
        for first in range(size)
        for second, latency in graph.successors[first].items()
        if second >= size
    ]


def _add_memory_order_across(edges: _EdgeSet, latencies: Sequence[int]) -> None:
    """Accesses to one object keep their order from iteration to iteration.

    Ranges are relative to where an iteration stands and tell nothing about the next one, so all accesses to an object
    that is written count. An object that iterations use in turn is the same again only after
    all turns. Transfers to DRAM need not end before the next iteration's begin. Rows that come to another use some
    iterations later need no order: fewer iterations are in progress at once.
    """
    accesses: dict[tuple[str, str], list[tuple[int, str]]] = defaultdict(list)
    refs = [(index, ref) for index, inst in enumerate(edges.insts) for ref in inst.memory_refs()]
    wild = {ref.space for _, ref in refs if ref.object == ANY_OBJECT}
    for index, ref in refs:
        accesses[ref.space, ANY_OBJECT if ref.space in wild else ref.object].append((index, ref.access))
    for (space, name), touched in accesses.items():
        if AHEAD_MARK in name:
            continue
        distance = int(name.partition(TURNS_MARK)[2] or 1)
        writes = [index for index, access in touched if access != "read"]
        reads = [index for index, access in touched if access == "read"]
        changes = [index for index, access in touched if access == "write"]
        if not writes:
            continue
        for before, after in ((writes, writes), (writes, reads), (reads, changes)):
            waits = not (space == "dram" and before is after)
            timed = [(first, _order_latency(edges.insts[first], latencies[first], waits=waits)) for first in before]
            if before and after:
                edges.add_barrier(timed, after, distance)


def _order_latency(first: Inst, latency: int, *, waits: bool) -> int:
    return latency if waits and first.op.format is Format.SDMA else PACKET


def _find_circles(graph: LoopGraph) -> list[set[int]]:
    """Strongly connected components of more than one node, over all distances (Kosaraju's two passes)."""
    finished: list[int] = []
    seen: set[int] = set()
    for root in range(graph.num_nodes):
        _finish(graph, root, seen, finished)
    components: list[set[int]] = []
    assigned: set[int] = set()
    for root in reversed(finished):
        if root in assigned:
            continue
        component, pending = {root}, [root]
        assigned.add(root)
        while pending:
            for edge in graph.incoming[pending.pop()]:
                if edge.first not in assigned:
                    assigned.add(edge.first)
                    component.add(edge.first)
                    pending.append(edge.first)
        if len(component) > 1:
            components.append(component)
    return components


def _finish(graph: LoopGraph, root: int, seen: set[int], finished: list[int]) -> None:
    """Depth-first search that appends nodes when all that follows from them is done."""
    if root in seen:
        return
    seen.add(root)
    stack = [(root, iter(graph.outgoing[root]))]
    while stack:
        node, edges = stack[-1]
        following = next((edge.second for edge in edges if edge.second not in seen), None)
        if following is None:
            stack.pop()
            finished.append(node)
        else:
            seen.add(following)
            stack.append((following, iter(graph.outgoing[following])))


# Bounds


def resource_bounds(insts: Sequence[Inst], machine: Machine) -> dict[str, int]:
    """Cycles per iteration that each resource needs, by name; the branch of the loop is counted in."""
    demands = [demand_of(inst) for inst in insts]
    branch_slots, branch_ports = 1, 2
    bounds = {
        "slots": math.ceil((len(insts) + branch_slots) / SLOTS),
        "lane operations": math.ceil(sum(demand.is_lane for demand in demands) / LANE_OPS_PER_PACKET),
    }
    ports = {
        RegisterFile.SCALAR: sum(demand.scalar_ports for demand in demands) + branch_ports,
        RegisterFile.VECTOR: sum(demand.vector_ports for demand in demands),
        RegisterFile.MASK: sum(demand.mask_ports for demand in demands),
    }
    for file, count in ports.items():
        bounds[f"{file.name.lower()} ports"] = math.ceil(count / FILES[file].read_ports)
    busy: Counter[str] = Counter({"EX1": 1})
    for inst, demand in zip(insts, demands, strict=True):
        busy[unit_name(inst, demand.unit)] += unit_interval(inst, machine)
    bounds.update(busy)
    bursts = sum(dma_bursts(inst, machine) for inst in insts if inst.op.format is Format.SDMA)
    if bursts:
        bounds[CHANNEL] = math.ceil(bursts / machine.dram_bursts_per_cycle)
    reductions = [inst for inst in insts if inst.op.unit is Unit.REDUCTION]
    if reductions:
        flight = sum(machine.distance(inst.op) for inst in reductions)
        bounds["reductions in flight"] = math.ceil(flight / machine.reductions_in_flight)
    return bounds


def unit_name(inst: Inst, unit: UnitKey) -> str:
    """Name of what an instruction keeps busy: pads tell reads, writes and transfers apart."""
    if inst.op.unit is Unit.VLSU:
        return f"pad {inst.pad} {'reads' if inst.op.writes else 'writes'}"
    if inst.op.unit is Unit.SDMA:
        return f"pad {inst.pad} transfers"
    return unit[0].name


def _native_recurrence(native: ctypes.CDLL, num_nodes: int, edges: Collection[tuple[int, int, int, int]]) -> int:
    """`edges` are (first, second, latency, distance)."""
    given = Edges(num_nodes=num_nodes, size=len(edges))
    firsts, seconds, latencies, distances = zip(*edges, strict=True) if edges else ((), (), (), ())
    given.point(firsts=firsts, seconds=seconds, latencies=latencies, distances=distances)
    return native.atalla_recurrence(ctypes.byref(given))


def recurrence_in_place(insts: Sequence[Inst], machine: Machine) -> int:
    """`LoopGraph.recurrence` of a body in which every register has one copy."""
    native, body = library(), tuple(insts)
    written = frozenset(register for inst in body for register in inst.defs)
    if native is None:
        return build_loop_graph(body, machine, written).recurrence
    edges = _edges(body, machine, written)
    listed = [(first, second, latency, distance) for (first, second, distance), latency in edges.latencies.items()]
    return _native_recurrence(native, edges.num_nodes, listed)


def recurrence_bound(graph: LoopGraph, high: int) -> int:
    """The least II up to `high` at which no chain of dependences catches up with itself; `high` if there is none."""
    return min(high, graph.recurrence)


@lru_cache(maxsize=4)
def longest_paths(graph: LoopGraph, interval: int) -> tuple[int, ...] | None:
    """Cycles from each node to the end of the longest chain from it, at an II; None when chains never end."""
    size = graph.num_nodes
    heights = [0] * size
    pending = dict.fromkeys(range(size - 1, -1, -1))
    relaxations, limit = 0, size * max(8, size)
    while pending:
        index = next(iter(pending))
        del pending[index]
        for first, _, latency, distance, _ in graph.incoming[index]:
            height = heights[index] + latency - interval * distance
            if height > heights[first]:
                heights[first] = height
                pending[first] = None
                relaxations += 1
                if relaxations > limit:
                    return None
    return tuple(heights)


@lru_cache(maxsize=4)
def first_writers(graph: LoopGraph) -> Mapping[Register, int]:
    """The first instruction that writes each register."""
    found: dict[Register, int] = {}
    for index, inst in enumerate(graph.insts):
        for register in inst.defs:
            found.setdefault(register, index)
    return found


@lru_cache(maxsize=4)
def carried_reads(graph: LoopGraph) -> Mapping[tuple[int, Register], int]:
    """For each use of a register that the body writes: 0 when it reads this iteration's value, 1 the previous one's."""
    written_anywhere = first_writers(graph)
    written: set[Register] = set()
    found: dict[tuple[int, Register], int] = {}
    for index, inst in enumerate(graph.insts):
        for register in inst.uses:
            if register in written_anywhere:
                found[index, register] = 0 if register in written else 1
        written.update(inst.defs)
    return found
