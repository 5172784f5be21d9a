"""Register and memory dumps in the emulator's form (machine reference 7.1), for comparing text with text."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from atalla_mlir.sim.legacy_fs.state import LegacyState

REGISTERS_PER_LINE = 4


def dump_scalars(state: LegacyState) -> str:
    """`sregs.out`."""
    return _register_lines(state.x)


def dump_masks(state: LegacyState) -> str:
    """`mregs.out`; the emulator calls mask registers x, too."""
    return _register_lines(state.m)


def dump_vectors(state: LegacyState) -> str:
    """`vregs.out`: 32 float32 patterns per register."""
    lines: list[str] = []
    for index, bits in enumerate(state.v.view(np.uint32).tolist()):
        lines.append(f"v{index:<2}: [{', '.join(f'0x{lane:08X}' for lane in bits)}]\n")
    return "".join(lines)


def dump_memory(state: LegacyState) -> str:
    """The data section of `mem.out`: every entry that the memory holds, by address."""
    return "".join(f"{address:08X}: {word:08X}\n" for address, word in sorted(state.memory.items()))


def _register_lines(values: Sequence[int]) -> str:
    cells = [f"x{index:<2}: 0x{value:08X}  " for index, value in enumerate(values)]
    lines = [cells[start : start + REGISTERS_PER_LINE] for start in range(0, len(cells), REGISTERS_PER_LINE)]
    return "\n".join("".join(line) for line in lines)
