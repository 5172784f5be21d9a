"""Iterative modulo scheduling: one iteration of a loop body laid out so that a new one can start every II cycles.

II starts at the largest of its bounds: those of resources, of recurrences and of both together; at each II the
instructions are placed next to what they depend on (`loop_placement`) or, where the body moves data, cycle by cycle
(`forward_placement`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from itertools import chain

from atalla_mlir.codegen.bank_repair import repair_banks
from atalla_mlir.codegen.contention import contention_bound
from atalla_mlir.codegen.loop_core import LoopCore
from atalla_mlir.codegen.loop_graph import CHANNEL, LoopGraph, resource_bounds
from atalla_mlir.codegen.loop_memo import Found, LoopMemo
from atalla_mlir.codegen.loop_placement import OrderChoice
from atalla_mlir.codegen.loop_roles import different_turns, push_runs
from atalla_mlir.codegen.machine_ir import Register
from atalla_mlir.codegen.reservations import LoopDemands
from atalla_mlir.codegen.tail_placement import longest_lifetime, shorten_tail
from atalla_mlir.target.isa import Format, Unit
from atalla_mlir.target.machine import Machine
from atalla_mlir.target.registers import RegisterFile

FINENESS = 64
"""The search raises II by a fraction of this."""
NEAR_BOUND = 1.08
"""How close to the bound an interval is with which no other way of placing is tried."""
CHANNEL_SHARE = 0.8
"""Share of the interval that transfers may take of the DRAM channel such that nothing waits for them."""
MAX_FORWARD_GROWTH = 1.25
"""By how much II exceeds the first that is tried before placing forwards is given up: where units are not to blame that
something comes too late, more cycles hardly help."""


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
    def hides_transfers(self) -> bool:
        """Whether nothing waits for transfers: they bring what later iterations use, and the channel has time left."""
        channel = self.resource_bounds.get(CHANNEL, 0)
        return self.graph.is_ahead and channel <= CHANNEL_SHARE * self.interval

    @cached_property
    def num_stages(self) -> int:
        return max(self.cycles, default=0) // self.interval + 1

    def rows(self) -> list[list[int]]:
        """The instructions of each cycle modulo II."""
        rows: list[list[int]] = [[] for _ in range(self.interval)]
        for index, cycle in enumerate(self.cycles):
            rows[cycle % self.interval].append(index)
        return rows


class ModuloScheduler:
    """Searches schedules of one loop; what was found for an equal loop is not searched again.

    At most `max_stages` iterations may be in progress at once. A `thorough` search tries all ways of placing at each
    II. Vectors in `settled` keep their banks.
    """

    def __init__(
        self,
        graph: LoopGraph,
        machine: Machine,
        banks: Mapping[Register, int],
        max_stages: float = math.inf,
        *,
        thorough: bool = False,
        settled: Collection[Register] = (),
    ) -> None:
        self._graph = graph
        # banks are those of a whole function
        own = dict.fromkeys(chain.from_iterable(inst.port_reads + inst.defs for inst in graph.insts))
        banks = {register: banks[register] for register in own if register in banks}
        self._demands = LoopDemands(graph.insts, machine, banks, settled)
        written = {register for inst in graph.insts for register in inst.defs}
        self._scalar_banks = {
            register: bank
            for register, bank in banks.items()
            if register.file is RegisterFile.SCALAR and register in written
        }
        """Of scalars that the loop writes: those of others may matter elsewhere."""
        self._known_banks = banks
        self._core = LoopCore(graph, self._demands)
        self._bounds = resource_bounds(graph.insts, machine)
        self._bound = max(*self._bounds.values(), graph.recurrence, _array_bound(graph, machine))
        self._contention = contention_bound(graph, self._demands)
        if len(push_runs(graph)) > 1 and self._bound == _array_bound(graph, machine):
            # nothing may hold up the array
            self._demands.share_channel(graph.insts, self._bound)
        self.memo = LoopMemo(graph, machine, banks, settled)
        self._limit(max_stages, thorough=thorough)

    def limited(self, max_stages: float, *, thorough: bool = False) -> ModuloScheduler:
        """A scheduler of the same loop with other limits."""
        other = copy(self)
        other._limit(max_stages, thorough=thorough)
        return other

    def _limit(self, max_stages: float, *, thorough: bool) -> None:
        self._max_stages, self._thorough = max_stages, thorough
        graph, core = self._graph, self._core
        has_slices = len(push_runs(graph)) > 1
        self._ways: list[list[Callable[[int], Found | None]]] = [[core.place]]
        """Where placing forwards finds nothing, or a slow kernel, placing next to what is there may do better."""
        if _overlaps_transfers(graph):
            for is_eager in (True, False) if graph.is_ahead and has_slices else (False,):
                turns = different_turns(graph, is_eager=is_eager)
                self._ways.insert(0, [partial(core.place_forwards, turn=turn, is_eager=is_eager) for turn in turns])
            if thorough:
                self._ways.append([partial(core.place, choice=OrderChoice(transfers_first=True))])

    def schedule(self, max_interval: int, min_interval: int = 1) -> ModuloSchedule | None:
        """A schedule with the smallest II found in the given range, or None when there is none.

        A way of placing that once found nothing at any II is not tried again.
        """
        tried = self._intervals(max(self._bound, min_interval), max_interval)
        if not tried:
            return None
        found = self._search_all(tried) if self._thorough else self._search(tried)
        return None if found is None else self._schedule(found, max_interval)

    @property
    def bound(self) -> int:
        """The least II that is tried."""
        return max(self._bound, self._contention)

    def place(self, interval: int, choice: OrderChoice) -> ModuloSchedule | None:
        """A schedule with an II, by an order of its own, or None."""
        attempt = partial(self._core.place, choice=choice)
        asked = "chosen order", choice, self._max_stages, interval
        found = self.memo.recall(asked, partial(self._best_placement, [attempt], interval))
        return None if found is None else self._schedule(found, interval)

    def repair(self, interval: int, choice: OrderChoice) -> ModuloSchedule | None:
        """A schedule with an II and few enough stages in which each value has one copy, or None."""
        if not math.isfinite(self._max_stages):
            return None
        attempt = partial(self._core.place_by_repair, choice=choice, num_stages=int(self._max_stages))
        asked = "by repair", choice, self._max_stages, interval
        found = self.memo.recall(asked, partial(self._best_placement, [attempt], interval))
        return None if found is None else self._schedule(found, interval)

    def _schedule(self, found: Found, max_interval: int) -> ModuloSchedule:
        recurrence = min(max_interval + 1, self._graph.recurrence)
        return ModuloSchedule(self._graph, found.interval, found.cycles, self._bounds, recurrence, found.banks)

    def _intervals(self, first: int, last: int) -> list[int]:
        """Intervals to try: those that contention allows, and the least of these."""
        least = {self._contention} if first < self._contention <= last else set[int]()
        return sorted(least.union(at for at in intervals(first, last) if at >= self._contention))

    def _search(self, tried: Sequence[int]) -> Found | None:
        """What is found at the least II; ways before the first that finds something are given up. A way that comes near
        the bound is the last one tried.
        """
        best: Found | None = None
        left = 1
        for number, attempts in enumerate(self._ways):
            if best is not None and best.interval <= tried[0] * NEAR_BOUND:
                break
            most = tried[-1] if number == len(self._ways) - 1 else MAX_FORWARD_GROWTH * tried[0]
            if best is not None:
                most = min(most, best.interval - 1)
            for at in tried:
                if at > most:
                    break
                # ways are given up from the front, so the last one is always number 1
                asked = len(self._ways) - number, at
                found = self.memo.recall(asked, partial(self._best_placement, attempts, at))
                if found is not None:
                    left = len(self._ways) - number if best is None else left
                    best = found
                    break
        del self._ways[: len(self._ways) - left]
        return None if best is None else self._finished(best)

    def _search_all(self, tried: Sequence[int]) -> Found | None:
        """What is found at the least II by any way: of several the one whose values are kept for the shortest time."""
        attempts = [attempt for way in self._ways for attempt in way]
        asked = len(attempts), "any way", self._max_stages
        places = (self.memo.recall((*asked, at), partial(self._best_placement, attempts, at)) for at in tried)
        return next((found for found in places if found is not None), None)

    def _best_placement(self, attempts: Sequence[Callable[[int], Found | None]], interval: int) -> Found | None:
        """Of placements with few enough stages the one whose values are kept for the shortest time."""
        fitting = (
            found
            for found in self._placements(attempts, interval)
            if max(found.cycles, default=0) // interval < self._max_stages
        )
        best = min(fitting, key=partial(longest_lifetime, self._graph), default=None)
        return None if best is None else self._finished(best)

    def _finished(self, found: Found) -> Found:
        """What was found with a short tail and with banks that keep apart what packets read together."""
        found = shorten_tail(self._graph, self._demands, found)
        chosen = {**found.banks, **self._scalar_banks}
        fixed = {register: bank for register, bank in self._known_banks.items() if register not in chosen}
        insts, machine = self._graph.insts, self._demands.machine
        banks = repair_banks(insts, found.cycles, found.interval, chosen, fixed, machine)
        return replace(found, banks=banks)

    def _placements(self, attempts: Sequence[Callable[[int], Found | None]], interval: int) -> Iterator[Found]:
        """What the attempts find that place everything: the first one where transfers are waited for, else all."""
        for attempt in attempts:
            found = attempt(interval)
            if found is not None:
                yield found
                if not self._graph.is_ahead:
                    return


def intervals(first: int, last: int) -> Iterator[int]:
    """Intervals to try, in steps of a fraction of them."""
    while first <= last:
        yield first
        first += max(1, first // FINENESS)


def _array_bound(graph: LoopGraph, machine: Machine) -> int:
    """The least II that the array allows: after the last row of a product it drains before weights move."""
    num_uses = sum(inst.op.unit is Unit.GSAU for inst in graph.insts)
    return num_uses + (machine.array_drain_cycles - 1) * len(push_runs(graph))


def _overlaps_transfers(graph: LoopGraph) -> bool:
    """Whether the body moves data by DMA: such bodies are long, and what they compute hardly forms circles."""
    return any(inst.op.format is Format.SDMA for inst in graph.insts)
