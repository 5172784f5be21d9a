"""Banks with which the packets of a kernel wait for less (machine reference 5.3).

Each bank of the vector registers takes one row in a cycle; rows that want the same cycle come later, and so do packets
that read two registers of one bank. Which packets that holds up shows when the kernel is run (`issue_waits`). So the
registers that packets wait for, and those that are written in their place, try other banks, one at a time, and stay
where nothing gets slower. No bank takes more values than it has registers.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from atalla_mlir.codegen.issue_waits import PassWaits, scheduled_pass_waits
from atalla_mlir.codegen.machine_ir import Register
from atalla_mlir.codegen.modulo import ModuloSchedule
from atalla_mlir.target.machine import Machine
from atalla_mlir.target.registers import FILES, RegisterFile

NUM_BANKS = FILES[RegisterFile.VECTOR].banks
CAPACITY = 60
"""Values that a kernel keeps in a bank at once; the others are for what is there all the time."""
RUNS = 120
"""Runs of the kernel in a search."""
TRIED = 6
"""Registers that packets wait for the longest, which try other banks."""
RIVALS = 3
"""Registers written in the place of another one that do so as well."""
TENURE = 40
"""Runs for which a register stays in its new bank."""

Lifetimes = Mapping[Register, tuple[int, int]]


def search_banks(
    schedule: ModuloSchedule, banks: Mapping[Register, int], lifetimes: Lifetimes, machine: Machine
) -> dict[Register, int]:
    """Banks for those vector registers of a loop whose banks its schedule chose; `banks` are those of all registers.

    `lifetimes` are the first write and the last access of each value, in its iteration's time.
    """
    chosen = [register for register in schedule.banks if register.file is RegisterFile.VECTOR]
    search = _Search(schedule, banks, chosen, lifetimes, machine)
    search.run()
    return {**schedule.banks, **{register: search.banks[register] for register in chosen}}


@dataclass(frozen=True)
class _Room:
    """How many values each bank holds in each cycle of a kernel."""

    interval: int
    counts: list[list[int]]

    def cycles(self, lifetime: tuple[int, int]) -> Iterator[int]:
        start, end = lifetime
        return (at % self.interval for at in range(start, end + 1))

    def change(self, bank: int, lifetime: tuple[int, int], by: int) -> None:
        for at in self.cycles(lifetime):
            self.counts[bank][at] += by

    def highest(self, bank: int, lifetime: tuple[int, int]) -> int:
        """The most that a bank holds at once while a value lives."""
        return max((self.counts[bank][at] for at in self.cycles(lifetime)), default=0)


class _Search:
    """The banks as they are, and what a kernel takes with them."""

    def __init__(
        self,
        schedule: ModuloSchedule,
        banks: Mapping[Register, int],
        chosen: list[Register],
        lifetimes: Lifetimes,
        machine: Machine,
    ) -> None:
        self.banks = dict(banks)
        self._schedule, self._machine = schedule, machine
        self._lifetimes = {register: lifetimes[register] for register in chosen if register in lifetimes}
        interval = schedule.interval
        self._room = _Room(interval, [[0] * interval for _ in range(NUM_BANKS)])
        for register, lifetime in lifetimes.items():
            if register.file is RegisterFile.VECTOR and register in banks:
                self._room.change(banks[register], lifetime, 1)

    def run(self) -> None:
        """Moves registers until packets wait for nothing, nothing helps, or the search has taken long enough."""
        now, runs = self._waits(), 1
        until: dict[Register, int] = defaultdict(int)
        while runs < RUNS and now.cycles > self._schedule.interval:
            found = None
            for register, bank in self._moves(now):
                if until[register] > runs or runs >= RUNS:
                    continue
                old = self.banks[register]
                self._move(register, bank)
                runs += 1
                found = self._waits()
                if found.counted_cycles <= now.counted_cycles:
                    until[register] = runs + TENURE
                    now = found
                    break
                self._move(register, old)
                found = None
            if found is None:
                return

    def _waits(self) -> PassWaits:
        schedule = self._schedule
        return scheduled_pass_waits(schedule.graph, schedule.cycles, schedule.interval, self.banks, self._machine)

    def _moves(self, now: PassWaits) -> Iterator[tuple[Register, int]]:
        """Registers and banks that have room for them."""
        late = sorted(now.waits, key=lambda register: (-now.waits[register], register.index))
        tried: dict[Register, None] = {}
        for register in late[:TRIED]:
            rival: Register | None = register
            for _ in range(1 + RIVALS):
                if rival is not None:
                    tried[rival] = None
                    rival = now.rivals.get(rival)
        for register in tried:
            if register not in self._lifetimes:
                continue
            for bank in range(NUM_BANKS):
                if bank != self.banks[register] and self._has_room(register, bank):
                    yield register, bank

    def _has_room(self, register: Register, bank: int) -> bool:
        return self._room.highest(bank, self._lifetimes[register]) < CAPACITY

    def _move(self, register: Register, bank: int) -> None:
        lifetime = self._lifetimes[register]
        self._room.change(self.banks[register], lifetime, -1)
        self._room.change(bank, lifetime, 1)
        self.banks[register] = bank
