"""Loops whose iterations are long chains: several iterations side by side, without filling and draining the pipeline.

With n stages the loop runs n - 1 times more than it has iterations. In the first passes the later stages work on
whatever their registers hold, in the last passes the earlier stages on rows after the last one. That is harmless where
all that is written is rows with spare ones around them (`SPARE_MARK`). Registers have one copy, so that no value may
be needed for longer than a pass, and the code is hardly longer than that of the loop.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from atalla_mlir.codegen.compact_placement import SLACKS
from atalla_mlir.codegen.contention import contention_bound
from atalla_mlir.codegen.contest import Contest
from atalla_mlir.codegen.dependence import build_graph
from atalla_mlir.codegen.kernel import Kernel
from atalla_mlir.codegen.loop_core import LoopCore
from atalla_mlir.codegen.loop_graph import build_loop_graph, recurrence_bound, resource_bounds
from atalla_mlir.codegen.loop_memo import LoopMemo
from atalla_mlir.codegen.loops import (
    CountedLoop,
    LoopContext,
    LoopPart,
    PipelinedLoop,
    Repeat,
    carried_registers,
    kernel_block,
)
from atalla_mlir.codegen.machine_ir import M1, SPARE_MARK, V0, X0, Block, Inst, Register
from atalla_mlir.codegen.modulo import ModuloSchedule, intervals
from atalla_mlir.codegen.reservations import LoopDemands
from atalla_mlir.target.isa import BY_MNEMONIC, LANE_UNITS
from atalla_mlir.target.machine import Machine
from atalla_mlir.target.registers import RegisterFile

MAX_STAGES = 3
"""Rows have spare ones for so many passes and one less."""

MAX_AGE = 40
"""Cycles from the first use of a row, as late as it may be, to another one from which on it is loaded again."""


@dataclass(frozen=True)
class SplitLoop:
    """A loop in which each access to memory has a pointer of its own, which may move at another time.

    `pointers` maps these to the original one; `steps` are the distances that they move, in bytes.
    """

    loop: CountedLoop
    body: tuple[Inst, ...]
    pointers: Mapping[Register, Register]
    steps: Mapping[Register, int]
    next_index: int


class StaggeredLoop:
    """The kernel of a loop that runs some passes more than the loop has iterations, and the code around it."""

    def __init__(self, split: SplitLoop, kernel: Kernel, banks: Mapping[Register, int], context: LoopContext) -> None:
        self._split, self._kernel, self._banks = split, kernel, banks
        self.num_stages = kernel.schedule.num_stages
        repeat = Repeat(kernel, f"{split.loop.block.label}.staggered", split.loop.trip_count + self.num_stages - 1)
        self._packets = kernel.packets(repeat.branch)
        self._before = [*self._first_addresses(), *self._any_values(), *repeat.start]
        self._after = self._last_addresses(context)

    def cycles(self, context: LoopContext, machine: Machine) -> float:
        """Time from entering the loop to leaving it, with the time to fetch its code."""
        passes = self._split.loop.trip_count + self.num_stages - 1
        parts = [
            LoopPart(len(self._before), len(self._before), 1),
            LoopPart(len(self._packets), self._kernel.schedule.interval, passes),
        ]
        return context.entered_cycles(parts, machine)

    def build(self) -> PipelinedLoop:
        block, kernel = self._split.loop.block, self._kernel
        label, depth = block.label, max(0, block.loop_depth - 1)
        blocks = (
            Block(label, self._before, depth),
            kernel_block(f"{label}.staggered", self._packets, block.loop_depth),
            Block(f"{label}.epilogue", self._after, depth),
        )
        banks = {pointer: self._banks[pointer] for pointer in self._split.pointers if pointer in self._banks}
        return PipelinedLoop(
            blocks, {**kernel.banks, **banks}, kernel.report(f"{label}.staggered", self._packets), kernel.next_index
        )

    def _stage(self, pointer: Register) -> int:
        """The stage in which a pointer moves."""
        schedule = self._kernel.schedule
        index = next(at for at, inst in enumerate(schedule.graph.insts) if pointer in inst.defs)
        return schedule.cycles[index] // schedule.interval

    def _first_addresses(self) -> Iterator[Inst]:
        """Pointers begin as many rows before the first as stages precede theirs."""
        for pointer, original in self._split.pointers.items():
            distance = -self._stage(pointer) * self._split.steps[original]
            yield Inst(BY_MNEMONIC["addi.s"], (pointer, original, distance))

    def _last_addresses(self, context: LoopContext) -> list[Inst]:
        """Pointers that are needed later went too far."""
        addresses = {original: pointer for pointer, original in self._split.pointers.items()}
        found: list[Inst] = []
        for original in sorted(context.needed_after & addresses.keys(), key=lambda register: register.index):
            pointer = addresses[original]
            passes = self._stage(pointer) - self.num_stages + 1
            found.append(Inst(BY_MNEMONIC["addi.s"], (original, pointer, passes * self._split.steps[original])))
        return found

    def _any_values(self) -> list[Inst]:
        """Gives a value to what the first pass reads before it is written."""
        body = [inst for packet in self._packets for inst in packet if not inst.op.is_control]
        crossing = carried_registers(body) - self._split.pointers.keys()
        return [_defined(register) for register in sorted(crossing, key=lambda register: register.index)]


def stagger_loop(
    loop: CountedLoop,
    machine: Machine,
    banks: Mapping[Register, int],
    first_index: int,
    context: LoopContext,
    contest: Contest,
) -> None:
    """Enters the loop as overlapping passes, if it is a chain of lane operations between rows that allow it."""
    pointers = _pointers(loop.body)
    if not all(_is_harmless(inst, pointers) for inst in loop.body):
        return
    written = {register for inst in loop.body for register in inst.defs}
    if context.needed_after & (written - set(pointers)) or carried_registers(loop.body) - set(pointers):
        return
    split = _split(loop, pointers, context, machine, first_index)
    # a pointer and its step then never share a packet
    banks = {**banks, **{copy: banks[pointer] for copy, pointer in split.pointers.items() if pointer in banks}}
    for kernel in _kernels(split, machine, banks, context, contest):
        contest.enter(StaggeredLoop(split, kernel, banks, context))


def _kernels(
    split: SplitLoop, machine: Machine, banks: Mapping[Register, int], context: LoopContext, contest: Contest
) -> Iterator[Kernel]:
    """Kernels of few stages that are not unrolled, the shortest first; longer ones as long as they may be faster."""
    written = frozenset(register for inst in split.body for register in inst.defs)
    graph = build_loop_graph(split.body, machine, written)
    bounds = resource_bounds(split.body, machine)
    most = contest.largest_interval(graph, setup=len(split.pointers))
    if max(bounds.values(), default=1) > most:
        return
    recurrence = recurrence_bound(graph, context.cycles)
    demands = LoopDemands(split.body, machine, banks, context.settled)
    core = LoopCore(graph, demands)
    contention = contention_bound(graph, demands)
    memo = LoopMemo(graph, machine, banks, context.settled)
    for interval in intervals(max(*bounds.values(), recurrence), most):
        if interval > most:
            return
        if interval < contention:
            continue
        for slack in SLACKS:
            found = memo.recall(("compact", interval, slack), partial(core.place_compactly, interval, slack))
            if found is None:
                continue
            schedule = ModuloSchedule(graph, interval, found.cycles, bounds, recurrence, found.banks)
            kernel = Kernel(schedule, banks, split.next_index)
            if schedule.num_stages <= MAX_STAGES and context.has_room(kernel.max_live()):
                yield kernel
                most = contest.largest_interval(graph, setup=len(split.pointers))


def _pointers(body: Sequence[Inst]) -> dict[Register, int]:
    """Scalars that only an addition of a constant to themselves writes, and that constant."""
    additions = (inst for inst in body if inst.op.mnemonic == "addi.s" and inst.defs)
    own = (inst for inst in additions if inst.operands[1] is inst.defs[0])
    steps = {inst.defs[0]: step for inst in own if isinstance(step := inst.operands[2], int)}
    writes = [register for inst in body for register in inst.defs]
    return {register: step for register, step in steps.items() if writes.count(register) == 1}


def _is_harmless(inst: Inst, pointers: Mapping[Register, int]) -> bool:
    """Whether an instruction may work on rows before the first and after the last one."""
    if inst.op.mnemonic == "vreg.st":
        return all(SPARE_MARK in ref.object for ref in inst.memory)
    is_lane = inst.op.mnemonic == "vreg.ld" or inst.op.unit in LANE_UNITS
    return is_lane or (bool(inst.defs) and inst.defs[0] in pointers)


def _split(
    loop: CountedLoop, pointers: Mapping[Register, int], context: LoopContext, machine: Machine, next_index: int
) -> SplitLoop:
    """Gives each access a pointer of its own, and one to a pointer that nothing but later code reads."""
    source = _loaded_again(loop.body, machine, next_index)
    next_index += len(source)
    own: dict[Register, Register] = {}
    body: list[Inst] = []

    def copy_of(pointer: Register) -> Register:
        copy = Register(pointer.file, next_index + len(own))
        own[copy] = pointer
        return copy

    for inst in source:
        if inst.defs and inst.defs[0] in pointers:
            continue
        # ranges belong to one iteration
        copy = replace(inst, memory=tuple(replace(ref, low=None, high=None) for ref in inst.memory))
        copy.replace_registers({used: copy_of(used) for used in dict.fromkeys(inst.uses) if used in pointers})
        body.append(copy)
    unread = (context.needed_after & pointers.keys()) - set(own.values())
    for pointer in sorted(unread, key=lambda register: register.index):
        copy_of(pointer)
    steps = [Inst(BY_MNEMONIC["addi.s"], (copy, copy, pointers[pointer])) for copy, pointer in own.items()]
    return SplitLoop(loop, (*body, *steps), own, pointers, next_index + len(own))


def _loaded_again(body: Sequence[Inst], machine: Machine, next_index: int) -> list[Inst]:
    """The body with rows that are used early and late loaded for each: a register is kept for one pass at most."""
    heights = build_graph(body, machine).heights()
    writes = Counter(register for inst in body for register in inst.defs)
    found: list[Inst] = []
    loads: dict[Register, tuple[Inst, int]] = {}
    """For each row that was loaded the last load, and the height of what used its register first."""
    names: dict[Register, Register] = {}
    for inst, height in zip(body, heights, strict=True):
        for used in inst.uses:
            if used not in loads:
                continue
            load, first = loads[used]
            if first < 0:
                loads[used] = load, height
            elif first - height > MAX_AGE:
                names[used] = Register(used.file, next_index + len(found))
                found.append(replace(load, operands=(names[used], *load.operands[1:])))
                loads[used] = load, height
        copy = replace(inst)
        copy.replace_registers({used: names[used] for used in inst.uses if used in names})
        found.append(copy)
        if inst.op.mnemonic == "vreg.ld" and writes[inst.defs[0]] == 1:
            loads[inst.defs[0]] = inst, -1
    return found


def _defined(register: Register) -> Inst:
    """Any value: of a register that the first pass reads before it is written."""
    match register.file:
        case RegisterFile.VECTOR:
            return Inst(BY_MNEMONIC["mul.vs"], (register, V0, X0, M1))
        case RegisterFile.MASK:
            return Inst(BY_MNEMONIC["mv.stm"], (register, X0))
        case _:
            return Inst(BY_MNEMONIC["addi.s"], (register, X0, 0))
