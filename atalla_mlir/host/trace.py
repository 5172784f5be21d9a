"""Running an entry point with stops at its kernels: what each found in memory, what it left there, what it cost."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from atalla_mlir.errors import InternalError
from atalla_mlir.host.error_bound import Array
from atalla_mlir.loadable.format import TensorSpec
from atalla_mlir.runtime.buffers import read_image, read_stored
from atalla_mlir.runtime.launches import counters_between
from atalla_mlir.runtime.program import Program
from atalla_mlir.sim.engine import Counters, Engine


@dataclass(frozen=True)
class Execution:
    """One launch of a kernel as it happened."""

    kernel: Mapping[str, Any]
    """Its row of `meta.kernels`."""
    inputs: Mapping[str, Array]
    """Value name -> what was in memory when the kernel was called."""
    outputs: Mapping[str, Array]
    """Value name -> what was in memory when it had returned."""
    counters: Counters
    """What was counted between the two."""


Wanted = Callable[[str, Mapping[str, Any]], bool]
"""Whether to read an input of a kernel, by value name and row."""


def traced(
    program: Program, entry: str, arrays: Sequence[object], wanted: Wanted
) -> tuple[Sequence[np.ndarray], list[Execution]]:
    """Run `entry`; its results, and its kernel launches in order."""
    recorder = _Recorder([row for row in program.loadable.meta["kernels"] if row["entry"] == entry], wanted)
    results = program.run_entry(entry, arrays, stops=recorder.stops, on_stop=recorder.stop)
    if recorder.pending:
        names = ", ".join(row["name"] for row in recorder.pending)
        raise InternalError(f"entry '{entry}' came back without having run {names}")
    return results, recorder.executions


class _Recorder:
    """Reads the tensors of kernels when they are called and when they have returned; each runs once, in order."""

    def __init__(self, kernels: Sequence[Mapping[str, Any]], wanted: Wanted) -> None:
        self.stops = frozenset(pc for row in kernels for pc in (row["launch_pc"], row["return_pc"]))
        self.pending = list(kernels)
        self.executions: list[Execution] = []
        self._wanted = wanted
        self._running: tuple[Mapping[str, Any], dict[str, Array], Counters] | None = None

    def stop(self, engine: Engine) -> None:
        """The engine is about to execute the packet at a launch or return PC; one packet may be both."""
        if self._running is not None and engine.pc == self._running[0]["return_pc"]:
            self._finish(engine)
        if self._running is None and self.pending and engine.pc == self.pending[0]["launch_pc"]:
            self._start(engine, self.pending.pop(0))

    def _start(self, engine: Engine, kernel: Mapping[str, Any]) -> None:
        rows = [row for row in kernel["inputs"] if self._wanted(row["value"], row)]
        inputs = {row["value"]: _read(engine, row) for row in rows}
        self._running = (kernel, inputs, copy.deepcopy(engine.counters))

    def _finish(self, engine: Engine) -> None:
        assert self._running is not None
        kernel, inputs, before = self._running
        outputs = {row["value"]: _read(engine, row) for row in kernel["outputs"]}
        self.executions.append(Execution(kernel, inputs, outputs, counters_between(before, engine.counters)))
        self._running = None


def _read(engine: Engine, row: Mapping[str, Any]) -> Array:
    """The tensor that a row of `meta.kernels` describes."""
    shape, strides = tuple(row["shape"]), tuple(row["strides"])
    spec = TensorSpec(row["value"], row["dtype"], shape, strides, row["address"], row["dtype"])
    if "image" in row:
        return read_image(engine, spec, row["image"]).astype(np.float64)
    return read_stored(engine, spec).astype(np.float64)
