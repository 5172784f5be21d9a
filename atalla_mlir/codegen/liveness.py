"""Which registers hold a value that is still needed, per block and per position.

Positions number the instructions of a function in layout order, inside a packet in slot order. A live range is the
set of positions after which the value is still needed, kept as an integer used as a bit set: two registers interfere
when the AND of their ranges is not 0. A definition stays live to the end of its packet, because two slots may not
write one register and no lower-numbered slot may write what a higher one reads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

from atalla_mlir.codegen.machine_ir import Inst, Register

Packet = Sequence[Inst]


@dataclass(frozen=True)
class BlockLiveness:
    """Registers whose values are needed at the start and after the end of a block."""

    live_in: frozenset[Register]
    live_out: frozenset[Register]


@dataclass(frozen=True)
class LiveRanges:
    """`masks[register]` has bit p set when the register is live after position p; block b begins at `starts[b]`."""

    masks: dict[Register, int]
    starts: tuple[int, ...]
    num_positions: int


def bits(low: int, high: int) -> int:
    """Bits low..high-1."""
    return ((1 << (high - low)) - 1) << low if high > low else 0


def pinned_results(blocks: Sequence[Sequence[Packet]]) -> frozenset[Register]:
    """The fixed registers that the code writes: arguments of calls and results of the function."""
    insts = chain.from_iterable(chain.from_iterable(blocks))
    written = set(chain.from_iterable([inst.defs for inst in insts]))
    return frozenset([register for register in written if register.pinned is not None])


def reads_pinned(inst: Inst) -> bool:
    """Calls and returns hand fixed registers over without naming them."""
    return inst.op.mnemonic in ("jal", "jalr") and (inst.is_call or inst.op.mnemonic == "jalr")


def block_liveness(blocks: Sequence[Sequence[Packet]], successors: Sequence[Sequence[int]]) -> list[BlockLiveness]:
    """Global liveness by backward data flow; an unscheduled block is a list of packets of one instruction."""
    return _block_liveness(blocks, successors, pinned_results(blocks))


def _block_liveness(
    blocks: Sequence[Sequence[Packet]], successors: Sequence[Sequence[int]], pinned: frozenset[Register]
) -> list[BlockLiveness]:
    effects = [_block_effect(packets, pinned) for packets in blocks]
    live_in: list[frozenset[Register]] = [frozenset()] * len(blocks)
    live_out: list[frozenset[Register]] = [frozenset()] * len(blocks)
    changed = True
    while changed:
        changed = False
        for index in range(len(blocks) - 1, -1, -1):
            upward, written = effects[index]
            leaving = frozenset[Register]().union(*[live_in[following] for following in successors[index]])
            if leaving == live_out[index] and live_in[index]:
                continue
            live_out[index] = leaving
            entering = upward | (leaving - written)
            if entering != live_in[index]:
                live_in[index] = entering
                changed = True
    return [BlockLiveness(*sets) for sets in zip(live_in, live_out, strict=True)]


def _block_effect(
    packets: Sequence[Packet], pinned: frozenset[Register]
) -> tuple[frozenset[Register], frozenset[Register]]:
    """Registers read before any write in the block, and registers written in it."""
    exposed: set[Register] = set()
    insts = list(chain.from_iterable(packets))
    for inst in reversed(insts):
        exposed.difference_update(inst.defs)
        exposed.update(inst.uses)
        if inst.op.is_control and reads_pinned(inst):
            exposed.update(pinned)
    return frozenset(exposed), frozenset(chain.from_iterable([inst.defs for inst in insts]))


def live_ranges(blocks: Sequence[Sequence[Packet]], successors: Sequence[Sequence[int]]) -> LiveRanges:
    """Live ranges of all registers of the function, pinned ones included."""
    pinned = pinned_results(blocks)
    liveness = _block_liveness(blocks, successors, pinned)
    masks: dict[Register, int] = {}
    starts: list[int] = []
    start = 0
    for packets, sets in zip(blocks, liveness, strict=True):
        starts.append(start)
        start = _block_ranges(packets, sets, pinned, start, masks)
    return LiveRanges(masks, tuple(starts), start)


def _block_ranges(
    packets: Sequence[Packet],
    liveness: BlockLiveness,
    pinned: frozenset[Register],
    start: int,
    masks: dict[Register, int],
) -> int:
    """Adds the block's part of all live ranges to `masks`; returns the position after the block."""
    end = start + sum(map(len, packets))
    live_until = dict.fromkeys(liveness.live_out, end)
    position = end
    for packet in reversed(packets):
        packet_end = position
        for inst in reversed(packet):
            position -= 1
            for register in inst.defs:
                until = max(live_until.pop(register, packet_end), packet_end)
                masks[register] = masks.get(register, 0) | bits(position, until)
            for register in inst.uses:
                live_until.setdefault(register, position)
            if inst.op.is_control and reads_pinned(inst):
                for register in pinned:
                    live_until.setdefault(register, position)
    for register, until in live_until.items():
        masks[register] = masks.get(register, 0) | bits(start, until)
    return end
