"""Who uses what in each cycle modulo the initiation interval of a loop.

Packet room, banks and units are those of `resources`, folded. A unit that is busy for several cycles takes a block of
them; when such a unit is crowded its blocks start at multiples of their length, so that no gaps are left between them.
Pads queue: an access may issue a little before the pad serves it, and its result is later by as much.

Vector registers get their banks here, with the first of their readers: one that is free in its cycle. Which cycle that
is nobody knows before, so banks chosen earlier would keep apart what need not be.

This is asked millions of times for a large kernel, so a cycle is two integers: one with a bit for each unit and bank
that is taken, one with a field for each countable resource, which begins such that going over the limit sets the
field's highest bit.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Hashable, Iterator, Mapping, Sequence

from atalla_mlir.codegen.banks import bank_bit, bank_bits
from atalla_mlir.codegen.dependence import dma_bursts
from atalla_mlir.codegen.loop_graph import unit_name
from atalla_mlir.codegen.machine_ir import Inst, Register
from atalla_mlir.codegen.resources import EMPTY_PACKET, OVER, Demand, UnitKey, counts, demand_of, unit_interval
from atalla_mlir.target.isa import Unit
from atalla_mlir.target.machine import Machine
from atalla_mlir.target.registers import FILES, RegisterFile

FREE = -1
CROWDED = 0.6
"""Share of the interval that a unit is busy from which on its blocks are aligned."""
MAX_QUEUED_CYCLES = 6
"""By how much an access may issue before its pad serves it."""
BRANCH = Demand((Unit.EX1, None), 2, 0, 0, is_lane=False)

CHANNEL_START = 8
"""Cycles from the begin of a transfer to its first burst, and from its last one to the end."""
CHANNEL_ROOM = 0.95
"""Share of the interval that the transfers of a pad may take for that."""

BANK_BITS = 64
"""Bits of a cycle that stand for banks; those of units follow."""
VECTOR_BANKS = tuple(bank_bit(RegisterFile.VECTOR, bank) for bank in range(FILES[RegisterFile.VECTOR].banks))


class LoopDemands:
    """What the instructions of a loop take, whatever the interval."""

    def __init__(
        self,
        insts: Sequence[Inst],
        machine: Machine,
        banks: Mapping[Register, int],
        settled: Collection[Register] = (),
    ) -> None:
        self.machine = machine
        demands = [demand_of(inst) for inst in insts]
        self.units = [inst.op.unit for inst in insts]
        self.names = [unit_name(inst, demand.unit) for inst, demand in zip(insts, demands, strict=True)]
        self.lengths = [unit_interval(inst, machine) for inst in insts]
        self.flights = [machine.distance(inst.op) for inst in insts]
        # transfers to DRAM: whose row reads they take, and how many
        self.drainers = {
            index: (f"pad {inst.pad} reads", inst.dma_shape.rows)
            for index, inst in enumerate(insts)
            if inst.op.mnemonic == "scpad.st" and inst.dma_shape is not None
        }
        bits: dict[UnitKey, int] = {BRANCH.unit: 1 << BANK_BITS}
        for demand in demands:
            bits.setdefault(demand.unit, 1 << BANK_BITS + len(bits))
        self.branch_bits, self.branch_counts = bits[BRANCH.unit], counts(BRANCH)
        open_banks = chosen_with_schedule(banks, settled)
        fixed_banks = {register: bank for register, bank in banks.items() if register not in open_banks}
        self.bits = [
            bank_bits(inst, fixed_banks) | bits[demand.unit] for inst, demand in zip(insts, demands, strict=True)
        ]
        self.counts = [counts(demand) for demand in demands]
        # numbers for what decides whether an instruction finds room, but for the banks of what it reads
        numbers: dict[Hashable, int] = {}
        self.kinds = [
            numbers.setdefault(
                (self.bits[at], self.counts[at], self.names[at], at if inst.op.unit is Unit.SDMA else -1), len(numbers)
            )
            for at, inst in enumerate(insts)
        ]
        # vector registers that an instruction reads and whose banks are chosen with the schedule
        self.open_reads = [
            tuple(dict.fromkeys(register for register in _vector_reads(inst) if register in open_banks))
            for inst in insts
        ]
        # what else instructions read that read such a register: other registers, and the bits of fixed banks
        self.read_with: dict[Register, set[Register]] = defaultdict(set)
        self.fixed_with: dict[Register, int] = defaultdict(int)
        for inst, reads in zip(insts, self.open_reads, strict=True):
            fixed = 0
            for other in _vector_reads(inst):
                if other.pinned is not None:
                    fixed |= bank_bit(RegisterFile.VECTOR, other.pinned % len(VECTOR_BANKS))
                elif other in fixed_banks:
                    fixed |= bank_bit(RegisterFile.VECTOR, fixed_banks[other])
            for register in reads:
                self.read_with[register].update(other for other in reads if other is not register)
                self.fixed_with[register] |= fixed

    def share_channel(self, insts: Sequence[Inst], interval: int) -> None:
        """Lets transfers last as long as if all pads began those of a kind together and shared the DRAM channel, as far
        as an interval has room for that."""
        pads: dict[str, list[int]] = defaultdict(list)
        for index, unit in enumerate(self.units):
            if unit is Unit.SDMA:
                pads[self.names[index]].append(index)
        for indices in pads.values():
            least = sum(self.lengths[index] for index in indices)
            added = {
                i: max(0, len(pads) * dma_bursts(insts[i], self.machine) + CHANNEL_START - self.lengths[i])
                for i in indices
            }
            share = max(0.0, min(1.0, (CHANNEL_ROOM * interval - least) / max(1, sum(added.values()))))
            for index in indices:
                self.lengths[index] += int(share * added[index])


def chosen_with_schedule(banks: Mapping[Register, int], settled: Collection[Register]) -> set[Register]:
    """The registers whose banks a schedule chooses: vectors, but for those that an earlier loop has chosen already."""
    return {register for register in banks if register.file is RegisterFile.VECTOR}.difference(settled)


def _vector_reads(inst: Inst) -> list[Register]:
    return [register for register in inst.port_reads if register.file is RegisterFile.VECTOR]


def block_phase(name: str) -> int:
    """Where the aligned blocks of a unit begin: ALU and MUL operations in alternate cycles spread their reads."""
    return int(name == Unit.LANE_MUL.name)


class ReservationTable:
    """The reservations of a loop of `interval` cycles; the last cycle holds the branch of the loop.

    With `parts_operands` an instruction does not issue where it would read two registers of one bank.
    """

    def __init__(self, demands: LoopDemands, interval: int, *, parts_operands: bool = False) -> None:
        self._machine = demands.machine
        self._interval = interval
        self._parts_operands = parts_operands
        self._units, self._names = demands.units, demands.names
        self._lengths, self._flights = list(demands.lengths), demands.flights
        self._drainers = demands.drainers
        self._bits, self._counts = demands.bits, demands.counts
        self._open_reads = demands.open_reads
        self._read_with, self._fixed_with = demands.read_with, demands.fixed_with
        self._taken_bits: dict[int, int] = {}
        """What each instruction that is placed takes of its cycle, banks of vector registers included."""
        self._banks: dict[Register, int] = {}
        """The bit of the bank of each vector register that is read by what is placed."""
        self._num_readers: Counter[Register] = Counter()
        self._bank_loads: Counter[int] = Counter()
        self._row_interval = self._machine.pad_row_interval
        self._branch_bits, self._branch_counts = demands.branch_bits, demands.branch_counts
        self._row_bits = [0] * interval
        self._row_counts = [EMPTY_PACKET] * interval
        self._row_bits[-1] |= self._branch_bits
        self._row_counts[-1] += self._branch_counts
        self._owners: list[set[int]] = [set() for _ in range(interval)]
        self._cells: dict[str, list[int]] = defaultdict(lambda: [FREE] * interval)
        self._served: dict[str, list[int]] = defaultdict(lambda: [FREE] * (interval // self._machine.pad_row_interval))
        self._reductions = [0] * interval
        self._rows: dict[int, int] = {}
        self._aligned = self._crowded_units()
        self._is_plain = [
            length <= 1 and unit not in (Unit.VLSU, Unit.REDUCTION) and index not in demands.drainers
            for index, (length, unit) in enumerate(zip(self._lengths, self._units, strict=True))
        ]
        """Whether an instruction takes nothing but its place in the cycle that it issues in."""

    def _crowded_units(self) -> dict[str, int]:
        """Phase of the blocks of each crowded unit whose blocks are all of one length."""
        lengths: dict[str, set[int]] = defaultdict(set)
        busy: Counter[str] = Counter()
        for name, length, unit in zip(self._names, self._lengths, self._units, strict=True):
            if unit is Unit.SDMA:
                continue  # few, and the pads cannot all begin at once
            lengths[name].add(length)
            busy[name] += length
        return {
            name: block_phase(name)
            for name, count in busy.items()
            if len(lengths[name]) == 1 and count > CROWDED * self._interval
        }

    def prolong(self, index: int, length: int) -> None:
        """Says that an instruction, not placed yet, keeps its unit busy for `length` cycles."""
        self._lengths[index] = length
        self._is_plain[index] = False

    def can_branch(self, row: int) -> bool:
        """Whether the branch of the loop fits into `row`."""
        if row == self._interval - 1:
            return True
        return not (self._row_bits[row] & self._branch_bits or self._row_counts[row] + self._branch_counts & OVER)

    def first_fit(self, index: int, cycles: range) -> tuple[int, int] | None:
        """The first of `cycles` in which an instruction can issue, and for how long its unit then keeps it waiting."""
        interval, row_bits, row_counts = self._interval, self._row_bits, self._row_counts
        bits, counts, open_reads = self._bits[index], self._counts[index], self._open_reads[index]
        is_plain = self._is_plain[index]
        for cycle in cycles:
            row = cycle % interval
            if row_bits[row] & bits or row_counts[row] + counts & OVER:
                continue
            if open_reads and self._open_banks(index, row) is None:
                continue
            if is_plain:
                return cycle, 0
            waiting = self._wait(index, row)
            if waiting is not None:
                return cycle, waiting
        return None

    def refuses_kind(self, index: int, cycle: int) -> bool:
        """Whether no instruction of this kind finds room in `cycle`, whatever it reads."""
        row = cycle % self._interval
        if self._row_bits[row] & self._bits[index] or self._row_counts[row] + self._counts[index] & OVER:
            return True
        return not self._is_plain[index] and self._wait(index, row) is None

    def _wait(self, index: int, row: int) -> int | None:
        """How long the unit would keep an instruction waiting that issues in `row`; None when it cannot take it."""
        unit = self._units[index]
        if unit is Unit.VLSU:
            slot = self._service(index, row, evicting=False)
            return None if slot is None else (slot * self._row_interval - row) % self._interval
        if self._lengths[index] > 1:
            if not self._starts_block(index, row):
                return None
            cells = self._cells[self._names[index]]
            for cell in self._block(index, row):
                if cells[cell] != FREE:
                    return None
        if index in self._drainers and any(served[slot] != FREE for served, slot in self._drained(index, row)):
            return None
        return 0 if unit is not Unit.REDUCTION or self._has_room_in_tree(index, row) else None

    def reserve(self, index: int, cycle: int) -> None:
        row = cycle % self._interval
        self._rows[index] = row
        self._taken_bits[index] = self._bits[index] | self._take_banks(index, row)
        self._row_bits[row] |= self._taken_bits[index]
        self._row_counts[row] += self._counts[index]
        self._owners[row].add(index)
        self._mark(index, row, index)

    def occupy(self, index: int, cycle: int) -> None:
        """Reserves the place of an instruction in its packet, not its unit."""
        self._is_plain[index] = True
        self.reserve(index, cycle)

    def settle_banks(self, banks: Mapping[Register, int]) -> None:
        """Banks of vector registers that are known before anything that reads them has its place."""
        vectors = {register: bank for register, bank in banks.items() if register.file is RegisterFile.VECTOR}
        self._banks.update((register, VECTOR_BANKS[bank]) for register, bank in vectors.items())
        self._bank_loads.update(self._banks.values())

    def release(self, index: int) -> None:
        row = self._rows.pop(index)
        self._row_bits[row] &= ~self._taken_bits.pop(index)
        self._release_banks(index)
        self._row_counts[row] -= self._counts[index]
        self._owners[row].discard(index)
        self._mark(index, row, FREE)

    # Banks of vector registers

    def banks(self) -> dict[Register, int]:
        """The banks that were chosen."""
        return {register: VECTOR_BANKS.index(bit) for register, bit in self._banks.items()}

    def _open_banks(self, index: int, row: int) -> dict[Register, int] | None:
        """Bits of banks for the open reads of an instruction, or None when `row` has them taken.

        Those that have a bank keep it. Others get one that what they are read with elsewhere leaves free, if there is.
        """
        taken, own = self._row_bits[row], self._bits[index]
        chosen: dict[Register, int] = {}
        for register in self._open_reads[index]:
            bit = self._banks.get(register)
            if bit is not None:
                if bit & (taken | own if self._parts_operands else taken):
                    return None
                chosen[register] = bit
                own |= bit
        for register in self._open_reads[index]:
            if register not in chosen:
                bit = self._free_bank(register, taken | own)
                if bit is None:
                    return None
                chosen[register] = bit
                own |= bit
        return chosen

    def _free_bank(self, register: Register, taken: int) -> int | None:
        banks, loads = self._banks, self._bank_loads
        avoided = self._fixed_with[register]
        for other in self._read_with[register]:
            if other in banks:
                avoided |= banks[other]
        best, least = None, (True, 0)
        for bit in VECTOR_BANKS:
            if not taken & bit:
                load = (avoided & bit != 0, loads[bit])
                if best is None or load < least:
                    best, least = bit, load
        return best

    def _take_banks(self, index: int, row: int) -> int:
        """Settles the banks of what an instruction in `row` reads; their bits."""
        if not self._open_reads[index]:
            return 0
        chosen = self._open_banks(index, row)
        if chosen is None:  # settled banks may be shared; of others the caller has asked `first_fit`
            chosen = {register: self._banks[register] for register in self._open_reads[index]}
        found = 0
        for register, bit in chosen.items():
            self._num_readers[register] += 1
            if register not in self._banks:
                self._banks[register] = bit
                self._bank_loads[bit] += 1
            found |= bit
        return found

    def _release_banks(self, index: int) -> None:
        for register in self._open_reads[index]:
            self._num_readers[register] -= 1
            if not self._num_readers[register]:
                self._bank_loads[self._banks.pop(register)] -= 1

    def evict(self, index: int, cycle: int) -> list[int] | None:
        """Releases whatever keeps an instruction from issuing at `cycle`; None when it can never issue there."""
        row = cycle % self._interval
        if not self._fits_alone(index, row) or not self._starts_block(index, row):
            return None
        victims = set(self._owners[row])
        if self._units[index] is Unit.VLSU:
            slot = self._service(index, row, evicting=True)
            if slot is None:
                return None
            victims.add(self._served[self._names[index]][slot])
        elif self._lengths[index] > 1:
            cells = self._cells[self._names[index]]
            victims.update(cells[cell] for cell in self._block(index, row))
        victims.update(served[slot] for served, slot in self._drained(index, row))
        victims.discard(FREE)
        for victim in victims:
            self.release(victim)
        while not self._has_room_in_tree(index, row):
            victim = next(other for other in self._rows if self._units[other] is Unit.REDUCTION)
            victims.add(victim)
            self.release(victim)
        return sorted(victims)

    def _fits_alone(self, index: int, row: int) -> bool:
        """Whether a packet takes the instruction, with the branch of the loop in the last row."""
        bits, counts = (self._branch_bits, self._branch_counts) if row == self._interval - 1 else (0, 0)
        return not (bits & self._bits[index] or EMPTY_PACKET + counts + self._counts[index] & OVER)

    def _starts_block(self, index: int, row: int) -> bool:
        length = self._lengths[index]
        phase = self._aligned.get(self._names[index])
        if phase is None or length <= 1 or self._units[index] is Unit.VLSU:
            return True
        return (row - phase) % length == 0 and (row - phase) // length < self._interval // length

    def _block(self, index: int, row: int) -> Sequence[int]:
        length, interval = self._lengths[index], self._interval
        if row + length <= interval:
            return range(row, row + length)
        return [(row + offset) % interval for offset in range(length)]

    def _service(self, index: int, row: int, *, evicting: bool) -> int | None:
        """The pad's first service slot after `row` that is free (or, evicting, the first at all)."""
        served = self._served[self._names[index]]
        slots = self._slots_in_time(row, len(served))
        return next((slot for slot in slots if evicting or served[slot] == FREE), None)

    def _slots_in_time(self, row: int, num_slots: int) -> Iterator[int]:
        """The service slots of a pad that are not too late for an access that issues in `row`."""
        first = -(-row // self._row_interval)
        for step in range(first, first + num_slots):
            slot = step % num_slots
            if (slot * self._row_interval - row) % self._interval > MAX_QUEUED_CYCLES:
                return
            yield slot

    def _drained(self, index: int, row: int) -> list[tuple[list[int], int]]:
        """The row reads of its pad that a transfer to DRAM takes away from loads, as places in the pad's book."""
        if index not in self._drainers:
            return []
        name, rows = self._drainers[index]
        served = self._served[name]
        first = (row + self._machine.sdma_startup_cycles) // self._machine.pad_row_interval
        return [(served, (first + step) % len(served)) for step in range(min(rows, len(served)))]

    def _has_room_in_tree(self, index: int, row: int) -> bool:
        if self._units[index] is not Unit.REDUCTION:
            return True
        added = self._flight(index, row)
        return all(
            self._reductions[cell] + count <= self._machine.reductions_in_flight for cell, count in added.items()
        )

    def _flight(self, index: int, row: int) -> Counter[int]:
        return Counter((row + offset) % self._interval for offset in range(self._flights[index]))

    def _mark(self, index: int, row: int, owner: int) -> None:
        """Enters or (with FREE) removes an instruction where its unit keeps book."""
        if self._is_plain[index]:
            return
        name = self._names[index]
        if self._units[index] is Unit.VLSU:
            served = self._served[name]
            slot = self._service(index, row, evicting=False) if owner != FREE else served.index(index)
            assert slot is not None  # the caller has asked `first_fit`
            served[slot] = owner
        elif self._lengths[index] > 1:
            cells = self._cells[name]
            for cell in self._block(index, row):
                cells[cell] = owner
        for served, slot in self._drained(index, row):
            served[slot] = owner
        if self._units[index] is Unit.REDUCTION:
            for cell, count in self._flight(index, row).items():
                self._reductions[cell] += count if owner != FREE else -count
