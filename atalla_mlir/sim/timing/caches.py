"""Timing of the instruction cache and of the scalar memory unit with its data cache (machine reference 5.6, 6.6)."""

from __future__ import annotations

from atalla_mlir.sim.timing.channel import DATA_CACHE, INSTRUCTION_CACHE, Channel
from atalla_mlir.target.encoding import PACKET_BYTES
from atalla_mlir.target.machine import Machine

DECODE_CYCLES = 2
"""From the cycle in which a packet is fetched to the first in which it can issue."""
NO_LINE = -1


class InstructionCache:
    """Direct mapped; one line fills at a time, in beats, and a packet goes on as soon as its own bytes are there."""

    def __init__(self, machine: Machine, channel: Channel) -> None:
        self._line_bytes = machine.icache_line_bytes
        self._beat_bytes = machine.icache_beat_bytes
        self._lines = machine.icache_bytes // machine.icache_line_bytes
        self._bursts = -(-machine.icache_line_bytes // machine.dram_burst_bytes)
        self._burst_bytes = machine.dram_burst_bytes
        self._latency = machine.dram_latency_cycles
        self._channel = channel
        self.tags = [NO_LINE] * self._lines
        self.settled = 0
        """Packets that would issue from this cycle on find every line that is in the cache complete."""
        self._filling = NO_LINE
        self._beats: list[int] = []
        self._fill_end = NO_LINE

    def invalidate(self) -> None:
        self.tags = [NO_LINE] * self._lines

    @property
    def is_ideal(self) -> bool:
        """A cache of no lines stands for instruction memory that never misses."""
        return not self._lines

    def arrival(self, pc: int, arrival: int, request: int) -> int:
        """When the packet at `pc` can issue; it would in `arrival` if it hit, and a miss is requested in `request`."""
        end = pc + PACKET_BYTES - 1
        for line in range(pc // self._line_bytes, end // self._line_bytes + 1):
            if self.tags[line % self._lines] != line:
                self._fill(line, max(request, self._fill_end + 1))
            if line == self._filling:
                last_byte = min(end - line * self._line_bytes, self._line_bytes - 1)
                arrival = max(arrival, self._beats[last_byte // self._beat_bytes] + DECODE_CYCLES)
        return arrival

    def _fill(self, line: int, cycle: int) -> None:
        beats: list[int] = []
        beat = NO_LINE
        beats_left = self._line_bytes // self._beat_bytes
        for launch in self._channel.fetch(INSTRUCTION_CACHE, cycle, self._bursts):
            beat = max(beat, launch + self._latency - 1)
            for _ in range(min(max(self._burst_bytes // self._beat_bytes, 1), beats_left - len(beats))):
                beat += 1
                beats.append(beat)
        self.tags[line % self._lines] = line
        self._filling, self._beats, self._fill_end = line, beats, beat
        self.settled = beat + DECODE_CYCLES


class DataCache:
    """Write-back, write-allocate, tree-PLRU; behind the scalar memory unit's queue, which is served one by one.

    Fills are served one after the other; a miss occupies a miss register (MSHR) until its line is there, later accesses
    to that line are its targets.
    """

    def __init__(self, machine: Machine, channel: Channel) -> None:
        self._line_bytes = machine.dcache_line_bytes
        self._ways = machine.dcache_ways
        self._sets = machine.dcache_bytes // (machine.dcache_line_bytes * machine.dcache_ways)
        self._hit = machine.dcache_hit_cycles
        self._store_hit = machine.dcache_store_hit_cycles
        self._miss = machine.dcache_miss_cycles
        self._victim = machine.dcache_victim_cycles
        self._bursts = -(-machine.dcache_line_bytes // machine.dram_burst_bytes)
        self._latency = machine.dram_latency_cycles
        self._max_targets = machine.dcache_targets_per_mshr
        self._channel = channel
        self._unit_free = 0
        self._fill_free = 0
        self._accepted = [0] * machine.lsu_queue
        self._accepted_index = 0
        self._fills = [0] * machine.dcache_mshrs
        self._fill_index = 0
        self.idle_at = 0
        self.queue_free = 0
        """The first cycle in which an access may issue as far as the queue is concerned."""
        self.invalidate()

    def invalidate(self) -> None:
        count = self._sets * self._ways
        self._tags = [NO_LINE] * count
        self._dirty = [False] * count
        self._filled = [0] * count
        self._targets = [0] * count
        self._tree = [0] * self._sets

    def access(self, cycle: int, address: int, *, is_store: bool) -> int:
        """An access that reaches the unit in `cycle`; when a load's value is offered."""
        accepted, offered = self._lookup(max(cycle, self._unit_free), address // self._line_bytes, is_store)
        index = self._accepted_index
        self._accepted[index] = accepted
        self._accepted_index = index = (index + 1) % len(self._accepted)
        self.queue_free = self._accepted[index] - 1
        self.idle_at = max(self.idle_at, offered)
        return offered

    def _lookup(self, cycle: int, line: int, is_store: bool) -> tuple[int, int]:
        """When the access leaves the queue and when it is done."""
        base = line % self._sets * self._ways
        for entry in range(base, base + self._ways):
            if self._tags[entry] == line:
                return self._hit_entry(cycle, entry, is_store)
        return self._miss_line(cycle, line, is_store)

    def _hit_entry(self, cycle: int, entry: int, is_store: bool) -> tuple[int, int]:
        self._touch(entry)
        self._dirty[entry] |= is_store
        filled = self._filled[entry]
        if filled > cycle and self._targets[entry] < self._max_targets:
            self._targets[entry] += 1
            self._unit_free = cycle + (1 if is_store else self._hit)
            return cycle, filled + self._hit
        cycle = max(cycle, filled)
        done = cycle + (self._store_hit if is_store else self._hit)
        self._unit_free = done
        return cycle, done

    def _miss_line(self, cycle: int, line: int, is_store: bool) -> tuple[int, int]:
        entry = self._victim_of(line % self._sets)
        cycle = max(cycle, self._fills[self._fill_index], self._filled[entry])
        start = max(cycle, self._fill_free)
        evicts = self._tags[entry] != NO_LINE and self._dirty[entry]
        bursts = self._bursts * (2 if evicts else 1)
        launches = self._channel.fetch(DATA_CACHE, start, bursts)
        waited = max(launches[-1] - (start + bursts - 1), 0)
        filled = start + self._miss + self._latency + waited + (self._victim if evicts else 0)
        self._fill_free = filled
        self._fills[self._fill_index] = filled
        self._fill_index = (self._fill_index + 1) % len(self._fills)
        self._tags[entry], self._dirty[entry] = line, is_store
        self._filled[entry], self._targets[entry] = filled, 1
        self._touch(entry)
        self._unit_free = cycle + (1 if is_store else self._hit)
        return cycle, filled + self._hit

    def flush(self, cycle: int) -> int:
        """Write back all dirty lines, one after the other, from `cycle` on; when the last one is in DRAM."""
        cycle = max(cycle, self.idle_at)
        dirty = [entry for entry, is_dirty in enumerate(self._dirty) if is_dirty]
        for entry in dirty:
            launches = self._channel.fetch(DATA_CACHE, cycle, self._bursts)
            cycle = max(cycle + self._victim, launches[-1] + 1)
            self._dirty[entry] = False
        return cycle + self._latency if dirty else cycle

    # Tree pseudo-LRU: bit n of a set's tree points to the half of node n's ways that was used less recently.

    def _touch(self, entry: int) -> None:
        which_set, way = divmod(entry, self._ways)
        tree, node, span = self._tree[which_set], 0, self._ways
        while span > 1:
            span //= 2
            upper = way // span & 1
            tree = tree & ~(1 << node) if upper else tree | 1 << node
            node = 2 * node + 1 + upper
        self._tree[which_set] = tree

    def _victim_of(self, which_set: int) -> int:
        base = which_set * self._ways
        for entry in range(base, base + self._ways):
            if self._tags[entry] == NO_LINE:
                return entry
        way, node, span = 0, 0, self._ways
        while span > 1:
            span //= 2
            upper = self._tree[which_set] >> node & 1
            way += span * upper
            node = 2 * node + 1 + upper
        return base + way
