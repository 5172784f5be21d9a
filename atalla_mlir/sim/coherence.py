"""Lint of machine reference 1.4: data passed between the scalar unit and SDMA within one launch.

The data cache is written back only at halt and never looks at SDMA traffic, so such data is stale on the hardware,
although the simulator keeps both sides coherent.
"""

from __future__ import annotations

import copy

from atalla_mlir.sim.engine import Lint
from atalla_mlir.sim.memory import Dram
from atalla_mlir.sim.state import DmaAccess

_WORD_BYTES = 4
_BY_SCALAR = 1
_BY_SDMA = 2
DRAM_LOADS = frozenset({"lw.s", "lhw.s"})
DRAM_STORES = frozenset({"sw.s", "shw.s"})


class CoherenceLint:
    """Remembers who wrote each DRAM word last; reports each reading packet once."""

    def __init__(self, dram_bytes: int) -> None:
        self._dram_bytes = dram_bytes
        self._found: dict[tuple[str, int], Lint] = {}
        self._writers: Dram | None = None

    @property
    def found(self) -> tuple[Lint, ...]:
        return tuple(self._found.values())

    def start_launch(self) -> None:
        """The cache is clean at the start of a launch."""
        self._writers = None

    def clear(self) -> None:
        self._writers = None
        self._found.clear()

    def copy(self) -> CoherenceLint:
        """An independent copy, for snapshots."""
        other = CoherenceLint(self._dram_bytes)
        other._found = copy.copy(self._found)
        if self._writers is not None:
            other._shadow().restore(self._writers.snapshot())
        return other

    def _shadow(self) -> Dram:
        if self._writers is None:
            self._writers = Dram(-(-self._dram_bytes // _WORD_BYTES))
        return self._writers

    def scalar_store(self, address: int) -> None:
        self._mark(address, address, _BY_SCALAR)

    def scalar_load(self, pc: int, address: int) -> None:
        if self._writers is not None and self._writers.bytes[address // _WORD_BYTES] == _BY_SDMA:
            self._report("scpad.st to scalar load", pc, f"dram word 0x{address & ~3:X} was written by scpad.st")

    def dma_store(self, access: DmaAccess) -> None:
        for first, last in access.byte_runs():
            self._mark(first, last, _BY_SDMA)

    def _mark(self, first: int, last: int, writer: int) -> None:
        shadow, first_word, last_word = self._shadow(), first // _WORD_BYTES, last // _WORD_BYTES
        shadow.touch(first_word, last_word)
        shadow.bytes[first_word : last_word + 1] = writer

    def dma_load(self, pc: int, access: DmaAccess) -> None:
        if self._writers is None:
            return
        shadow = self._writers.bytes
        for first, last in access.byte_runs():
            words = shadow[first // _WORD_BYTES : last // _WORD_BYTES + 1]
            if (words == _BY_SCALAR).any():
                word = (first // _WORD_BYTES + int((words == _BY_SCALAR).argmax())) * _WORD_BYTES
                self._report("scalar store to scpad.ld", pc, f"dram word 0x{word:X} was written by sw.s or shw.s")
                return

    def _report(self, kind: str, pc: int, what: str) -> None:
        message = f"{what} in this launch; the data cache is not coherent with scratchpad dma"
        self._found.setdefault((kind, pc), Lint(kind, pc, message))
