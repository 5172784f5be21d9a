"""Devices that C knows, for Python."""

from __future__ import annotations

import ctypes
import weakref
from typing import Any

from atalla_mlir.runtime.device_core import DeviceCore, DeviceRequest
from atalla_mlir.runtime.faults import DeviceError
from atalla_mlir.runtime.native_runtime import NO_LIMIT, NOT_OFFERED, POINTER, REASONS, CoreOptions, checked, runtime
from atalla_mlir.sim import native_library
from atalla_mlir.sim.engine import Counters, RunResult, StopReason, Trap, TrapKind
from atalla_mlir.sim.native_header import parameters


def native_names() -> tuple[str, ...]:
    """The devices that C knows."""
    library = runtime()
    size, names = 1, ctypes.create_string_buffer(1)
    # another thread may register a device between two calls
    while (needed := library.atalla_device_list(names, size)) > size:
        size, names = needed, ctypes.create_string_buffer(needed)
    return tuple(names.value.decode().split())


class NativeCore(DeviceCore):
    """A core of a device that C knows."""

    def __init__(self, name: str, request: DeviceRequest) -> None:
        self._library = runtime()
        device, core = POINTER(), POINTER()
        full_name = f"{name}:{request.argument}" if request.argument else name
        checked(self._library.atalla_device_open(full_name.encode(), ctypes.byref(device)))
        values = parameters(request.machine)
        table = (native_library.Parameter * len(values))(*((key.encode(), value) for key, value in values.items()))
        options = CoreOptions(
            ctypes.sizeof(CoreOptions), b"", request.machine.name.encode(), table, len(values), request.dram_bytes
        )
        try:
            checked(self._library.atalla_core_open(device, ctypes.byref(options), ctypes.byref(core)))
        finally:
            self._library.atalla_device_close(device)
        self._core = core
        self._closer = weakref.finalize(self, self._library.atalla_core_close, core)

    def load_code(self, pc: int, code: bytes) -> None:
        checked(self._library.atalla_core_load_code(self._core, pc, code, len(code)))

    def write_dram(self, address: int, data: bytes) -> None:
        checked(self._library.atalla_core_write_dram(self._core, address, data, len(data)))

    def read_dram(self, address: int, size: int) -> bytes:
        data = ctypes.create_string_buffer(size)
        checked(self._library.atalla_core_read_dram(self._core, address, data, size))
        return data.raw

    def start(self, pc: int) -> None:
        checked(self._library.atalla_core_start(self._core, pc))

    def run(self, *, max_packets: int | None, timing: bool) -> RunResult:
        options = native_library.RunOptions(
            size=ctypes.sizeof(native_library.RunOptions),
            flags=native_library.RUN_TIMING if timing else 0,
            max_packets=NO_LIMIT if max_packets is None else max_packets,
        )
        result = native_library.RunResult(size=ctypes.sizeof(native_library.RunResult))
        checked(self._library.atalla_core_run(self._core, ctypes.byref(options), ctypes.byref(result)))
        return run_result(result)

    @property
    def counters(self) -> Counters | None:
        raw = native_library.Counters(size=ctypes.sizeof(native_library.Counters))
        code = self._library.atalla_core_counters(self._core, ctypes.byref(raw))
        if code == NOT_OFFERED:
            return None
        checked(code)
        return native_library.counters_of(raw)

    def close(self) -> None:
        self._closer()


def run_result(raw: Any) -> RunResult:
    """A result of C as one of Python."""
    reason: StopReason = REASONS[int(raw.reason)]
    message = raw.message.decode(errors="replace")
    if reason in ("halt", "breakpoint"):
        return RunResult(reason, raw.pc)
    if raw.trap_kind not in {kind.value for kind in TrapKind}:
        raise DeviceError(f"the device stopped at pc {raw.pc:#x}: {message or 'no reason given'}")
    slot = None if raw.trap_slot == native_library.NO_SLOT else raw.trap_slot
    return RunResult(reason, raw.pc, Trap(TrapKind(raw.trap_kind), raw.pc, slot, "", message))
