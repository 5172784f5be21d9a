"""Running an entry point with stops at its kernels: what each found in memory, what it left there, what it cost."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple, dataclass
from typing import Any

import ml_dtypes
import numpy as np

from atalla_mlir.errors import InternalError
from atalla_mlir.host.error_bound import Array
from atalla_mlir.runtime.program import Program
from atalla_mlir.sim.engine import Counters, Engine

_DTYPES = {
    "bf16": np.dtype(ml_dtypes.bfloat16),
    "f32": np.dtype(np.float32),
    "i1": np.dtype(np.uint8),
    "i32": np.dtype("<i4"),
    "i64": np.dtype("<i8"),
}


@dataclass(frozen=True)
class Cost:
    """What a part of a run executed and moved."""

    packets: int = 0
    instructions: int = 0
    dram_bytes_loaded: int = 0
    dram_bytes_stored: int = 0

    @classmethod
    def of(cls, counters: Counters) -> Cost:
        return cls(counters.packets, counters.instructions, counters.dram_bytes_loaded, counters.dram_bytes_stored)

    def __add__(self, other: Cost) -> Cost:
        return Cost(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))

    def __sub__(self, other: Cost) -> Cost:
        return Cost(*(a - b for a, b in zip(astuple(self), astuple(other), strict=True)))


@dataclass(frozen=True)
class Launch:
    """One launch of a kernel as it happened."""

    kernel: Mapping[str, Any]
    """Its row of `meta.kernels`."""
    inputs: Mapping[str, Array]
    """Value name -> what was in memory when the kernel started."""
    outputs: Mapping[str, Array]
    """Value name -> what was in memory when it came back."""
    cost: Cost


Wanted = Callable[[str, Mapping[str, Any]], bool]
"""Whether to read an input row of a kernel, by value name and row."""


def traced(
    program: Program, entry: str, arrays: Sequence[np.ndarray], wanted: Wanted
) -> tuple[Sequence[np.ndarray], list[Launch]]:
    """Run `entry` and record its kernel launches in order."""
    recorder = _Recorder([k for k in program.loadable.meta["kernels"] if k["entry"] == entry], wanted)
    results = program.run_entry(entry, arrays, stops=recorder.stops, on_stop=recorder.stop)
    if recorder.pending:
        names = ", ".join(kernel["name"] for kernel in recorder.pending)
        raise InternalError(f"entry '{entry}' came back without having run {names}")
    return results, recorder.launches


class _Recorder:
    """Reads memory at the launch and return PCs of kernels that run once each, in the order of `kernels`."""

    def __init__(self, kernels: Sequence[Mapping[str, Any]], wanted: Wanted) -> None:
        self.stops = frozenset(pc for kernel in kernels for pc in (kernel["launch_pc"], kernel["return_pc"]))
        self.pending = list(kernels)
        self.launches: list[Launch] = []
        self._wanted = wanted
        self._running: tuple[Mapping[str, Any], dict[str, Array], Cost] | None = None

    def stop(self, engine: Engine) -> None:
        """The engine is about to execute the packet at a launch or return PC, which may be both."""
        if self._running is not None and engine.pc == self._running[0]["return_pc"]:
            self._finish(engine)
        if self._running is None and self.pending and engine.pc == self.pending[0]["launch_pc"]:
            self._start(engine, self.pending.pop(0))

    def _start(self, engine: Engine, kernel: Mapping[str, Any]) -> None:
        rows = [row for row in kernel["inputs"] if self._wanted(row["value"], row)]
        inputs = {row["value"]: read_tensor(engine, row) for row in rows}
        self._running = (kernel, inputs, Cost.of(engine.counters))

    def _finish(self, engine: Engine) -> None:
        assert self._running is not None
        kernel, inputs, before = self._running
        outputs = {row["value"]: read_tensor(engine, row) for row in kernel["outputs"]}
        self.launches.append(Launch(kernel, inputs, outputs, Cost.of(engine.counters) - before))
        self._running = None


def read_tensor(engine: Engine, row: Mapping[str, Any]) -> Array:
    """The tensor that a row of `meta.kernels` describes: dtype, address in bytes, strides in elements."""
    if row["dtype"] not in _DTYPES:
        raise InternalError(f"'{row['value']}' has the element type '{row['dtype']}', which a kernel cannot have")
    dtype, shape, strides = _DTYPES[row["dtype"]], tuple(row["shape"]), tuple(row["strides"])
    if 0 in shape:
        return np.zeros(shape)
    last = sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
    data = np.frombuffer(engine.read_dram(row["address"], (last + 1) * dtype.itemsize), dtype)
    steps = tuple(stride * dtype.itemsize for stride in strides)
    return np.lib.stride_tricks.as_strided(data, shape, steps).astype(np.float64)
