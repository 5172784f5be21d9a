"""Register pressure while a block is scheduled: how many values each file holds, and what an instruction changes."""

from __future__ import annotations

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
CAPACITIES: Mapping[RegisterFile, int] = {
    RegisterFile.SCALAR: FILES[RegisterFile.SCALAR].count - 8,
    RegisterFile.VECTOR: FILES[RegisterFile.VECTOR].count - 8,
    RegisterFile.MASK: FILES[RegisterFile.MASK].count - 2,
}
"""Values for which the allocator finds registers."""
NO_LIMITS: Mapping[RegisterFile, int] = dict.fromkeys(RegisterFile, 1 << 30)


_FILES = tuple(RegisterFile)
_NEEDED_AFTER = 1 << 30
"""Reads left of a register that is read after the block."""


def exceeds(peaks: Sequence[int], limits: Mapping[RegisterFile, int]) -> bool:
    """Whether at some point more values were live than `limits` says."""
    return any(peak > limits[file] for file, peak in zip(_FILES, peaks, strict=True))


def excess(peaks: Sequence[int]) -> dict[RegisterFile, int]:
    """By how many values each file was too small."""
    return {file: max(0, peak - CAPACITIES[file]) for file, peak in zip(_FILES, peaks, strict=True)}


class BlockRegisters:
    """The values of a block in numbers: what each instruction reads and writes.

    A register that is written several times holds one value after the other; dependences keep what reads one from
    coming after the next write.
    """

    def __init__(self, insts: Sequence[Inst], liveness: BlockLiveness) -> None:
        self.uses: list[list[tuple[int, int]]] = []
        """The values that an instruction reads, with how often."""
        self.defs: list[list[int]] = []
        self.files: list[int] = []
        self.reads: list[int] = []
        self.is_live: list[bool] = []
        self.num_live = [sum(register.file is file for register in liveness.live_in) for file in _FILES]
        """Values that are live at the start, by file, those that the block does not touch included."""
        present: dict[Register, int] = {}
        for inst in insts:
            times: dict[int, int] = {}
            for register in inst.uses:
                value = present.get(register)
                if value is None:
                    value = present[register] = self._add(register, is_live=register in liveness.live_in)
                times[value] = times.get(value, 0) + 1
                self.reads[value] += 1
            self.uses.append(list(times.items()))
            for register in inst.defs:
                present[register] = self._add(register, is_live=False)
            self.defs.append([present[register] for register in inst.defs])
        for register, value in present.items():
            if register in liveness.live_out:
                self.reads[value] += _NEEDED_AFTER

    def _add(self, register: Register, *, is_live: bool) -> int:
        self.files.append(_FILES.index(register.file))
        self.reads.append(0)
        self.is_live.append(is_live)
        return len(self.files) - 1


class PressureTracker:
    """Counts live values as instructions are placed: from the write (or the block's start) to the last read."""

    def __init__(self, registers: BlockRegisters, limits: Mapping[RegisterFile, int]) -> None:
        self._uses, self._defs, self._files = registers.uses, registers.defs, registers.files
        self._limits = [limits[file] for file in _FILES]
        self._reads_left = list(registers.reads)
        self._is_live = list(registers.is_live)
        self._counts = list(registers.num_live)
        self._peaks = list(self._counts)
        self.is_tight = self._is_tight()
        """Whether some file holds as many values as it may."""

    @property
    def peaks(self) -> tuple[int, ...]:
        """Values that were live at once at most, by file."""
        return tuple(self._peaks)

    def _is_tight(self) -> bool:
        return any(count >= limit for count, limit in zip(self._counts, self._limits, strict=True))

    def allows(self, index: int) -> bool:
        """Whether an instruction leaves every file within its limit, or at least does not make a full one fuller."""
        reads_left, is_live, files = self._reads_left, self._is_live, self._files
        change = [0] * len(_FILES)
        for register, times in self._uses[index]:
            if is_live[register] and reads_left[register] == times:
                change[files[register]] -= 1
        for register in self._defs[index]:
            if reads_left[register] and not is_live[register]:
                change[files[register]] += 1
        return all(
            added <= 0 or count + added <= limit
            for added, count, limit in zip(change, self._counts, self._limits, strict=True)
        )

    def place(self, index: int) -> None:
        reads_left, is_live, counts = self._reads_left, self._is_live, self._counts
        for register, times in self._uses[index]:
            reads_left[register] -= times
            if not reads_left[register] and is_live[register]:
                is_live[register] = False
                counts[self._files[register]] -= 1
        for register in self._defs[index]:
            if reads_left[register] and not is_live[register]:
                is_live[register] = True
                file = self._files[register]
                counts[file] += 1
                self._peaks[file] = max(self._peaks[file], counts[file])
        self.is_tight = self._is_tight()
