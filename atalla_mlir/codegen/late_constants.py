"""Constants of allocated code move behind what does not read them: past calls, and past the first transfers.

Code that runs once is fetched from memory packet by packet, so a constant in a packet of its own at the top of a
function puts off all that follows. Where its readers begin it finds a free slot, or is made while transfers are under
way. Registers have numbers by then and loops have their packets: a value that begins later is in nobody's way.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

from atalla_mlir.codegen.machine_ir import Inst, Register
from atalla_mlir.codegen.sinking import dominators
from atalla_mlir.codegen.spill import Packets
from atalla_mlir.target.encoding import SLOTS
from atalla_mlir.target.isa import Instruction, Unit
from atalla_mlir.target.packets import bank_conflict_cycles, packet_violations

Numbers = Mapping[Register, int]


def delay_constants(
    blocks: Sequence[Packets], depths: Sequence[int], successors: Sequence[Sequence[int]], numbers: Numbers
) -> list[Packets]:
    """The blocks with scalar constants in the last block outside of loops that all of their readers come after.

    `numbers` are those of the registers that are not pinned.
    """
    found = [list(packets) for packets in blocks]
    readers, before = _readers(blocks), dominators(successors)
    moved: dict[int, list[Inst]] = defaultdict(list)
    for index, inst in _constants(blocks, depths):
        shared = set(range(index + 1, len(blocks))).intersection(*(before[reader] for reader in readers[inst.defs[0]]))
        outside = (at for at in shared if depths[at] == 0 and index in before[at] and readers[inst.defs[0]])
        target = max(outside, default=None)
        if target is not None:
            moved[target].append(inst)
    gone = {id(inst) for insts in moved.values() for inst in insts}
    for index, packets in enumerate(found):
        if gone and depths[index] == 0:
            left = [tuple([inst for inst in packet if id(inst) not in gone]) for packet in packets]
            found[index] = [packet for packet in left if packet]
    for target, insts in moved.items():
        found[target] = _with_constants(found[target], insts, numbers)
    return found


def _readers(blocks: Sequence[Packets]) -> dict[Register, set[int]]:
    """The blocks that read each register."""
    found: dict[Register, set[int]] = defaultdict(set)
    for index, packets in enumerate(blocks):
        for packet in packets:
            for inst in packet:
                for register in inst.uses:
                    found[register].add(index)
    return found


def _constants(blocks: Sequence[Packets], depths: Sequence[int]) -> Iterable[tuple[int, Inst]]:
    """What makes a scalar from nothing, once, outside of loops; with its block."""
    writes = Counter(register for packets in blocks for packet in packets for inst in packet for register in inst.defs)
    for index, packets in enumerate(blocks):
        for inst in (inst for packet in packets if depths[index] == 0 for inst in packet):
            is_made = inst.op.unit is Unit.EX1 and len(inst.defs) == 1 and not (inst.uses or inst.op.is_control)
            if is_made and inst.defs[0].pinned is None and writes[inst.defs[0]] == 1:
                yield index, inst


def _with_constants(packets: Packets, insts: Sequence[Inst], numbers: Numbers) -> Packets:
    """A block that makes more constants, each before the first packet that reads it.

    Those that are read first get the first free slots. What finds none gets a packet before the first wait for a
    transfer, if it is not read before that.
    """
    found = list(packets)
    wait = next((at for at, packet in enumerate(packets) if any(inst.is_wait for inst in packet)), 0)
    begins = _first_reads(packets)
    alone: dict[int, list[Inst]] = defaultdict(list)
    # packets from the first one on that have no room: constants of one instruction all ask for the same
    full: dict[str, int] = defaultdict(int)
    for inst in sorted(insts, key=lambda inst: begins.get(inst.defs[0], len(packets))):
        end = begins.get(inst.defs[0], len(packets))
        rooms = (at for at in range(full[inst.op.mnemonic], end) if _has_room(found[at], inst, numbers))
        full[inst.op.mnemonic] = place = max(full[inst.op.mnemonic], next(rooms, end))
        if place < end:
            found[place] = (*found[place], inst)
        else:
            alone[min(wait, end)].append(inst)
    return [item for at, packet in enumerate(found) for item in (*((inst,) for inst in alone[at]), packet)]


def _first_reads(packets: Packets) -> dict[Register, int]:
    """The first packet that reads each register."""
    found: dict[Register, int] = {}
    for at, packet in enumerate(packets):
        for inst in packet:
            for register in inst.uses:
                found.setdefault(register, at)
    return found


def _has_room(packet: Sequence[Inst], inst: Inst, numbers: Numbers) -> bool:
    """Whether a packet takes another instruction without breaking a rule or waiting for a bank longer."""
    if len(packet) == SLOTS or any(other.op.unit is inst.op.unit for other in packet):
        return False
    before, after = _contents(packet, numbers), _contents((*packet, inst), numbers)
    return not packet_violations(after) and bank_conflict_cycles(after) <= bank_conflict_cycles(before)


def _contents(packet: Iterable[Inst], numbers: Numbers) -> list[tuple[Instruction, tuple[int, ...]]]:
    """Instructions on real registers; labels, which decide nothing here, are 0."""

    def number(value: Register | int | str) -> int:
        if isinstance(value, Register):
            return numbers[value] if value.pinned is None else value.pinned
        return value if isinstance(value, int) else 0

    return [(inst.op, tuple(map(number, inst.operands))) for inst in packet]
