"""The engine interface over the emulator's semantics. It has no cycle model and takes no parameter set but `ax01`."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from atalla_mlir.errors import BadInputError, UnsupportedError
from atalla_mlir.mc.instruction import MachineInstruction
from atalla_mlir.mc.print import print_instruction
from atalla_mlir.sim.engine import Counters, Engine, Rows, RunResult, Trap, TrapKind
from atalla_mlir.sim.legacy_fs.semantics import SEMANTICS
from atalla_mlir.sim.legacy_fs.state import LegacyState, truncated
from atalla_mlir.sim.traps import TrapError
from atalla_mlir.target import isa
from atalla_mlir.target.encoding import IMM8, OPCODE, PACKET_BYTES, unpack_packets
from atalla_mlir.target.machine import AX01, Machine
from atalla_mlir.target.registers import RegisterFile


@dataclass(frozen=True)
class LegacySnapshot:
    """All of the engine but its code."""

    state: LegacyState
    pc: int
    paused_at: int | None
    counters: Counters


class LegacyEngine(Engine):
    """Runs slots in order; a control instruction does not stop the slots after it, and the last one decides the PC."""

    name = "legacy-fs"

    def __init__(self, machine: Machine = AX01) -> None:
        self.machine = machine
        self.state = LegacyState()
        self._code: dict[int, tuple[int, ...]] = {}
        self._source_map: Mapping[int, str] = {}
        self._pc = 0
        self._paused_at: int | None = None
        self._counters = Counters()

    def load_code(self, pc_base: int, code: bytes) -> None:
        if pc_base % PACKET_BYTES or len(code) % PACKET_BYTES:
            raise BadInputError(f"code at pc 0x{pc_base:X}: base and size must be multiples of {PACKET_BYTES} bytes")
        for index, words in enumerate(unpack_packets(code)):
            self._code[pc_base + index * PACKET_BYTES] = words

    def load_words(self, words: Mapping[int, int]) -> None:
        """Memory entries as an `.in` file gives them: one 32-bit word per address, overlapping ones as they are."""
        self.state.memory.update(words)

    def write_dram(self, address: int, data: bytes | memoryview | npt.NDArray[np.generic]) -> None:
        """As the emulator's image writer does: overlapping words at every even address, zero words left out."""
        raw = data.tobytes() if isinstance(data, np.ndarray | memoryview) else bytes(data)
        first, last = address & ~3, (address + len(raw) + 3) & ~3
        merged = bytearray(self.read_dram(first, last - first))
        merged[address - first : address - first + len(raw)] = raw
        merged += self.read_dram(last, 4)
        for key in range(first, last, 2):
            word = int.from_bytes(merged[key - first : key - first + 4], "little")
            if word:
                self.state.memory[key] = word
            else:
                self.state.memory.pop(key, None)

    def read_dram(self, address: int, size: int) -> bytes:
        """Through the aligned words, as DMA sees memory."""
        keys = range(address & ~3, address + size, 4)
        raw = b"".join(self.state.memory.get(key, 0).to_bytes(4, "little") for key in keys)
        return raw[address & 3 : (address & 3) + size]

    def set_source_map(self, source_map: Mapping[int, str]) -> None:
        self._source_map = source_map

    def reset(self) -> None:
        self.state.reset()
        self._counters = Counters()
        self._pc, self._paused_at = 0, None

    def set_pc(self, pc: int) -> None:
        self._pc, self._paused_at = pc, None

    @property
    def pc(self) -> int:
        return self._pc

    def run(
        self, *, max_packets: int | None = None, breakpoints: frozenset[int] = frozenset(), timing: bool = False
    ) -> RunResult:
        if timing:
            raise UnsupportedError("the legacy-fs engine has no cycle model; run the reference or native engine")
        stepping_over, self._paused_at = self._paused_at, None
        remaining = -1 if max_packets is None else max_packets
        while True:
            pc = self._pc
            if pc in breakpoints and pc != stepping_over:
                self._paused_at = pc
                return RunResult("breakpoint", pc)
            stepping_over = None
            if remaining == 0:
                message = f"stopped after the limit of {max_packets} packets"
                return RunResult("limit", pc, self._trap(TrapKind.STEP_LIMIT, None, "", message))
            remaining -= 1
            trap, halts = self._step(pc)
            if trap is not None:
                return RunResult("trap", pc, trap)
            if halts:
                return RunResult("halt", pc)
            self._pc = self.state.next_pc

    def _step(self, pc: int) -> tuple[Trap | None, bool]:
        """Run one packet: the trap that stopped it, and whether it halts."""
        words = self._code.get(pc)
        if words is None:
            return self._trap(TrapKind.PC_RANGE, None, "", "there is no code at this pc"), False
        self.state.next_pc = pc + PACKET_BYTES
        executed: list[isa.Instruction] = []
        for slot, word in enumerate(words):
            op = isa.BY_OPCODE.get(OPCODE.extract(word))
            if op is None or op.mnemonic not in SEMANTICS:
                message = f"undefined opcode {OPCODE.extract(word)}"
                return self._trap(TrapKind.UNDEFINED_OPCODE, slot, f"0x{word:010X}", message), False
            operands = tuple(operand.field.extract(word) for operand in op.operands)
            text = print_instruction(MachineInstruction(op, operands))
            if op.mnemonic == "vmov.vts" and IMM8.extract(word) != operands[-1]:
                message = f"the emulator raises an exception: lane {IMM8.extract(word)}"
                return self._trap(TrapKind.EMULATOR_ERROR, slot, text, message), False
            try:
                with np.errstate(all="ignore"):
                    SEMANTICS[op.mnemonic](self.state, pc, *operands)
            except TrapError as error:
                return self._trap(error.kind, slot, text, error.message), False
            executed.append(op)
        self._count([op for op in executed if op is not isa.NOP])
        return None, isa.HALT in executed

    def _count(self, executed: list[isa.Instruction]) -> None:
        counters = self._counters
        counters.packets += 1
        counters.instructions += len(executed)
        counters.slot_histogram[len(executed)] += 1
        for op in executed:
            counters.units[op.unit] = counters.units.get(op.unit, 0) + 1
            counters.gemm_rows += op.mnemonic == "gemm.vv"

    def _trap(self, kind: TrapKind, slot: int | None, text: str, message: str) -> Trap:
        return Trap(kind, self._pc, slot, text, message, self._source_map.get(self._pc))

    def read_register(self, file: RegisterFile, index: int) -> int | Rows:
        """Vector registers are float32 here; this is their upper halves, `state.v` has all of it."""
        if file is RegisterFile.VECTOR:
            return truncated(self.state.v[index])
        return self.state.x[index] if file is RegisterFile.SCALAR else self.state.m[index]

    def write_register(self, file: RegisterFile, index: int, value: int | Rows) -> None:
        if file is RegisterFile.SCALAR:
            self.state.write_scalar(index, int(value))
        elif file is RegisterFile.MASK:
            self.state.m[index] = int(value) & 0xFFFFFFFF
        else:
            self.state.write_vector(index, _widen(np.asarray(value, np.uint16)))

    def read_pad(self, pad: int, row: int, rows: int) -> Rows:
        return truncated(self.state.pads[pad, row : row + rows])

    def write_pad(self, pad: int, row: int, data: Rows) -> None:
        self.state.pads[pad, row : row + len(data)] = _widen(np.asarray(data, np.uint16))

    @property
    def counters(self) -> Counters:
        """DRAM bytes are not counted in this mode."""
        return copy.deepcopy(self._counters)

    def snapshot(self) -> object:
        return copy.deepcopy(LegacySnapshot(self.state, self._pc, self._paused_at, self._counters))

    def restore(self, snapshot: object) -> None:
        if not isinstance(snapshot, LegacySnapshot):
            raise BadInputError(f"expected a snapshot of the legacy-fs engine, got {type(snapshot).__name__}")
        saved = copy.deepcopy(snapshot)
        self.state, self._pc, self._paused_at = saved.state, saved.pc, saved.paused_at
        self._counters = saved.counters


def _widen(halves: Rows) -> npt.NDArray[np.float32]:
    return (halves.astype(np.uint32) << np.uint32(16)).view(np.float32)
