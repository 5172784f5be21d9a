"""The shared library of the native engine: finding it, and its C interface (`native/include/atalla_engine.h`).

This is the only place that knows ctypes. The environment variable ATALLA_ENGINE_LIBRARY names a library to use instead
of the installed one.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from atalla_mlir.errors import ConfigurationError
from atalla_mlir.sim import engine
from atalla_mlir.sim.engine import StallCause
from atalla_mlir.target.encoding import SLOTS
from atalla_mlir.target.isa import Unit

__all__ = ["ABI", "Counters", "Lint", "Parameter", "RunOptions", "RunResult", "TraceRecord", "library", "library_path"]

ABI = 1
RUN_TIMING = 1
NO_SLOT = -1
MESSAGE_BYTES = 256
ERROR_BYTES = 256

_VARIABLE = "ATALLA_ENGINE_LIBRARY"
_NAMES = {"darwin": "libatalla_engine.dylib", "win32": "atalla_engine.dll"}


class Parameter(ctypes.Structure):
    _fields_ = (("name", ctypes.c_char_p), ("value", ctypes.c_int64))


class RunOptions(ctypes.Structure):
    _fields_ = (
        ("size", ctypes.c_size_t),
        ("flags", ctypes.c_uint32),
        ("max_packets", ctypes.c_uint64),
        ("breakpoints", ctypes.POINTER(ctypes.c_uint32)),
        ("breakpoint_count", ctypes.c_size_t),
    )


class RunResult(ctypes.Structure):
    _fields_ = (
        ("size", ctypes.c_size_t),
        ("reason", ctypes.c_int32),
        ("pc", ctypes.c_uint32),
        ("trap_kind", ctypes.c_int32),
        ("trap_slot", ctypes.c_int32),
        ("has_previous", ctypes.c_int32),
        ("previous_pc", ctypes.c_uint32),
        ("message", ctypes.c_char * MESSAGE_BYTES),
    )


class Counters(ctypes.Structure):
    _fields_ = (
        ("size", ctypes.c_size_t),
        ("packets", ctypes.c_uint64),
        ("instructions", ctypes.c_uint64),
        ("slot_histogram", ctypes.c_uint64 * (SLOTS + 1)),
        ("units", ctypes.c_uint64 * len(Unit)),
        ("gemm_rows", ctypes.c_uint64),
        ("dram_bytes_loaded", ctypes.c_uint64),
        ("dram_bytes_stored", ctypes.c_uint64),
        ("has_timing", ctypes.c_int32),
        ("cycles", ctypes.c_uint64),
        ("stalls", ctypes.c_uint64 * len(StallCause)),
    )


def counters_of(raw: Any) -> engine.Counters:
    """The counters that the library filled in."""
    return engine.Counters(
        packets=raw.packets,
        instructions=raw.instructions,
        slot_histogram=list(raw.slot_histogram),
        units={unit: count for unit, count in zip(Unit, raw.units, strict=True) if count},
        gemm_rows=raw.gemm_rows,
        dram_bytes_loaded=raw.dram_bytes_loaded,
        dram_bytes_stored=raw.dram_bytes_stored,
        cycles=raw.cycles,
        stalls={c.value: n for c, n in zip(StallCause, raw.stalls, strict=True)} if raw.has_timing else {},
    )


def put_counters(counters: engine.Counters, raw: Any) -> None:
    """The inverse of `counters_of`."""
    raw.packets, raw.instructions = counters.packets, counters.instructions
    raw.slot_histogram[:] = counters.slot_histogram
    raw.units[:] = [counters.units.get(unit, 0) for unit in Unit]
    raw.gemm_rows = counters.gemm_rows
    raw.dram_bytes_loaded, raw.dram_bytes_stored = counters.dram_bytes_loaded, counters.dram_bytes_stored
    raw.has_timing, raw.cycles = int(bool(counters.stalls)), counters.cycles
    raw.stalls[:] = [counters.stalls.get(cause.value, 0) for cause in StallCause]


class Lint(ctypes.Structure):
    _fields_ = (("kind", ctypes.c_int32), ("pc", ctypes.c_uint32), ("message", ctypes.c_char * MESSAGE_BYTES))


class TraceRecord(ctypes.Structure):
    _fields_ = (("cycle", ctypes.c_uint64), ("waited", ctypes.c_uint32), ("pc", ctypes.c_uint32))


_HANDLE = ctypes.c_void_p
_SIGNATURES: dict[str, tuple[object, tuple[object, ...]]] = {
    "atalla_engine_abi": (ctypes.c_uint32, ()),
    "atalla_lint_name": (ctypes.c_char_p, (ctypes.c_uint32,)),
    "atalla_engine_create": (
        _HANDLE,
        (ctypes.POINTER(Parameter), ctypes.c_size_t, ctypes.c_char_p, ctypes.c_size_t),
    ),
    "atalla_engine_destroy": (None, (_HANDLE,)),
    "atalla_engine_variant": (ctypes.c_char_p, (_HANDLE,)),
    "atalla_engine_load_code": (ctypes.c_int, (_HANDLE, ctypes.c_uint32, ctypes.c_char_p, ctypes.c_size_t)),
    "atalla_engine_read_code": (ctypes.c_int, (_HANDLE, ctypes.c_uint32, ctypes.c_void_p)),
    "atalla_engine_write_dram": (ctypes.c_int, (_HANDLE, ctypes.c_uint64, ctypes.c_void_p, ctypes.c_size_t)),
    "atalla_engine_read_dram": (ctypes.c_int, (_HANDLE, ctypes.c_uint64, ctypes.c_void_p, ctypes.c_size_t)),
    "atalla_engine_reset": (None, (_HANDLE,)),
    "atalla_engine_set_pc": (None, (_HANDLE, ctypes.c_uint32)),
    "atalla_engine_pc": (ctypes.c_uint32, (_HANDLE,)),
    "atalla_engine_run": (ctypes.c_int, (_HANDLE, ctypes.POINTER(RunOptions), ctypes.POINTER(RunResult))),
    "atalla_engine_read_register": (ctypes.c_int, (_HANDLE, ctypes.c_int32, ctypes.c_uint32, ctypes.c_void_p)),
    "atalla_engine_write_register": (ctypes.c_int, (_HANDLE, ctypes.c_int32, ctypes.c_uint32, ctypes.c_void_p)),
    "atalla_engine_read_pad": (
        ctypes.c_int,
        (_HANDLE, ctypes.c_uint32, ctypes.c_uint64, ctypes.c_uint64, ctypes.c_void_p),
    ),
    "atalla_engine_write_pad": (
        ctypes.c_int,
        (_HANDLE, ctypes.c_uint32, ctypes.c_uint64, ctypes.c_uint64, ctypes.c_void_p),
    ),
    "atalla_engine_counters": (ctypes.c_int, (_HANDLE, ctypes.POINTER(Counters))),
    "atalla_engine_lints": (ctypes.c_size_t, (_HANDLE, ctypes.POINTER(Lint), ctypes.c_size_t)),
    "atalla_engine_set_trace": (ctypes.c_int, (_HANDLE, ctypes.c_size_t)),
    "atalla_engine_take_trace": (ctypes.c_size_t, (_HANDLE, ctypes.POINTER(TraceRecord), ctypes.c_size_t)),
    "atalla_engine_snapshot": (_HANDLE, (_HANDLE,)),
    "atalla_engine_restore": (ctypes.c_int, (_HANDLE, _HANDLE)),
    "atalla_snapshot_destroy": (None, (_HANDLE,)),
}


def _candidates() -> Iterator[Path]:
    """Where an install may have put the library; an editable install keeps it beside the package's other half."""
    name = _NAMES.get(sys.platform, "libatalla_engine.so")
    yield Path(str(files("atalla_mlir") / "_lib" / name))
    yield from (Path(place) / "_lib" / name for place in sys.modules["atalla_mlir"].__path__)


def library_path() -> Path | None:
    """The library that would be loaded; None when there is none."""
    chosen = os.environ.get(_VARIABLE)
    if chosen:
        return Path(chosen)
    return next((path for path in _candidates() if path.is_file()), None)


@cache
def library() -> ctypes.CDLL:
    """The loaded library; ConfigurationError when there is none or it is not ours."""
    path = library_path()
    if path is None:
        raise ConfigurationError("the native engine is not installed; the reference engine gives the same results")
    try:
        loaded = ctypes.CDLL(str(path))
        for name, (result, arguments) in _SIGNATURES.items():
            function = getattr(loaded, name)
            function.restype, function.argtypes = result, arguments
    except (OSError, AttributeError) as error:
        raise ConfigurationError(f"the native engine {path} does not load: {error}") from error
    found = loaded.atalla_engine_abi()
    if found != ABI:
        raise ConfigurationError(
            f"the native engine {path} has interface version {found}, expected {ABI}; install the package again"
        )
    return loaded
