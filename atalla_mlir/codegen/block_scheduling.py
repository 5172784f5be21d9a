"""Scheduling a block by the native core, where there is one, else in Python: the result is the same."""

from __future__ import annotations

import ctypes
from array import array
from collections.abc import Mapping, Sequence
from functools import cached_property
from itertools import pairwise

from atalla_mlir.codegen.list_scheduler import CANDIDATES, BlockDemands, BlockSchedule, BlockScheduler
from atalla_mlir.codegen.machine_ir import Register
from atalla_mlir.codegen.native_library import Block, library, numbers, place_of, starts_and_items
from atalla_mlir.codegen.resources import EMPTY_PACKET, OVER
from atalla_mlir.target.encoding import SLOTS
from atalla_mlir.target.registers import RegisterFile

MAX_SHORT_BLOCK = 4
"""Instructions up to which putting together what the native core wants takes longer than to do without it."""


class BlockCore:
    """A block that may be scheduled several times."""

    def __init__(self, demands: BlockDemands) -> None:
        self._demands = demands

    def schedule(
        self,
        limits: Mapping[RegisterFile, int],
        packet_cycles: int,
        releases: Sequence[int] = (),
        banks: Mapping[Register, int] | None = None,
    ) -> BlockSchedule:
        """The block in packets, which come `packet_cycles` after each other at least.

        `limits` say how many values each file may hold, `releases` from which cycle on each instruction may issue,
        `banks` which registers a packet should not read together.
        """
        native = library() if len(self._demands.graph.insts) > MAX_SHORT_BLOCK else None
        if native is None:
            return BlockScheduler(self._demands, limits, packet_cycles, releases, banks).run()
        size = self._block.size
        bits = numbers(self._demands.bank_bits(banks)) if banks else None
        earliest = numbers(releases) if releases else None
        wanted = numbers(limits[file] for file in RegisterFile)
        cycles, order, sizes, peaks = (array("i", bytes(4 * room)) for room in (size, size, size, len(RegisterFile)))
        num_packets = native.atalla_schedule_block(
            ctypes.byref(self._block),
            place_of(wanted),
            packet_cycles,
            place_of(earliest),
            place_of(bits),
            *map(place_of, (cycles, order, sizes, peaks)),
        )
        ends = [0]
        for at in range(num_packets):
            ends.append(ends[-1] + sizes[at])
        issued = order.tolist()
        return BlockSchedule([issued[first:end] for first, end in pairwise(ends)], cycles.tolist(), tuple(peaks))

    @cached_property
    def _block(self) -> Block:
        demands, times, registers = self._demands, self._demands.times, self._demands.registers
        graph = demands.graph
        block = Block(
            size=len(graph.insts),
            num_units=demands.num_units,
            num_books=times.num_books,
            num_values=len(registers.files),
            reductions_in_flight=times.reductions_in_flight,
            slots=SLOTS,
            candidates=CANDIDATES,
            num_live=tuple(registers.num_live),
            empty_packet=EMPTY_PACKET,
            over=OVER,
        )
        starts, successors = starts_and_items(graph.successors)
        use_starts, uses = starts_and_items([[value for value, _ in values] for values in registers.uses])
        def_starts, defs = starts_and_items(registers.defs)
        block.point(
            successor_starts=starts,
            successors=successors,
            latencies=(latency for following in graph.successors for latency in following.values()),
            num_predecessors=map(len, graph.predecessors),
            order=demands.order,
            units=demands.units,
            counts=demands.counts,
            books=times.books,
            busy=times.busy,
            early=times.early,
            queues=times.queues,
            flights=times.flights,
            use_starts=use_starts,
            uses=uses,
            use_times=(times for values in registers.uses for _, times in values),
            def_starts=def_starts,
            defs=defs,
            files=registers.files,
            reads=registers.reads,
            is_live=registers.is_live,
        )
        return block
