"""What must stay in order inside a block, and by how many cycles.

An edge `first -> second` with latency d says: `second` issues at least d cycles after `first`. Latency 0 means that
both may share a packet if `first` sits in a lower slot (a reader and the next writer of a register); anything else
means a later packet. Latencies are those of an uncontended machine: what depends on the state of units (queues of
pads, busy lanes) is the scheduler's business.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from atalla_mlir.codegen.machine_ir import ANY_OBJECT, Inst, MemoryRef, Register, order_key
from atalla_mlir.target.isa import Format, Latency
from atalla_mlir.target.machine import Machine

PACKET = 1
"""Latency of edges that only demand a later packet."""


@dataclass(eq=False)
class DependenceGraph:
    """`successors[i]` maps what must follow instruction i to the latency of the edge; `predecessors` mirrors it."""

    insts: Sequence[Inst]
    successors: list[dict[int, int]] = field(default_factory=list)
    predecessors: list[dict[int, int]] = field(default_factory=list)

    def add_edge(self, first: int, second: int, latency: int) -> None:
        """Adds an edge or raises the latency of the one that is there."""
        known = self.successors[first].get(second, -1)
        if latency > known:
            self.successors[first][second] = latency
            self.predecessors[second][first] = latency

    def heights(self) -> list[int]:
        """Cycles from the issue of each instruction to the end of the longest chain that starts with it."""
        heights = [0] * len(self.insts)
        for index in range(len(self.insts) - 1, -1, -1):
            height = 0
            for following, latency in self.successors[index].items():
                if heights[following] + latency > height:
                    height = heights[following] + latency
            heights[index] = height
        return heights

    def depths(self) -> list[int]:
        """Earliest issue of each instruction in cycles from the block's start, resources not considered."""
        depths = [0] * len(self.insts)
        for index in range(len(self.insts)):
            depth = 0
            for earlier, latency in self.predecessors[index].items():
                if depths[earlier] + latency > depth:
                    depth = depths[earlier] + latency
            depths[index] = depth
        return depths


def build_graph(insts: Sequence[Inst], machine: Machine) -> DependenceGraph:
    """The dependence graph of instructions that run one after the other."""
    graph = DependenceGraph(insts, [{} for _ in insts], [{} for _ in insts])
    latencies = [result_latency(inst, machine) for inst in insts]
    _add_register_edges(graph, latencies)
    add_memory_edges(graph, latencies)
    add_unit_order_edges(graph, machine)
    _add_control_edges(graph)
    return graph


def result_latency(inst: Inst, machine: Machine) -> int:
    """Cycles from issue to the earliest issue of an instruction that needs the result or writes the same register."""
    if inst.op.format is Format.SDMA:
        return dma_cycles(inst, machine) + 2
    return machine.distance(inst.op)


def dma_cycles(inst: Inst, machine: Machine) -> int:
    """Estimated duration of a transfer that has the DRAM channel for itself; a whole page when its shape is unknown."""
    rows, bursts_per_row = _dma_rows(inst, machine)
    per_row = bursts_per_row / machine.dram_bursts_per_cycle
    latency = machine.dram_latency_cycles
    if inst.op.mnemonic == "scpad.st":
        transfer = rows * max(machine.pad_row_interval, per_row) + latency
    elif machine.sdma_row_serial:
        transfer = rows * (per_row + latency - 1)
    else:
        transfer = rows * per_row + latency
    return machine.sdma_startup_cycles + int(transfer)


def dma_bursts(inst: Inst, machine: Machine) -> int:
    """Bursts of a transfer on the DRAM channel."""
    rows, bursts_per_row = _dma_rows(inst, machine)
    return rows * bursts_per_row


