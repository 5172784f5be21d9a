"""Kernels without prologue and epilogue: the pipeline fills and drains inside the kernel, with its effects masked.

The kernel simply runs a few times more than the loop has iterations. In the first passes its later stages work on
iterations before the first, in the last passes its earlier stages on iterations after the last. Such an iteration must
leave no trace: sums are added under a mask that is all ones only in real iterations, addresses stop moving, and
everything else that the body writes is read by the same iteration alone. That works for loops that load and
accumulate, as matrix products do, and keeps a loop nest small enough for the instruction cache.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from atalla_mlir.codegen.kernel import Kernel, constant, copy_value
from atalla_mlir.codegen.loop_graph import LoopGraph, build_loop_graph
from atalla_mlir.codegen.loops import (
    CountedLoop,
    LoopContext,
    LoopPart,
    PipelinedLoop,
    Repeat,
    carried_registers,
    kernel_block,
)
from atalla_mlir.codegen.machine_ir import M0, M1, X0, Block, Inst, Register
from atalla_mlir.target.isa import BY_MNEMONIC, Unit
from atalla_mlir.target.machine import Machine
from atalla_mlir.target.registers import RegisterFile

SUMS_PER_MASK = 20
"""Sums that share a mask. Sums of one iteration are spread over time; a mask that all of them read would live so long
that the kernel needs two of it and must be unrolled."""


@dataclass
class MaskedLoop:
    """A loop whose body does nothing in iterations outside 0..trip_count-1.

    `counters` hold the number of the iteration. `zeroed` are registers whose copies must be 0 before the kernel, so
    that iterations before the first find "not real" in them; `pointers` maps addresses that move to their step.
    """

    loop: CountedLoop
    needed_after: frozenset[Register]
    next_index: int
    body: list[Inst] = field(default_factory=list)
    setup: list[Inst] = field(default_factory=list)
    counters: list[Register] = field(default_factory=list)
    zeroed: list[Register] = field(default_factory=list)
    pointers: dict[Register, Register] = field(default_factory=dict)

    def graph(self, machine: Machine) -> LoopGraph:
        return build_loop_graph(self.body, machine, in_place=frozenset(self.counters))

    def new_register(self, file: RegisterFile = RegisterFile.SCALAR) -> Register:
        self.next_index += 1
        return Register(file, self.next_index - 1)

    def zeroed_register(self, file: RegisterFile = RegisterFile.SCALAR) -> Register:
        """A register that the body writes and that is 0 in iterations before the first."""
        register = self.new_register(file)
        self.zeroed.append(register)
        return register

    def add_bits(self, limit: Register) -> Register:
        """Code for a register that is all ones in iterations 0..limit-1, and 0 in all others."""
        counter = self.new_register()
        self.counters.append(counter)
        is_real, bits = self.zeroed_register(), self.zeroed_register()
        self.body.append(Inst(BY_MNEMONIC["sltu.s"], (is_real, counter, limit)))
        self.body.append(Inst(BY_MNEMONIC["addi.s"], (counter, counter, 1)))
        self.body.append(Inst(BY_MNEMONIC["sub.s"], (bits, X0, is_real)))
        return bits


def mask_loop(loop: CountedLoop, context: LoopContext, first_index: int) -> MaskedLoop | None:
    """The loop with masked effects, or None when something in it cannot be masked."""
    if not all(_leaves_no_trace(inst, context) for inst in loop.body):
        return None
    writers = _single_writers(loop.body)
    if writers is None:
        return None
    carried = carried_registers(loop.body)
    sums: dict[Register, int] = {}
    pointers: dict[Register, int] = {}
    for register, index in writers.items():
        if register in carried:
            kind = sums if _is_sum(loop.body, index, register) else pointers
            if kind is pointers and not _is_step(loop.body, index, register, writers):
                return None
            kind[register] = index
        elif register in context.needed_after:
            return None
    return _build(loop, context, sums, pointers, first_index) if sums else None


def _leaves_no_trace(inst: Inst, context: LoopContext) -> bool:
    """Whether an instruction only writes registers, or weights that nobody reads later."""
    if inst.op.is_memory:
        return inst.op.mnemonic == "vreg.ld"
    if inst.op.unit is Unit.GSAU:
        return context.pushes_weights_first
    return inst.op.unit is not Unit.TRANSPOSE


def _single_writers(body: Sequence[Inst]) -> dict[Register, int] | None:
    """The instruction that writes each register; None when one is fixed or has several."""
    writers: dict[Register, int] = {}
    for index, inst in enumerate(body):
        for register in inst.defs:
            if register in writers or register.pinned is not None:
                return None
            writers[register] = index
    return writers


def _is_sum(body: Sequence[Inst], index: int, register: Register) -> bool:
    """Whether a lane operation under all ones updates `register` and nothing else reads it."""
    inst = body[index]
    readers = [at for at, other in enumerate(body) if register in other.uses]
    return inst.op.merges and inst.operands[-1] in (M0, M1) and readers == [index]


def _is_step(body: Sequence[Inst], index: int, register: Register, writers: dict[Register, int]) -> bool:
    """Whether `register` moves by a constant or by a register that the loop does not write."""
    inst = body[index]
    if inst.op.mnemonic == "addi.s":
        return inst.operands[1] is register
    if inst.op.mnemonic != "add.s" or register not in inst.operands[1:]:
        return False
    return _other_source(inst, register) not in writers


def _other_source(inst: Inst, register: Register) -> Register:
    _, first, second = inst.operands
    other = second if first is register else first
    assert isinstance(other, Register)
    return other


def _build(
    loop: CountedLoop, context: LoopContext, sums: dict[Register, int], pointers: dict[Register, int], first_index: int
) -> MaskedLoop:
    masked = MaskedLoop(loop, context.needed_after, first_index)
    limit, last = masked.new_register(), masked.new_register()
    masked.setup += constant(limit, loop.trip_count)
    masked.setup += constant(last, loop.trip_count - 1) if pointers else []
    num_sums, mask = 0, M0
    for index, inst in enumerate(loop.body):
        if inst.defs and sums.get(inst.defs[0]) == index:
            if num_sums % SUMS_PER_MASK == 0:
                bits, mask = masked.add_bits(limit), masked.zeroed_register(RegisterFile.MASK)
                masked.body.append(Inst(BY_MNEMONIC["mv.stm"], (mask, bits)))
            num_sums += 1
            masked.body.append(replace(inst, operands=(*inst.operands[:-1], mask), merges=True))
        elif inst.defs and pointers.get(inst.defs[0]) == index:
            _add_step(masked, inst, masked.add_bits(last))
        else:
            masked.body.append(inst)
    masked.zeroed += _row_addresses(loop.body, pointers)
    return masked


def _add_step(masked: MaskedLoop, inst: Inst, bits: Register) -> None:
    """Moves a pointer by its step where `bits` is all ones."""
    pointer = inst.defs[0]
    if inst.op.mnemonic == "add.s":
        step = _other_source(inst, pointer)
    else:
        step = masked.new_register()
        masked.setup.append(Inst(BY_MNEMONIC["addi.s"], (step, X0, inst.operands[2])))
    masked.pointers[pointer] = step
    distance = masked.zeroed_register()
    masked.body.append(Inst(BY_MNEMONIC["and.s"], (distance, bits, step), source=inst.source))
    masked.body.append(Inst(BY_MNEMONIC["add.s"], (pointer, pointer, distance), source=inst.source))


def _row_addresses(body: Sequence[Inst], pointers: dict[Register, int]) -> list[Register]:
    """Registers that the body computes to address rows; before the first iteration they must name a row that exists."""
    written = {register for inst in body for register in inst.defs}
    used = {register for inst in body if inst.op.unit is Unit.VLSU for register in inst.uses}
    return sorted(
        (register for register in used & written - set(pointers) if register.file is RegisterFile.SCALAR),
        key=lambda register: register.index,
    )


class MaskedPipeline:
    """A masked loop as a kernel that also fills and drains the pipeline."""

    def __init__(self, masked: MaskedLoop, kernel: Kernel) -> None:
        self._masked = masked
        self._kernel = kernel
        passes = masked.loop.trip_count + kernel.schedule.num_stages - 1
        self._trips = -(-passes // kernel.unroll)

    def cycles(self, context: LoopContext, machine: Machine) -> float:
        """Time from entering the loop to leaving it, with the time to fetch its code."""
        kernel, enter = self._kernel, len(self._enter())
        parts = [
            LoopPart(enter, enter, 1),
            LoopPart(kernel.num_packets, kernel.unroll * kernel.schedule.interval, self._trips),
        ]
        return context.entered_cycles(parts, machine)

    def build(self) -> PipelinedLoop:
        block, kernel = self._masked.loop.block, self._kernel
        label, depth = block.label, max(0, block.loop_depth - 1)
        enter, leave = self._enter(), self._leave()
        repeat = Repeat(kernel, f"{label}.kernel", self._trips)
        packets = kernel.packets(repeat.branch)
        blocks = (
            Block(label, [*enter, *repeat.start], depth),
            kernel_block(f"{label}.kernel", packets, block.loop_depth),
            Block(f"{label}.epilogue", leave, depth),
        )
        return PipelinedLoop(blocks, kernel.banks, kernel.report(label, packets), kernel.next_index)

    def _stage(self, register: Register) -> int:
        """The stage of the instruction that writes `register`."""
        schedule = self._kernel.schedule
        index = next(at for at, inst in enumerate(schedule.graph.insts) if register in inst.defs)
        return schedule.cycles[index] // schedule.interval

    def _enter(self) -> list[Inst]:
        """Makes all iterations before the first unreal: they count from below 0 and find zeros."""
        masked, kernel = self._masked, self._kernel
        insts = list(masked.setup)
        for counter in masked.counters:
            insts.append(Inst(BY_MNEMONIC["addi.s"], (counter, X0, -self._stage(counter))))
        for register in masked.zeroed:
            for copy in kernel.names[register]:
                if register.file is RegisterFile.MASK:
                    insts.append(Inst(BY_MNEMONIC["mv.stm"], (copy, X0)))
                else:
                    insts.append(Inst(BY_MNEMONIC["addi.s"], (copy, X0, 0)))
        for pointer in masked.pointers:
            for copy in kernel.names[pointer]:
                if copy is not pointer:
                    insts.extend(copy_value(copy, pointer, kernel.new_scalar))
        return insts

    def _leave(self) -> list[Inst]:
        """Addresses stopped at the last iteration: where they are needed, they take their last step."""
        masked, kernel = self._masked, self._kernel
        insts: list[Inst] = []
        for pointer, step in masked.pointers.items():
            if pointer in masked.needed_after:
                names = kernel.names[pointer]
                final = names[(kernel.schedule.num_stages - 2 - self._stage(pointer)) % len(names)]
                insts.append(Inst(BY_MNEMONIC["add.s"], (pointer, final, step)))
        return insts
