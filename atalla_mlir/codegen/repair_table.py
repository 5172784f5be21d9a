"""What is in the way of an instruction in a cycle of a loop, as little as possible of it.

Instructions have weights here. Of several that could give way the lightest does, of equally light ones the first.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from atalla_mlir.codegen.machine_ir import Register
from atalla_mlir.codegen.reservations import FREE, VECTOR_BANKS, LoopDemands, ReservationTable
from atalla_mlir.codegen.resources import EMPTY_PACKET, OVER
from atalla_mlir.target.isa import Unit

_ANY_BANK = sum(VECTOR_BANKS)
_COUNT = 0x7F
"""The bits of a countable resource's field that count (`resources`)."""


class RepairTable(ReservationTable):
    """Reservations of a loop whose instructions read registers of different banks."""

    def __init__(self, demands: LoopDemands, interval: int) -> None:
        super().__init__(demands, interval, parts_operands=True)
        self._readers: dict[Register, list[int]] = defaultdict(list)
        for index, reads in enumerate(demands.open_reads):
            for register in reads:
                self._readers[register].append(index)

    def obstacles(self, index: int, cycle: int, weights: Sequence[int]) -> set[int] | None:
        """What has to give way for an instruction to issue at `cycle`; None when it can never issue there."""
        row = cycle % self._interval
        if not self._fits_alone(index, row) or not self._starts_block(index, row):
            return None
        found = self._in_unit(index, row, weights)
        if found is None or not self._add_in_tree(index, row, weights, found):
            return None
        bits, num_open = self._add_readers(index, weights, found)
        return found if self._add_in_packet(index, row, weights, found, bits, num_open) else None

    def _in_unit(self, index: int, row: int, weights: Sequence[int]) -> set[int] | None:
        found: set[int] = set()
        if self._units[index] is Unit.VLSU:
            if self._service(index, row, evicting=False) is None:
                served = self._served[self._names[index]]
                in_time = [served[slot] for slot in self._slots_in_time(row, len(served))]
                if not in_time:
                    return None
                found.add(_lightest(in_time, weights))
        elif self._lengths[index] > 1:
            cells = self._cells[self._names[index]]
            found.update(cells[cell] for cell in self._block(index, row))
        found.update(served[slot] for served, slot in self._drained(index, row))
        found.discard(FREE)
        return found

    def _add_in_tree(self, index: int, row: int, weights: Sequence[int], found: set[int]) -> bool:
        """Adds the reductions that leave no room in the tree; whether the others do."""
        if self._units[index] is not Unit.REDUCTION:
            return True
        placed = {other: at for other, at in self._rows.items() if self._units[other] is Unit.REDUCTION}
        loads = list(self._reductions)
        for cell, count in self._flight(index, row).items():
            loads[cell] += count
        for other in found & placed.keys():
            self._take_from_tree(other, loads)
        for offset in range(self._flights[index]):
            cell = (row + offset) % self._interval
            while loads[cell] > self._machine.reductions_in_flight:
                there = [
                    other
                    for other, at in placed.items()
                    if other not in found and (cell - at) % self._interval < self._flights[other]
                ]
                if not there:
                    return False
                other = _lightest(there, weights)
                found.add(other)
                self._take_from_tree(other, loads)
        return True

    def _take_from_tree(self, index: int, loads: list[int]) -> None:
        for cell, count in self._flight(index, self._rows[index]).items():
            loads[cell] -= count

    def _add_readers(self, index: int, weights: Sequence[int], found: set[int]) -> tuple[int, int]:
        """The bits that an instruction takes whatever gives way, and how many registers get a new bank.

        Of operands that share a bank one loses its readers: that whose readers weigh less.
        """
        bits, num_open = self._bits[index], 0
        held: dict[int, Register] = {}
        for register in self._open_reads[index]:
            bit = self._banks.get(register)
            if bit is None:
                num_open += 1
            elif not bits & bit:
                bits |= bit
                held[bit] = register
            else:
                num_open += 1
                loser, other = register, held.get(bit)
                if other is not None and self._weight_of_readers(other, weights) < self._weight_of_readers(
                    register, weights
                ):
                    held[bit], loser = register, other
                found.update(self._placed_readers(loser))
        return bits, num_open

    def _placed_readers(self, register: Register) -> list[int]:
        return [index for index in self._readers[register] if index in self._rows]

    def _weight_of_readers(self, register: Register, weights: Sequence[int]) -> int:
        return sum(weights[index] for index in self._placed_readers(register))

    def _add_in_packet(
        self, index: int, row: int, weights: Sequence[int], found: set[int], bits: int, num_open: int
    ) -> bool:
        """Adds what leaves no room in the packet of `row`; whether the others do."""
        owners = self._owners[row]
        found.update(other for other in owners if self._taken_bits[other] & bits)
        branch = self._branch_counts if row == self._interval - 1 else 0
        while True:
            left = owners - found
            over = (EMPTY_PACKET + branch + self._counts[index] + sum(self._counts[other] for other in left)) & OVER
            taken = bits
            for other in left:
                taken |= self._taken_bits[other]
            if not over and sum(not taken & bank for bank in VECTOR_BANKS) >= num_open:
                return True
            helping = [other for other in left if self._helps(other, over)]
            if not helping:
                return False
            found.add(_lightest(helping, weights))

    def _helps(self, index: int, over: int) -> bool:
        """Whether a packet gains by the loss of an instruction: of what it has too little of, else of banks."""
        if over:
            return self._counts[index] & (over >> 7) * _COUNT != 0
        return self._taken_bits[index] & _ANY_BANK != 0


def _lightest(indices: Iterable[int], weights: Sequence[int]) -> int:
    return min(indices, key=lambda index: (weights[index], index))
