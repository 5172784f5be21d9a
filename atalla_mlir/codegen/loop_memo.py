"""Schedules of loops that were found in this process, for loops that differ only in what no schedule depends on.

Kernels of one network hold the same loops over and over: on other registers, other objects in memory, other constants.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Collection, Hashable, Mapping
from dataclasses import dataclass

from atalla_mlir.codegen.loop_graph import LoopGraph
from atalla_mlir.codegen.machine_ir import Inst, Register
from atalla_mlir.codegen.reservations import chosen_with_schedule
from atalla_mlir.target.isa import Unit
from atalla_mlir.target.machine import Machine

MAX_SCHEDULES = 4096
"""Schedules kept at most, each of some kilobytes; the one not asked for longest goes first."""


@dataclass(frozen=True)
class Found:
    """A schedule: the cycle of each instruction, and the banks of vector registers that it counts on."""

    interval: int
    cycles: tuple[int, ...]
    banks: Mapping[Register, int]


Asked = tuple[Hashable, ...]
"""How a schedule is searched: all that decides what is found beside the loop."""


@dataclass(frozen=True)
class _Entry:
    """`Found` on numbered registers."""

    interval: int
    cycles: tuple[int, ...]
    banks: Mapping[int, int]


_ENTRIES: OrderedDict[tuple[bytes, Asked], _Entry | None] = OrderedDict()


class LoopMemo:
    """What was found for loops equal to this one: a schedule or None."""

    def __init__(
        self,
        graph: LoopGraph,
        machine: Machine,
        banks: Mapping[Register, int],
        settled: Collection[Register] = (),
    ) -> None:
        self._numbers = {register: at for at, register in enumerate(_registers(graph))}
        self._digest = self._describe(graph, machine, banks, chosen_with_schedule(banks, settled))

    def _describe(
        self, graph: LoopGraph, machine: Machine, banks: Mapping[Register, int], free: Collection[Register]
    ) -> bytes:
        """A digest of all that decides which schedules are found."""
        registers = [
            (r.file.value, r.pinned, -1 if r in free else banks.get(r), r in graph.in_place) for r in self._numbers
        ]
        insts = [self._instruction(inst) for inst in graph.insts]
        edges = [(e.first, e.second, e.latency, e.distance, e.is_result) for e in graph.edges]
        described = repr((machine.digest(), registers, insts, graph.num_nodes, edges, graph.is_ahead))
        return hashlib.sha256(described.encode()).digest()

    def _instruction(self, inst: Inst) -> tuple[object, ...]:
        """An instruction without the constants of integer operations, and of its memory only what edges do not say."""
        is_integer = inst.op.unit in (Unit.EX1, Unit.EX4) and not inst.op.is_memory
        operands = [
            f"%{self._numbers[value]}" if isinstance(value, Register) else "" if is_integer else value
            for value in inst.operands
        ]
        return inst.op.mnemonic, operands, inst.merges, inst.dma_shape, inst.pad, bool(inst.memory_refs())

    def recall(self, asked: Asked, search: Callable[[], Found | None]) -> Found | None:
        """What `search` finds, or what it found for an equal loop."""
        key = self._digest, asked
        if key not in _ENTRIES:
            found = search()
            _ENTRIES[key] = None if found is None else self._entry(found)
        _ENTRIES.move_to_end(key)
        while len(_ENTRIES) > MAX_SCHEDULES:
            _ENTRIES.popitem(last=False)
        entry = _ENTRIES[key]
        if entry is None:
            return None
        banks = {register: entry.banks[at] for register, at in self._numbers.items() if at in entry.banks}
        return Found(entry.interval, entry.cycles, banks)

    def _entry(self, found: Found) -> _Entry:
        banks = {self._numbers[register]: bank for register, bank in found.banks.items()}
        return _Entry(found.interval, found.cycles, banks)


def _registers(graph: LoopGraph) -> list[Register]:
    """The registers of a loop in the order in which they occur."""
    return list(dict.fromkeys(register for inst in graph.insts for register in inst.registers))
