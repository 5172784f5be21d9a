"""Instructions outside of loops whose results nobody reads are left out, as each may take a packet that is fetched.

A loop that is pipelined ends with the rest of its last iterations, which also compute where the next one would begin.
"""

from __future__ import annotations

from collections.abc import Sequence

from atalla_mlir.codegen.liveness import block_liveness, pinned_results, reads_pinned
from atalla_mlir.codegen.machine_ir import Inst, Register
from atalla_mlir.codegen.spill import Packets
from atalla_mlir.target.isa import Unit

_PURE_UNITS = (Unit.EX1, Unit.EX2, Unit.EX3, Unit.EX4, Unit.LANE_ALU, Unit.LANE_MUL, Unit.LANE_EXP)


def drop_unread(blocks: Sequence[Packets], depths: Sequence[int], successors: Sequence[Sequence[int]]) -> list[Packets]:
    """The blocks without what only makes registers that are written again, or forgotten, before they are read."""
    pinned = pinned_results(blocks)
    liveness = block_liveness(blocks, successors)
    return [
        packets if depth else _read_part(packets, set(ranges.live_out), pinned)
        for packets, depth, ranges in zip(blocks, depths, liveness, strict=True)
    ]


def _read_part(packets: Packets, live: set[Register], pinned: frozenset[Register]) -> Packets:
    """The packets of a block behind which the registers `live` are read."""
    found: Packets = []
    for packet in reversed(packets):
        kept: list[Inst] = []
        for inst in reversed(packet):
            if _is_pure(inst) and live.isdisjoint(inst.defs):
                continue
            kept.append(inst)
            live -= set(inst.defs)
            live |= set(inst.uses)
            if inst.op.is_control and reads_pinned(inst):
                live |= pinned
        if kept:
            found.append(tuple(reversed(kept)))
    return found[::-1]


def _is_pure(inst: Inst) -> bool:
    """Whether all that an instruction does is to write registers that have no number yet."""
    is_known = inst.op.unit in _PURE_UNITS and not inst.op.is_control
    return is_known and bool(inst.defs) and all(register.pinned is None for register in inst.defs)
