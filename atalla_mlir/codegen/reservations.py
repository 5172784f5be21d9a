"""Who uses what in each cycle modulo the initiation interval of a loop.

Packet room, banks and units are those of `resources`, folded. A unit that is busy for several cycles takes a block of
them; when such a unit is crowded its blocks start at multiples of their length, so that no gaps are left between them.
Pads queue: an access may issue a little before the pad serves it, and its result is later by as much.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from atalla_mlir.codegen.banks import bank_bits
from atalla_mlir.codegen.loop_graph import unit_name
from atalla_mlir.codegen.machine_ir import Inst, Register
from atalla_mlir.codegen.resources import Demand, Room, demand_of, unit_interval
from atalla_mlir.target.isa import Unit
from atalla_mlir.target.machine import Machine

FREE = -1
CROWDED = 0.6
"""Share of the interval that a unit is busy from which on its blocks are aligned."""
MAX_QUEUED_CYCLES = 6
"""By how much an access may issue before its pad serves it."""
BRANCH = Demand((Unit.EX1, None), 2, 0, 0, is_lane=False)


class ReservationTable:
    """The reservations of a loop of `interval` cycles; the last cycle holds the branch of the loop."""

    def __init__(self, insts: Sequence[Inst], machine: Machine, banks: Mapping[Register, int], interval: int) -> None:
        self._insts = insts
        self._machine = machine
        self._interval = interval
        self._demands = [demand_of(inst) for inst in insts]
        self._banks = [bank_bits(inst, banks) for inst in insts]
        self._names = [unit_name(inst, demand.unit) for inst, demand in zip(insts, self._demands, strict=True)]
        self._lengths = [unit_interval(inst, machine) for inst in insts]
        self._rooms = [Room() for _ in range(interval)]
        self._rooms[-1].take(BRANCH)
        self._room_banks = [0] * interval
        self._owners: list[set[int]] = [set() for _ in range(interval)]
        self._cells: dict[str, list[int]] = defaultdict(lambda: [FREE] * interval)
        self._served: dict[str, list[int]] = defaultdict(lambda: [FREE] * (interval // machine.pad_row_interval))
        self._reductions = [0] * interval
        self._rows: dict[int, int] = {}
        self._aligned = self._crowded_units()

    def _crowded_units(self) -> dict[str, int]:
        """Phase of the blocks of each crowded unit whose blocks are all of one length."""
        lengths: dict[str, set[int]] = defaultdict(set)
        busy: Counter[str] = Counter()
        for name, length in zip(self._names, self._lengths, strict=True):
            lengths[name].add(length)
            busy[name] += length
        # ALU and MUL operations in alternate cycles spread their register reads
        return {
            name: int(name == Unit.LANE_MUL.name)
            for name, count in busy.items()
            if len(lengths[name]) == 1 and count > CROWDED * self._interval
        }

    def prolong(self, index: int, length: int) -> None:
        """Says that an instruction, not placed yet, keeps its unit busy for `length` cycles."""
        self._lengths[index] = length

    def can_branch(self, row: int) -> bool:
        """Whether the branch of the loop fits into `row`."""
        return row == self._interval - 1 or self._rooms[row].fits(BRANCH)

    def fits(self, index: int, cycle: int) -> int | None:
        """Cycles that the unit would keep an instruction waiting that issues at `cycle`; None when it cannot issue."""
        row = cycle % self._interval
        if not self._rooms[row].fits(self._demands[index]) or self._room_banks[row] & self._banks[index]:
            return None
        if self._insts[index].op.unit is Unit.VLSU:
            slot = self._service(index, row, evicting=False)
            return None if slot is None else self._queued(slot, row)
        if not self._starts_block(index, row):
            return None
        if self._lengths[index] > 1 and any(
            self._cells[self._names[index]][cell] != FREE for cell in self._block(index, row)
        ):
            return None
        if any(served[slot] != FREE for served, slot in self._drained(index, row)):
            return None
        return 0 if self._has_room_in_tree(index, row) else None

    def reserve(self, index: int, cycle: int) -> None:
        row = cycle % self._interval
        self._rows[index] = row
        self._rooms[row].take(self._demands[index])
        self._room_banks[row] |= self._banks[index]
        self._owners[row].add(index)
        self._mark(index, row, index)

    def release(self, index: int) -> None:
        row = self._rows.pop(index)
        self._rooms[row].give_back(self._demands[index])
        self._room_banks[row] &= ~self._banks[index]
        self._owners[row].discard(index)
        self._mark(index, row, FREE)

    def evict(self, index: int, cycle: int) -> list[int] | None:
        """Releases whatever keeps an instruction from issuing at `cycle`; None when it can never issue there."""
        row = cycle % self._interval
        empty = Room()
        if row == self._interval - 1:
            empty.take(BRANCH)
        if not empty.fits(self._demands[index]) or not self._starts_block(index, row):
            return None
        victims = set(self._owners[row])
        if self._insts[index].op.unit is Unit.VLSU:
            slot = self._service(index, row, evicting=True)
            if slot is None:
                return None
            victims.add(self._served[self._names[index]][slot])
        elif self._lengths[index] > 1:
            victims.update(self._cells[self._names[index]][cell] for cell in self._block(index, row))
        victims.update(served[slot] for served, slot in self._drained(index, row))
        victims.discard(FREE)
        for victim in victims:
            self.release(victim)
        while not self._has_room_in_tree(index, row):
            victim = next(other for other in self._rows if self._insts[other].op.unit is Unit.REDUCTION)
            victims.add(victim)
            self.release(victim)
        return sorted(victims)

    def _starts_block(self, index: int, row: int) -> bool:
        phase = self._aligned.get(self._names[index])
        if phase is None or self._insts[index].op.unit is Unit.VLSU or self._lengths[index] <= 1:
            return True
        length = self._lengths[index]
        return (row - phase) % length == 0 and (row - phase) // length < self._interval // length

    def _block(self, index: int, row: int) -> list[int]:
        return [(row + offset) % self._interval for offset in range(self._lengths[index])]

    def _service(self, index: int, row: int, *, evicting: bool) -> int | None:
        """The pad's first service slot after `row` that is free (or, evicting, the first at all)."""
        served = self._served[self._names[index]]
        length = self._machine.pad_row_interval
        first = -(-row // length)
        for step in range(len(served)):
            slot = (first + step) % len(served)
            if self._queued(slot, row) > MAX_QUEUED_CYCLES:
                return None
            if evicting or served[slot] == FREE:
                return slot
        return None

    def _drained(self, index: int, row: int) -> list[tuple[list[int], int]]:
        """The row reads of its pad that a transfer to DRAM takes away from loads, as places in the pad's book."""
        inst = self._insts[index]
        if inst.op.mnemonic != "scpad.st" or inst.dma_shape is None:
            return []
        served = self._served[f"pad {inst.pad} reads"]
        first = (row + self._machine.sdma_startup_cycles) // self._machine.pad_row_interval
        return [(served, (first + step) % len(served)) for step in range(min(inst.dma_shape.rows, len(served)))]

    def _queued(self, slot: int, row: int) -> int:
        return (slot * self._machine.pad_row_interval - row) % self._interval

    def _has_room_in_tree(self, index: int, row: int) -> bool:
        if self._insts[index].op.unit is not Unit.REDUCTION:
            return True
        added = self._flight(index, row)
        return all(
            self._reductions[cell] + count <= self._machine.reductions_in_flight for cell, count in added.items()
        )

    def _flight(self, index: int, row: int) -> Counter[int]:
        flight = self._machine.distance(self._insts[index].op)
        return Counter((row + offset) % self._interval for offset in range(flight))

    def _mark(self, index: int, row: int, owner: int) -> None:
        """Enters or (with FREE) removes an instruction where its unit keeps book."""
        name = self._names[index]
        if self._insts[index].op.unit is Unit.VLSU:
            served = self._served[name]
            slot = self._service(index, row, evicting=False) if owner != FREE else served.index(index)
            assert slot is not None  # the caller has asked `fits`
            served[slot] = owner
        elif self._lengths[index] > 1:
            for cell in self._block(index, row):
                self._cells[name][cell] = owner
        for served, slot in self._drained(index, row):
            served[slot] = owner
        if self._insts[index].op.unit is Unit.REDUCTION:
            for cell, count in self._flight(index, row).items():
                self._reductions[cell] += count if owner != FREE else -count
