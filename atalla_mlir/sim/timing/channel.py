"""The DRAM burst channel and the scratchpad DMA transfers on it (machine reference 6.4).

The channel is event driven: nothing happens between two grants, so it is advanced only when somebody needs to know, up
to a cycle or to the end of a transfer. Masters are the instruction cache, the data cache and one SDMA per pad.
"""

from __future__ import annotations

from fractions import Fraction

from atalla_mlir.sim.state import ELEMENT_BYTES
from atalla_mlir.sim.timing.pads import PadPort
from atalla_mlir.target.machine import Machine

NEVER = 1 << 60
INSTRUCTION_CACHE = 0
DATA_CACHE = 1
FIRST_SDMA = 2
RELEASE_CYCLES = 2
"""From the end of a transfer to the issue of a packet that reads its address register (6.1)."""


class Transfer:
    """One SDMA transfer in flight: a load when `is_load`, else a store."""

    __slots__ = ("bursts_left", "first_row", "is_load", "read_start", "register", "row", "rows")

    def __init__(self, *, is_load: bool, first_row: int, rows: int, register: int) -> None:
        self.is_load = is_load
        self.first_row = first_row
        self.rows = rows
        self.row = 0
        self.bursts_left = 0
        self.register = register
        """Scoreboard index of the address register that is held busy, 0 for x0."""
        self.read_start = 0
        """Stores: the cycle in which the pad accepts the read of row 0."""

    def covers(self, row: int) -> bool:
        return self.first_row <= row < self.first_row + self.rows

    def has_landed(self, row: int) -> bool:
        """Loads: the write of `row` has a known landing time."""
        return row < self.first_row + self.row


class Channel:
    """Burst launches: `numerator / denominator` per cycle over all masters, round robin, one burst at a time."""

    def __init__(self, machine: Machine, ports: list[PadPort]) -> None:
        rate = Fraction(machine.dram_bursts_per_cycle).limit_denominator(1024)
        self._numerator, self._denominator = rate.numerator, rate.denominator
        self._free = 0
        """The next launch, in units of 1 / numerator cycles."""
        self._last = 0
        """The master that was granted last."""
        masters = FIRST_SDMA + machine.pads
        self._ready = [NEVER] * masters
        """The cycle from which a master's next burst can be launched."""
        self._demand = [0, 0]
        """Bursts that the two caches still want."""
        self.transfers: list[Transfer | None] = [None] * machine.pads
        self.free = [0] * machine.pads
        """The first cycle in which the next SDMA to a pad may issue; valid without a transfer in flight."""
        self.register_ready: list[tuple[int, int]] = []
        """(scoreboard index, cycle) of address registers released since the scoreboard last looked."""
        self._ports = ports
        self._latency = machine.dram_latency_cycles
        self._row_serial = machine.sdma_row_serial
        self._startup = machine.sdma_startup_cycles
        self._burst_bytes = machine.dram_burst_bytes
        self._row_bursts = [0] * machine.pads

    # Requests

    def fetch(self, master: int, cycle: int, bursts: int) -> list[int]:
        """Launch `bursts` for a cache from `cycle` on; the cycles in which they are launched."""
        self._demand[master], self._ready[master] = bursts, cycle
        launches: list[int] = []
        while self._demand[master]:
            granted, launch = self._grant()
            if granted == master:
                launches.append(launch)
        return launches

    def start(self, pad: int, issue: int, transfer: Transfer, cols: int) -> None:
        """Begin a transfer that issued in cycle `issue`; the pad has none in flight."""
        port, bursts = self._ports[pad], -(-ELEMENT_BYTES * cols // self._burst_bytes)
        begin = max(issue + self._startup, port.read_free, port.write_free)
        self.transfers[pad], self._row_bursts[pad] = transfer, bursts
        transfer.bursts_left = bursts
        if transfer.is_load:
            self._ready[FIRST_SDMA + pad] = begin
        else:
            transfer.read_start = begin
            port.hold_reads(begin, transfer.rows)
            self._ready[FIRST_SDMA + pad] = port.store_row_ready(begin, 0)

    # Progress

    def advance(self, limit: int) -> None:
        """Launch everything that is launched before cycle `limit`."""
        while self._next_launch() < limit:
            self._grant()

    def finish(self, pad: int) -> None:
        """Run until the pad's transfer has ended."""
        while self.transfers[pad] is not None:
            self._grant()

    def land(self, pad: int, row: int) -> None:
        """Run until the pad's load has a landing time for `row`."""
        while (transfer := self.transfers[pad]) is not None and not transfer.has_landed(row):
            self._grant()

    def _next_launch(self) -> int:
        ready = min(self._ready)
        return ready if ready == NEVER else max(ready, self._free // self._numerator)

    def _grant(self) -> tuple[int, int]:
        """Launch one burst: the master and the cycle."""
        cycle = self._next_launch()
        self._last = master = self._next_master(cycle)
        self._free = max(self._free, cycle * self._numerator) + self._denominator
        if master >= FIRST_SDMA:
            self._ready[master] = self._transfer_launched(master - FIRST_SDMA, cycle)
        else:
            self._demand[master] -= 1
            self._ready[master] = cycle + 1 if self._demand[master] else NEVER
        return master, cycle

    def _next_master(self, cycle: int) -> int:
        """Round robin: the first after the last granted one that has a burst ready."""
        masters, ready = len(self._ready), self._ready
        master = self._last
        while True:
            master = master + 1 if master + 1 < masters else 0
            if ready[master] <= cycle:
                return master

    def _transfer_launched(self, pad: int, cycle: int) -> int:
        """Account a launched burst of a pad's transfer; when its next burst is ready."""
        transfer = self.transfers[pad]
        assert transfer is not None
        transfer.bursts_left -= 1
        if transfer.bursts_left:
            return cycle + 1
        arrival = cycle + self._latency
        if transfer.is_load:
            end = self._ports[pad].write_transfer_row(transfer.first_row + transfer.row, arrival)
        else:
            end = arrival
        transfer.row += 1
        if transfer.row == transfer.rows:
            self._end(pad, transfer, end)
            return NEVER
        transfer.bursts_left = self._row_bursts[pad]
        if not transfer.is_load:
            return max(cycle + 1, self._ports[pad].store_row_ready(transfer.read_start, transfer.row))
        return max(arrival, cycle + 1) if self._row_serial else cycle + 1

    def _end(self, pad: int, transfer: Transfer, end: int) -> None:
        self.transfers[pad] = None
        self.free[pad] = end + RELEASE_CYCLES
        if transfer.register:
            self.register_ready.append((transfer.register, end + RELEASE_CYCLES))
