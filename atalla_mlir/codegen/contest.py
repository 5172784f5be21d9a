"""The fastest of several ways to run a loop, and the intervals at which there may be a faster one."""

from __future__ import annotations

from typing import Protocol

from atalla_mlir.codegen.loop_graph import LoopGraph
from atalla_mlir.codegen.loops import FETCH_CYCLES, CountedLoop, LoopContext, LoopPart, PipelinedLoop
from atalla_mlir.target.encoding import PACKET_BYTES, SLOTS
from atalla_mlir.target.machine import Machine


class Way(Protocol):
    """A loop rewritten."""

    def cycles(self, context: LoopContext, machine: Machine) -> float:
        """Time from entering the loop to leaving it, with the time to fetch its code."""
        ...

    def build(self) -> PipelinedLoop: ...


class Contest:
    """Keeps the first of the fastest ways; those that are no faster than the loop as it is do not count."""

    def __init__(self, loop: CountedLoop, context: LoopContext, machine: Machine) -> None:
        self._loop, self._context, self._machine = loop, context, machine
        self.best: Way | None = None
        # what does not fit into the cache is fetched again in each iteration
        refetched = 2 * max(0, context.packets - machine.icache_bytes // PACKET_BYTES)
        as_is = LoopPart(context.packets, context.cycles + FETCH_CYCLES * refetched, loop.trip_count)
        self._cycles: float = context.entered_cycles([as_is], machine)

    def enter(self, way: Way) -> None:
        cycles = way.cycles(self._context, self._machine)
        if cycles < self._cycles:
            self.best, self._cycles = way, cycles

    def largest_interval(self, graph: LoopGraph, *, setup: int = 0, refill: float = 0.0) -> int:
        """The largest II below that of the loop as it is at which a schedule of `graph` may still be the fastest.

        The longest chain of an iteration says how many stages there are at least. A way has `setup` packets at least
        that run once, and `refill` packets for each stage after the first.
        """
        num_insts = len(graph.insts)
        chain = max(graph.depths[:num_insts], default=0)
        interval = self._context.cycles - 1
        while interval > 0:
            more_stages = chain // interval
            packets = setup - (-num_insts // SLOTS) + int(more_stages * refill)
            passes = LoopPart(packets, interval, self._loop.trip_count + more_stages)
            if setup + self._context.entered_cycles([passes], self._machine) < self._cycles:
                break
            interval -= 1
        return interval
