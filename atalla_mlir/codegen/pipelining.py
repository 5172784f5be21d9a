"""Software pipelines: a loop of one block becomes a kernel around a modulo schedule, where that saves cycles.

There are two ways to fill and drain the pipeline: code before and after the kernel (`Pipeline`, for any body), or more
passes of the kernel whose effects are masked (`ramping`, less code) or do no harm (`staggering`). Iterations that are
left over because the kernel advances by several at once run first, in the original order. Trip counts must be known at
compile time.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

from atalla_mlir.codegen.banks import KeptBank, loop_weight
from atalla_mlir.codegen.contest import Contest
from atalla_mlir.codegen.kernel import Kernel, LoopReport
from atalla_mlir.codegen.kernel_search import LoopKernels
from atalla_mlir.codegen.liveness import BlockLiveness
from atalla_mlir.codegen.loop_graph import build_loop_graph, resource_bounds
from atalla_mlir.codegen.loops import (
    PACKED_SLOTS,
    CountedLoop,
    LoopContext,
    LoopPart,
    PipelinedLoop,
    Repeat,
    carried_registers,
    constant_values,
    find_counted_loop,
    kernel_block,
)
from atalla_mlir.codegen.machine_ir import Block, Function, Inst, Register
from atalla_mlir.codegen.ramping import MaskedPipeline, mask_loop
from atalla_mlir.codegen.slots import slot_order
from atalla_mlir.codegen.staggering import stagger_loop
from atalla_mlir.target.isa import Format, Latency, Unit
from atalla_mlir.target.machine import Machine
from atalla_mlir.target.registers import RegisterFile

LUMPED_TRANSFERS = 1.3
"""By how much a loop exceeds the bound of its busiest resource when its transfers begin in a row."""
KEPT_SHARE = 2
"""A register outside of the bank with which a kernel was searched counts for this part of two registers of a bank in a
packet."""
UNSEEN_WAITS = 1.12
"""By how much a loop as it is exceeds its packets when nothing in it says how its transfers wait."""


def pipeline_loops(
    function: Function,
    machine: Machine,
    banks: dict[Register, int],
    costs: Sequence[tuple[int, int]],
    liveness: Sequence[BlockLiveness],
    spare: Mapping[RegisterFile, int],
) -> tuple[Function, tuple[LoopReport, ...], tuple[KeptBank, ...]]:
    """The function with loops pipelined where that pays, their reports, and what counts on its banks; adds the banks of
    new registers to `banks`.

    `costs` are cycles and packets of each block as it stands, and `liveness` is theirs. `spare` are registers that
    overlapping iterations leave alone.
    """
    constants = constant_values(function)
    next_index = max((register.index for register in function.registers()), default=0) + 1
    packets = [num_packets for _, num_packets in costs]
    pushes_first = all(_pushes_weights_first(block, machine) for block in function.blocks)
    blocks: list[Block] = []
    reports: list[LoopReport] = []
    kept: list[KeptBank] = []
    settled: set[Register] = set()
    for index, block in enumerate(function.blocks):
        loop = find_counted_loop(block, constants)
        pipelined = None
        if loop is not None:
            surrounding = _surrounding_packets(function.blocks, packets, index)
            through = _count_live_through(loop, liveness[index])
            through = {file: count + spare.get(file, 0) for file, count in through.items()}
            needed_after = _needed_after(liveness, function.successors()[index], index)
            context = LoopContext(*costs[index], surrounding, through, needed_after, pushes_first, frozenset(settled))
            pipelined = pipeline_loop(loop, machine, banks, next_index, context)
        if pipelined is None:
            blocks.append(block)
            continue
        blocks.extend(pipelined.blocks)
        banks.update(pipelined.banks)
        settled.update(pipelined.banks)
        if pipelined.counts_on_banks:
            weight = loop_weight(block.loop_depth) // KEPT_SHARE
            vectors = (item for item in pipelined.banks.items() if item[0].file is RegisterFile.VECTOR)
            kept.extend((register, bank, weight) for register, bank in vectors)
        reports.append(pipelined.report)
        next_index = pipelined.next_index
        packets[index] = sum(len(part.packets or part.insts) for part in pipelined.blocks)
    return replace(function, blocks=blocks), tuple(reports), tuple(kept)


def _surrounding_packets(blocks: Sequence[Block], packets: Sequence[int], index: int) -> int | None:
    """Packets of the other blocks of the loop around block `index`; None when it stands in no other loop."""
    depth = blocks[index].loop_depth
    if depth <= 1:
        return None
    first, last = index, index
    while first > 0 and blocks[first - 1].loop_depth >= depth - 1:
        first -= 1
    while last + 1 < len(blocks) and blocks[last + 1].loop_depth >= depth - 1:
        last += 1
    return sum(packets[first : last + 1]) - packets[index]


def _needed_after(liveness: Sequence[BlockLiveness], successors: Sequence[int], index: int) -> frozenset[Register]:
    """Registers that are read after leaving block `index`, which repeats itself."""
    return frozenset().union(*(liveness[following].live_in for following in successors if following != index))


def _pushes_weights_first(block: Block, machine: Machine) -> bool:
    """Whether a block that uses the array replaces all of its weights before."""
    num_pushes = 0
    for inst in block.insts:
        if inst.op.latency is Latency.WEIGHT_PUSH:
            num_pushes += 1
        elif inst.op.unit is Unit.GSAU and num_pushes < machine.vector_lanes:
            return False
    return True


def _count_live_through(loop: CountedLoop, liveness: BlockLiveness) -> dict[RegisterFile, int]:
    """Registers that hold a value throughout the loop and that its body does not write."""
    written = {register for inst in loop.body for register in inst.defs}
    through = [register for register in liveness.live_in | liveness.live_out if register not in written]
    return {file: sum(register.file is file for register in through) for file in RegisterFile}


def pipeline_loop(
    loop: CountedLoop,
    machine: Machine,
    banks: Mapping[Register, int],
    first_index: int,
    context: LoopContext,
) -> PipelinedLoop | None:
    """The loop as a software pipeline, or None when that is not possible or not faster.

    New registers are numbered from `first_index`.
    """
    graph = build_loop_graph(loop.body, machine, _single_copies(loop))
    if graph.is_ahead:
        # the order of the instructions says nothing about how transfers wait for each other
        least = int(max(resource_bounds(loop.body, machine).values()) * LUMPED_TRANSFERS)
        context = replace(context, cycles=max(int(context.cycles * UNSEEN_WAITS), least))
    contest = Contest(loop, context, machine)
    refill = len(graph.insts) / PACKED_SLOTS
    largest = partial(contest.largest_interval, graph, refill=refill)
    for kernel in LoopKernels(graph, machine, banks, first_index, context, loop.trip_count).find(largest):
        contest.enter(Pipeline(loop, kernel))
    masked = mask_loop(loop, context, first_index)
    if masked is not None:
        masked_graph = masked.graph(machine)
        largest = partial(contest.largest_interval, masked_graph)
        kernels = LoopKernels(masked_graph, machine, banks, masked.next_index, context, loop.trip_count)
        for kernel in kernels.find(largest):
            contest.enter(MaskedPipeline(masked, kernel))
    stagger_loop(loop, machine, banks, first_index, context, contest)
    return None if contest.best is None else contest.best.build()


def _single_copies(loop: CountedLoop) -> frozenset[Register]:
    """Registers that should not take turns: pointers of loops that move data, which are too long to be unrolled."""
    if not any(inst.op.format is Format.SDMA for inst in loop.body):
        return frozenset()
    return frozenset(register for register in carried_registers(loop.body) if register.file is RegisterFile.SCALAR)


class Pipeline:
    """A kernel with the code that fills and drains it: what the first and last iterations do outside of it."""

    def __init__(self, loop: CountedLoop, kernel: Kernel) -> None:
        self._loop = loop
        self._kernel = kernel
        self._interval = kernel.schedule.interval
        self._stages = kernel.schedule.num_stages
        # iterations that run before the pipeline, because the kernel advances by several at once
        self.num_trips, self._left_over = divmod(loop.trip_count - self._stages + 1, kernel.unroll)

    def cycles(self, context: LoopContext, machine: Machine) -> float:
        """Time from entering the loop to leaving it, with the time to fetch its code."""
        if self.num_trips < 1:
            return float("inf")
        kernel, around = self._kernel, self._stages - 1
        # prologue and epilogue together hold every instruction once for each stage but one, packed anew
        refilled = int(around * len(kernel.schedule.graph.insts) / PACKED_SLOTS)
        parts = [
            LoopPart(context.packets if self._left_over else 0, context.cycles, self._left_over),
            LoopPart(refilled, 2 * around * self._interval, 1),
            LoopPart(kernel.num_packets, kernel.unroll * kernel.iteration_cycles(machine), self.num_trips),
        ]
        return context.entered_cycles(parts, machine)

    def build(self) -> PipelinedLoop:
        block, kernel = self._loop.block, self._kernel
        label, depth = block.label, max(0, block.loop_depth - 1)
        fill = (self._stages - 1) * self._interval
        prologue = self._instances(lambda cycle: cycle < fill)
        epilogue = self._instances(lambda cycle: cycle >= fill)
        repeat = Repeat(kernel, f"{label}.kernel", self.num_trips)
        packets = kernel.packets(repeat.branch)
        blocks = [
            *self._left_over_blocks(depth),
            Block(f"{label}.prologue", [*kernel.initial_copies(), *prologue, *repeat.start], depth),
            kernel_block(f"{label}.kernel", packets, block.loop_depth),
            Block(f"{label}.epilogue", epilogue, depth),
        ]
        report = kernel.report(label, packets)
        return PipelinedLoop(tuple(blocks), kernel.banks, report, kernel.next_index, kernel.counts_on_banks)

    def _left_over_blocks(self, depth: int) -> list[Block]:
        """The first iterations, as they were, under the loop's own label."""
        label, count = self._loop.block.label, self._left_over
        if count <= 1:
            return [Block(label, [replace(inst) for inst in self._loop.body * count], depth)]
        repeat = Repeat(self._kernel, f"{label}.first", count)
        assert repeat.branch is not None
        return [
            Block(label, repeat.start, depth),
            Block(f"{label}.first", [*(replace(inst) for inst in self._loop.body), repeat.branch], depth + 1),
        ]

    def _instances(self, wanted: Callable[[int], bool]) -> list[Inst]:
        """Instructions of the first iterations by time, without memory ranges, which belong to one iteration."""
        timed: dict[int, list[Inst]] = defaultdict(list)
        for iteration in range(self._stages - 1):
            for index, cycle in enumerate(self._kernel.schedule.cycles):
                at = iteration * self._interval + cycle
                if wanted(at):
                    timed[at].append(_without_ranges(self._kernel.renamed(index, iteration)))
        return [inst for at in sorted(timed) for inst in slot_order(timed[at])]


def _without_ranges(inst: Inst) -> Inst:
    if not inst.memory:
        return inst
    return replace(inst, memory=tuple(replace(ref, low=None, high=None) for ref in inst.memory))
