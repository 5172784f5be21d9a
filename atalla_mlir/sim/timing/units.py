"""Units with state of their own: bounded queues, the transpose unit."""

from __future__ import annotations

from atalla_mlir.target.machine import Machine


class InFlight:
    """At most `limit` instructions between two points: when each of the last ones leaves. No limit when it is 0."""

    def __init__(self, limit: int) -> None:
        self._leaves = [0] * limit
        self._index = 0

    def free(self, ahead: int = 0) -> int:
        """When there is room for the next instruction but `ahead`."""
        return self._leaves[(self._index + ahead) % len(self._leaves)] if self._leaves else 0

    def enter(self, leaves: int) -> None:
        if self._leaves:
            self._leaves[self._index] = leaves
            self._index = (self._index + 1) % len(self._leaves)


class TransposeTiming:
    """Pushes and pops in order, behind a short queue (machine reference 2.13, 6.1)."""

    def __init__(self, machine: Machine) -> None:
        self._push_interval = machine.transpose_push_interval
        self._pop_interval = machine.transpose_pop_interval
        self._columns = machine.vector_lanes
        self._popped = 0
        self._queue = InFlight(machine.transpose_queue)
        self.free_at = 0

    @property
    def queue_free(self) -> int:
        """The first cycle in which an instruction may issue as far as the queue is concerned."""
        return self._queue.free() - 1

    def push(self, cycle: int) -> None:
        """A push that arrives in `cycle`."""
        served = max(cycle, self.free_at)
        self._queue.enter(served)
        self.free_at = served + self._push_interval

    def pop(self, cycle: int) -> int:
        """A pop that arrives in `cycle`; when its column is offered. The first one of a drain takes longer."""
        if self._popped:
            offered = max(cycle, self.free_at + self._pop_interval)
        else:
            offered = max(cycle, self.free_at) + self._push_interval
        self._popped = (self._popped + 1) % self._columns
        self.free_at = offered
        self._queue.enter(offered)
        return offered
