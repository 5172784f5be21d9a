"""Registers on the two sides of copies that are never live at the same time: one of them stands for both."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from atalla_mlir.codegen.liveness import Packet, bits, live_ranges
from atalla_mlir.codegen.machine_ir import M1, Register, physical
from atalla_mlir.target.registers import FIRMWARE_TABLE, RegisterFile

_CONSTANT = (M1, physical(RegisterFile.SCALAR, FIRMWARE_TABLE))


def is_constant(register: Register) -> bool:
    """Whether nothing else may be put into a register."""
    return register.is_hard_wired or register in _CONSTANT


class RegisterClasses:
    """Registers of code in packets that have been merged: a representative and the live range of each class.

    `clobbers` are fixed registers that are overwritten after a position; the register `apart` stays as it is.
    """

    def __init__(
        self,
        blocks: Sequence[Sequence[Packet]],
        successors: Sequence[Sequence[int]],
        clobbers: Iterable[tuple[RegisterFile, int, int]],
        apart: Register | None,
    ) -> None:
        self._apart = apart
        self._masks = live_ranges(blocks, successors).masks
        for file, number, position in clobbers:
            register = physical(file, number)
            self._masks[register] = self._masks.get(register, 0) | bits(position, position + 1)
        self._parents: dict[Register, Register] = {}

    def merged(self) -> dict[Register, Register]:
        """The registers for which another one stands, with that one."""
        return {register: self._find(register) for register in self._parents}

    def _find(self, register: Register) -> Register:
        while register in self._parents:
            register = self._parents[register]
        return register

    def merge(self, first: Register, second: Register) -> None:
        """Makes two registers one if that changes nothing."""
        kept, merged = self._find(first), self._find(second)
        if merged.pinned is not None:
            kept, merged = merged, kept
        if kept is merged or merged.pinned is not None or is_constant(kept):
            return
        if self._apart in (kept, merged):
            return
        kept_mask, merged_mask = self._masks.get(kept, 0), self._masks.get(merged, 0)
        if kept_mask & merged_mask:
            return
        self._masks[kept] = kept_mask | merged_mask
        self._parents[merged] = kept
