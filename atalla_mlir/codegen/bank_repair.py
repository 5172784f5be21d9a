"""Other banks for the registers of a loop, where its schedule could not keep apart what packets read together.

A schedule gives a vector register its bank with the first of its readers (`reservations`). What a later reader reads
beside it may have the same bank by then, and no cycle is better for that reader than another. Banks of scalars are
chosen for a whole function. When all instructions have their places, what the loop writes gets banks once more, as the
colours of a graph whose edges are the pairs that a packet reads: by tabu search (Hertz and de Werra, "Using tabu search
techniques for graph coloring", 1987), which begins with the banks as they are. Of equal moves it takes one to a bank
that is written less often at that time (5.3).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations

from atalla_mlir.codegen.machine_ir import Inst, Register
from atalla_mlir.target.machine import Machine
from atalla_mlir.target.registers import FILES, RegisterFile

PATIENCE = 400
"""Moves in which nothing gets better after which the search ends."""
TENURE = 6
"""Steps for which a register does not go back to a bank, besides one for each register in conflict."""
SOON = 3
"""Cycles in which results that want the same port come after each other."""


def repair_banks(
    insts: Sequence[Inst],
    cycles: Sequence[int],
    interval: int,
    banks: Mapping[Register, int],
    fixed: Mapping[Register, int],
    machine: Machine,
) -> dict[Register, int]:
    """`banks` with as few pairs as the search finds that share one and are read in the same cycle modulo `interval`;
    registers in `fixed` keep theirs."""
    search = _Search(banks, interval)
    rows: dict[int, dict[Register, None]] = defaultdict(dict)
    for inst, cycle in zip(insts, cycles, strict=True):
        rows[cycle % interval].update(dict.fromkeys(inst.port_reads))
        for register in inst.defs:
            search.write(register, (cycle + machine.distance(inst.op)) % interval, fixed)
    for row in rows.values():
        for pair in combinations(row, 2):
            search.keep_apart(*pair, fixed)
    return search.run()


class _Search:
    """Banks, and what each register would cost in each of them."""

    def __init__(self, banks: Mapping[Register, int], interval: int) -> None:
        self._banks, self._interval = dict(banks), interval
        self._written_in: dict[Register, int] = {}
        """The cycle of the kernel in which each register may be read first."""
        self._writes: Counter[tuple[RegisterFile, int, int]] = Counter()
        """Results by file, bank and that cycle."""
        self._near: dict[Register, dict[Register, int]] = {register: {} for register in banks}
        self._costs = {register: [0] * FILES[register.file].banks for register in banks}

    def keep_apart(self, first: Register, second: Register, fixed: Mapping[Register, int]) -> None:
        """Says that a packet reads both."""
        if first.file is not second.file or first.file is RegisterFile.MASK:
            return
        banks, near = self._banks, self._near
        for register, other in ((first, second), (second, first)):
            if register not in banks:
                continue
            if other in banks:
                near[register][other] = near[register].get(other, 0) + 1
                self._costs[register][banks[other]] += 1
            elif (bank := _fixed_bank(other, fixed)) is not None:
                self._costs[register][bank] += 1

    def write(self, register: Register, cycle: int, fixed: Mapping[Register, int]) -> None:
        """Says that a result may be read from `cycle` on."""
        bank = self._banks.get(register)
        if bank is not None:
            self._written_in[register] = cycle
        else:
            bank = _fixed_bank(register, fixed)
        if bank is not None:
            self._writes[register.file, bank, cycle] += 1

    def run(self) -> dict[Register, int]:
        """The best banks that were found."""
        costs, banks = self._costs, self._banks
        waiting = {register: None for register, bank in banks.items() if costs[register][bank]}
        best, least = dict(banks), self._cost_of(waiting)
        until: dict[tuple[Register, int], int] = defaultdict(int)
        step = reached = 0
        while least and step - reached < PATIENCE:
            step += 1
            moves = [
                (cost - costs[register][banks[register]], register, bank)
                for register in waiting
                for bank, cost in enumerate(costs[register])
                if bank != banks[register] and until[register, bank] <= step
            ]
            if not moves:
                continue
            lowest = min(change for change, _, _ in moves)
            equal = ((register, bank) for change, register, bank in moves if change == lowest)
            register, bank = min(equal, key=lambda move: (self._crowd(*move), move[0].index, move[1]))
            until[register, banks[register]] = step + TENURE + len(waiting)
            self._move(register, bank, waiting)
            left = self._cost_of(waiting)
            if left < least:
                best, least, reached = dict(banks), left, step
        return best

    def _crowd(self, register: Register, bank: int) -> int:
        """Results that a bank gets in the cycle in which a register is written and in the next ones."""
        cycle = self._written_in.get(register)
        if cycle is None:
            return 0
        soon = ((cycle + later) % self._interval for later in range(SOON))
        return sum(self._writes[register.file, bank, at] for at in soon)

    def _cost_of(self, registers: Iterable[Register]) -> int:
        return sum(self._costs[register][self._banks[register]] for register in registers)

    def _move(self, register: Register, bank: int, waiting: dict[Register, None]) -> None:
        costs, banks, old = self._costs, self._banks, self._banks[register]
        banks[register] = bank
        if register in self._written_in:
            self._writes[register.file, old, self._written_in[register]] -= 1
            self._writes[register.file, bank, self._written_in[register]] += 1
        for other, cost in self._near[register].items():
            costs[other][old] -= cost
            costs[other][bank] += cost
        for changed in (register, *self._near[register]):
            if costs[changed][banks[changed]]:
                waiting[changed] = None
            else:
                waiting.pop(changed, None)


def _fixed_bank(register: Register, fixed: Mapping[Register, int]) -> int | None:
    if register.pinned is not None:
        return register.pinned % FILES[register.file].banks
    return fixed.get(register)
