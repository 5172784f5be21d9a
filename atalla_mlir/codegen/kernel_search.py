"""Which kernels of a loop come into question: schedules by rising II, and how much of a search a loop is worth."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from itertools import cycle

from atalla_mlir.codegen.kernel import Kernel
from atalla_mlir.codegen.long_values import copy_in_place, split_long_values
from atalla_mlir.codegen.loop_graph import LoopGraph, build_loop_graph, resource_bounds
from atalla_mlir.codegen.loop_memo import Found
from atalla_mlir.codegen.loop_placement import OrderChoice
from atalla_mlir.codegen.loop_roles import push_runs
from atalla_mlir.codegen.loops import FETCH_CYCLES, PACKED_SLOTS, LoopContext
from atalla_mlir.codegen.machine_ir import AHEAD_MARK, Register
from atalla_mlir.codegen.modulo import FINENESS, ModuloSchedule, ModuloScheduler
from atalla_mlir.target.encoding import PACKET_BYTES, SLOTS
from atalla_mlir.target.machine import Machine

MAX_INTERVAL_GROWTH = 1.15
"""By how much II may exceed its bound, or the first that was found, before the search for a smaller kernel ends."""
INTERVAL_STEPS = 24
"""The search raises II by a fraction of this."""
THOROUGH_CYCLES = 15_000
"""Cycles of a loop that waits for no transfer from which on all ways of placing are tried at each II."""
MIXED_CYCLES = 1_500
"""Cycles by which such a loop exceeds its bound from which on mixed orders are tried as well."""
MIXED_GAIN = 0.015
"""Share of its bound by which an iteration exceeds that, beyond which mixed orders are tried: less is within the error
of the prediction."""
REBANKED_CYCLES = 300
"""Cycles that the packets of such a loop wait from which on other banks are searched for its registers."""
LANE_WAIT = 3
"""Cycles by which lanes wait longer than they must, in a further search for such a loop: rows that want the same write
port as others come late."""
MIXED_STEPS = 96
"""They tell II apart by a fraction of this."""
MIXED = (
    *(OrderChoice(by_parts=by_parts) for by_parts in (True, False)),
    *(
        OrderChoice(by_parts=by_parts, seed=seed, spread=spread)
        for seed in range(1, 3)
        for spread in (3, 1, 7)
        for by_parts in (True, False)
    ),
)
"""How short an iteration becomes in an order is hardly foreseen, and finding out takes milliseconds."""
REPAIR_WAIT = 1
"""Cycles by which lanes wait longer than they must where schedules are repaired: most rows that come late are late by
one."""
REPAIRS = tuple(
    zip(
        (OrderChoice(seed=seed, spread=spread) for seed in range(1, 5) for spread in (3, 1, 7)),
        cycle((False, True)),
        cycle((1 / 8, 1 / 4, 1 / 2)),
        strict=False,
    )
)
"""Orders in which schedules are repaired, whether late, and the share of what an iteration exceeds its bound by that is
left to II. An attempt takes a twentieth of a second; at an II near the bound one in five or ten finds a schedule."""


class LoopKernels:
    """The kernels of one loop; new registers are numbered from `first_index`."""

    def __init__(
        self,
        graph: LoopGraph,
        machine: Machine,
        banks: Mapping[Register, int],
        first_index: int,
        context: LoopContext,
        trip_count: int,
    ) -> None:
        self._graph, self._machine, self._banks = graph, machine, banks
        self._first_index, self._context, self._trip_count = first_index, context, trip_count

    def find(self, largest_interval: Callable[[], int]) -> Iterator[Kernel]:
        """Kernels by rising II whose values fit into the registers and code into the cache, down to one not unrolled;
        then those that a thorough search finds.

        `largest_interval` says up to which II one is of use; it is asked again after each kernel.
        """
        if -(-len(self._graph.insts) // SLOTS) * PACKET_BYTES > self._machine.icache_bytes:
            return
        largest = largest_interval()
        if max(resource_bounds(self._graph.insts, self._machine).values(), default=1) > largest:
            return
        takes_long = self._trip_count * largest >= THOROUGH_CYCLES
        thorough = self._graph.is_ahead and takes_long and len(push_runs(self._graph)) > 1
        last: Kernel | None = None
        least = largest + 1
        for kernel in self._by_interval_and_mixed(largest, largest_interval, thorough=thorough):
            last = kernel
            if thorough and kernel.unroll == 1:
                least = min(least, kernel.iteration_cycles(self._machine))
            yield kernel
        if not thorough or last is None or not last.schedule.hides_transfers:
            return
        if least == self._scheduler(self._max_stages).bound:
            return  # rows that come late cost nothing
        patient = self._with_wait(LANE_WAIT)
        for kernel in patient._by_interval_and_mixed(largest_interval(), largest_interval, thorough=True):
            if kernel.unroll == 1:
                least = min(least, kernel.iteration_cycles(self._machine))
            yield kernel
        yield from self._with_wait(REPAIR_WAIT)._repaired(min(least, largest_interval() + 1))

    def _with_wait(self, lane_wait: int) -> LoopKernels:
        """Kernels of the loop whose lanes wait as many cycles longer than they must."""
        graph = build_loop_graph(self._graph.insts, self._machine, self._graph.in_place, lane_wait)
        return LoopKernels(graph, self._machine, self._banks, self._first_index, self._context, self._trip_count)

    def _by_interval_and_mixed(
        self, largest: int, largest_interval: Callable[[], int], *, thorough: bool
    ) -> Iterator[Kernel]:
        last = None
        for kernel in self._by_interval(largest, largest_interval, thorough=thorough):
            last = kernel
            yield kernel
        if not thorough or (last is not None and last.unroll > 1):
            return
        yield from self._shorter(largest + 1 if last is None else last.iteration_cycles(self._machine))
        if last is not None:
            yield from self._with_fewer_stages(last, largest_interval)

    def _by_interval(self, largest: int, largest_interval: Callable[[], int], *, thorough: bool) -> Iterator[Kernel]:
        limited = thorough or len(push_runs(self._graph)) > 1
        scheduler = self._scheduler(self._max_stages if limited else math.inf, thorough=thorough)
        steps = FINENESS if thorough else INTERVAL_STEPS
        schedule = scheduler.schedule(largest)
        smallest_unroll: int | None = None
        most: int | None = None
        while schedule is not None:
            kernel = self._kernel(schedule, thorough=thorough)
            if self._fits(kernel) and (smallest_unroll is None or kernel.unroll < smallest_unroll):
                smallest_unroll = kernel.unroll
                yield kernel
            if smallest_unroll == 1:
                return
            step = max(1, schedule.interval // steps)
            if smallest_unroll is not None:
                most = most or int(max(schedule.bound, schedule.interval) * MAX_INTERVAL_GROWTH)
            limit = largest_interval()
            schedule = scheduler.schedule(min(limit, most or limit), schedule.interval + step)

    def _shorter(self, least: int) -> Iterator[Kernel]:
        """Kernels whose iterations take less than `least` cycles, placed in mixed orders, if much may be won."""
        scheduler = self._scheduler(self._max_stages)
        for choice in MIXED:
            if not self._is_much(least - scheduler.bound, scheduler.bound):
                return
            kernel = self._in_less(least, self.least_interval(scheduler, choice, least))
            if kernel is not None:
                least = kernel.iteration_cycles(self._machine)
                yield kernel

    def _repaired(self, least: int) -> Iterator[Kernel]:
        """Kernels whose iterations take less than `least` cycles, placed by repair, if much may be won."""
        scheduler = self._scheduler(self._max_stages)
        for choice, is_late, share in REPAIRS:
            excess = least - scheduler.bound
            if not self._is_much(excess, scheduler.bound):
                return
            interval = scheduler.bound + int(share * excess)
            kernel = self._in_less(least, scheduler.repair(interval, replace(choice, is_late=is_late)))
            if kernel is not None:
                least = kernel.iteration_cycles(self._machine)
                yield kernel

    def _is_much(self, excess: int, bound: int) -> bool:
        """Whether it is worth a search that an iteration exceeds its bound by so many cycles."""
        return excess * self._trip_count >= MIXED_CYCLES and excess > MIXED_GAIN * bound

    def _in_less(self, least: int, schedule: ModuloSchedule | None) -> Kernel | None:
        """The kernel of a schedule, if it fits, is not unrolled and an iteration takes less than `least` cycles."""
        kernel = None if schedule is None else self._kernel(schedule, thorough=True)
        if kernel is None or kernel.unroll > 1 or not self._fits(kernel):
            return None
        return kernel if kernel.iteration_cycles(self._machine) < least else None

    @staticmethod
    def least_interval(scheduler: ModuloScheduler, choice: OrderChoice, limit: int) -> ModuloSchedule | None:
        """The schedule with the least II below `limit` that halving the range finds."""
        best: ModuloSchedule | None = None
        low, high = scheduler.bound, limit - 1
        while low <= high:
            middle = (low + high) // 2
            schedule = scheduler.place(middle, choice)
            if schedule is None:
                low = middle + max(1, middle // MIXED_STEPS)
            else:
                best, high = schedule, middle - max(1, middle // MIXED_STEPS)
        return best

    def _with_fewer_stages(self, last: Kernel, largest_interval: Callable[[], int]) -> Iterator[Kernel]:
        """A kernel of longer II than `last` with less code around it."""
        stages = last.schedule.num_stages - 1
        if not stages:
            return
        saved = FETCH_CYCLES * len(self._graph.insts) / PACKED_SLOTS / self._trip_count
        scheduler, least = self._scheduler(stages, thorough=True), last.schedule.interval + 1
        schedule = scheduler.schedule(min(largest_interval(), least + int(saved)), least)
        kernel = None if schedule is None else self._kernel(schedule, thorough=True)
        if kernel is not None and kernel.unroll == 1 and self._fits(kernel):
            yield kernel

    def _scheduler(self, max_stages: float, *, thorough: bool = False) -> ModuloScheduler:
        return self._any_scheduler.limited(max_stages, thorough=thorough)

    @cached_property
    def _any_scheduler(self) -> ModuloScheduler:
        return self._scheduler_of(self._graph, math.inf, thorough=False)

    def _scheduler_of(self, graph: LoopGraph, max_stages: float, *, thorough: bool) -> ModuloScheduler:
        settled = self._context.settled
        return ModuloScheduler(graph, self._machine, self._banks, max_stages, thorough=thorough, settled=settled)

    def _kernel(self, schedule: ModuloSchedule, *, thorough: bool) -> Kernel:
        kernel = Kernel(schedule, self._banks, self._first_index)
        if not thorough:
            kernel.counts_on_banks = self._trip_count * schedule.interval >= THOROUGH_CYCLES
            return kernel
        kernel = self._rebanked(kernel) if kernel.unroll == 1 else self.split(kernel) or kernel
        kernel.counts_on_banks = True
        return kernel

    def _rebanked(self, kernel: Kernel) -> Kernel:
        """The kernel with banks with which its packets wait for less, where they wait for enough to matter."""
        schedule, machine = kernel.schedule, self._machine
        if (kernel.pass_cycles(machine) - schedule.interval) * self._trip_count < REBANKED_CYCLES:
            return kernel

        def search() -> Found:
            return Found(schedule.interval, schedule.cycles, kernel.banks_with_fewer_waits(machine))

        asked = "banks", self._max_stages, schedule.interval, schedule.cycles
        found = self._any_scheduler.memo.recall(asked, search)
        assert found is not None
        return Kernel(replace(schedule, banks=found.banks), self._banks, self._first_index)

    def split(self, kernel: Kernel) -> Kernel | None:
        """A kernel of nearly the same II with copies of long values, if it need not be unrolled.

        Where an equal loop had none for such a schedule it is not searched again.
        """
        searched: list[Kernel | None] = []

        def search() -> Found | None:
            searched.append(self._find_split(kernel))
            return None if searched[0] is None else Found(searched[0].schedule.interval, (), {})

        asked = "split", self._max_stages, kernel.schedule.interval, kernel.schedule.cycles
        if self._any_scheduler.memo.recall(asked, search) is None:
            return None
        return searched[0] if searched else self._find_split(kernel)

    def _find_split(self, kernel: Kernel) -> Kernel | None:
        copied = copy_in_place(kernel, self._machine, self._banks, self._context.settled, self._first_index)
        if copied is not None and copied.unroll == 1:
            return copied
        split = split_long_values(kernel, self._first_index)
        if split is None:
            return None
        graph, interval = kernel.schedule.graph, kernel.schedule.interval
        copied = build_loop_graph(split.insts, self._machine, graph.in_place)
        scheduler = self._scheduler_of(copied, self._max_stages, thorough=True)
        schedule = scheduler.schedule(interval + interval // FINENESS, interval)
        if schedule is None:
            return None
        found = Kernel(schedule, self._banks, split.next_index)
        return found if found.unroll == 1 else None

    def _fits(self, kernel: Kernel) -> bool:
        in_cache = kernel.num_packets * PACKET_BYTES <= self._machine.icache_bytes
        # bodies that seldom change the array's weights try a longer interval in the same way
        is_late = kernel.schedule.num_stages > self._max_stages
        return in_cache and not is_late and self._context.has_room(kernel.max_live())

    @cached_property
    def _max_stages(self) -> float:
        """Iterations that may be in progress at once: rows that are used in several ways must not be so too early."""
        names = {ref.object.partition(AHEAD_MARK) for inst in self._graph.insts for ref in inst.memory_refs()}
        return min((int(limit) for _, mark, limit in names if mark), default=math.inf)
