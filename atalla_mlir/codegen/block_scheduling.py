"""Scheduling blocks by the native core, where there is one, else in Python: the result is the same."""

from __future__ import annotations

import ctypes
from array import array
from collections.abc import Mapping, Sequence
from functools import cached_property
from itertools import pairwise

from atalla_mlir.codegen.block_numbers import BlockNumbers
from atalla_mlir.codegen.dependence import DependenceGraph, build_graph
from atalla_mlir.codegen.list_scheduler import BlockDemands, BlockSchedule, BlockScheduler
from atalla_mlir.codegen.liveness import BlockLiveness
from atalla_mlir.codegen.loop_graph import edges_to_next
from atalla_mlir.codegen.machine_ir import Block, Inst, Register
from atalla_mlir.codegen.native_library import library, numbers, place_of
from atalla_mlir.codegen.priorities import priorities
from atalla_mlir.target.machine import Machine
from atalla_mlir.target.registers import RegisterFile


class BlocksCore:
    """Blocks of one function, each of which may be scheduled several times."""

    def __init__(self, blocks: Sequence[Block], liveness: Sequence[BlockLiveness], machine: Machine) -> None:
        self._blocks, self._liveness, self.machine = blocks, liveness, machine
        self._graphs: dict[int, DependenceGraph] = {}
        self._demands: dict[int, BlockDemands] = {}
        self._banks: tuple[Mapping[Register, int], array[int]] | None = None

    def schedule(
        self,
        number: int,
        limits: Mapping[RegisterFile, int],
        packet_cycles: int,
        releases: Sequence[int] = (),
        banks: Mapping[Register, int] | None = None,
    ) -> BlockSchedule:
        """A block in packets, which come `packet_cycles` after each other at least.

        `limits` say how many values each file may hold, `releases` from which cycle on each instruction may issue,
        `banks` which registers a packet should not read together.
        """
        native = library()
        if native is None:
            return BlockScheduler(self._demands_of(number), limits, packet_cycles, releases, banks).run()
        size = len(self._blocks[number].insts)
        earliest = numbers(releases) if releases else None
        wanted = numbers(limits[file] for file in RegisterFile)
        cycles, order, sizes, peaks = (array("i", bytes(4 * room)) for room in (size, size, size, len(RegisterFile)))
        num_packets = native.atalla_schedule_block(
            ctypes.byref(self._numbers.described),
            number,
            place_of(wanted),
            packet_cycles,
            place_of(earliest),
            place_of(self._numbered_banks(banks) if banks else None),
            *map(place_of, (cycles, order, sizes, peaks)),
        )
        if num_packets < 0:  # a packet has no order of slots, which the reference says in words
            return BlockScheduler(self._demands_of(number), limits, packet_cycles, releases, banks).run()
        ends = [0]
        for at in range(num_packets):
            ends.append(ends[-1] + sizes[at])
        issued = order.tolist()
        return BlockSchedule([issued[first:end] for first, end in pairwise(ends)], cycles.tolist(), tuple(peaks))

    def heights(self, number: int) -> list[int]:
        """Cycles from the issue of each instruction of a block to the end of the longest chain that starts with it."""
        native = library()
        if native is None:
            return self.graph(number).heights()
        found = array("i", bytes(4 * len(self._blocks[number].insts)))
        native.atalla_block_heights(ctypes.byref(self._numbers.described), number, place_of(found))
        return found.tolist()

    def carried_waits(self, number: int, issue_cycles: Sequence[int]) -> list[int]:
        """`carried_waits` for a block that repeats itself."""
        native = library()
        if native is None:
            return carried_waits(self._blocks[number].insts, issue_cycles, self.machine)
        given, found = numbers(issue_cycles), array("i", bytes(4 * len(issue_cycles)))
        native.atalla_carried_waits(ctypes.byref(self._numbers.described), number, place_of(given), place_of(found))
        return found.tolist()

    def graph(self, number: int) -> DependenceGraph:
        """The dependence graph of a block."""
        if number not in self._graphs:
            self._graphs[number] = build_graph(self._blocks[number].insts, self.machine)
        return self._graphs[number]

    def _demands_of(self, number: int) -> BlockDemands:
        if number not in self._demands:
            block, liveness = self._blocks[number], self._liveness[number]
            carried = liveness.live_in & liveness.live_out if block.repeats else frozenset[Register]()
            leaving = liveness.live_out if block.loop_depth else frozenset[Register]()
            urgency = priorities(self.graph(number), self.machine, carried, leaving)
            self._demands[number] = BlockDemands(self.graph(number), urgency, liveness, self.machine)
        return self._demands[number]

    @cached_property
    def _numbers(self) -> BlockNumbers:
        return BlockNumbers(self._blocks, self._liveness, self.machine)

    def _numbered_banks(self, banks: Mapping[Register, int]) -> array[int]:
        """The bank of each register as a number; all blocks of a function get the same."""
        if self._banks is None or self._banks[0] is not banks:
            self._banks = banks, numbers(self._numbers.banks(banks))
        return self._banks[1]


def carried_waits(insts: Sequence[Inst], issue_cycles: Sequence[int], machine: Machine) -> list[int]:
    """When each instruction of a block that repeats itself may issue in the next run, counted from the start of one.

    `issue_cycles` are those of a run. What holds nothing up counts as 0; accesses to memory are left out.
    """
    waits = [0] * len(insts)
    for first, second, latency in edges_to_next([inst for inst in insts if not inst.op.is_control], machine):
        waits[second] = max(waits[second], issue_cycles[first] + latency)
    return waits
