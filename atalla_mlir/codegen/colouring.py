"""Numbers for virtual registers of one file: none shared by what interferes, few banks by what is read together.

Numbers are given in the order in which live ranges begin, first fit in the cheapest bank that has room, which for
ranges without holes needs no more numbers than are live at once. Last sweeps move registers to cheaper banks.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from atalla_mlir.codegen.banks import SWEEPS, BankGraph, prefer_banks
from atalla_mlir.codegen.machine_ir import Register
from atalla_mlir.target.registers import FILES, RegisterFile


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
        self.numbers: dict[Register, int] = {}

    def reserve(self, number: int, mask: int) -> None:
        """Takes a number out of use at the positions of `mask` (pinned registers, clobbers of calls)."""
        self._occupied[number] |= mask

    def assign(
        self, masks: Mapping[Register, int], spill_costs: Mapping[Register, float], banks: Mapping[Register, int]
    ) -> list[Register]:
        """Numbers all registers in `masks`, starting from preferred `banks`; returns those that must be spilled."""
        self._masks = masks
        self._banks = prefer_banks(masks, self._graph, banks)
        spilled: list[Register] = []
        for register in sorted(
            masks, key=lambda register: ((masks[register] & -masks[register]).bit_length(), register.index)
        ):
            number = self._free_number(register)
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

    def _evict(self, register: Register, costs: Mapping[Register, float], spilled: list[Register]) -> int | None:
        """Makes room for `register` by spilling what costs least: it, or all that stand in its way at one number."""
        mask = self._masks[register]
        best_cost, best_number, best_victims = costs[register], None, [register]
        for number in (number for bank in self._by_bank for number in bank):
            victims = [resident for resident in self._residents[number] if self._masks[resident] & mask]
            held = 0
            for victim in victims:
                held |= self._masks[victim]
            if self._occupied[number] & mask & ~held:
                continue
            cost = sum(costs[victim] for victim in victims)
            if cost < best_cost:
                best_cost, best_number, best_victims = cost, number, victims
        spilled.extend(best_victims)
        if best_number is not None:
            for victim in best_victims:
                self._remove(victim)
        return best_number

    def _improve(self) -> bool:
        """One sweep of moves to cheaper banks; whether any was possible."""
        improved = False
        for register, number in list(self.numbers.items()):
            costs = self._graph.costs(register, self._banks)
            if costs[number % self._num_banks] == min(costs):
                continue
            self._remove(register)
            cheaper = self._free_number(register)
            assert cheaper is not None  # its own number is free again
            improved = improved or costs[cheaper % self._num_banks] < costs[number % self._num_banks]
            self._settle(register, cheaper)
        return improved
