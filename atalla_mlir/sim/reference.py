"""The reference engine: the executable specification of the Ax01, short and checked rather than fast."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from atalla_mlir.errors import BadInputError
from atalla_mlir.mc.decode import UndefinedOpcode, decode
from atalla_mlir.mc.instruction import MachineInstruction
from atalla_mlir.mc.print import print_instruction
from atalla_mlir.sim.coherence import DRAM_LOADS, DRAM_STORES, CoherenceLint
from atalla_mlir.sim.engine import Counters, Engine, Lint, Rows, RunResult, Trap, TrapKind
from atalla_mlir.sim.observer import Observer
from atalla_mlir.sim.packet import ConflictError, PreparedPacket
from atalla_mlir.sim.state import State, StateSnapshot
from atalla_mlir.sim.timing import TimingModel
from atalla_mlir.sim.timing.observed import ObservedTiming
from atalla_mlir.sim.traps import TrapError
from atalla_mlir.target import isa
from atalla_mlir.target.encoding import PACKET_BYTES, unpack_packets
from atalla_mlir.target.machine import AX01, Machine
from atalla_mlir.target.packets import packet_violations
from atalla_mlir.target.registers import FILES, HARD_WIRED, RegisterFile


@dataclass(frozen=True)
class EngineSnapshot:
    """State, counters and timing; code is not part of it."""

    state: StateSnapshot
    pc: int
    previous_pc: int | None
    paused_at: int | None
    counts: dict[int, int]
    retired: Counters
    timing: TimingModel | None
    lint: CoherenceLint


class _FetchError(Exception):
    """A packet that cannot be prepared."""

    def __init__(self, trap: Trap) -> None:
        super().__init__(str(trap))
        self.trap = trap


class ReferenceEngine(Engine):
    """Runs packets as Python closures over NumPy rows, prepared when they are first reached."""

    name = "reference"

    def __init__(self, machine: Machine = AX01) -> None:
        self.machine = machine
        self._state = State(machine)
        self._code: dict[int, tuple[int, ...]] = {}
        self._packets: dict[int, PreparedPacket] = {}
        self._retired = Counters()
        self._timing: TimingModel | None = None
        self._observer: Observer | None = None
        self._lint = CoherenceLint(machine.dram_bytes)
        self._source_map: Mapping[int, str] = {}
        self._pc = 0
        self._previous_pc: int | None = None
        self._paused_at: int | None = None

    # Loading

    def load_code(self, pc_base: int, code: bytes) -> None:
        if pc_base % PACKET_BYTES or pc_base < 0 or pc_base + len(code) > 1 << 32:
            raise BadInputError(f"code at pc 0x{pc_base:X}: the base must be a multiple of {PACKET_BYTES} below 2^32")
        if len(code) % PACKET_BYTES:
            raise BadInputError(f"code of {len(code)} bytes: the size must be a multiple of {PACKET_BYTES}")
        for index, words in enumerate(unpack_packets(code)):
            pc = pc_base + index * PACKET_BYTES
            self._code[pc] = words
            self._retire(self._packets.pop(pc, None))

    def write_dram(self, address: int, data: bytes | memoryview | npt.NDArray[np.generic]) -> None:
        raw = np.ascontiguousarray(data).view(np.uint8).ravel() if isinstance(data, np.ndarray) else _bytes_of(data)
        self._check_dram(address, raw.size)
        self._state.dram.write(address, raw)

    def read_dram(self, address: int, size: int) -> bytes:
        self._check_dram(address, size)
        return self._state.dram.read(address, size)

    def _check_dram(self, address: int, size: int) -> None:
        if address < 0 or size < 0 or address + size > self.machine.dram_bytes:
            raise BadInputError(
                f"dram bytes 0x{address:X}..0x{address + size:X} are outside the {self.machine.dram_bytes} bytes "
                "of dram"
            )

    def set_source_map(self, source_map: Mapping[int, str]) -> None:
        self._source_map = source_map

    # Control

    def reset(self) -> None:
        self._state.reset()
        self._retired = Counters()
        for packet in self._packets.values():
            packet.count = 0
        self._timing = None
        self._lint.clear()
        self._pc, self._previous_pc, self._paused_at = 0, None, None

    def set_pc(self, pc: int) -> None:
        self._pc, self._previous_pc, self._paused_at = pc & 0xFFFFFFFF, None, None
        self._lint.start_launch()
        if self._timing is not None:
            self._timing.start_launch()

    def observe(self, observer: Observer | None) -> None:
        self._observer = observer

    def _new_timing(self) -> TimingModel:
        return TimingModel(self.machine) if self._observer is None else ObservedTiming(self.machine, self._observer)

    @property
    def pc(self) -> int:
        return self._pc

    def run(
        self, *, max_packets: int | None = None, breakpoints: frozenset[int] = frozenset(), timing: bool = False
    ) -> RunResult:
        if timing and self._timing is None:
            self._timing = self._new_timing()
        with np.errstate(all="ignore"):
            try:
                return self._run(max_packets, breakpoints, self._timing if timing else None)
            except _FetchError as stop:
                return RunResult("trap", stop.trap.pc, stop.trap)

    def _run(self, max_packets: int | None, breakpoints: frozenset[int], timing: TimingModel | None) -> RunResult:
        state, packets = self._state, self._packets
        stepping_over, self._paused_at = self._paused_at, None
        remaining = -1 if max_packets is None else max_packets
        while True:
            pc = self._pc
            if pc in breakpoints and pc != stepping_over:
                self._paused_at = pc
                return RunResult("breakpoint", pc)
            stepping_over = None
            if remaining == 0:
                return RunResult("limit", pc, self._limit_trap(pc, max_packets))
            remaining -= 1
            packet = packets.get(pc) or self._prepare(pc)
            trap = self._execute(packet)
            if trap is not None:
                return RunResult("trap", pc, trap)
            if timing is not None:
                problem = timing.issue(packet, state)
                if problem is not None:
                    return RunResult("trap", pc, self._instruction_trap(packet, *problem))
            packet.count += 1
            if packet.halts:
                return RunResult("halt", pc)
            self._previous_pc, self._pc = pc, state.next_pc

    def _execute(self, packet: PreparedPacket) -> Trap | None:
        """Run the actions of a packet and the coherence lint; the trap when one stops."""
        state, index = self._state, 0
        state.next_pc = (packet.pc + PACKET_BYTES) & 0xFFFFFFFF
        try:
            if packet.guard is not None:
                packet.guard()
            for index, action in enumerate(packet.actions):  # noqa: B007 (read after the loop when an action raises)
                action()
        except ConflictError as error:
            return self._instruction_trap(packet, error.index, error.kind, error.message)
        except TrapError as error:
            return self._instruction_trap(packet, index, error.kind, error.message)
        for instruction in packet.dram_instructions:
            self._observe(packet.pc, instruction)
        return None

    def _observe(self, pc: int, instruction: MachineInstruction) -> None:
        mnemonic, state = instruction.op.mnemonic, self._state
        if mnemonic in DRAM_STORES:
            self._lint.scalar_store(state.scalar_address)
        elif mnemonic in DRAM_LOADS:
            self._lint.scalar_load(pc, state.scalar_address)
        elif mnemonic == "scpad.st":
            self._lint.dma_store(state.dma)
        else:
            self._lint.dma_load(pc, state.dma)

    # Fetching

    def _prepare(self, pc: int) -> PreparedPacket:
        words = self._code.get(pc)
        if words is None:
            raise _FetchError(self._missing_code_trap(pc))
        slots = tuple(self._decode(pc, slot, word) for slot, word in enumerate(words))
        violations = packet_violations([(isa.NOP, ()) if inst is None else (inst.op, inst.operands) for inst in slots])
        if violations:
            raise _FetchError(self._trap(TrapKind.ILLEGAL_PACKET, pc, None, "", "; ".join(violations)))
        packet = PreparedPacket(self._state, pc, slots)
        self._packets[pc] = packet
        return packet

    def _decode(self, pc: int, slot: int, word: int) -> MachineInstruction | None:
        try:
            return decode(word)
        except UndefinedOpcode as error:
            raise _FetchError(self._trap(TrapKind.UNDEFINED_OPCODE, pc, slot, f"0x{word:010X}", str(error))) from None

    def _missing_code_trap(self, pc: int) -> Trap:
        previous = self._previous_pc
        origin = "" if previous is None else f"; came from pc 0x{previous:X}"
        if pc % PACKET_BYTES:
            message = f"the pc is not a multiple of {PACKET_BYTES}{origin}"
            return self._trap(TrapKind.PC_MISALIGNED, pc, None, "", message)
        if previous is not None and pc == previous + PACKET_BYTES:
            message = f"execution ran past the end of the code{origin}; end the program with halt.s"
            return self._trap(TrapKind.END_OF_CODE, pc, None, "", message)
        return self._trap(TrapKind.PC_RANGE, pc, None, "", f"there is no code at this pc{origin}")

    # Traps

    def _trap(self, kind: TrapKind, pc: int, slot: int | None, text: str, message: str) -> Trap:
        return Trap(kind, pc, slot, text, message, self._source_map.get(pc))

    def _instruction_trap(self, packet: PreparedPacket, index: int, kind: TrapKind, message: str) -> Trap:
        text = print_instruction(packet.instructions[index])
        return self._trap(kind, packet.pc, packet.slots[index], text, message)

    def _limit_trap(self, pc: int, max_packets: int | None) -> Trap:
        return self._trap(TrapKind.STEP_LIMIT, pc, None, "", f"stopped after the limit of {max_packets} packets")

    # Inspection

    def read_register(self, file: RegisterFile, index: int) -> int | Rows:
        _check_register(file, index)
        if file is RegisterFile.VECTOR:
            return (self._state.vectors[index] >> np.uint32(16)).astype(np.uint16)
        return self._state.x[index] if file is RegisterFile.SCALAR else self._state.m[index]

    def write_register(self, file: RegisterFile, index: int, value: int | Rows) -> None:
        _check_register(file, index)
        if index == HARD_WIRED:
            return
        if file is RegisterFile.VECTOR:
            self._state.vectors[index][:] = np.asarray(value, dtype=np.uint16).astype(np.uint32) << np.uint32(16)
        else:
            bank = self._state.x if file is RegisterFile.SCALAR else self._state.m
            bank[index] = int(value) & 0xFFFFFFFF

    def read_pad(self, pad: int, row: int, rows: int) -> Rows:
        self._check_pad(pad, row, rows)
        return (self._state.pads[pad, row : row + rows] >> np.uint32(16)).astype(np.uint16)

    def write_pad(self, pad: int, row: int, data: Rows) -> None:
        values = np.asarray(data, dtype=np.uint16)
        self._check_pad(pad, row, len(values))
        self._state.pads[pad, row : row + len(values)] = values.astype(np.uint32) << np.uint32(16)

    def _check_pad(self, pad: int, row: int, rows: int) -> None:
        machine = self.machine
        if not 0 <= pad < machine.pads or row < 0 or rows < 0 or row + rows > machine.pad_rows:
            raise BadInputError(
                f"rows {row}..{row + rows} of pad {pad}: the machine has {machine.pads} pads of {machine.pad_rows} rows"
            )

    @property
    def counters(self) -> Counters:
        total = copy.deepcopy(self._retired)
        for packet in self._packets.values():
            _add_counts(total, packet)
        total.dram_bytes_loaded = self._state.bytes_loaded
        total.dram_bytes_stored = self._state.bytes_stored
        if self._timing is not None:
            total.cycles = self._timing.cycles
            total.stalls = self._timing.stalls
        return total

    def _retire(self, packet: PreparedPacket | None) -> None:
        """Keep the counts of a packet whose code is replaced."""
        if packet is not None:
            _add_counts(self._retired, packet)

    @property
    def lints(self) -> tuple[Lint, ...]:
        return self._lint.found + (self._timing.lints if self._timing is not None else ())

    def snapshot(self) -> EngineSnapshot:
        return EngineSnapshot(
            self._state.snapshot(),
            self._pc,
            self._previous_pc,
            self._paused_at,
            {pc: packet.count for pc, packet in self._packets.items()},
            copy.deepcopy(self._retired),
            copy.deepcopy(self._timing),
            self._lint.copy(),
        )

    def restore(self, snapshot: object) -> None:
        if not isinstance(snapshot, EngineSnapshot):
            raise BadInputError(f"expected a snapshot of the reference engine, got {type(snapshot).__name__}")
        self._state.restore(snapshot.state)
        self._pc, self._previous_pc, self._paused_at = snapshot.pc, snapshot.previous_pc, snapshot.paused_at
        for pc, packet in self._packets.items():
            packet.count = snapshot.counts.get(pc, 0)
        self._retired = copy.deepcopy(snapshot.retired)
        self._timing = copy.deepcopy(snapshot.timing)
        self._lint = snapshot.lint.copy()


def _bytes_of(data: bytes | memoryview) -> npt.NDArray[np.uint8]:
    return np.frombuffer(data, dtype=np.uint8)


def _check_register(file: RegisterFile, index: int) -> None:
    count = FILES[file].count
    if not 0 <= index < count:
        raise BadInputError(
            f"register {file.value}{index} does not exist; there are {file.value}0..{file.value}{count - 1}"
        )


def _add_counts(total: Counters, packet: PreparedPacket) -> None:
    count = packet.count
    if not count:
        return
    total.packets += count
    total.instructions += count * len(packet.instructions)
    total.slot_histogram[len(packet.instructions)] += count
    for instruction in packet.instructions:
        total.units[instruction.op.unit] = total.units.get(instruction.op.unit, 0) + count
        total.gemm_rows += count * (instruction.op.mnemonic == "gemm.vv")
