"""Running an entry point with stops at its kernels: what each found in memory, what it left there, what it cost."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from atalla_mlir.errors import InternalError
from atalla_mlir.host.error_bound import Array
from atalla_mlir.loadable.format import TensorSpec
from atalla_mlir.runtime.buffers import read_stored
from atalla_mlir.runtime.devices import Launch, LaunchObserver
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
    """What was executed and moved between the two."""


Wanted = Callable[[str, Mapping[str, Any]], bool]
"""Whether to read an input of a kernel, by value name and row."""


def traced(
    program: Program, entry: str, arrays: Sequence[object], wanted: Wanted
) -> tuple[Sequence[np.ndarray], list[Execution]]:
    """Run `entry`; its results, and its kernel launches in order."""
    recorder = _Recorder(wanted)
    results = program.run_entry(entry, arrays, observer=recorder)
    expected = [launch.name for launch in program.launches(entry)]
    executed = [execution.kernel["name"] for execution in recorder.executions]
    if executed != expected:
        raise InternalError(f"entry '{entry}' ran the kernels {executed}, its description says {expected}")
    return results, recorder.executions


class _Recorder(LaunchObserver):
    """Reads the tensors of every kernel before and after it runs."""

    def __init__(self, wanted: Wanted) -> None:
        self.executions: list[Execution] = []
        self._wanted = wanted
        self._inputs: dict[str, Array] = {}

    def before(self, launch: Launch, engine: Engine) -> None:
        rows = [row for row in launch.row["inputs"] if self._wanted(row["value"], row)]
        self._inputs = {row["value"]: _read(engine, row) for row in rows}

    def after(self, launch: Launch, engine: Engine, counters: Counters) -> None:
        outputs = {row["value"]: _read(engine, row) for row in launch.row["outputs"]}
        self.executions.append(Execution(launch.row, self._inputs, outputs, counters))


def _read(engine: Engine, row: Mapping[str, Any]) -> Array:
    """The tensor that a row of `meta.kernels` describes."""
    shape, strides = tuple(row["shape"]), tuple(row["strides"])
    spec = TensorSpec(row["value"], row["dtype"], shape, strides, row["address"], row["dtype"])
    return read_stored(engine, spec).astype(np.float64)
