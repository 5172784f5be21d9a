"""Packets of code that runs once are joined: each is fetched from memory, which takes longer than what is in it.

Most of them wait for the adder of integers, which makes constants and copies too. The multiplier of integers makes
them as well: a number times one. It takes an instruction every fourth cycle, about as often as a packet is fetched; a
loop, whose packets are there, would wait for it. Registers have numbers by then, and loops their packets.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from atalla_mlir.codegen.layout import Packet, Slot, packet_contents
from atalla_mlir.target.encoding import IMM12, SLOTS
from atalla_mlir.target.isa import BY_MNEMONIC, Unit
from atalla_mlir.target.packets import bank_conflict_cycles, lane_unit_conflict, packet_violations
from atalla_mlir.target.registers import HARD_WIRED, RegisterFile

REACH = 32
"""Packets that an instruction moves up by at most."""
_SCALAR_UNITS = (Unit.EX1, Unit.EX4)
_MOVED_UNITS = (Unit.EX1, Unit.LANE_ALU, Unit.LANE_MUL)
_ADD, _MULTIPLY = BY_MNEMONIC["addi.s"], BY_MNEMONIC["muli.s"]
_Registers = frozenset[tuple[RegisterFile, int]]


def join_blocks(blocks: Sequence[Sequence[Packet]], depths: Sequence[int], spare: int | None) -> list[Sequence[Packet]]:
    """The blocks of a function, the entry first, with those outside of loops in fewer packets.

    `spare` is a scalar that nothing in the function touches, no call either: it becomes the number one where that makes
    constants cheaper.
    """
    if spare is not None and blocks and not depths[0]:
        made = Slot(_ADD, (spare, HARD_WIRED, 1))
        found = _joined_blocks([[(made,), *blocks[0]], *blocks[1:]], depths, spare)
        if sum(slot.op is _MULTIPLY and slot.operands[1] == spare for slot in _slots(found)) > 1:
            return found
    return _joined_blocks(blocks, depths, None)


def _joined_blocks(
    blocks: Sequence[Sequence[Packet]], depths: Sequence[int], one: int | None
) -> list[Sequence[Packet]]:
    return [packets if depth else join_packets(packets, one) for packets, depth in zip(blocks, depths, strict=True)]


def _slots(blocks: Sequence[Sequence[Packet]]) -> Iterator[Slot]:
    return (slot for packets in blocks for packet in packets for slot in packet)


def join_packets(packets: Sequence[Packet], one: int | None = None) -> list[Packet]:
    """Code without loops in fewer packets, which do the same.

    Scalar `one` holds the number one, in all packets or behind the one that writes it. Without it the multiplier makes
    copies only.
    """
    found: list[Packet] = []
    for packet in packets:
        if not (all(map(_can_move, packet)) and _lift(found, packet, one)):
            found.append(packet)
    return _lowered(found, one)


def _can_move(slot: Slot) -> bool:
    """Whether an instruction has nothing but registers to do with others."""
    return slot.op.unit in _MOVED_UNITS and not slot.op.is_control and bool(_written(slot))


def _lift(packets: list[Packet], packet: Packet, one: int | None) -> bool:
    """Bring all instructions of a packet behind the last one into these; or none, where one finds no room."""
    found: dict[int, Packet] = {}
    for slot in packet:
        for at in range(len(packets) - 1, max(-1, len(packets) - 1 - REACH), -1):
            present = found.get(at, packets[at])
            joined = _joined(present, (slot,), one)
            if joined is not None:
                found[at] = joined
                break
            if not _may_pass(present, slot):
                return False
        else:
            return False
    for at, joined in found.items():
        packets[at] = joined
    return True


def _lowered(packets: Sequence[Packet], one: int | None) -> list[Packet]:
    """The packets, each in the one behind it where that has room: a jump and what it waits for are the last ones."""
    found: list[Packet] = []
    for packet in reversed(packets):
        joined = _joined(packet, found[-1], one) if found and _may_be_late(packet, found[-1]) else None
        if joined is None:
            found.append(packet)
        else:
            found[-1] = joined
    return found[::-1]


def _may_be_late(packet: Packet, following: Packet) -> bool:
    """Whether a packet may come with the next one; rows and lanes shall not wait for a transfer because of that."""
    for waiting, other in ((packet, following), (following, packet)):
        if any(map(_is_wait, waiting)) and any(slot.op.unit not in _SCALAR_UNITS for slot in other):
            return False
    return all(_can_move(slot) or _is_wait(slot) for slot in packet)


def _is_wait(slot: Slot) -> bool:
    """A scalar that is read for nothing but to wait for its transfer."""
    return slot.op.unit in _SCALAR_UNITS and not slot.op.is_control and not _written(slot)


def _joined(first: Packet, second: Packet, one: int | None) -> Packet | None:
    """Two packets that may follow each other as one; None where they depend on each other or want the same.

    A packet reads its registers before it writes any, so the second one may write what the first one reads.
    """
    if len(first) + len(second) > SLOTS:
        return None
    waits = max(bank_conflict_cycles(packet_contents(packet)) for packet in (first, second))
    for way in _ways((*first, *second), one):
        contents = packet_contents(way)
        is_free = not (packet_violations(contents) or lane_unit_conflict(contents))
        if is_free and bank_conflict_cycles(contents) <= waits:
            return way
    return None


def _ways(packet: Packet, one: int | None) -> Iterator[Packet]:
    """A packet as it is, or with one of two additions on the multiplier."""
    num_additions = sum(slot.op.unit is Unit.EX1 for slot in packet)
    if num_additions <= 1:
        yield packet
    elif num_additions == 2:
        for at, slot in enumerate(packet):
            product = _as_product(slot, one)
            if product is not None:
                yield (*packet[:at], product, *packet[at + 1 :])


def _as_product(slot: Slot, one: int | None) -> Slot | None:
    """A constant, a copy or a short shift as a product with a constant."""
    match slot.op.mnemonic, slot.operands:
        case "addi.s", (target, source, 0):
            factor = 1
        case "addi.s", (target, source, int(factor)) if source == HARD_WIRED and one is not None:
            source = one
        case "add.s", (target, source, other) if other == HARD_WIRED:
            factor = 1
        case "slli.s", (target, source, int(places)):
            factor = 1 << places
        case _:
            return None
    if target == one or not IMM12.fits(factor):
        return None
    return Slot(_MULTIPLY, (target, source, factor), slot.source)


def _may_pass(packet: Packet, slot: Slot) -> bool:
    """Whether an instruction behind a packet may as well come before it."""
    written = _written(slot)
    touched = written | _read(slot)
    return all(_written(other).isdisjoint(touched) and _read(other).isdisjoint(written) for other in packet)


def _read(slot: Slot) -> _Registers:
    return _registers(slot, slot.op.read_places)


def _written(slot: Slot) -> _Registers:
    return _registers(slot, slot.op.written_places)


def _registers(slot: Slot, places: Sequence[tuple[int, RegisterFile]]) -> _Registers:
    """Those in some places of the operands; the hard-wired ones order nothing."""
    found = [(file, slot.operands[at]) for at, file in places]
    return frozenset((file, number) for file, number in found if isinstance(number, int) and number != HARD_WIRED)
