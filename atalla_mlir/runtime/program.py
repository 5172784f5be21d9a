"""Programs on NumPy arrays: load, run, count."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from atalla_mlir.errors import BadInputError, ConfigurationError
from atalla_mlir.loadable.format import Entry, Loadable, TensorSpec
from atalla_mlir.loadable.reader import load_loadable
from atalla_mlir.loadable.writer import save_loadable
from atalla_mlir.runtime.buffers import Array, check_input, read_tensor, write_tensor
from atalla_mlir.runtime.devices import Device
from atalla_mlir.runtime.entry_points import entry_points, named, taking
from atalla_mlir.runtime.launches import LaunchProfile, LaunchRecord
from atalla_mlir.sim.engine import Counters, Engine
from atalla_mlir.target.machine import Machine

HostRunner = Callable[[Mapping[str, Any], Mapping[str, Array]], Mapping[str, Array]]
"""Executes a host step (a row of `meta.steps`) on the values so far and returns those that it makes."""


class Program:
    """A loadable that is ready to run.

    Floating inputs are rounded to BF16 (nearest even); results come back in the model's types. Weights are loaded once;
    what an entry leaves in DRAM is there for the next one.
    """

    def __init__(
        self, loadable: Loadable, *, engine: str | Engine = "auto", machine: Machine | None = None, timing: bool = False
    ) -> None:
        self.loadable = loadable
        self.device = Device(loadable, engine, machine)
        self.entry_points = entry_points(loadable.meta)
        """The ways to call the program, by name."""
        self._state = tuple(_state_spec(row) for row in loadable.meta.get("state", ()))
        self.timing = timing
        """Whether runs count cycles."""
        self.max_packets: int | None = None
        """Packets after which a run is given up; None for no limit."""
        self.counters = Counters()
        """What the last run of an entry executed."""

    @classmethod
    def load(cls, path: str | Path, **options: Any) -> Program:
        """The program in a file; `options` are those of the constructor."""
        return cls(load_loadable(path), **options)

    def save(self, path: str | Path) -> None:
        save_loadable(self.loadable, path)

    @property
    def state(self) -> dict[str, Array]:
        """Buffers that stay in DRAM and change between calls, by name, as they are now."""
        return {spec.name: read_tensor(self.engine, spec) for spec in self._state}

    def set_state(self, values: Mapping[str, object]) -> None:
        """Give buffers other contents; BadInputError names one that does not exist, or what is wrong with its value."""
        specs = {spec.name: spec for spec in self._state}
        for name, value in values.items():
            if name not in specs:
                raise BadInputError(f"the program has no state '{name}'; there are {', '.join(specs) or 'none'}")
            write_tensor(self.engine, specs[name], check_input(specs[name], value))

    def reset_state(self) -> None:
        """Give all buffers the contents that they were compiled with."""
        for spec in self._state:
            for segment in self.loadable.data_segments:
                begin, end = max(spec.address, segment.address), min(spec.end, segment.end)
                if begin < end and not segment.is_zero_fill:
                    self.engine.write_dram(begin, segment.data[begin - segment.address : end - segment.address])

    @property
    def engine(self) -> Engine:
        return self.device.engine

    @property
    def machine(self) -> Machine:
        return self.device.machine

    def run_entry(
        self,
        entry: str,
        arrays: Sequence[object],
        *,
        stops: frozenset[int] = frozenset(),
        on_stop: Callable[[Engine], None] | None = None,
    ) -> list[Array]:
        """Results of one device function; `arrays` in the order of the entry's inputs.

        `on_stop` is called before each packet whose PC is in `stops`; it may look at the engine but not change it.
        """
        found = self.loadable.entry(entry)
        self._write_inputs(found, arrays)
        self.counters = self.device.run(
            found, timing=self.timing, max_packets=self.max_packets, stops=stops, on_stop=on_stop
        )
        return [read_tensor(self.engine, spec) for spec in found.outputs]

    def profile_entry(self, entry: str, arrays: Sequence[object]) -> tuple[list[Array], list[LaunchRecord]]:
        """`run_entry`, and what each kernel launch counted."""
        profile = LaunchProfile(self.loadable, entry)
        results = self.run_entry(entry, arrays, stops=profile.stops, on_stop=profile.stop)
        return results, profile.records

    def _write_inputs(self, entry: Entry, arrays: Sequence[object]) -> None:
        if len(arrays) != len(entry.inputs):
            names = ", ".join(spec.name for spec in entry.inputs) or "none"
            expected = f"{len(entry.inputs)} inputs ({names})"
            raise BadInputError(f"entry '{entry.name}': expected {expected}, got {len(arrays)}")
        checked = [check_input(spec, array) for spec, array in zip(entry.inputs, arrays, strict=True)]
        for spec, array in zip(entry.inputs, checked, strict=True):
            write_tensor(self.engine, spec, array)

    def run(
        self, values: Mapping[str, Array], *, entry_point: str | None = None, host: HostRunner | None = None
    ) -> dict[str, Array]:
        """A whole plan: `values` by the names of its inputs, results by those of its outputs.

        Of several entry points it is the one called `entry_point`, or else the one that takes the shapes of `values`.
        """
        if entry_point is None:
            point = taking(self.entry_points, {name: np.shape(value) for name, value in values.items()})
        else:
            point = named(self.entry_points, entry_point)
        known: dict[str, Array] = dict(values)
        for step in point.steps:
            if step["kind"] == "host":
                known.update(self._host_step(step, known, host))
            else:
                results = self.run_entry(step["entry"], [self._value(known, name) for name in step["inputs"]])
                known.update(zip(step["outputs"], results, strict=True))
        return {name: self._value(known, name) for name in point.part("outputs")}

    @staticmethod
    def _value(known: Mapping[str, Array], name: str) -> Array:
        if name not in known:
            raise BadInputError(f"the program needs a value '{name}'; given or computed are {', '.join(sorted(known))}")
        return known[name]

    @staticmethod
    def _host_step(step: Mapping[str, Any], known: Mapping[str, Array], host: HostRunner | None) -> Mapping[str, Array]:
        if host is None:
            raise ConfigurationError(
                f"the program runs {step['target']} on the host, which needs PyTorch; "
                "run it with atalla_mlir.load() where torch is installed"
            )
        return host(step, known)


def _state_spec(row: Mapping[str, Any]) -> TensorSpec:
    """The tensor that a row of `meta.state` describes."""
    shape = tuple(row["shape"])
    strides = tuple(int(np.prod(shape[at + 1 :])) for at in range(len(shape)))
    return TensorSpec(row["name"], row["dtype"], shape, strides, row["address"], row["model_dtype"])
