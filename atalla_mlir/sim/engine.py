"""What every simulator engine offers: loading, running, inspecting; and the values it reports."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from atalla_mlir.errors import ConfigurationError
from atalla_mlir.target.encoding import SLOTS
from atalla_mlir.target.isa import Unit
from atalla_mlir.target.machine import Machine
from atalla_mlir.target.registers import RegisterFile

if TYPE_CHECKING:
    from atalla_mlir.sim.observer import Observer

__all__ = ["Counters", "Engine", "Lint", "Rows", "RunResult", "StallCause", "StopReason", "Trap", "TrapKind"]

Rows = npt.NDArray[np.uint16]
"""BF16 bit patterns; the last axis is the lane."""

StopReason = Literal["halt", "breakpoint", "trap", "limit"]


class TrapKind(Enum):
    """Why the machine stopped short; the value is the code that the native engine's C ABI uses too."""

    UNDEFINED_OPCODE = 1
    ILLEGAL_PACKET = 2
    MEMORY_CONFLICT = 3
    """Two slots of a packet touch the same DRAM word or pad row and one of them writes (5.1 rule 3)."""
    MISALIGNED_ACCESS = 4
    DRAM_RANGE = 5
    PAD_RANGE = 6
    DMA_PITCH = 7
    PC_MISALIGNED = 8
    PC_RANGE = 9
    END_OF_CODE = 10
    """Execution ran past the last packet without a jump."""
    TRANSPOSE_ORDER = 11
    """`tpus.vi` before all columns of the drain under way were popped: the push would wait for ever."""
    ARRAY_INTERLOCK = 12
    """`lw.vi` under in-flight activations, with `array_interlock = error` and timing on."""
    STEP_LIMIT = 13
    EMULATOR_ERROR = 14
    """`legacy-fs` only: the emulator stops with a Python exception here."""


@dataclass(frozen=True)
class Trap:
    """A stop that the program caused: where, in which slot and instruction (None and "" when in none), and why."""

    kind: TrapKind
    pc: int
    slot: int | None
    text: str
    message: str
    source: str | None = None

    def __str__(self) -> str:
        place = f"pc 0x{self.pc:X}" + (f" slot {self.slot}" if self.slot is not None else "")
        instruction = f" '{self.text}'" if self.text else ""
        source = f" ({self.source})" if self.source else ""
        return f"{place}{instruction}: {self.message}{source}"


@dataclass(frozen=True)
class RunResult:
    """Why `run` came back. `pc` is the packet that would run next (for a halt: the halting packet itself).

    `trap` is set for the reasons "trap" and "limit".
    """

    reason: StopReason
    pc: int
    trap: Trap | None = None


@dataclass(frozen=True)
class Lint:
    """A program's reliance on something that the hardware does not promise; values and cycles are unaffected."""

    kind: str
    pc: int
    message: str

    def __str__(self) -> str:
        return f"pc 0x{self.pc:X}: {self.kind}: {self.message}"


class StallCause(Enum):
    """What a cycle is charged to; `docs/timing.md` explains each. The members' order is the charging priority."""

    ISSUE = "issue"
    MISPREDICT = "mispredict"
    FETCH = "fetch"
    RAW_SCALAR = "raw_scalar"
    RAW_VECTOR = "raw_vector"
    RAW_MASK = "raw_mask"
    WAW_SCALAR = "waw_scalar"
    WAW_VECTOR = "waw_vector"
    WAW_MASK = "waw_mask"
    UNIT_BUSY = "unit_busy"
    ARRAY_INTERLOCK = "array_interlock"
    DMA_WAIT = "dma_wait"
    DATA_CACHE = "data_cache"
    PAD_PORT = "pad_port"
    BANK_CONFLICT = "bank_conflict"
    DRAIN = "drain"


@dataclass
class Counters:
    """What was executed since the last reset. A packet that traps is not counted.

    `instructions` leaves out `nop.s` and empty slots; `slot_histogram[n]` counts packets with n filled slots;
    `units` counts instructions by unit; `gemm_rows` counts `gemm.vv`; the byte counts are what SDMA and scalar
    memory instructions moved. `cycles` and `stalls` (cause name -> cycles, summing to `cycles`) need timing.
    """

    packets: int = 0
    instructions: int = 0
    slot_histogram: list[int] = field(default_factory=lambda: [0] * (SLOTS + 1))
    units: dict[Unit, int] = field(default_factory=dict[Unit, int])
    gemm_rows: int = 0
    dram_bytes_loaded: int = 0
    dram_bytes_stored: int = 0
    cycles: int = 0
    stalls: dict[str, int] = field(default_factory=dict[str, int])


class Engine(ABC):
    """One simulated core with its memories. Registers and pads start at zero, the PC at 0."""

    name: str
    machine: Machine

    @abstractmethod
    def load_code(self, pc_base: int, code: bytes) -> None:
        """Put packets into instruction space from `pc_base` on; both sizes are multiples of 20 bytes."""

    @abstractmethod
    def write_dram(self, address: int, data: bytes | memoryview | npt.NDArray[np.generic]) -> None: ...

    @abstractmethod
    def read_dram(self, address: int, size: int) -> bytes: ...

    @abstractmethod
    def reset(self) -> None:
        """Clear registers, pads, counters and timing and set the PC to 0; DRAM and code stay."""

    @abstractmethod
    def set_pc(self, pc: int) -> None:
        """Start a launch at `pc`: as on a core start, caches and branch prediction begin cold."""

    @abstractmethod
    def run(
        self, *, max_packets: int | None = None, breakpoints: frozenset[int] = frozenset(), timing: bool = False
    ) -> RunResult:
        """Continue from the current state until halt, breakpoint, trap or after `max_packets` packets.

        A breakpoint stops before its packet executes; the next `run` steps over it. Pausing changes neither
        values nor cycles.
        """

    @abstractmethod
    def read_register(self, file: RegisterFile, index: int) -> int | Rows: ...

    @abstractmethod
    def write_register(self, file: RegisterFile, index: int, value: int | Rows) -> None: ...

    def read_scalar(self, index: int) -> int:
        """`read_register` of a scalar register."""
        return int(self.read_register(RegisterFile.SCALAR, index))

    def read_vector(self, index: int) -> Rows:
        """`read_register` of a vector register."""
        return np.asarray(self.read_register(RegisterFile.VECTOR, index), dtype=np.uint16)

    @abstractmethod
    def read_pad(self, pad: int, row: int, rows: int) -> Rows: ...

    @abstractmethod
    def write_pad(self, pad: int, row: int, data: Rows) -> None: ...

    @property
    @abstractmethod
    def pc(self) -> int: ...

    @property
    @abstractmethod
    def counters(self) -> Counters: ...

    @abstractmethod
    def snapshot(self) -> object:
        """Everything that `restore` needs to continue from here with the same values and cycles."""

    @abstractmethod
    def restore(self, snapshot: object) -> None: ...

    @abstractmethod
    def set_source_map(self, source_map: Mapping[int, str]) -> None:
        """Source positions ("model.py:12") by PC, for traps."""

    def observe(self, observer: Observer | None) -> None:
        """Tell `observer` about the cycles of runs with timing from the next reset on; None for nobody."""
        raise ConfigurationError(f"engine '{self.name}' cannot be observed; the engines reference and native can")

    @property
    def lints(self) -> tuple[Lint, ...]:
        """What the program relies on without a promise of the hardware (1.4, 5.4), in order of occurrence."""
        return ()
