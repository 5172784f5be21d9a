"""Register pressure while a block is scheduled: how many values each file holds, and what an instruction changes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from atalla_mlir.codegen.liveness import BlockLiveness
from atalla_mlir.codegen.machine_ir import Inst, Register
from atalla_mlir.target.registers import FILES, RegisterFile

# Values that may be live before the scheduler stops to add more. The rest of each file is room for the allocator's
# bank choice and for instructions that must go in program order.
PRESSURE_LIMITS: Mapping[RegisterFile, int] = {
    RegisterFile.SCALAR: FILES[RegisterFile.SCALAR].count - 32,
    RegisterFile.VECTOR: FILES[RegisterFile.VECTOR].count - 24,
    RegisterFile.MASK: FILES[RegisterFile.MASK].count - 6,
}
NO_LIMITS: Mapping[RegisterFile, int] = dict.fromkeys(RegisterFile, 1 << 30)


class PressureTracker:
    """Counts live values as instructions are placed.

    A register counts as live from its first write (or the block's start) to its last read in the block; a register
    that is written several times is therefore taken to be live throughout.
    """

    def __init__(
        self,
        insts: Sequence[Inst],
        liveness: BlockLiveness,
        limits: Mapping[RegisterFile, int],
    ) -> None:
        self._limits = limits
        self._live_out = liveness.live_out
        self._reads_left = Counter(register for inst in insts for register in inst.uses)
        self._live = set(liveness.live_in)
        self.counts = {file: sum(register.file is file for register in self._live) for file in RegisterFile}
        self.peaks = dict(self.counts)

    def exceeds(self, limits: Mapping[RegisterFile, int]) -> bool:
        """Whether at some point more values were live than `limits` says."""
        return any(self.peaks[file] > limit for file, limit in limits.items())

    @property
    def is_tight(self) -> bool:
        return any(self.counts[file] >= limit for file, limit in self._limits.items())

    def allows(self, inst: Inst) -> bool:
        """Whether `inst` leaves every file within its limit, or at least does not make a full one fuller."""
        change = dict.fromkeys(RegisterFile, 0)
        for register in set(inst.uses):
            if self._dies(register, inst):
                change[register.file] -= 1
        for register in inst.defs:
            if register not in self._live and self._is_needed(register):
                change[register.file] += 1
        return all(
            change[file] <= 0 or self.counts[file] + change[file] <= limit for file, limit in self._limits.items()
        )

    def place(self, inst: Inst) -> None:
        uses = inst.uses
        for register in uses:
            self._reads_left[register] -= 1
        for register in set(uses):
            if register in self._live and not self._is_needed(register):
                self._live.discard(register)
                self.counts[register.file] -= 1
        for register in inst.defs:
            if register not in self._live and self._is_needed(register):
                self._live.add(register)
                self.counts[register.file] += 1
                self.peaks[register.file] = max(self.peaks[register.file], self.counts[register.file])

    def _is_needed(self, register: Register) -> bool:
        return self._reads_left[register] > 0 or register in self._live_out

    def _dies(self, register: Register, inst: Inst) -> bool:
        return (
            register in self._live
            and register not in self._live_out
            and self._reads_left[register] == inst.uses.count(register)
        )
