"""Which instructions may share a packet (machine reference 5.1 to 5.3)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import cache

from atalla_mlir.target.encoding import SLOTS
from atalla_mlir.target.isa import BY_MNEMONIC, LANE_OPS_PER_PACKET, LANE_UNITS, UNIT_LIMITS, Instruction, Unit
from atalla_mlir.target.registers import FILES, HARD_WIRED, RegisterFile

SlotContent = tuple[Instruction, tuple[int, ...]]
"""An instruction and its operands in the table's order; register numbers and immediates as integers."""


def packet_violations(slots: Sequence[SlotContent]) -> tuple[str, ...]:
    """Why `slots` (slot 0 first, empty slots left out) must not be one packet; nothing when they may.

    Checks dependences between slots (5.1 rules 1 and 2), units and read ports (5.2). Whether two slots touch the same
    memory is known only when the packet runs.
    """
    found: list[str] = []
    if len(slots) > SLOTS:
        found.append(f"{len(slots)} instructions in a packet of {SLOTS} slots")
    found.extend(_dependences(slots))
    found.extend(
        _overuse(tuple([(instruction.mnemonic, _pad(instruction, operands)) for instruction, operands in slots]))
    )
    return tuple(found)


def _registers(slot: SlotContent, *, written: bool) -> list[tuple[RegisterFile, int]]:
    instruction, operands = slot
    places = instruction.written_places if written else instruction.read_places
    return [(file, operands[at]) for at, file in places if operands[at] != HARD_WIRED]


def _dependences(slots: Sequence[SlotContent]) -> list[str]:
    found: list[str] = []
    if len(slots) == 1 and len(slots[0][0].written_places) < 2:
        return found
    writers: dict[tuple[RegisterFile, int], int] = {}
    for at, slot in enumerate(slots):
        name = slot[0].mnemonic
        for register in _registers(slot, written=False):
            if register in writers:
                found.append(f"slot {at} ({name}) reads {_text(register)}, which slot {writers[register]} writes")
        for register in _registers(slot, written=True):
            if register in writers:
                found.append(f"slots {writers[register]} and {at} ({name}) both write {_text(register)}")
            writers.setdefault(register, at)
    return found


def _text(register: tuple[RegisterFile, int]) -> str:
    return f"{register[0].value}{register[1]}"


def _pad(instruction: Instruction, operands: tuple[int, ...]) -> int:
    """The pad whose load/store unit a slot takes, 0 for other units."""
    return operands[-1] if instruction.unit is Unit.VLSU else 0


@cache
def _overuse(slots: tuple[tuple[str, int], ...]) -> tuple[str, ...]:
    """What some instructions, with their pads, take too much of; packets of few kinds make up all code."""
    instructions = [BY_MNEMONIC[mnemonic] for mnemonic, _ in slots]
    units = [(instruction.unit, pad) for instruction, (_, pad) in zip(instructions, slots, strict=True)]
    return (*_unit_overuse(units), *_port_overuse(instructions))


def _unit_overuse(units: Sequence[tuple[Unit, int]]) -> list[str]:
    found: list[str] = []
    counts = Counter(units)
    for (unit, pad), count in counts.items():
        limit = UNIT_LIMITS.get(unit)
        if limit is not None and count > limit:
            where = f" of pad {pad}" if unit is Unit.VLSU else ""
            found.append(f"{count} instructions for unit {unit.name}{where}, which takes {limit}")
    lanes = sum(count for (unit, _), count in counts.items() if unit in LANE_UNITS)
    if lanes > LANE_OPS_PER_PACKET:
        found.append(f"{lanes} lane operations, at most {LANE_OPS_PER_PACKET}")
    return found


def _port_overuse(instructions: Sequence[Instruction]) -> list[str]:
    found: list[str] = []
    for file, shape in FILES.items():
        count = sum(len(instruction.port_places[file]) for instruction in instructions)
        if count > shape.read_ports:
            found.append(f"{count} reads of {file.name.lower()} registers, at most {shape.read_ports}")
    return found


def lane_unit_conflict(slots: Sequence[SlotContent]) -> bool:
    """Whether two lane operations of one unit share the packet: legal, but only one can start at a time.

    Compares and reductions use the ALU.
    """
    units = [slot[0].unit for slot in slots if slot[0].unit in LANE_UNITS]
    folded = [Unit.LANE_ALU if unit is Unit.REDUCTION else unit for unit in units]
    return len(set(folded)) != len(folded)


def bank_conflict_cycles(slots: Sequence[SlotContent]) -> int:
    """Cycles that the packet issues late: reads of the busiest bank of any file when two or more, else 0 (5.3)."""
    reads = [
        (file, operands[at] % banks) for instruction, operands in slots for at, file, banks in instruction.banked_places
    ]
    return max(Counter(reads).values()) if len(set(reads)) < len(reads) else 0