def _dma_rows(inst: Inst, machine: Machine) -> tuple[int, int]:
    """Rows of a transfer and bursts for each."""
    shape = inst.dma_shape
    rows, cols = (machine.page_rows, machine.vector_lanes) if shape is None else (shape.rows, shape.cols)
    return rows, -(-2 * cols // machine.dram_burst_bytes)


def _add_register_edges(graph: DependenceGraph, latencies: Sequence[int]) -> None:
    writer: dict[Register, int] = {}
    readers: dict[Register, list[int]] = defaultdict(list)
    for index, inst in enumerate(graph.insts):
        defs = inst.defs
        for register in inst.uses:
            if register in writer:
                graph.add_edge(writer[register], index, latencies[writer[register]])
            readers[register].append(index)
        for register in defs:
            for reader in readers.pop(register, ()):
                if reader != index:
                    graph.add_edge(reader, index, 0)
            if register in writer:
                graph.add_edge(writer[register], index, max(PACKET, latencies[writer[register]]))
            writer[register] = index


class _ObjectHistory:
    """Accesses to one object so far, by elementary range: the ranges between neighbouring bounds of its refs."""

    def __init__(self, refs: Sequence[MemoryRef]) -> None:
        known = (bound for ref in refs for bound in (ref.low, ref.high) if bound is not None)
        self.bounds = sorted(set(known)) or [0, 1]
        num_ranges = max(1, len(self.bounds) - 1)
        self.last_write: list[int | None] = [None] * num_ranges
        self.reads: list[list[int]] = [[] for _ in range(num_ranges)]

    def ranges(self, ref: MemoryRef) -> range:
        if ref.low is None or ref.high is None:
            return range(len(self.reads))
        return range(bisect_left(self.bounds, ref.low), bisect_left(self.bounds, ref.high))

    def conflicts(self, ref: MemoryRef) -> set[int]:
        """Earlier instructions that `ref` must follow."""
        earlier: set[int] = set()
        for position in self.ranges(ref):
            write = self.last_write[position]
            if write is not None:
                earlier.add(write)
            if ref.is_write and not ref.is_wait:
                earlier.update(self.reads[position])
        return earlier

    def record(self, ref: MemoryRef, index: int) -> None:
        for position in self.ranges(ref):
            if ref.is_write:
                self.last_write[position] = index
                if not ref.is_wait:
                    self.reads[position] = []
            else:
                self.reads[position].append(index)


def add_memory_edges(graph: DependenceGraph, latencies: Sequence[int]) -> None:
    """Edges between accesses that may touch the same rows of a pad or bytes of DRAM.

    Transfers to DRAM follow each other without waiting: the channel serves them in order where they overlap.
    """
    accesses = [(index, ref) for index, inst in enumerate(graph.insts) for ref in inst.memory_refs()]
    by_object: dict[tuple[str, str], list[MemoryRef]] = defaultdict(list)
    for _, ref in accesses:
        by_object[ref.space, ref.object].append(ref)
    wild_spaces = {space for space, name in by_object if name == ANY_OBJECT}
    histories = {key: _ObjectHistory(refs) for key, refs in by_object.items()}
    for index, ref in accesses:
        keys = _overlapping_objects(ref, by_object, wild_spaces)
        for key in keys:
            whole = ref if key[1] == ref.object else replace(ref, object=key[1], low=None, high=None)
            for earlier in histories[key].conflicts(whole):
                if earlier != index:
                    graph.add_edge(earlier, index, _memory_latency(graph, earlier, index, latencies[earlier]))
        histories[ref.space, ref.object].record(ref, index)


def _overlapping_objects(
    ref: MemoryRef, by_object: dict[tuple[str, str], list[MemoryRef]], wild_spaces: set[str]
) -> list[tuple[str, str]]:
    if ref.object == ANY_OBJECT:
        return [key for key in by_object if key[0] == ref.space]
    own = (ref.space, ref.object)
    return [own, (ref.space, ANY_OBJECT)] if ref.space in wild_spaces else [own]


def _memory_latency(graph: DependenceGraph, first: int, second: int, latency: int) -> int:
    """A transfer takes its time; all other accesses are served in order once they have issued.

    Transfers to one buffer write different bytes of it and need not wait for each other.
    """
    if graph.insts[first].op.format is not Format.SDMA:
        return PACKET
    are_stores = all(graph.insts[index].op.mnemonic == "scpad.st" for index in (first, second))
    return PACKET if are_stores else latency


def add_unit_order_edges(graph: DependenceGraph, machine: Machine) -> None:
    """Order on hidden state: weights of the array (2.9, 5.5) and rows of the transpose unit (2.13)."""
    last_push: int | None = None
    gemms: list[int] = []
    last_transpose: int | None = None
    for index, inst in enumerate(graph.insts):
        key = order_key(inst)
        if key == "transpose":
            if last_transpose is not None:
                graph.add_edge(last_transpose, index, machine.interval(graph.insts[last_transpose].op))
            last_transpose = index
        elif key == "weights" and inst.op.latency is Latency.WEIGHT_PUSH:
            for gemm in gemms:
                graph.add_edge(gemm, index, machine.array_drain_cycles)
            gemms = []
            if last_push is not None:
                graph.add_edge(last_push, index, PACKET)
            last_push = index
        elif key == "weights":
            if last_push is not None:
                graph.add_edge(last_push, index, PACKET)
            gemms.append(index)


def _add_control_edges(graph: DependenceGraph) -> None:
    """The control instruction comes last; `halt.s` gets a packet of its own."""
    last = len(graph.insts) - 1
    if last < 0 or not graph.insts[last].op.is_control:
        return
    latency = PACKET if graph.insts[last].op.mnemonic == "halt.s" else 0
    for index in range(last):
        graph.add_edge(index, last, latency)
