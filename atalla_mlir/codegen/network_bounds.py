"""What no program for a sequence of kernels can go below: the bounds of its kernels put together.

Each resource serves one kernel after the other, so their cycles add up, however the kernels overlap. Bytes do not: what
one kernel stores and another loads need not go through DRAM. Counted are

* each byte that comes from outside, once, however many kernels read it;
* each byte of a result, once;
* of the values between kernels, what no planner can keep in the pads: between two launches everything that a later one
  reads is somewhere, and the pads hold only so much. What is not kept is written and read again.

That the kernels run in this order, and that all room in the pads is given to such values, is the planner's best case.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from atalla_mlir.codegen.bounds import Bounds, dram_bytes_per_cycle
from atalla_mlir.target.machine import Machine


@dataclass(frozen=True)
class Launch:
    """A kernel call: the bytes of each value that its result depends on, what it makes, and its cycles by resource."""

    reads: Mapping[Hashable, int]
    writes: tuple[Hashable, ...]
    cycles: Mapping[str, int]


@dataclass(frozen=True)
class Interval:
    """`size` bytes that exist from the launch `made` on until the launch `read` has them."""

    made: int
    read: int
    size: int


def network_bounds(launches: Sequence[Launch], results: Mapping[Hashable, int], machine: Machine) -> Bounds:
    """Bounds of `launches` in their order; `results` must be in DRAM at the end, with their bytes."""
    made = {value: at for at, launch in enumerate(launches) for value in launch.writes}
    outside: dict[Hashable, int] = defaultdict(int)
    between: dict[Hashable, list[tuple[int, int]]] = defaultdict(list)
    for at, launch in enumerate(launches):
        for value, size in launch.reads.items():
            if value not in made:
                outside[value] = max(outside[value], size)
            elif value not in results:
                between[value].append((at, size))
    kept = [interval for value, reads in between.items() for interval in _intervals(made[value], reads)]
    written = sum(size for value, size in results.items() if value in made)
    moved = sum(outside.values()) + written + 2 * least_spilled(kept, pad_bytes(machine))
    cycles: dict[str, int] = defaultdict(int)
    for launch in launches:
        for resource, count in launch.cycles.items():
            cycles[resource] += count
    cycles["dram"] = math.ceil(moved / dram_bytes_per_cycle(machine))
    return Bounds({resource: count for resource, count in cycles.items() if count}, moved)


def pad_bytes(machine: Machine) -> int:
    """What all pads hold together."""
    return machine.pads * machine.pad_rows * machine.row_bytes


def _intervals(made: int, reads: Iterable[tuple[int, int]]) -> list[Interval]:
    """A value in parts: what only the earlier readers want need not be there any longer after them."""
    parts: list[Interval] = []
    wanted = 0
    for at, size in sorted(reads, reverse=True):
        if size > wanted:
            parts.append(Interval(made, at, size - wanted))
            wanted = size
    return parts


def least_spilled(intervals: Sequence[Interval], capacity: int) -> int:
    """The fewest bytes that must leave the pads so that no more than `capacity` bytes are there after any launch.

    Going forward in time and giving up what is wanted last is the best: it makes room for longest.
    """
    present = {index: interval.size for index, interval in enumerate(intervals)}
    by_start: dict[int, list[int]] = defaultdict(list)
    for index, interval in enumerate(intervals):
        by_start[interval.made].append(index)
    alive: list[int] = []
    spilled = 0
    for at in sorted(by_start):
        alive = [index for index in (*alive, *by_start[at]) if intervals[index].read > at]
        excess = sum(present[index] for index in alive) - capacity
        for index in sorted(alive, key=lambda index: -intervals[index].read):
            if excess <= 0:
                break
            given_up = min(excess, present[index])
            present[index] -= given_up
            excess -= given_up
            spilled += given_up
    return spilled
