"""The branch target buffer (machine reference 5.6)."""

from __future__ import annotations

from atalla_mlir.target.encoding import PACKET_BYTES
from atalla_mlir.target.machine import Machine

_NO_PC = -1


class BranchTargetBuffer:
    """Direct mapped by packet number; written on every mispredict with the PC that did follow.

    Only a target at or before the branch is predicted, so an exit from a loop turns its entry off.
    """

    def __init__(self, machine: Machine) -> None:
        self._entries = machine.btb_entries
        self.clear()

    def clear(self) -> None:
        self._tags = [_NO_PC] * self._entries
        self._targets = [0] * self._entries

    def mispredicts(self, pc: int, following: int) -> bool:
        """Whether the control packet at `pc`, which is followed by `following`, was predicted wrong; learns from it."""
        entry = pc // PACKET_BYTES % self._entries if self._entries else _NO_PC
        predicted = pc + PACKET_BYTES
        if self._entries and self._tags[entry] == pc and self._targets[entry] <= pc:
            predicted = self._targets[entry]
        if following == predicted:
            return False
        if self._entries:
            self._tags[entry], self._targets[entry] = pc, following
        return True
