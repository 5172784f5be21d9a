"""Loops whose iterations are long chains, in parts: later parts of one iteration beside earlier ones of the next.

A software pipeline without prologue and epilogue: with n parts the loop runs n - 1 times more than it has iterations.
In the first passes the later parts work on whatever their registers hold, in the last passes the earlier parts on rows
after the last one. That is harmless where all that is written is rows with spare ones around them (`SPARE_MARK`). The
parts are list-scheduled as one block; registers have one copy, so the code is hardly longer than that of the loop.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from atalla_mlir.codegen.dependence import build_graph
from atalla_mlir.codegen.kernel import LoopReport, constant
from atalla_mlir.codegen.loop_graph import resource_bounds
from atalla_mlir.codegen.loops import CountedLoop, LoopContext, LoopPart, PipelinedLoop, carried_registers
from atalla_mlir.codegen.machine_ir import M1, SPARE_MARK, V0, X0, Block, Inst, Register
from atalla_mlir.target.isa import BY_MNEMONIC, LANE_UNITS
from atalla_mlir.target.machine import Machine
from atalla_mlir.target.registers import RegisterFile

CUTS = ((0.4,), (0.5,), (0.6,), (0.3, 0.6), (0.33, 0.67), (0.4, 0.7))
"""Where along the longest chain parts are tried to meet; rows have spare ones for two more passes."""

Measure = Callable[[Block], tuple[int, int]]
"""Cycles from one run to the next, and packets, of a block that repeats itself."""


@dataclass(frozen=True)
class StaggeredLoop:
    """The body with its parts side by side, and what precedes and follows the loop."""

    loop: CountedLoop
    num_parts: int
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
            LoopPart(self.num_packets, self.period, self.loop.trip_count + self.num_parts - 1),
        ]
        return context.entered_cycles(parts, machine)

    def build(self) -> PipelinedLoop:
        label, depth = self.loop.block.label, max(0, self.loop.block.loop_depth - 1)
        blocks = (
            Block(label, list(self.before), depth),
            Block(f"{label}.staggered", list(self.body), self.loop.block.loop_depth),
            Block(f"{label}.epilogue", list(self.after), depth),
        )
        report = LoopReport(
            label=f"{label}.staggered",
            interval=self.period,
            resource_bounds=self.bounds,
            recurrence_bound=0,
            num_stages=self.num_parts,
            unroll=1,
            num_packets=self.num_packets,
            slots_filled=len(self.body),
            max_live={},
        )
        return PipelinedLoop(blocks, {}, report, self.next_index)


def stagger_loop(
    loop: CountedLoop, machine: Machine, first_index: int, context: LoopContext, measure: Measure
) -> StaggeredLoop | None:
    """The loop in parts; None where it is no chain of lane operations between rows that allow it."""
    pointers = _pointers(loop.body)
    if not all(_is_harmless(inst, pointers) for inst in loop.body):
        return None
    written = {register for inst in loop.body for register in inst.defs}
    if context.needed_after & (written - set(pointers)) or carried_registers(loop.body) - set(pointers):
        return None
    depths = build_graph(loop.body, machine).depths()
    found: list[StaggeredLoop] = []
    for cuts in CUTS:
        parts = [sum(depth >= cut * max(depths) for cut in cuts) for depth in depths]
        if _fits(loop.body, parts, pointers):
            found.append(_staggered(loop, parts, pointers, first_index, context, machine, measure))
    return min(found, key=lambda staggered: staggered.cycles(context, machine), default=None)


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


def _fits(body: Sequence[Inst], parts: Sequence[int], pointers: Mapping[Register, int]) -> bool:
    """Whether stores are in the last part, and no value is needed two parts after the one that made it."""
    last = max(parts)
    made: dict[Register, int] = {}
    for inst, part in zip(body, parts, strict=True):
        if inst.op.mnemonic == "vreg.st" and part < last:
            return False
        if any(part > made.get(register, part) + 1 for register in inst.uses if register not in pointers):
            return False
        for register in inst.defs:
            made[register] = min(part, made.get(register, part))
    return last > 0


def _staggered(
    loop: CountedLoop,
    parts: Sequence[int],
    pointers: Mapping[Register, int],
    next_index: int,
    context: LoopContext,
    machine: Machine,
    measure: Measure,
) -> StaggeredLoop:
    addition, last = BY_MNEMONIC["addi.s"], max(parts)
    before: list[Inst] = []
    body: list[Inst] = []
    for part in range(last, -1, -1):
        # each part walks over the rows by itself, behind those before it
        insts = [inst for inst, at in zip(loop.body, parts, strict=True) if at == part]
        own = {pointer for pointer in pointers if any(_reads(inst, pointer) for inst in insts)}
        names: dict[Register, Register] = {}
        if part:
            for pointer in sorted(own, key=lambda register: register.index):
                names[pointer] = Register(pointer.file, next_index)
                next_index += 1
                before.append(Inst(addition, (names[pointer], pointer, -part * pointers[pointer])))
        else:
            own |= set(pointers) & context.needed_after
        for inst, at in zip(loop.body, parts, strict=True):
            if inst.defs and inst.defs[0] in pointers:
                if inst.defs[0] in own:
                    body.append(_renamed(inst, names))
            elif at == part:
                body.append(_renamed(inst, names))
    crossing = carried_registers(body) - set(pointers) - {inst.defs[0] for inst in before}
    before += [_defined(register) for register in sorted(crossing, key=lambda register: register.index)]
    counter, limit = (Register(RegisterFile.SCALAR, next_index + at) for at in range(2))
    before += [*constant(counter, 1), *constant(limit, loop.trip_count + last)]
    label = f"{loop.block.label}.staggered"
    body.append(Inst(BY_MNEMONIC["blt.s"], (counter, limit, label, 1)))
    needed = ((pointer, step) for pointer, step in pointers.items() if pointer in context.needed_after)
    after = [Inst(addition, (pointer, pointer, -last * step)) for pointer, step in needed]
    period, num_packets = measure(Block(label, [replace(inst) for inst in body], loop.block.loop_depth))
    bounds = resource_bounds(body[:-1], machine)
    return StaggeredLoop(
        loop, last + 1, tuple(body), tuple(before), tuple(after), next_index + 2, period, num_packets, bounds
    )


def _reads(inst: Inst, pointer: Register) -> bool:
    """Whether an instruction uses a pointer for more than to move it."""
    return pointer in inst.uses and pointer not in inst.defs


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
