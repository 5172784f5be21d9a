"""The runtime of the native library (`atalla_runtime.h`): its structures and functions for ctypes."""

from __future__ import annotations

import ctypes
from functools import cache

from atalla_mlir.errors import ConfigurationError
from atalla_mlir.runtime.faults import DeviceError
from atalla_mlir.sim import native_library
from atalla_mlir.sim.engine import StopReason

VERSION = 1 << 16
"""Major and minor version of the interface that this file is written for."""
OK = 0
DEVICE_FAILED = -4
NOT_OFFERED = -18
NO_LIMIT = 2**64 - 1
REASONS: tuple[StopReason, ...] = ("halt", "breakpoint", "trap", "limit")


class CoreOptions(ctypes.Structure):
    _fields_ = (
        ("size", ctypes.c_size_t),
        ("argument", ctypes.c_char_p),
        ("machine", ctypes.c_char_p),
        ("parameters", ctypes.POINTER(native_library.Parameter)),
        ("parameter_count", ctypes.c_size_t),
        ("dram_bytes", ctypes.c_uint64),
    )


POINTER = ctypes.c_void_p
OPEN = (POINTER, ctypes.POINTER(CoreOptions), ctypes.POINTER(POINTER))
LOAD = (POINTER, ctypes.c_uint32, POINTER, ctypes.c_size_t)
DRAM = (POINTER, ctypes.c_uint64, POINTER, ctypes.c_size_t)
START = (POINTER, ctypes.c_uint32)
RUN = (POINTER, ctypes.POINTER(native_library.RunOptions), ctypes.POINTER(native_library.RunResult))
COUNT = (POINTER, ctypes.POINTER(native_library.Counters))

OpenFunction = ctypes.CFUNCTYPE(ctypes.c_int, *OPEN)
CloseFunction = ctypes.CFUNCTYPE(None, POINTER)
LoadFunction = ctypes.CFUNCTYPE(ctypes.c_int, *LOAD)
DramFunction = ctypes.CFUNCTYPE(ctypes.c_int, *DRAM)
StartFunction = ctypes.CFUNCTYPE(ctypes.c_int, *START)
RunFunction = ctypes.CFUNCTYPE(ctypes.c_int, *RUN)
CountFunction = ctypes.CFUNCTYPE(ctypes.c_int, *COUNT)


class DeviceFunctions(ctypes.Structure):
    _fields_ = (
        ("size", ctypes.c_size_t),
        ("description", ctypes.c_char_p),
        ("open", OpenFunction),
        ("close", CloseFunction),
        ("load_code", LoadFunction),
        ("write_dram", DramFunction),
        ("read_dram", DramFunction),
        ("start", StartFunction),
        ("run", RunFunction),
        ("counters", CountFunction),
    )


_SIGNATURES: dict[str, tuple[object, tuple[object, ...]]] = {
    "atalla_runtime_version": (ctypes.c_uint32, ()),
    "atalla_error_name": (ctypes.c_char_p, (ctypes.c_int,)),
    "atalla_error_text": (ctypes.c_char_p, ()),
    "atalla_report": (None, (ctypes.c_char_p,)),
    "atalla_device_list": (ctypes.c_size_t, (ctypes.c_char_p, ctypes.c_size_t)),
    "atalla_device_open": (ctypes.c_int, (ctypes.c_char_p, ctypes.POINTER(POINTER))),
    "atalla_device_close": (None, (POINTER,)),
    "atalla_device_register": (ctypes.c_int, (ctypes.c_char_p, ctypes.POINTER(DeviceFunctions), POINTER)),
    "atalla_device_unregister": (ctypes.c_int, (ctypes.c_char_p,)),
    "atalla_core_open": (ctypes.c_int, OPEN),
    "atalla_core_close": (None, (POINTER,)),
    "atalla_core_load_code": (ctypes.c_int, LOAD),
    "atalla_core_write_dram": (ctypes.c_int, DRAM),
    "atalla_core_read_dram": (ctypes.c_int, DRAM),
    "atalla_core_start": (ctypes.c_int, START),
    "atalla_core_run": (ctypes.c_int, RUN),
    "atalla_core_counters": (ctypes.c_int, COUNT),
}


@cache
def runtime() -> ctypes.CDLL:
    """The native library with the signatures of the runtime."""
    loaded = native_library.library()
    try:
        for name, (result, arguments) in _SIGNATURES.items():
            function = getattr(loaded, name)
            function.restype, function.argtypes = result, arguments
    except AttributeError as error:
        raise ConfigurationError(f"the native library has no runtime: {error}; install the package again") from error
    found = loaded.atalla_runtime_version()
    if found >> 16 != VERSION >> 16:
        raise ConfigurationError(f"the native runtime has version {found >> 16}, expected {VERSION >> 16}")
    return loaded


def checked(code: int) -> None:
    """DeviceError with the runtime's own words when a call failed."""
    if code != OK:
        library = runtime()
        name = (library.atalla_error_name(code) or b"?").decode()
        raise DeviceError(f"{library.atalla_error_text().decode()} ({name})")
