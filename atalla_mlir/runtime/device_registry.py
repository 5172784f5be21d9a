"""Devices by name: the simulators, those registered here, and those that C knows (docs/devices.md)."""

from __future__ import annotations

import os
import threading

from atalla_mlir.errors import BadInputError, ConfigurationError
from atalla_mlir.runtime.device_core import DeviceCore, DeviceEngine, DeviceRequest, EngineCore, OpenDevice
from atalla_mlir.sim import ENGINES, create_engine
from atalla_mlir.sim.engine import Engine
from atalla_mlir.target.machine import AX01, Machine

__all__ = ["DeviceRequest", "OpenDevice", "device_names", "open_engine", "register_device", "unregister_device"]

DEVICE_VARIABLE = "ATALLA_DEVICE"
SIMULATOR_VARIABLE = "ATALLA_SIM"


_LOCK = threading.Lock()
_DEVICES: dict[str, OpenDevice] = {}


def register_device(name: str, open_device: OpenDevice) -> None:
    """Make `name` a device for `ATALLA_DEVICE`, for `engine=` everywhere, and for C code in this process."""
    if not name or name == "auto" or any(letter in name for letter in ": \n"):
        raise BadInputError(f"a device's name has no colon and no blank and is not 'auto', got {name!r}")
    with _LOCK:
        if name in ENGINES or name in _DEVICES or name in _native_names():
            raise BadInputError(f"there is a device '{name}' already")
        if _has_native_runtime():
            from atalla_mlir.runtime.exported_devices import export_device

            export_device(name, open_device)
        _DEVICES[name] = open_device


def unregister_device(name: str) -> None:
    """Forget a device that `register_device` made; no program may be open on it in C."""
    with _LOCK:
        if name not in _DEVICES:
            raise BadInputError(f"no device '{name}' was registered here; there are {', '.join(_DEVICES) or 'none'}")
        if _has_native_runtime():
            from atalla_mlir.runtime.exported_devices import withdraw_device

            withdraw_device(name)
        del _DEVICES[name]


def device_names() -> tuple[str, ...]:
    """All names that can be opened, "auto" left out."""
    return tuple(sorted({*ENGINES, *_DEVICES, *_native_names()} - {"auto"}))


def chosen_name(name: str) -> str:
    """`name`, or for "auto" the device that the environment names; "auto" stays for the best simulator."""
    if name != "auto":
        return name
    chosen = os.environ.get(DEVICE_VARIABLE, "")
    wants_simulator = os.environ.get(SIMULATOR_VARIABLE, "") not in ("", "0")
    return "auto" if wants_simulator or not chosen else chosen


def open_engine(name: str = "auto", machine: Machine = AX01, *, dram_bytes: int = 0) -> Engine:
    """A core of a device, `NAME` or `NAME:ARGUMENT`, as an engine for one program."""
    chosen = chosen_name(name)
    device, _, argument = chosen.partition(":")
    if device in ENGINES:
        if argument:
            raise BadInputError(f"simulator '{device}' takes no argument, got '{argument}'")
        return create_engine(device, machine)
    request = DeviceRequest(machine, argument, dram_bytes)
    open_device = _DEVICES.get(device)
    if open_device is not None:
        return _as_engine(device, open_device(request), machine)
    if device in _native_names():
        from atalla_mlir.runtime.native_devices import NativeCore

        return DeviceEngine(device, NativeCore(device, request), machine)
    asked = "" if chosen == name else f", which {DEVICE_VARIABLE} names"
    raise BadInputError(f"no device '{device}'{asked}; there are auto, {', '.join(device_names())}")


def _as_engine(name: str, core: DeviceCore, machine: Machine) -> Engine:
    return core.engine if isinstance(core, EngineCore) else DeviceEngine(name, core, machine)


def _has_native_runtime() -> bool:
    from atalla_mlir.runtime.native_runtime import runtime

    try:
        runtime()
    except ConfigurationError:
        return False
    return True


def _native_names() -> tuple[str, ...]:
    """Devices that the native library knows, those of plug-ins included."""
    if not _has_native_runtime():
        return ()
    from atalla_mlir.runtime.native_devices import native_names

    return native_names()
