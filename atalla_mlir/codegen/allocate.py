"""Register allocation of scheduled functions.

Live ranges are exact bit sets over slot positions, so two values share a register whenever the packet rules allow it,
also inside a packet. `colouring` gives numbers with bank conflicts in mind; what does not fit is rewritten by `spill`
and the round repeats. The result is code on real registers with all branches in reach.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Any

from atalla_mlir.codegen.banks import late_writes, loop_weight
from atalla_mlir.codegen.coalesce import copy_source
from atalla_mlir.codegen.joined_packets import join_blocks
from atalla_mlir.codegen.late_constants import delay_constants
from atalla_mlir.codegen.layout import Item, Label, Packet, Slot, expand_long_branches, packet_contents
from atalla_mlir.codegen.machine_ir import Inst, Register, control_flow, physical
from atalla_mlir.codegen.register_core import RegisterCore
from atalla_mlir.codegen.schedule import ScheduledFunction
from atalla_mlir.codegen.spill import Packets, Spiller, SpillStatistics, constant_definitions
from atalla_mlir.codegen.unread_results import drop_unread
from atalla_mlir.errors import InternalError
from atalla_mlir.target.isa import INSTRUCTIONS, Role
from atalla_mlir.target.machine import Machine
from atalla_mlir.target.packets import bank_conflict_cycles
from atalla_mlir.target.registers import ALL_ONES_MASK, FILES, FIRMWARE_TABLE, HARD_WIRED, LINK, RegisterFile

RESERVED: Mapping[RegisterFile, frozenset[int]] = {
    RegisterFile.SCALAR: frozenset({HARD_WIRED, LINK, FIRMWARE_TABLE}),
    RegisterFile.VECTOR: frozenset({HARD_WIRED}),
    RegisterFile.MASK: frozenset({HARD_WIRED, ALL_ONES_MASK}),
}
ALLOCATABLE: Mapping[RegisterFile, tuple[int, ...]] = {
    file: tuple(number for number in range(shape.count) if number not in RESERVED[file])
    for file, shape in FILES.items()
}
MAX_ROUNDS = 12
_MASK_READS = {
    op.mnemonic: tuple(
        position
        for position, operand in enumerate(op.operands)
        if operand.file is RegisterFile.MASK and operand.role in (Role.READ, Role.PORT)
    )
    for op in INSTRUCTIONS
}
"""Places of the masks that instructions read."""
_FIXED: Mapping[object, int] = {
    physical(file, number): number for file, shape in FILES.items() for number in range(shape.count)
}
"""The numbers of fixed registers."""
_NEVER = float("inf")


@dataclass(frozen=True)
class AllocationStatistics:
    """What allocation did: numbers used and bank conflicts (in cycles, each packet counted once), spills."""

    registers_used: Mapping[RegisterFile, int]
    bank_conflict_cycles: int
    removed_copies: int
    spills: SpillStatistics


@dataclass(frozen=True)
class AllocatedFunction:
    """Labels and packets on real registers; `resolve_labels` gives the packets with branch distances."""

    name: str
    items: tuple[Item, ...]
    statistics: AllocationStatistics


def allocate(
    scheduled: ScheduledFunction,
    machine: Machine,
    available: Mapping[RegisterFile, Sequence[int]] = ALLOCATABLE,
) -> AllocatedFunction:
    """Numbers the registers of `scheduled`; `available` are the numbers that may be given out."""
    blocks: list[Packets] = [list(block.packets) for block in scheduled.blocks]
    labels = [block.label for block in scheduled.blocks]
    depths = [block.loop_depth for block in scheduled.blocks]
    successors = control_flow([(block.label, block.control) for block in scheduled.blocks])
    last_index = max((register.index for register in scheduled.function.registers()), default=0)
    spiller = Spiller(scheduled.name, scheduled.function.spill_area, machine, last_index + 1)
    for _ in range(MAX_ROUNDS):
        core = RegisterCore(blocks, depths, successors, late_writes(blocks, depths, machine), scheduled.kept)
        costs = partial(_spill_costs, blocks, depths, spiller.temporaries)
        numbers, spilled = core.colour(available, scheduled.banks, costs)
        if not spilled:
            blocks = delay_constants(drop_unread(blocks, depths, successors), depths, successors, numbers)
            spare = _untouched_scalar(blocks, numbers, available[RegisterFile.SCALAR])
            return _finish(scheduled.name, labels, depths, blocks, numbers, spare, spiller.statistics)
        blocks = spiller.spill(blocks, spilled)
    raise InternalError(f"function {scheduled.name}: register allocation did not settle in {MAX_ROUNDS} rounds")


def _spill_costs(
    blocks: Sequence[Packets], depths: Sequence[int], temporaries: set[Register], lengths: Mapping[Register, int]
) -> dict[Register, float]:
    """Weighted accesses per position that a register is live; constants are cheap, what a jump writes never spills.

    `lengths` are the numbers of positions of the live registers.
    """
    accesses: dict[Register, float] = dict.fromkeys(lengths, 0.0)
    for packets, depth in zip(blocks, depths, strict=True):
        weight = loop_weight(depth)
        for inst in (inst for packet in packets for inst in packet):
            for register in inst.uses:
                accesses[register] += weight
            for register in inst.defs:
                accesses[register] += _NEVER if inst.op.is_control else weight
    constants = constant_definitions(chain.from_iterable(chain.from_iterable(blocks)))
    scalars_cost = 100.0  # a scalar that is not a constant has nowhere to go
    costs: dict[Register, float] = {}
    for register, count in accesses.items():
        cost = count / max(1, lengths[register])
        if register in temporaries:
            cost = _NEVER
        elif register in constants:
            cost *= 0.5
        elif register.file is RegisterFile.SCALAR:
            cost += scalars_cost
        costs[register] = cost
    return costs


def _finish(
    name: str,
    labels: Sequence[str],
    depths: Sequence[int],
    blocks: Sequence[Packets],
    numbers: Mapping[Register, int],
    spare: int | None,
    spills: SpillStatistics,
) -> AllocatedFunction:
    code: list[list[Packet]] = []
    removed_copies = 0
    known: dict[Any, Any] = {**_FIXED, **numbers}
    number_of = known.get
    for packets in blocks:
        code.append([])
        for packet in packets:
            # what is not a register stands for itself
            slots = [(inst, tuple(map(number_of, inst.operands, inst.operands))) for inst in packet]
            kept = [Slot(inst.op, operands, inst.source) for inst, operands in slots if not _is_idle(inst, operands)]
            removed_copies += len(slots) - len(kept)
            if kept:
                code[-1].append(tuple(_spread_masks(kept)))
    joined = join_blocks(code, depths, spare)
    items = [item for label, packets in zip(labels, joined, strict=True) for item in (Label(label), *packets)]
    used = {
        file: len({number for register, number in numbers.items() if register.file is file}) for file in RegisterFile
    }
    slots = (slot for packets in joined for packet in packets for slot in packet if slot.op.mnemonic == "addi.s")
    used[RegisterFile.SCALAR] += any(slot.operands[0] == spare for slot in slots)
    final = tuple(expand_long_branches(items))
    conflicts = sum(bank_conflict_cycles(packet_contents(item)) for item in final if not isinstance(item, Label))
    return AllocatedFunction(name, final, AllocationStatistics(used, conflicts, removed_copies, spills))


def _untouched_scalar(
    blocks: Sequence[Packets], numbers: Mapping[Register, int], available: Sequence[int]
) -> int | None:
    """A number that nothing in the function touches, no call either; of another bank than x0, which constants read."""
    touched = {number for register, number in numbers.items() if register.file is RegisterFile.SCALAR}
    for inst in (inst for packets in blocks for packet in packets for inst in packet):
        touched |= {number for file, number in inst.clobbers if file is RegisterFile.SCALAR}
        touched |= {register.pinned for register in inst.registers if register.file is RegisterFile.SCALAR} - {None}
    banks = FILES[RegisterFile.SCALAR].banks
    return next((number for number in available if number not in touched and number % banks), None)


def _is_idle(inst: Inst, operands: Sequence[object]) -> bool:
    """Whether an instruction on these numbers copies a register to itself."""
    return len(operands) > 1 and operands[0] == operands[1] and copy_source(inst) is not None


def _spread_masks(slots: Sequence[Slot]) -> list[Slot]:
    """m0 and m1 both hold all ones: chooses between them so that two mask reads of a packet use both banks."""
    result = list(slots)
    reads = [(at, position) for at, slot in enumerate(slots) for position in _mask_reads(slot)]
    if len(reads) != 2:
        return result
    for (at, position), (other_at, other_position) in (reads, reads[::-1]):
        number, other = slots[at].operands[position], slots[other_at].operands[other_position]
        if number in (HARD_WIRED, ALL_ONES_MASK) and isinstance(other, int):
            operands = list(slots[at].operands)
            operands[position] = HARD_WIRED if other % 2 else ALL_ONES_MASK
            result[at] = Slot(slots[at].op, tuple(operands), slots[at].source)
            return result
    return result


def _mask_reads(slot: Slot) -> tuple[int, ...]:
    return _MASK_READS[slot.op.mnemonic]
