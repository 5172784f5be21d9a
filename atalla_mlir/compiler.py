"""compile_model(): a PyTorch model becomes a loadable."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from atalla_mlir import pipeline, translate
from atalla_mlir.frontend.capture import Model
from atalla_mlir.frontend.lower import import_plan
from atalla_mlir.frontend.metadata import (
    StoredValue,
    annotated_kernels,
    device_parameters,
    host_values,
    metadata,
    model_dtypes,
)
from atalla_mlir.frontend.partition import Plan, plan_model
from atalla_mlir.loadable.format import Entry, Loadable, Segment, SegmentKind, TensorSpec
from atalla_mlir.target.machine import Machine
from atalla_mlir.target.machine import machine as find_machine

_ALIGNMENT_BYTES = 64


def compile_model(
    model: Model,
    args: tuple[Any, ...] = (),
    kwargs: Mapping[str, Any] | None = None,
    *,
    machine: str | Machine = "ax01",
    strict: bool = False,
    fuse: bool = True,
) -> Loadable:
    """Compile `model` for inputs of the shapes and types of `args` and `kwargs`.

    The model is taken in eval mode; its weights become part of the loadable. With `strict`, an operation that the
    device does not run is an error and not a step on the host. Without `fuse`, every operation is a kernel of its own.
    """
    return compile_plan(plan_model(model, args, kwargs, strict=strict), machine=machine, fuse=fuse)


def compile_plan(plan: Plan, *, machine: str | Machine = "ax01", fuse: bool = True) -> Loadable:
    """What `compile_model` does with a captured and partitioned model: import, lower, link."""
    target = machine if isinstance(machine, Machine) else find_machine(machine)
    module = lower_plan(plan, pipeline.Options(machine=target, fuse=fuse))
    loadable = translate.to_loadable(module, device_parameters(plan), target)
    kernels = annotated_kernels(plan, loadable.meta["kernels"])
    described = {**loadable.meta, **metadata(plan), "kernels": kernels}
    entries = tuple(_with_dtypes(entry, model_dtypes(plan)) for entry in loadable.entries)
    return _with_host_values(dataclasses.replace(loadable, entries=entries, meta=described), host_values(plan))


def lower_plan(plan: Plan, options: pipeline.Options, *, stop_after: str | None = None) -> Any:
    """The module that the last stage, or the stage `stop_after`, leaves."""
    module = import_plan(plan)
    pipeline.lower_module(module, options, stop_after=stop_after or pipeline.STAGE_NAMES[-1])
    return module


def _with_dtypes(entry: Entry, dtypes: Mapping[str, str]) -> Entry:
    """`entry` with the model's types, which the pipeline does not keep when it turns everything into BF16."""

    def described(specs: Sequence[TensorSpec]) -> tuple[TensorSpec, ...]:
        return tuple(dataclasses.replace(spec, model_dtype=dtypes[spec.name]) for spec in specs)

    return dataclasses.replace(entry, inputs=described(entry.inputs), outputs=described(entry.outputs))


def _with_host_values(loadable: Loadable, values: Sequence[StoredValue]) -> Loadable:
    """Store what host operations read behind the device's data, in the model's own dtypes."""
    rows: dict[str, dict[str, Any]] = {}
    segments = list(loadable.segments)
    end = loadable.dram_size
    for value in values:
        address = -(-end // _ALIGNMENT_BYTES) * _ALIGNMENT_BYTES
        rows[value.name] = {"address": address, "dtype": value.dtype, "shape": list(value.shape)}
        if value.data:
            segments.append(Segment(SegmentKind.DATA, address, memoryview(value.data)))
        end = address + len(value.data)
    meta = {**loadable.meta, "host_values": rows}
    return dataclasses.replace(loadable, segments=tuple(segments), dram_size=end, meta=meta)
