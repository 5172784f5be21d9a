"""Loops whose iterations are long chains, in two halves: the second half of one iteration beside the first of the next.

A software pipeline of two stages without prologue and epilogue: the loop runs once more than it has iterations. In the
first pass the second half works on whatever its registers hold, in the last pass the first half on rows after the last
one. That is harmless where all that the second half writes is rows with spare ones before them (`SPARE_MARK`). The
halves are list-scheduled as one block; registers have one copy, so the code is hardly longer than that of the loop.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from atalla_mlir.codegen.dependence import build_graph
from atalla_mlir.codegen.kernel import LoopReport, constant
from atalla_mlir.codegen.loop_graph import resource_bounds
from atalla_mlir.codegen.loops import CountedLoop, LoopContext, LoopPart, PipelinedLoop
from atalla_mlir.codegen.machine_ir import M1, SPARE_MARK, V0, X0, Block, Inst, Register
from atalla_mlir.target.isa import BY_MNEMONIC, LANE_UNITS
from atalla_mlir.target.machine import Machine
from atalla_mlir.target.registers import RegisterFile

CUTS = (0.4, 0.5, 0.6)
"""Where along the longest chain the halves are tried to meet."""

Measure = Callable[[Block], tuple[int, int]]
"""Cycles from one run to the next, and packets, of a block that repeats itself."""


@dataclass(frozen=True)
class HalvedLoop:
    """The body with its halves side by side, and what precedes and follows the loop."""

    loop: CountedLoop
    body: tuple[Inst, ...]
    before: tuple[Inst, ...]
    after: tuple[Inst, ...]
    next_index: int
    period: int
    num_packets: int
    bounds: Mapping[str, int]

    def cycles(self, context: LoopContext, machine: Machine) -> float:
        """Time from entering the loop to leaving it, with the time to fetch its code."""
        parts = [
            LoopPart(len(self.before), len(self.before), 1),
            LoopPart(self.num_packets, self.period, self.loop.trip_count + 1),
        ]
        return context.entered_cycles(parts, machine)

    def build(self) -> PipelinedLoop:
        label, depth = self.loop.block.label, max(0, self.loop.block.loop_depth - 1)
        blocks = (
            Block(label, list(self.before), depth),
            Block(f"{label}.halves", list(self.body), self.loop.block.loop_depth),
            Block(f"{label}.epilogue", list(self.after), depth),
        )
        filled = len(self.body)
        report = LoopReport(
            f"{label}.halves", self.period, self.bounds, 0, 2, 1, self.num_packets, filled, dict[RegisterFile, int]()
        )
        return PipelinedLoop(blocks, {}, report, self.next_index)


def halve_loop(
    loop: CountedLoop, machine: Machine, first_index: int, context: LoopContext, measure: Measure
) -> HalvedLoop | None:
    """The loop in halves; None where it is no chain of lane operations between rows that allow it."""
    pointers = _pointers(loop.body)
    if not all(_is_harmless(inst, pointers) for inst in loop.body):
        return None
    written = {register for inst in loop.body for register in inst.defs}
    if context.needed_after & (written - set(pointers)) or _carried(loop.body) - set(pointers):
        return None
    depths = build_graph(loop.body, machine).depths()
    cuts = ([depth >= cut * max(depths) for depth in depths] for cut in CUTS)
    found = [_halved(loop, is_second, pointers, first_index, context, machine, measure) for is_second in cuts]
    return min((halved for halved in found if halved is not None), key=lambda halved: halved.period, default=None)


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


def _carried(body: Sequence[Inst]) -> set[Register]:
    """Registers that an iteration reads before it writes them, if it does."""
    written: set[Register] = set()
    carried: set[Register] = set()
    for inst in body:
        carried.update(register for register in inst.uses if register not in written)
        written.update(inst.defs)
    return carried & written


def _halved(
    loop: CountedLoop,
    is_second: Sequence[bool],
    pointers: Mapping[Register, int],
    next_index: int,
    context: LoopContext,
    machine: Machine,
    measure: Measure,
) -> HalvedLoop | None:
    if any(inst.op.mnemonic == "vreg.st" and not late for inst, late in zip(loop.body, is_second, strict=True)):
        return None
    behind: dict[Register, Register] = {}
    first: list[Inst] = []
    second: list[Inst] = []
    for inst, late in zip(loop.body, is_second, strict=True):
        if inst.defs and inst.defs[0] in pointers:
            first.append(inst)
            if inst.defs[0] in behind:
                second.append(_renamed(inst, behind))
        elif late:
            for register in inst.uses:
                if register in pointers and register not in behind:
                    behind[register] = Register(register.file, next_index)
                    next_index += 1
            second.append(_renamed(inst, behind))
        else:
            first.append(_renamed(inst, {}))
    used = {register for inst in first for register in inst.uses if not (inst.defs and inst.defs[0] is register)}
    idle = set(pointers) - used - context.needed_after
    first = [inst for inst in first if not (inst.defs and inst.defs[0] in idle)]
    addition = BY_MNEMONIC["addi.s"]
    before = [Inst(addition, (copy, pointer, -pointers[pointer])) for pointer, copy in behind.items()]
    crossing = {register for inst in first for register in inst.defs} & {
        register for inst in second for register in inst.uses
    }
    before += [_defined(register) for register in sorted(crossing, key=lambda register: register.index)]
    counter, limit = (Register(RegisterFile.SCALAR, next_index + at) for at in range(2))
    before += [*constant(counter, 1), *constant(limit, loop.trip_count + 1)]
    label = f"{loop.block.label}.halves"
    branch = Inst(BY_MNEMONIC["blt.s"], (counter, limit, label, 1))
    needed = ((pointer, step) for pointer, step in pointers.items() if pointer in context.needed_after)
    after = [Inst(addition, (pointer, pointer, -step)) for pointer, step in needed]
    body = (*second, *first, branch)
    period, num_packets = measure(Block(label, [replace(inst) for inst in body], loop.block.loop_depth))
    bounds = resource_bounds(body[:-1], machine)
    return HalvedLoop(loop, body, tuple(before), tuple(after), next_index + 2, period, num_packets, bounds)


def _renamed(inst: Inst, names: dict[Register, Register]) -> Inst:
    """A copy with other registers, and without memory ranges, which belong to one iteration."""
    memory = tuple(replace(ref, low=None, high=None) for ref in inst.memory)
    copy = replace(inst, memory=memory)
    copy.replace_registers(names)
    return copy


def _defined(register: Register) -> Inst:
    """Any value: of a register that the first pass reads before it is written."""
    match register.file:
        case RegisterFile.VECTOR:
            return Inst(BY_MNEMONIC["mul.vs"], (register, V0, X0, M1))
        case RegisterFile.MASK:
            return Inst(BY_MNEMONIC["mv.stm"], (register, X0))
        case _:
            return Inst(BY_MNEMONIC["addi.s"], (register, X0, 0))
