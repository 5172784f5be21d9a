"""Programs on torch tensors: compile, load, run."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from atalla_mlir.compiler import compile_model
from atalla_mlir.errors import BadInputError
from atalla_mlir.frontend.arrays import dtype_named, to_numpy, to_torch
from atalla_mlir.frontend.coverage import Coverage
from atalla_mlir.host.fallback import run_operation
from atalla_mlir.host.signature import InputSpec, Signature
from atalla_mlir.loadable.format import Loadable
from atalla_mlir.loadable.reader import load_loadable
from atalla_mlir.loadable.writer import save_loadable
from atalla_mlir.runtime.program import Program
from atalla_mlir.sim.engine import Counters
from atalla_mlir.target.machine import Machine


class TorchProgram:
    """A loadable on an engine, called like the model that it was compiled from.

    Device segments run on the engine, the remaining operations through PyTorch; `coverage` says which and why.
    """

    def __init__(self, loadable: Loadable, *, engine: str = "auto", machine: Machine | None = None) -> None:
        self.loadable = loadable
        self.device = Program(loadable, engine=engine, machine=machine)
        """The NumPy side: entry points and engine."""
        self.counters: dict[str, Counters] = {}
        """What each entry point executed when it ran last."""
        self.coverage = Coverage.from_json(_part(loadable, "coverage"))
        self._signature = Signature.from_json(_part(loadable, "signature"))
        self._steps: list[Mapping[str, Any]] = _part(loadable, "steps")
        self._stored = _stored_values(loadable)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Results for one set of arguments, nested as the model nests them."""
        return self.nested_results(self.run(self.initial_values(args, kwargs)))

    def run(self, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """`values` and what every step of the program adds to them, by name."""
        known = dict(values)
        for step in self._steps:
            known.update(self._run(step, known))
        return known

    def initial_values(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Tensor]:
        """By name, what the steps read that no step computes: the checked arguments and the host's constants."""
        return {**self._stored, **self._signature.flatten(args, kwargs)}

    def nested_arguments(self, inputs: Mapping[str, Tensor]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Positional and keyword arguments of a call with `inputs`, which are given by name."""
        return self._signature.nested_arguments(inputs)

    def nested_results(self, values: Mapping[str, Tensor]) -> Any:
        """The model's results from the values of all steps, nested as the model nests them."""
        return self._signature.unflatten(values)

    @property
    def inputs(self) -> tuple[InputSpec, ...]:
        """The tensors that a call takes."""
        return self._signature.inputs

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the tensors that a call gives, in the order of the flattened result."""
        return tuple(row["value"] for row in self._signature.outputs if "value" in row)

    def save(self, path: str | Path) -> None:
        """Write the loadable; `load` gives the same program in another process."""
        save_loadable(self.loadable, path)

    def _run(self, step: Mapping[str, Any], values: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        if step["kind"] == "host":
            return run_operation(step, values)
        arrays = [to_numpy(values[name]) for name in step["inputs"]]
        results = self.device.run_entry(step["entry"], arrays)
        self.counters[step["entry"]] = self.device.counters
        return {name: to_torch(array) for name, array in zip(step["outputs"], results, strict=True)}

    def __repr__(self) -> str:
        return f"<atalla program for {self.loadable.machine_name}: {self.coverage.summary()}>"


def compile(  # noqa: A001 - the public name
    model: nn.Module | ExportedProgram,
    args: tuple[Any, ...] = (),
    kwargs: Mapping[str, Any] | None = None,
    *,
    machine: str | Machine = "ax01",
    strict: bool = False,
    fuse: bool = True,
    engine: str = "auto",
) -> TorchProgram:
    """Compile `model` for inputs like `args` and `kwargs` and open it on an engine.

    The model is taken in eval mode. With `strict`, an operation that the device does not run is an error and not a
    step on the host; without `fuse`, every operation is a kernel of its own. `machine` is a parameter set or its
    name, `engine` one of auto, reference, native.
    """
    loadable = compile_model(model, args, kwargs, machine=machine, strict=strict, fuse=fuse)
    return TorchProgram(loadable, engine=engine, machine=machine if isinstance(machine, Machine) else None)


def load(path: str | Path, *, engine: str = "auto", machine: Machine | None = None) -> TorchProgram:
    """Open a loadable that was compiled from a PyTorch model."""
    return TorchProgram(load_loadable(path), engine=engine, machine=machine)


def _part(loadable: Loadable, key: str) -> Any:
    if key not in loadable.meta:
        raise BadInputError(f"the loadable does not describe a PyTorch model: its metadata lacks '{key}'")
    return loadable.meta[key]


def _stored_values(loadable: Loadable) -> dict[str, Tensor]:
    """Parameters and constants that host operations read."""
    return {name: _stored_value(loadable, name, row) for name, row in loadable.meta.get("host_values", {}).items()}


def _stored_value(loadable: Loadable, name: str, row: Mapping[str, Any]) -> Tensor:
    dtype, shape = dtype_named(row["dtype"]), list(row["shape"])
    if math.prod(shape) == 0:
        return torch.empty(shape, dtype=dtype)
    size = math.prod(shape) * dtype.itemsize
    for segment in loadable.data_segments:
        start = row["address"] - segment.address
        if start >= 0 and start + size <= len(segment.data):
            data = bytearray(segment.data[start : start + size])
            return torch.frombuffer(data, dtype=dtype).reshape(shape)
    raise BadInputError(f"the loadable lacks the {size} bytes of '{name}' at {row['address']:#x}")
