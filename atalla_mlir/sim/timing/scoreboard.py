"""Busy registers and the write ports of the register files (machine reference 5.3, 5.4)."""

from __future__ import annotations

from atalla_mlir.sim.timing.plan import BANKS, PRIORITY_SHIFT, REGISTERS, bank_of

_REGISTER_MASK = (1 << PRIORITY_SHIFT) - 1
_PRUNE_PACKETS = 1024
_BANK = tuple(bank_of(index) for index in range(REGISTERS))


class Scoreboard:
    """By scoreboard index: when a packet that touches the register may issue, and why it may be later than usual.

    A wait up to `nominal` has the usual cause; the rest of it is charged to `late`, when that is not 0.
    """

    def __init__(self) -> None:
        self.ready = [0] * REGISTERS
        self.late = [0] * REGISTERS
        self.nominal = [0] * REGISTERS
        self.held: dict[int, int] = {}
        """Pad of the transfer that holds an address register."""
        self.writes: list[dict[int, int]] = [{} for _ in range(BANKS)]
        """By bank: pending writes by cycle."""
        self._packets = 0

    def enter(self, register: int, bank: int, pending: int, cycle: int) -> None:
        """Enter a write that is ready in `cycle`: one per bank and cycle, the higher priority first, the loser later.

        Nobody has used the time of a write that loses its place: its register is busy, and the winner issues now.
        """
        calendar = self.writes[bank]
        while (other := calendar.get(cycle)) is not None:
            if pending >> PRIORITY_SHIFT < other >> PRIORITY_SHIFT:
                calendar[cycle] = pending
                self.ready[register] = cycle + 1
                pending, register = other, other & _REGISTER_MASK
            cycle += 1
        calendar[cycle] = pending
        self.ready[register] = cycle + 1

    def enter_computed(self, register: int, priority: int, cycle: int, nominal: int, cause: int) -> None:
        """A write whose time depends on more than its instruction; what it is later than `nominal` has a `cause`."""
        self.late[register] = cause if cycle > nominal else 0
        self.nominal[register] = nominal + 1
        self.enter(register, _BANK[register], priority << PRIORITY_SHIFT | register, cycle)

    def release(self, ended: list[tuple[int, int]]) -> None:
        """Take over (register, cycle) of transfers that have ended, and empty the list."""
        for register, cycle in ended:
            self.ready[register] = cycle
            del self.held[register]
        ended.clear()

    def forget_before(self, cycle: int) -> None:
        """Called once per packet; now and then drops writes that have happened."""
        self._packets += 1
        if self._packets % _PRUNE_PACKETS == 0:
            self.writes = [{at: pending for at, pending in bank.items() if at >= cycle} for bank in self.writes]
