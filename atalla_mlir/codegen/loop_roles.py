"""What the nodes of a loop body that moves data are there for: transfers, addresses, loads, weights of the array."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import permutations

from atalla_mlir.codegen.loop_graph import LoopGraph
from atalla_mlir.target.isa import Format, Latency, Unit

LOADING_SHARES = (0.85, 0.85, 0.7, 0.7)
"""Shares of the interval over which loads are spread, one for each attempt."""
EAGER_SHARES = (0.7, 0.6, 0.5, 0.4)
"""The same where loads do not wait for those before them to be spread, which suits several slices in one iteration."""
PHASE_ORDERS = 6
"""Orders of the pads in which the phases of their transfers are tried."""


def transfers_by_pad(graph: LoopGraph, turn: int) -> list[list[int]]:
    """The transfers of each pad, in the order of the pads' phases."""
    by_pad: dict[int, list[int]] = {}
    for index, inst in enumerate(graph.insts):
        if inst.op.format is Format.SDMA:
            by_pad.setdefault(inst.pad or 0, []).append(index)
    first, *others = sorted(by_pad)
    orders = list(permutations(others))
    return [by_pad[pad] for pad in (first, *orders[0 if graph.is_ahead else turn % len(orders)])]


def is_settled(graph: LoopGraph, index: int) -> bool:
    """Whether a transfer is placed before all else; one to DRAM issues when its rows are there."""
    return graph.is_ahead or graph.insts[index].op.mnemonic == "scpad.ld"


def find_feeders(graph: LoopGraph) -> set[int]:
    """Integer operations that make addresses: quick ones that may come as late as their readers like."""
    return {
        index
        for index, inst in enumerate(graph.insts)
        if inst.op.unit in (Unit.EX1, Unit.EX4) and not inst.memory_refs()
    }


def transfer_feeders(graph: LoopGraph, feeders: Iterable[int]) -> set[int]:
    """Those that lead to transfers whose time is settled, or wait for these, and to nothing else."""
    early: set[int] = set()
    settled = {
        index for index, inst in enumerate(graph.insts) if inst.op.format is Format.SDMA and is_settled(graph, index)
    }
    for index in sorted(feeders, reverse=True):
        makes = bool(graph.insts[index].defs)
        following = [e for e in graph.outgoing[index] if not e.distance and e.second < len(graph.insts)]
        targets = [e.second for e in following if e.is_result or not makes]
        if targets and all(target in early or target in settled for target in targets):
            early.add(index)
    return early


def feeders_in_order(graph: LoopGraph, feeders: Iterable[int]) -> list[int]:
    """Feeders in the order of placement, what follows first: then the steps of pointers, then what leads to these."""
    ranks = _feeder_ranks(graph, feeders)
    return sorted(ranks, key=lambda index: (ranks[index], -index))


def _feeder_ranks(graph: LoopGraph, feeders: Iterable[int]) -> dict[int, int]:
    """1 for what writes pointers in place, 2 for what only that reads, 3 for what only waits, 0 for all others."""
    ranks: dict[int, int] = {}
    for index in sorted(feeders, reverse=True):
        readers = [e.second for e in graph.outgoing[index] if e.is_result and e.second > index]
        if not graph.insts[index].defs:
            ranks[index] = 3
        elif not graph.in_place.isdisjoint(graph.insts[index].defs):
            ranks[index] = 1
        else:
            ranks[index] = 2 if readers and all(ranks.get(reader, 0) for reader in readers) else 0
    return ranks


def needed_times(graph: LoopGraph, part: Sequence[int]) -> dict[int, int]:
    """When each node is first needed by what follows, if nothing held that up but what it depends on."""
    ready = dict.fromkeys(part, 0)
    for index in sorted(part):
        for edge in graph.outgoing[index]:
            if not edge.distance and edge.second in ready:
                ready[edge.second] = max(ready[edge.second], ready[index] + edge.latency)
    return {
        index: min(
            (
                ready[edge.second] - edge.latency
                for edge in graph.outgoing[index]
                if not edge.distance and edge.second in ready
            ),
            default=0,
        )
        for index in part
    }


def is_load(graph: LoopGraph, index: int) -> bool:
    return graph.insts[index].op.mnemonic == "vreg.ld"


def loading_share(turn: int, *, is_eager: bool) -> float:
    """Share of the interval over which loads are spread in an attempt."""
    shares = EAGER_SHARES if is_eager else LOADING_SHARES
    return shares[turn % len(shares)]


def different_turns(graph: LoopGraph, *, is_eager: bool) -> list[int]:
    """The turns that are worth an attempt: orders of the pads or, where nothing waits for transfers, shares of the
    interval over which loads are spread, with the parts of the body forwards and backwards."""
    if graph.is_ahead:
        parts = forward_parts(graph)
        shares = EAGER_SHARES if is_eager else LOADING_SHARES
        backwards = len(parts) > 1
        return [turn for turn, share in enumerate(shares) if backwards or share not in shares[:turn]]
    pads = {inst.pad or 0 for inst in graph.insts if inst.op.format is Format.SDMA}
    return list(range(min(PHASE_ORDERS, math.factorial(len(pads) - 1))))


def forward_parts(graph: LoopGraph, turn: int = 0) -> list[list[int]]:
    """All but the feeders in parts to place one by one: a single one where transfers are waited for, else parts that
    have nothing to do with each other, the longest first or, in every second turn, last."""
    feeders = find_feeders(graph)
    others = [index for index in range(graph.num_nodes) if index not in feeders]
    if not graph.is_ahead:
        return [others]
    heights = graph.heights
    parts = sorted(independent_parts(graph, others), key=lambda part: -max(heights[index] for index in part))
    return parts[::-1] if turn % 2 else parts


def independent_parts(graph: LoopGraph, nodes: Sequence[int]) -> list[list[int]]:
    """`nodes` in parts that no dependence inside an iteration connects, each in program order."""
    neighbours = graph.near_neighbours
    left = set(nodes)
    parts: list[list[int]] = []
    for node in nodes:
        if node not in left:
            continue
        left.remove(node)
        part, pending = [node], [node]
        while pending:
            for other in neighbours[pending.pop()]:
                if other in left:
                    left.remove(other)
                    part.append(other)
                    pending.append(other)
        parts.append(sorted(part))
    return parts


def push_runs(graph: LoopGraph) -> dict[int, list[int]]:
    """For the first of the weight pushes that follow each other without a product: the makers of the rows pushed."""
    runs: dict[int, list[int]] = {}
    first: int | None = None
    for index, inst in enumerate(graph.insts):
        if inst.op.unit is not Unit.GSAU:
            continue
        if inst.op.latency is not Latency.WEIGHT_PUSH:
            first = None
            continue
        first = index if first is None else first
        makers = [edge.first for edge in graph.incoming[index] if edge.is_result and not edge.distance]
        runs.setdefault(first, []).extend(makers)
    return runs
