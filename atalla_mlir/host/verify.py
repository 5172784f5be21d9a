"""Verification: each kernel of the shipped program against the float64 composition of its ATen operations."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.export import ExportedProgram
from torch.utils import _pytree as pytree

from atalla_mlir.compiler import Decisions, ImageChoice, Timing, compile_plan
from atalla_mlir.errors import BadInputError
from atalla_mlir.frontend.arrays import to_numpy, to_torch
from atalla_mlir.frontend.capture import Model
from atalla_mlir.frontend.exported import ModelSource, for_inputs, open_model
from atalla_mlir.frontend.partition import Plan, plan_model
from atalla_mlir.host.fallback import run_operation
from atalla_mlir.host.kernel_check import Comparison, Judge, compare
from atalla_mlir.host.op_rows import RowMaker
from atalla_mlir.host.oracle import Plans
from atalla_mlir.host.program import TorchProgram
from atalla_mlir.host.report import OpReport, Report
from atalla_mlir.host.trace import Execution, traced
from atalla_mlir.runtime.memory_map import memory_map
from atalla_mlir.sim.engine import Counters
from atalla_mlir.target.machine import Machine


def verify(
    model: ModelSource,
    args: tuple[Any, ...] = (),
    kwargs: Mapping[str, Any] | None = None,
    *,
    machine: str | Machine = "ax01",
    strict: bool = False,
    fuse: bool = True,
    chains: bool = True,
    ahead: bool = True,
    images: ImageChoice = "worth",
    engine: str = "auto",
    cache: bool = True,
    decisions: Decisions = (),
) -> Report:
    """Compile `model`, run it on `args` and `kwargs`, and judge every kernel; the first wrong one is named.

    Takes the same options as `compile`; without `fuse` every operation is judged on its own, without `chains`
    every product; `images="always"` keeps in the pads whatever fits.
    """
    opened = for_inputs(open_model(model), args)
    plan = plan_model(opened, args, kwargs, strict=strict)
    timing = Timing()
    loadable = compile_plan(
        plan,
        machine=machine,
        fuse=fuse,
        chains=chains,
        ahead=ahead,
        images=images,
        cache=cache,
        decisions=decisions,
        timing=timing,
    )
    program = TorchProgram(loadable, engine=engine, machine=machine if isinstance(machine, Machine) else None)
    return replace(verify_program(program, plan, opened, args, kwargs), compile_seconds=timing.seconds())


def verify_program(
    program: TorchProgram,
    plan: Plan,
    model: Model,
    args: tuple[Any, ...] = (),
    kwargs: Mapping[str, Any] | None = None,
    *,
    name: str | None = None,
) -> Report:
    """Run `program`, which was compiled from `plan` of `model`, and judge every kernel of it.

    `name` is what the report calls the model. With `program.device.timing` on, rows and totals have cycles.
    """
    run = _Run(program, plan, args, kwargs or {})
    run.steps()
    cosine = cosine_f32(run.results(), model, args, kwargs or {})
    ok = all(row.ok for row in run.rows) and all(check.ok for check in run.checks)
    totals = run.make.totals(run.rows, run.counters, cosine=cosine, ok=ok)
    memory = memory_map(program.loadable, rows_per_pad=program.device.machine.pad_rows)
    return Report(name or type(model).__name__, tuple(run.rows), totals, memory=memory)


class _Run:
    """One run of a program in which every step is judged."""

    def __init__(self, program: TorchProgram, plan: Plan, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        self.program = program
        self.make = RowMaker(program)
        self.plan = plan
        self.judge = Judge(plan.captured)
        self.values: dict[str, Tensor] = program.initial_values(args, kwargs)
        self.rows: list[OpReport] = []
        self.checks: list[Comparison] = []
        """Results of entry points beside what their kernels stored."""
        self.counters: list[Counters] = []
        """What each device step executed."""
        for value in plan.captured.inputs:
            self.judge.supply(value, self.values[value])
        for name, value in program.device.state.items():
            self.judge.supply(name, to_torch(value))

    def steps(self) -> None:
        for step in self.program.steps:
            if step["kind"] == "host":
                self._host(step)
            else:
                self._device(step)

    def results(self) -> Any:
        return self.program.nested_results(self.values)

    def _host(self, step: Mapping[str, Any]) -> None:
        results = run_operation(step, self.values)
        self.values.update(results)
        for value, tensor in results.items():
            self.judge.supply(value, tensor)
        self.rows.append(self.make.host(step, results))

    def _device(self, step: Mapping[str, Any]) -> None:
        arrays = [to_numpy(self.values[value]) for value in step["inputs"]]
        results, executions = traced(self.program.device, step["entry"], arrays, self._is_comparable)
        for execution in executions:
            self.rows.append(self._judged(execution, step["inputs"]))
        self.counters.append(self.program.device.counters)
        for value, array in zip(step["outputs"], results, strict=True):
            self.values[value] = to_torch(array)
            self.checks.append(self._checked_result(value, np.asarray(array)))

    def _checked_result(self, value: str, result: np.ndarray) -> Comparison:
        """A result of an entry point beside what its kernels stored, in the model's type."""
        stored = self.judge.expected(value).moved(lambda a: a.astype(result.dtype).astype(np.float64))
        return compare(value, result.astype(np.float64), stored)

    def _is_comparable(self, value: str, row: Mapping[str, Any]) -> bool:
        """Packed parameters have a layout of their own; their kernels are judged with the model's values."""
        return self.judge.has_shape(value, row["shape"])

    def _judged(self, execution: Execution, outside: Sequence[str]) -> OpReport:
        inputs, outputs = self.judge.as_in_graph(execution.inputs), self.judge.as_in_graph(execution.outputs)
        row = self.make.kernel(execution.kernel, execution.counters)
        reads = self.judge.check_reads(inputs)
        stores = self.judge.check_stores(inputs, outputs, outside, Plans.from_json(execution.kernel))
        return replace(row, reads=tuple(reads), stores=tuple(stores))


def cosine_f32(results: Any, model: Model, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> float:
    """Cosine between all floating results and those of `model` in float32 PyTorch; NaN when one is zero or has NaN."""
    with torch.no_grad():
        reference = _float32(model)(*_widened(args), **_widened(kwargs))
    ours, theirs = _flat(results), _flat(reference)
    if ours.shape != theirs.shape:
        raise BadInputError(f"the program gives {ours.size} floating results, the model {theirs.size}")
    norms = float(np.linalg.norm(ours) * np.linalg.norm(theirs))
    return float(ours @ theirs) / norms if norms else float("nan")


def _float32(model: Model) -> Any:
    """The model in eval mode with float32 parameters; the caller's is left as it is."""
    if isinstance(model, ExportedProgram):
        return model.module()
    return copy.deepcopy(model).float().eval()


def _widened(arguments: Any) -> Any:
    """Reduced-precision tensors as float32."""

    def widen(value: Any) -> Any:
        return value.float() if isinstance(value, Tensor) and value.is_floating_point() else value

    return pytree.tree_map(widen, arguments)


def _flat(results: Any) -> np.ndarray:
    tensors = [t for t in pytree.tree_leaves(results) if isinstance(t, Tensor) and t.is_floating_point()]
    return np.concatenate([np.zeros(0), *(to_numpy(t.double()).ravel() for t in tensors)])
