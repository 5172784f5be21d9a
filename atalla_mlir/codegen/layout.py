"""Code on real registers in its final order: packets, labels, and how far branches reach."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, cast

from atalla_mlir.errors import InternalError
from atalla_mlir.target.encoding import BRANCH_OFFSET, PACKET_BYTES, SLOTS
from atalla_mlir.target.isa import BY_MNEMONIC, Instruction

INVERTED = {
    "beq.s": "bne.s",
    "bne.s": "beq.s",
    "blt.s": "bge.s",
    "bge.s": "blt.s",
    "bgt.s": "ble.s",
    "ble.s": "bgt.s",
}


class Slot(NamedTuple):
    """An instruction on real registers. Operands follow the table; a branch or `jal` may name a label."""

    op: Instruction
    operands: tuple[int | str, ...]
    source: str | None = None

    @property
    def target(self) -> str | None:
        if not self.op.is_control:
            return None
        return next((operand for operand in self.operands if isinstance(operand, str)), None)

    def with_target(self, target: int | str) -> Slot:
        """The same with another destination: a label, or a distance in bytes."""
        operands = tuple(target if isinstance(operand, str) else operand for operand in self.operands)
        return Slot(self.op, operands, self.source)


@dataclass(frozen=True, slots=True)
class Label:
    """Names the next packet within its function."""

    name: str


Packet = tuple[Slot, ...]
Item = Label | Packet


def label_positions(items: Sequence[Item]) -> dict[str, int]:
    """Packet numbers of all labels."""
    positions: dict[str, int] = {}
    packet = 0
    for item in items:
        if isinstance(item, Label):
            positions[item.name] = packet
        else:
            packet += 1
    return positions


def packet_contents(packet: Packet) -> list[tuple[Instruction, tuple[int, ...]]]:
    """A packet with 0 for labels, which decide neither legality nor bank conflicts."""
    return [(slot.op, _numbers(slot)) for slot in packet]


def _numbers(slot: Slot) -> tuple[int, ...]:
    if not slot.op.is_control:  # only these name labels
        return cast("tuple[int, ...]", slot.operands)
    return tuple([value if isinstance(value, int) else 0 for value in slot.operands])


def expand_long_branches(items: Sequence[Item]) -> list[Item]:
    """Branches beyond reach become the opposite branch around a `jal`."""
    result = list(items)
    while True:
        positions = label_positions(result)
        expanded: list[Item] = []
        packet, num_skips = 0, sum(isinstance(item, Label) for item in result)
        for item in result:
            if isinstance(item, Label):
                expanded.append(item)
                continue
            if _is_long(item, packet, positions):
                expanded.extend(_expand(item, f".skip{num_skips}"))
                num_skips += 1
            else:
                expanded.append(item)
            packet += 1
        if len(expanded) == len(result):
            return result
        result = expanded


def _is_long(packet: Packet, position: int, positions: Mapping[str, int]) -> bool:
    targets = [slot.target for slot in packet if slot.op.is_branch]
    return bool(targets) and any(
        not BRANCH_OFFSET.fits((_position(target, positions) - position) * PACKET_BYTES)
        for target in targets
        if target is not None
    )


def _expand(packet: Packet, skip: str) -> list[Item]:
    target = next(slot.target for slot in packet if slot.op.is_branch)
    assert target is not None
    inverted = tuple(
        Slot(BY_MNEMONIC[INVERTED[slot.op.mnemonic]], slot.with_target(skip).operands, slot.source)
        if slot.op.is_branch
        else slot
        for slot in packet
    )
    return [inverted, (Slot(BY_MNEMONIC["jal"], (0, target)),), Label(skip)]


def _position(label: str, positions: Mapping[str, int]) -> int:
    if label not in positions:
        raise InternalError(f"branch to label {label}, which the function does not define")
    return positions[label]


def resolve_labels(items: Sequence[Item]) -> list[Packet]:
    """The packets with distances in bytes instead of local labels; targets of calls stay names for the linker."""
    positions = label_positions(items)
    packets = [item for item in items if not isinstance(item, Label)]
    return [
        tuple(
            slot.with_target((positions[slot.target] - position) * PACKET_BYTES) if slot.target in positions else slot
            for slot in packet
        )
        for position, packet in enumerate(packets)
    ]


def slot_histogram(items: Sequence[Item]) -> tuple[int, ...]:
    """Number of packets by filled slots, 0 to 4."""
    counts = [0] * (SLOTS + 1)
    for item in items:
        if not isinstance(item, Label):
            counts[len(item)] += 1
    return tuple(counts)


def dump(items: Sequence[Item]) -> str:
    """The code as text, one packet a line, for debugging and tests."""
    lines = [
        f"{item.name}:" if isinstance(item, Label) else f"  {{ {' ; '.join(map(_text, item))} }}" for item in items
    ]
    return "\n".join(lines) + "\n"


def _text(slot: Slot) -> str:
    parts = (
        f"{operand.file.value}{value}" if operand.file is not None else str(value)
        for operand, value in zip(slot.op.operands, slot.operands, strict=True)
    )
    return f"{slot.op.mnemonic} {', '.join(parts)}".rstrip()
