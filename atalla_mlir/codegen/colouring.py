"""Numbers for virtual registers of one file: none shared by what interferes, few banks by what is read together.

Numbers are given in the order in which live ranges begin, first fit in the cheapest bank that has room, which for
ranges without holes needs no more numbers than are live at once. Ranges that wrap around a loop have holes; when
nothing fits, others make room and look for a new place, a bounded number of times. Last sweeps move registers to
cheaper banks.

No order of colouring helps where more registers interfere pairwise than there are numbers. With holes that happens
although fewer are alive at any one time: in a nest that carries a tile of results from one iteration to the next, each
result meets some of the others at the begin of the loop and the rest at its end. Only other code (`emit_packets` leaves
registers spare) or spilling makes it fit.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from heapq import heapify, heappop, heappush

from atalla_mlir.codegen.banks import SWEEPS, BankGraph, prefer_banks
from atalla_mlir.codegen.machine_ir import Register
from atalla_mlir.target.registers import FILES, RegisterFile

DISPLACEMENTS_PER_REGISTER = 4


def _first_position(mask: int) -> int:
    return (mask & -mask).bit_length()


class Colouring:
    """The numbers of one file while they are being given out."""

    def __init__(self, file: RegisterFile, available: Sequence[int], graph: BankGraph) -> None:
        self._graph = graph
        self._num_banks = graph.num_banks
        self._by_bank = [
            [number for number in available if number % self._num_banks == bank] for bank in range(self._num_banks)
        ]
        self._occupied = [0] * FILES[file].count
        self._residents: dict[int, list[Register]] = defaultdict(list)
        self._masks: Mapping[Register, int] = {}
        self._banks: dict[Register, int] = {}
        self._fixed = [0] * FILES[file].count
        """Positions at which a number was taken before any register got it."""
        self._weights: dict[Register, int] = {}
        """Length of a register's range times one more than how often it had to give way."""
        self.numbers: dict[Register, int] = {}

    def reserve(self, number: int, mask: int) -> None:
        """Takes a number out of use at the positions of `mask` (pinned registers, clobbers of calls)."""
        self._occupied[number] |= mask
        self._fixed[number] |= mask

    def assign(
        self, masks: Mapping[Register, int], spill_costs: Mapping[Register, float], banks: Mapping[Register, int]
    ) -> list[Register]:
        """Numbers all registers in `masks`, starting from preferred `banks`; returns those that must be spilled."""
        self._masks = masks
        self._weights = {register: mask.bit_count() for register, mask in masks.items()}
        self._banks = prefer_banks(masks, self._graph, banks)
        spilled: list[Register] = []
        waiting = [(_first_position(mask), register.index, register) for register, mask in masks.items()]
        heapify(waiting)
        displacements = DISPLACEMENTS_PER_REGISTER * len(masks)
        while waiting:
            register = heappop(waiting)[-1]
            number = self._free_number(register)
            if number is None and displacements:
                displacements -= 1
                number, victims = self._displace(register)
                for victim in victims:
                    heappush(waiting, (_first_position(masks[victim]), victim.index, victim))
            if number is None:
                number = self._evict(register, spill_costs, spilled)
            if number is not None:
                self._settle(register, number)
        if not spilled:
            for _ in range(SWEEPS):
                if not self._improve():
                    break
        return spilled

    def _free_number(self, register: Register) -> int | None:
        mask = self._masks[register]
        costs = self._graph.costs(register, self._banks)
        preferred = self._banks[register]
        for bank in sorted(range(self._num_banks), key=lambda bank: (costs[bank], bank != preferred)):
            for number in self._by_bank[bank]:
                if not self._occupied[number] & mask:
                    return number
        return None

    def _settle(self, register: Register, number: int) -> None:
        self.numbers[register] = number
        self._banks[register] = number % self._num_banks
        self._residents[number].append(register)
        self._occupied[number] |= self._masks[register]

    def _remove(self, register: Register) -> None:
        number = self.numbers.pop(register)
        self._residents[number].remove(register)
        self._occupied[number] &= ~self._masks[register]

    def _residents_in_the_way(self, number: int, mask: int) -> list[Register] | None:
        """Registers at `number` that interfere with `mask`; None when something fixed does."""
        victims = [resident for resident in self._residents[number] if self._masks[resident] & mask]
        held = 0
        for victim in victims:
            held |= self._masks[victim]
        return None if self._occupied[number] & mask & ~held else victims

    def _displace(self, register: Register) -> tuple[int | None, list[Register]]:
        """A number for `register`, and those that must look for another one: few, short, and not too often."""
        mask = self._masks[register]
        masks, weights = self._masks, self._weights
        best_cost, best_number = math.inf, None
        for number in (number for bank in self._by_bank for number in bank):
            if self._fixed[number] & mask:
                continue
            cost = 0
            for resident in self._residents[number]:
                if masks[resident] & mask:
                    cost += weights[resident]
                    if cost >= best_cost:
                        break
            else:
                best_cost, best_number = cost, number
        if best_number is None:
            return None, []
        victims = [resident for resident in self._residents[best_number] if masks[resident] & mask]
        for victim in victims:
            self._remove(victim)
            weights[victim] += masks[victim].bit_count()
        return best_number, victims

    def _evict(self, register: Register, costs: Mapping[Register, float], spilled: list[Register]) -> int | None:
        """Makes room for `register` by spilling what costs least: it, or all that stand in its way at one number."""
        mask = self._masks[register]
        best_cost, best_number, best_victims = costs[register], None, [register]
        for number in (number for bank in self._by_bank for number in bank):
            victims = self._residents_in_the_way(number, mask)
            if victims is None:
                continue
            cost = 0.0
            for victim in victims:
                cost += costs[victim]  # in order: `sum` rounds otherwise since Python 3.12
            if cost < best_cost:
                best_cost, best_number, best_victims = cost, number, victims
        spilled.extend(best_victims)
        if best_number is not None:
            for victim in best_victims:
                self._remove(victim)
        return best_number

    def _improve(self) -> bool:
        """One sweep of moves to cheaper banks and of exchanges that are cheaper in sum; whether any was possible."""
        improved = False
        for register in list(self.numbers):
            costs = self._graph.costs(register, self._banks)
            bank = self.numbers[register] % self._num_banks
            if costs[bank] == min(costs):
                continue
            improved = self._move(register, costs) or self._exchange(register, costs) or improved
        return improved

    def _move(self, register: Register, costs: Sequence[int]) -> bool:
        """Moves to a free number of a cheaper bank."""
        number = self.numbers[register]
        self._remove(register)
        cheaper = self._free_number(register)
        assert cheaper is not None  # its own number is free again
        gains = costs[cheaper % self._num_banks] < costs[number % self._num_banks]
        self._settle(register, cheaper if gains else number)
        return gains

    def _exchange(self, register: Register, costs: Sequence[int]) -> bool:
        """Trades places with the registers at a number of a cheaper bank."""
        own = self.numbers[register]
        own_bank = own % self._num_banks
        mask = self._masks[register]
        for bank in sorted(range(self._num_banks), key=costs.__getitem__):
            gain = costs[own_bank] - costs[bank]
            if gain <= 0:
                return False
            for number in self._by_bank[bank]:
                others = self._residents_in_the_way(number, mask)
                if others and self._can_go(others, own, mask) and self._loss(others, bank, own_bank) < gain:
                    for moving in (register, *others):
                        self._remove(moving)
                    self._settle(register, number)
                    for other in others:
                        self._settle(other, own)
                    return True
        return False

    def _can_go(self, registers: Sequence[Register], number: int, leaving: int) -> bool:
        """Whether all of `registers` fit at `number` once the range `leaving` has left it."""
        occupied = self._occupied[number] & ~leaving
        return not any(self._masks[register] & occupied for register in registers)

    def _loss(self, registers: Sequence[Register], bank: int, target: int) -> int:
        """What moving `registers` from one bank to another adds in conflicts."""
        loss = 0
        for register in registers:
            costs = self._graph.costs(register, self._banks)
            loss += costs[target] - costs[bank]
        return loss
