"""Devices of Python for C: their functions as a table of callbacks."""

from __future__ import annotations

import ctypes
import dataclasses
from collections.abc import Callable
from enum import Enum
from typing import Any, get_type_hints

from atalla_mlir.runtime import native_runtime as abi
from atalla_mlir.runtime.device_core import DeviceCore, DeviceRequest, EngineCore, OpenDevice
from atalla_mlir.runtime.faults import DeviceError
from atalla_mlir.sim import create_engine, native_library
from atalla_mlir.sim.native_header import parameters
from atalla_mlir.target.machine import AX01, MACHINES, Machine

_TABLES: dict[str, ExportedDevice] = {}
"""What C has pointers to and must not be collected."""


def export_device(name: str, open_device: OpenDevice) -> None:
    """Register a device of Python with C."""
    exported = ExportedDevice(name, open_device)
    abi.checked(abi.runtime().atalla_device_register(name.encode(), ctypes.byref(exported.table), None))
    _TABLES[name] = exported


def withdraw_device(name: str) -> None:
    """Take an exported device away from C; DeviceError while a program of C uses it."""
    abi.checked(abi.runtime().atalla_device_unregister(name.encode()))
    del _TABLES[name]


def export_reference() -> None:
    """Make the reference engine a device of C code in this process."""
    if "reference" not in _TABLES:
        export_device("reference", lambda request: EngineCore(create_engine("reference", request.machine)))


class _NotOfferedError(DeviceError):
    """The device lacks an optional function."""


class ExportedDevice:
    """The table of functions of one device; C calls them from any thread."""

    def __init__(self, name: str, open_device: OpenDevice) -> None:
        self._open_device = open_device
        self._cores: dict[int, DeviceCore] = {}
        self.table = abi.DeviceFunctions(
            size=ctypes.sizeof(abi.DeviceFunctions),
            description=f"device '{name}' of Python".encode(),
            open=abi.OpenFunction(_reporting(self._open)),
            close=abi.CloseFunction(self._close),
            load_code=abi.LoadFunction(_reporting(self._load_code)),
            write_dram=abi.DramFunction(_reporting(self._write_dram)),
            read_dram=abi.DramFunction(_reporting(self._read_dram)),
            start=abi.StartFunction(_reporting(self._start)),
            run=abi.RunFunction(_reporting(self._run)),
            counters=abi.CountFunction(_reporting(self._count)),
        )

    def _open(self, _context: int, options: Any, core: Any) -> None:
        asked = options.contents
        values = {row.name.decode(): row.value for row in asked.parameters[: asked.parameter_count]}
        machine = machine_of(asked.machine.decode(), values)
        made = self._open_device(DeviceRequest(machine, asked.argument.decode(), asked.dram_bytes))
        self._cores[id(made)] = made
        core[0] = id(made)

    def _close(self, core: int) -> None:
        self._cores.pop(core).close()

    def _load_code(self, core: int, pc: int, code: int, size: int) -> None:
        self._cores[core].load_code(pc, ctypes.string_at(code, size))

    def _write_dram(self, core: int, address: int, data: int, size: int) -> None:
        self._cores[core].write_dram(address, ctypes.string_at(data, size))

    def _read_dram(self, core: int, address: int, data: int, size: int) -> None:
        found = self._cores[core].read_dram(address, size)
        if len(found) != size:
            raise DeviceError(f"the device gave {len(found)} bytes of DRAM, expected {size}")
        ctypes.memmove(data, found, size)

    def _start(self, core: int, pc: int) -> None:
        self._cores[core].start(pc)

    def _run(self, core: int, options: Any, result: Any) -> None:
        asked, raw = options.contents, result.contents
        if asked.breakpoint_count:
            raise _NotOfferedError("a device of Python has no breakpoints")
        limit = None if asked.max_packets == abi.NO_LIMIT else asked.max_packets
        done = self._cores[core].run(max_packets=limit, timing=bool(asked.flags & native_library.RUN_TIMING))
        raw.reason, raw.pc = abi.REASONS.index(done.reason), done.pc
        if done.trap is not None:
            raw.trap_kind = done.trap.kind.value
            raw.trap_slot = native_library.NO_SLOT if done.trap.slot is None else done.trap.slot
            raw.message = done.trap.message.encode()[: native_library.MESSAGE_BYTES - 1]

    def _count(self, core: int, counters: Any) -> None:
        counted = self._cores[core].counters
        if counted is None:
            raise _NotOfferedError("the device does not count")
        native_library.put_counters(counted, counters.contents)


def _reporting(function: Callable[..., None]) -> Callable[..., int]:
    """`function` with its exceptions as codes and texts of C."""

    def call(*arguments: Any) -> int:
        try:
            function(*arguments)
        except Exception as error:
            abi.runtime().atalla_report((str(error) or type(error).__name__).encode())
            return abi.NOT_OFFERED if isinstance(error, _NotOfferedError) else abi.DEVICE_FAILED
        return abi.OK

    return call


def machine_of(name: str, values: dict[str, int]) -> Machine:
    """The parameter set that C describes with integers: the inverse of `parameters`."""
    known = MACHINES.get(name)
    if known is not None and parameters(known) == values:
        return known
    types = get_type_hints(Machine)
    changes: dict[str, Any] = {}
    for field in dataclasses.fields(Machine):
        if field.name == "dram_bursts_per_cycle":
            changes[field.name] = values["dram_bursts_numerator"] / values["dram_bursts_denominator"]
        elif field.name in values:
            kind, number = types[field.name], values[field.name]
            changes[field.name] = list(kind)[number] if issubclass(kind, Enum) else kind(number)
    return AX01.with_options(name=name, **changes)
