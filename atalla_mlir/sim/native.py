"""The native engine: the same machine as the reference engine, in C++ behind `native_library`."""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from atalla_mlir.errors import BadInputError, ConfigurationError
from atalla_mlir.mc.decode import UndefinedOpcode, decode
from atalla_mlir.mc.print import print_instruction
from atalla_mlir.sim import native_library as abi
from atalla_mlir.sim.engine import Counters, Engine, Lint, Rows, RunResult, StopReason, Trap, TrapKind
from atalla_mlir.sim.native_header import parameters
from atalla_mlir.sim.native_spans import SpanReceiver
from atalla_mlir.sim.observer import Observer
from atalla_mlir.target import isa
from atalla_mlir.target.encoding import PACKET_BYTES, unpack_packets
from atalla_mlir.target.machine import AX01, Machine
from atalla_mlir.target.packets import packet_violations
from atalla_mlir.target.registers import FILES, RegisterFile

__all__ = ["NativeEngine", "NativeSnapshot"]

_REASONS: tuple[StopReason, ...] = ("halt", "breakpoint", "trap", "limit")
_FILES = {file: index for index, file in enumerate(RegisterFile)}
_PC_MASK = 0xFFFFFFFF
_SLICE = 1 << 23
"""Packets between two looks at signals, so that Ctrl-C stops a program that does not end; less than a second."""


class NativeSnapshot:
    """Everything but code, held by the library until this object goes."""

    def __init__(self, handle: int) -> None:
        self.handle = handle
        weakref.finalize(self, abi.library().atalla_snapshot_destroy, handle)


