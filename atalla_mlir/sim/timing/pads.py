"""The read and write port of one pad and the queue of its vector load/store unit (machine reference 6.3)."""

from __future__ import annotations

from atalla_mlir.target.machine import Machine


class PadPort:
    """Availability times of one pad, in cycles.

    A row access occupies its port for the row interval; the two ports are independent. The vector load/store unit is in
    order per port. A transfer goes first: it takes the port before rows that are waiting.
    """

    def __init__(self, machine: Machine) -> None:
        self._interval = machine.pad_row_interval
        self._read_latency = machine.pad_read_latency
        self._write_latency = machine.pad_write_latency
        self._queue = machine.pad_queue
        self.read_free = 0
        """The first cycle in which the port accepts a row read of the vector load/store unit."""
        self.write_free = 0
        self._transfer_write_free = 0
        self._reads = [0] * self._queue
        """Cycles in which the last reads left the queue; the oldest at `_read_index`."""
        self._read_index = 0
        self._writes = [0] * self._queue
        self._write_index = 0
        self.full_until = 0
        """The first cycle in which a row access of this pad may issue as far as the queue is concerned."""
        self.landed = [0] * machine.pad_rows
        """By row: the cycle from which a read sees the last write."""

    def read(self, cycle: int, row: int) -> int:
        """Queue a row read that arrives in `cycle`; the cycle in which the port accepts it."""
        accepted = max(cycle, self.read_free, self.landed[row])
        self.read_free = accepted + self._interval
        index = self._read_index
        self._reads[index] = accepted
        self._read_index = index = index + 1 if index + 1 < self._queue else 0
        self.full_until = max(self._reads[index], self._writes[self._write_index]) - 1
        return accepted

    def write(self, cycle: int, row: int) -> None:
        """Queue a row write that arrives in `cycle`."""
        accepted = max(cycle, self.write_free)
        self.write_free = accepted + self._interval
        self.landed[row] = accepted + self._write_latency
        index = self._write_index
        self._writes[index] = accepted
        self._write_index = index = index + 1 if index + 1 < self._queue else 0
        self.full_until = max(self._reads[self._read_index], self._writes[index]) - 1

    def write_transfer_row(self, row: int, arrival: int) -> int:
        """A row of a load has come from DRAM; the cycle in which it has landed.

        Waiting writes of the vector unit let it pass: it waits for the one in service at most, they for all of it.
        """
        start = max(arrival, self._transfer_write_free)
        if self.write_free > start:
            accepted = start + min(self.write_free - start, self._interval - 1)
            self.write_free = max(self.write_free, accepted) + self._interval
        else:
            accepted = start
            self.write_free = accepted + self._interval
        self._transfer_write_free = accepted + self._interval
        self.landed[row] = accepted + self._write_latency
        return self.landed[row]

    def hold_reads(self, start: int, rows: int) -> None:
        """A store reads `rows` rows from cycle `start` on; reads of the vector unit wait for its last row."""
        self.read_free = start + rows * self._interval

    def store_row_ready(self, start: int, row: int) -> int:
        """The cycle in which the data of a store's row can go to DRAM."""
        return start + row * self._interval + self._read_latency

    @property
    def backlog_landed(self) -> int:
        """The cycle in which every queued write has landed, rows of a load in between included."""
        return self.write_free - self._interval + self._write_latency

    @property
    def idle_at(self) -> int:
        return max(self.read_free, self.write_free, self.backlog_landed)
