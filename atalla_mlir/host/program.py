"""Programs on torch tensors: compile, load, run."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from atalla_mlir.compiler import Decisions, ImageChoice, compile_model
from atalla_mlir.errors import BadInputError
from atalla_mlir.frontend.arrays import to_numpy, to_torch
from atalla_mlir.frontend.coverage import Coverage
from atalla_mlir.frontend.entry_points import Entries
from atalla_mlir.frontend.exported import ModelSource
from atalla_mlir.host.fallback import run_operation
from atalla_mlir.host.signature import InputSpec, Signature, described_arguments
from atalla_mlir.host.stored_values import stored_values
from atalla_mlir.loadable.format import Loadable
from atalla_mlir.loadable.reader import load_loadable
from atalla_mlir.loadable.writer import save_loadable
from atalla_mlir.runtime.entry_points import EntryPoint, named, no_match
from atalla_mlir.runtime.program import Program
from atalla_mlir.sim.engine import Counters
from atalla_mlir.target.machine import Machine


class TorchProgram:
    """A loadable on an engine, called like the model that it was compiled from.

    Device segments run on the engine, the remaining operations through PyTorch; `coverage` says which and why. Of
    several entry points, a call runs the one that takes its arguments, and `entry(name)` is the program of one alone.
    """

    def __init__(self, loadable: Loadable, *, engine: str = "auto", machine: Machine | None = None) -> None:
        self.loadable = loadable
        self.device = Program(loadable, engine=engine, machine=machine)
        """The NumPy side: entry points and engine."""
        self.counters: dict[str, Counters] = {}
        """What each device function executed when it ran last."""
        self._stored = stored_values(loadable)
        self._bind(self.device.entry_points)

    def _bind(self, points: Mapping[str, EntryPoint]) -> None:
        self.entry_points = dict(points)
        """The ways to call the program, by name."""
        for point in points.values():
            for key in ("coverage", "signature", "steps"):
                _require(point, key)
        self._signatures = {name: Signature.from_json(point.meta["signature"]) for name, point in points.items()}
        self.coverage = Coverage.from_json([row for point in points.values() for row in point.meta["coverage"]])

    def entry(self, name: str) -> TorchProgram:
        """The program of entry point `name` alone, on the same device and with the same counters."""
        found = named(self.entry_points, name)
        program = copy.copy(self)
        program._bind({name: found})
        return program

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Results for one set of arguments, nested as the model nests them."""
        program = self._taking(args, kwargs)
        return program.nested_results(program.run(program.initial_values(args, kwargs)))

    def _taking(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> TorchProgram:
        """The program of the entry point that was compiled for arguments like these."""
        if len(self.entry_points) == 1:
            return self
        found = [name for name, signature in self._signatures.items() if signature.takes(args, kwargs)]
        if len(found) == 1:
            return self.entry(found[0])
        points = [self.entry_points[name] for name in found or self.entry_points]
        raise no_match(points, described_arguments(args, kwargs), ambiguous=bool(found))

    @property
    def point(self) -> EntryPoint:
        """The program's entry point; BadInputError when there are several."""
        if len(self.entry_points) > 1:
            names = ", ".join(self.entry_points)
            raise BadInputError(f"the program has several entry points; choose one of {names} with entry()")
        return next(iter(self.entry_points.values()))

    @property
    def steps(self) -> Sequence[Mapping[str, Any]]:
        """What a call does, in order: the plan of the entry point."""
        return self.point.steps

    @property
    def kernels(self) -> list[Mapping[str, Any]]:
        """The launches of the program's entry points, in order: rows of `meta.kernels`."""
        entries = {entry for point in self.entry_points.values() for entry in point.device_entries}
        return [row for row in self.loadable.meta["kernels"] if row["entry"] in entries]

    @property
    def signature(self) -> Signature:
        """The calling convention of the entry point."""
        return self._signatures[self.point.name]

    def run(self, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """`values` and what every step of the program adds to them, by name."""
        known = dict(values)
        for step in self.steps:
            known.update(self._run(step, known))
        return known

    def initial_values(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Tensor]:
        """By name, what the steps read that no step computes: the checked arguments and the host's constants."""
        return {**self._stored, **self.signature.flatten(args, kwargs)}

    def nested_arguments(self, inputs: Mapping[str, Tensor]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Positional and keyword arguments of a call with `inputs`, which are given by name."""
        return self.signature.nested_arguments(inputs)

    def nested_results(self, values: Mapping[str, Tensor]) -> Any:
        """The model's results from the values of all steps, nested as the model nests them."""
        return self.signature.unflatten(values)

    @property
    def state(self) -> dict[str, Tensor]:
        """Buffers that stay in the device's memory and change between calls, by name, as they are now."""
        return {name: to_torch(array) for name, array in self.device.state.items()}

    def reset_state(self) -> None:
        """Give these buffers the contents that they were compiled with."""
        self.device.reset_state()

    @property
    def inputs(self) -> tuple[InputSpec, ...]:
        """The tensors that a call takes."""
        return self.signature.inputs

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the tensors that a call gives, in the order of the flattened result."""
        return tuple(row["value"] for row in self.signature.outputs if "value" in row)

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
        points = f"{len(self.entry_points)} entry points, " if len(self.entry_points) > 1 else ""
        return f"<atalla program for {self.loadable.machine_name}: {points}{self.coverage.summary()}>"


def compile(  # noqa: A001 - the public name
    model: ModelSource,
    args: tuple[Any, ...] = (),
    kwargs: Mapping[str, Any] | None = None,
    *,
    entries: Entries | None = None,
    machine: str | Machine = "ax01",
    strict: bool = False,
    fuse: bool = True,
    chains: bool = True,
    ahead: bool = True,
    images: ImageChoice = "worth",
    engine: str = "auto",
    cache: bool = True,
    decisions: Decisions = (),
) -> TorchProgram:
    """Compile `model` for inputs like `args` and `kwargs` and open it on an engine.

    `model` is a module (taken in eval mode), an `ExportedProgram`, or the path of a `.pt2` file. An exported program
    with dynamic shapes is specialised for the shapes of the inputs; one of fixed shapes needs none.

    With `entries` several ways to call the model become entry points of one loadable, which holds each parameter and
    each kernel once. A value is a tuple of example inputs, or an `EntryPoint` that also has keywords or another method:

        program = compile(model, entries={"one": (torch.randn(1, 64),), "many": (torch.randn(8, 64),)})
        y = program(x)  # the entry point that was compiled for the shapes of x; an error lists what there is
        y = program.entry("many")(x)

        program = compile(model, entries={"prefill": (tokens,), "decode": EntryPoint((token, cache), method="decode")})

    With `strict`, an operation that the device does not run is an error and not a step on the host; without `fuse`,
    every operation is a kernel of its own. `machine` is a parameter set or its name, `engine` one of auto, reference,
    native. With `cache`, kernels that were compiled before are taken from disk and new ones are kept there. `chains`,
    `ahead`, `images` and `decisions` change what is chosen for speed; `compile_model` says how.
    """
    loadable = compile_model(
        model,
        args,
        kwargs,
        entries=entries,
        machine=machine,
        strict=strict,
        fuse=fuse,
        chains=chains,
        ahead=ahead,
        images=images,
        cache=cache,
        decisions=decisions,
    )
    return TorchProgram(loadable, engine=engine, machine=machine if isinstance(machine, Machine) else None)


def load(path: str | Path, *, engine: str = "auto", machine: Machine | None = None) -> TorchProgram:
    """Open a loadable that was compiled from a PyTorch model."""
    return TorchProgram(load_loadable(path), engine=engine, machine=machine)


def _require(point: EntryPoint, key: str) -> None:
    if key not in point.meta:
        raise BadInputError(f"the loadable does not describe a PyTorch model: its metadata lacks '{key}'")