class NativeEngine(Engine):
    """One simulated core in the native library. An engine belongs to one thread at a time; `run` releases the GIL."""

    name = "native"

    def __init__(self, machine: Machine = AX01) -> None:
        self.machine = machine
        self._library = abi.library()
        self._handle = self._create(machine)
        weakref.finalize(self, self._library.atalla_engine_destroy, self._handle)
        self._source_map: Mapping[int, str] = {}
        self._trace_capacity = 0
        self._spans: SpanReceiver | None = None

    def _create(self, machine: Machine) -> int:
        values = parameters(machine)
        array = (abi.Parameter * len(values))(*((name.encode(), value) for name, value in values.items()))
        error = ctypes.create_string_buffer(abi.ERROR_BYTES)
        handle = self._library.atalla_engine_create(array, len(values), error, len(error))
        if not handle:
            raise ConfigurationError(f"the native engine cannot run {machine.name}: {error.value.decode()}")
        return handle

    @property
    def variant(self) -> str:
        """Which vector code runs, for example "avx2"."""
        return self._library.atalla_engine_variant(self._handle).decode()

    # Loading

    def load_code(self, pc_base: int, code: bytes) -> None:
        if pc_base % PACKET_BYTES or pc_base < 0 or pc_base + len(code) > 1 << 32:
            raise BadInputError(f"code at pc 0x{pc_base:X}: the base must be a multiple of {PACKET_BYTES} below 2^32")
        if len(code) % PACKET_BYTES:
            raise BadInputError(f"code of {len(code)} bytes: the size must be a multiple of {PACKET_BYTES}")
        self._checked(self._library.atalla_engine_load_code(self._handle, pc_base, bytes(code), len(code)))
        if self._spans is not None:
            self._spans.forget_code()

    def write_dram(self, address: int, data: bytes | memoryview | npt.NDArray[np.generic]) -> None:
        raw = np.ascontiguousarray(data).view(np.uint8).ravel() if isinstance(data, np.ndarray) else _bytes_of(data)
        self._check_dram(address, raw.size)
        self._checked(self._library.atalla_engine_write_dram(self._handle, address, raw.ctypes.data, raw.size))

    def read_dram(self, address: int, size: int) -> bytes:
        self._check_dram(address, size)
        data = np.empty(size, np.uint8)
        self._checked(self._library.atalla_engine_read_dram(self._handle, address, data.ctypes.data, size))
        return data.tobytes()

    def _check_dram(self, address: int, size: int) -> None:
        if address < 0 or size < 0 or address + size > self.machine.dram_bytes:
            raise BadInputError(
                f"dram bytes 0x{address:X}..0x{address + size:X} are outside the {self.machine.dram_bytes} bytes "
                "of dram"
            )

    def set_source_map(self, source_map: Mapping[int, str]) -> None:
        self._source_map = source_map

    @staticmethod
    def _checked(status: int) -> None:
        if status:
            raise MemoryError("the native engine is out of memory")

    # Control

    def reset(self) -> None:
        self._library.atalla_engine_reset(self._handle)
        if self._spans is not None:
            self._spans.start()

    def set_pc(self, pc: int) -> None:
        self._library.atalla_engine_set_pc(self._handle, pc & _PC_MASK)
        self._check_observer()

    @property
    def pc(self) -> int:
        return self._library.atalla_engine_pc(self._handle)

    def run(
        self, *, max_packets: int | None = None, breakpoints: frozenset[int] = frozenset(), timing: bool = False
    ) -> RunResult:
        left = max_packets
        while True:
            step = _SLICE if left is None else min(left, _SLICE)
            result = self._run_slice(step, breakpoints, timing)
            left = None if left is None else left - step
            if _REASONS[result.reason] != "limit" or left == 0:
                break
        trap = self._trap(result, max_packets) if result.trap_kind else None
        return RunResult(_REASONS[result.reason], result.pc, trap)

    def _run_slice(self, packets: int, breakpoints: frozenset[int], timing: bool) -> abi.RunResult:
        places = [pc for pc in breakpoints if 0 <= pc <= _PC_MASK]
        options = abi.RunOptions(
            size=ctypes.sizeof(abi.RunOptions),
            flags=abi.RUN_TIMING if timing else 0,
            max_packets=packets,
            breakpoints=(ctypes.c_uint32 * len(places))(*places),
            breakpoint_count=len(places),
        )
        result = abi.RunResult(size=ctypes.sizeof(abi.RunResult))
        self._checked(self._library.atalla_engine_run(self._handle, ctypes.byref(options), ctypes.byref(result)))
        self._check_observer()
        return result

    # Traps

    def _trap(self, result: Any, max_packets: int | None) -> Trap:
        """The trap of a result of `run`; the instruction's text and the reasons of illegal packets are made here."""
        kind, pc = TrapKind(result.trap_kind), int(result.pc)
        slot = None if result.trap_slot == abi.NO_SLOT else int(result.trap_slot)
        text, message = "", result.message.decode()
        if kind is TrapKind.STEP_LIMIT:
            message = f"stopped after the limit of {max_packets} packets"
        elif kind is TrapKind.ILLEGAL_PACKET:
            decoded = [decode(word) for word in self._words(pc)]
            message = "; ".join(
                packet_violations([(isa.NOP, ()) if inst is None else (inst.op, inst.operands) for inst in decoded])
            )
        elif slot is not None:
            word = self._words(pc)[slot]
            try:
                instruction = decode(word)
                text = "" if instruction is None else print_instruction(instruction)
            except UndefinedOpcode as error:
                text, message = f"0x{word:010X}", str(error)
        return Trap(kind, pc, slot, text, message, self._source_map.get(pc))

    def _words(self, pc: int) -> tuple[int, ...]:
        return next(iter(unpack_packets(self._read_code(pc))))

    def _read_code(self, pc: int) -> bytes:
        packet = ctypes.create_string_buffer(PACKET_BYTES)
        self._checked(self._library.atalla_engine_read_code(self._handle, pc, packet))
        return packet.raw

    # Inspection

    def read_register(self, file: RegisterFile, index: int) -> int | Rows:
        _check_register(file, index)
        if file is RegisterFile.VECTOR:
            row = np.empty(self.machine.vector_lanes, np.uint16)
            self._library.atalla_engine_read_register(self._handle, _FILES[file], index, row.ctypes.data)
            return row
        value = ctypes.c_uint32()
        self._library.atalla_engine_read_register(self._handle, _FILES[file], index, ctypes.byref(value))
        return value.value

    def write_register(self, file: RegisterFile, index: int, value: int | Rows) -> None:
        _check_register(file, index)
        if file is RegisterFile.VECTOR:
            row = np.empty(self.machine.vector_lanes, np.uint16)
            row[:] = np.asarray(value, dtype=np.uint16)
            self._library.atalla_engine_write_register(self._handle, _FILES[file], index, row.ctypes.data)
        else:
            number = ctypes.c_uint32(int(value) & 0xFFFFFFFF)
            self._library.atalla_engine_write_register(self._handle, _FILES[file], index, ctypes.byref(number))

    def read_pad(self, pad: int, row: int, rows: int) -> Rows:
        self._check_pad(pad, row, rows)
        data = np.empty((rows, self.machine.vector_lanes), np.uint16)
        self._checked(self._library.atalla_engine_read_pad(self._handle, pad, row, rows, data.ctypes.data))
        return data

    def write_pad(self, pad: int, row: int, data: Rows) -> None:
        values = np.asarray(data, dtype=np.uint16)
        self._check_pad(pad, row, len(values))
        rows = np.empty((len(values), self.machine.vector_lanes), np.uint16)
        rows[:] = values
        self._checked(self._library.atalla_engine_write_pad(self._handle, pad, row, len(rows), rows.ctypes.data))

    def _check_pad(self, pad: int, row: int, rows: int) -> None:
        machine = self.machine
        if not 0 <= pad < machine.pads or row < 0 or rows < 0 or row + rows > machine.pad_rows:
            raise BadInputError(
                f"rows {row}..{row + rows} of pad {pad}: the machine has {machine.pads} pads of {machine.pad_rows} rows"
            )

    @property
    def counters(self) -> Counters:
        raw = abi.Counters(size=ctypes.sizeof(abi.Counters))
        self._checked(self._library.atalla_engine_counters(self._handle, ctypes.byref(raw)))
        return abi.counters_of(raw)

    @property
    def lints(self) -> tuple[Lint, ...]:
        count = self._library.atalla_engine_lints(self._handle, None, 0)
        found = (abi.Lint * count)()
        self._library.atalla_engine_lints(self._handle, found, count)
        name = self._library.atalla_lint_name
        return tuple(Lint(name(lint.kind).decode(), lint.pc, lint.message.decode()) for lint in found)

    # Observers, trace and snapshots

    def observe(self, observer: Observer | None) -> None:
        if self._spans is not None:
            self._spans.stop()
            self._spans = None
        if observer is not None:
            self._spans = SpanReceiver(self._handle, self._read_code, observer)
            self._spans.start()

    def _check_observer(self) -> None:
        if self._spans is not None:
            self._spans.check()

    def set_trace(self, capacity: int) -> None:
        """Keep the last `capacity` executed packets; 0 turns the trace off."""
        self._checked(self._library.atalla_engine_set_trace(self._handle, capacity))
        self._trace_capacity = capacity

    def take_trace(self) -> npt.NDArray[np.void]:
        """The traced packets since the last call, oldest first: records of `cycle`, `waited` and `pc`."""
        records = (abi.TraceRecord * self._trace_capacity)()
        count = self._library.atalla_engine_take_trace(self._handle, records, len(records))
        return np.ctypeslib.as_array(records)[:count].copy()

    def snapshot(self) -> NativeSnapshot:
        handle = self._library.atalla_engine_snapshot(self._handle)
        if not handle:
            raise MemoryError("no memory for a snapshot of the native engine")
        return NativeSnapshot(handle)

    def restore(self, snapshot: object) -> None:
        if not isinstance(snapshot, NativeSnapshot):
            raise BadInputError(f"expected a snapshot of the native engine, got {type(snapshot).__name__}")
        if self._library.atalla_engine_restore(self._handle, snapshot.handle):
            raise BadInputError("the snapshot is of a machine with other parameters")


def _bytes_of(data: bytes | memoryview) -> npt.NDArray[np.uint8]:
    return np.frombuffer(data, dtype=np.uint8)


def _check_register(file: RegisterFile, index: int) -> None:
    count = FILES[file].count
    if not 0 <= index < count:
        raise BadInputError(
            f"register {file.value}{index} does not exist; there are {file.value}0..{file.value}{count - 1}"
        )
