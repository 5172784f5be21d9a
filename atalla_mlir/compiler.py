"""compile_model(): a PyTorch model becomes a loadable."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any

from atalla_mlir import pipeline, translate
from atalla_mlir.cache.kernels import KernelCache
from atalla_mlir.cache.store import default_store
from atalla_mlir.frontend.entry_points import (
    DEFAULT_NAME,
    Entries,
    NamedPlan,
    plan_entries,
    requested_entries,
)
from atalla_mlir.frontend.exported import ModelSource
from atalla_mlir.frontend.garbage import rare_collections
from atalla_mlir.frontend.lower import import_plans
from atalla_mlir.frontend.metadata import (
    StoredValue,
    annotated_kernel,
    device_parameters,
    entries_metadata,
    host_values,
    model_dtypes,
    operations_by_name,
    state_metadata,
)
from atalla_mlir.frontend.partition import Plan
from atalla_mlir.loadable.format import Entry, Loadable, Segment, SegmentKind, TensorSpec
from atalla_mlir.target.machine import Machine
from atalla_mlir.target.machine import machine as find_machine

Timing = pipeline.Timing
Decisions = Sequence[Mapping[str, Any]]
"""Rules that fix choices about kernels."""
ImageChoice = pipeline.ImageChoice
"""Which images and matrices between kernels stay in the pads."""

_ALIGNMENT_BYTES = 64


def compile_model(
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
    cache: bool = True,
    decisions: Decisions = (),
) -> Loadable:
    """Compile `model` for inputs of the shapes and types of `args` and `kwargs`, or for each of `entries`.

    The model is taken in eval mode; its weights become part of the loadable. With `strict`, an operation that the
    device does not run is an error and not a step on the host. Without `fuse`, every operation is a kernel of its own;
    without `chains`, every product begins one; without `ahead`, each fetches all of its parameters itself. `images`
    says which images and matrices between kernels stay in the pads where they fit: those that are worth it by
    predicted cycles, all of them ("always"), none ("never"). With `cache`, kernels that were compiled before are taken
    from disk and new ones are kept there; the result is the same.
    `decisions` fix what is else chosen by predicted cycles: rules as in docs/decisions.md.
    """
    plans = plan_entries(model, requested_entries(args, kwargs, entries), strict=strict)
    return compile_plans(
        plans, machine=machine, fuse=fuse, chains=chains, ahead=ahead, images=images, cache=cache, decisions=decisions
    )


def compile_plan(
    plan: Plan,
    *,
    machine: str | Machine = "ax01",
    fuse: bool = True,
    chains: bool = True,
    ahead: bool = True,
    images: ImageChoice = "worth",
    reuse_memory: bool = True,
    permute_inputs: bool = True,
    cache: bool = True,
    decisions: Decisions = (),
    timing: pipeline.Timing | None = None,
) -> Loadable:
    """What `compile_model` does with a captured and partitioned model: import, lower, link."""
    named = NamedPlan(DEFAULT_NAME, plan)
    return compile_plans(
        (named,),
        machine=machine,
        fuse=fuse,
        chains=chains,
        ahead=ahead,
        images=images,
        reuse_memory=reuse_memory,
        permute_inputs=permute_inputs,
        cache=cache,
        decisions=decisions,
        timing=timing,
    )


def compile_plans(
    plans: Sequence[NamedPlan],
    *,
    machine: str | Machine = "ax01",
    fuse: bool = True,
    chains: bool = True,
    ahead: bool = True,
    images: ImageChoice = "worth",
    reuse_memory: bool = True,
    permute_inputs: bool = True,
    cache: bool = True,
    decisions: Decisions = (),
    timing: pipeline.Timing | None = None,
) -> Loadable:
    """One loadable with an entry point for each of `plans`, which share parameters, kernels and memory.

    `timing` gets the seconds of each pass, and those of import, cache and link in brackets.
    """
    timing = timing or pipeline.Timing()
    target = machine if isinstance(machine, Machine) else find_machine(machine)
    rules = json.dumps(list(decisions), separators=(",", ":")) if decisions else ""
    options = pipeline.Options(
        machine=target,
        fuse=fuse,
        chains=chains,
        ahead=ahead,
        images=images,
        reuse_memory=reuse_memory,
        permute_inputs=permute_inputs,
        encode=True,
        decisions=rules,
    )
    store = default_store() if cache else None
    kernels = KernelCache(store, options) if store is not None else None
    with rare_collections():
        module = lower_plans([named.plan for named in plans], options, kernels=kernels, timing=timing)
        with timing.measure("(link)"):
            return _linked(plans, module, target)


def _linked(plans: Sequence[NamedPlan], module: Any, target: Machine) -> Loadable:
    """The loadable of a module of packets, with what only the frontend knows."""
    parameters = {name: value for named in plans for name, value in device_parameters(named.plan).items()}
    loadable = translate.to_loadable(module, parameters, target)
    owners = {step.entry: named.plan for named in plans for step in named.plan.device_steps}
    nodes = {entry: operations_by_name(plan) for entry, plan in owners.items()}
    rows = [annotated_kernel(owners[row["entry"]], nodes[row["entry"]], row) for row in loadable.meta["kernels"]]
    described = {**loadable.meta, **entries_metadata(plans), "kernels": rows}
    state = state_metadata(plans, loadable.meta["constants"])
    if state:
        described["state"] = state
    entries = tuple(_with_dtypes(entry, model_dtypes(owners[entry.name])) for entry in loadable.entries)
    values = {value.name: value for named in plans for value in host_values(named.plan)}
    return _with_host_values(dataclasses.replace(loadable, entries=entries, meta=described), list(values.values()))


def lower_plans(
    plans: Sequence[Plan],
    options: pipeline.Options,
    *,
    kernels: KernelCache | None = None,
    timing: pipeline.Timing | None = None,
) -> Any:
    """The module of packets; functions that `kernels` knows have object code instead."""
    timing = timing or pipeline.Timing()
    with timing.measure("(import)"):
        module = import_plans(plans)

    def look_up(stage: str, lowered: Any) -> None:
        if kernels is not None:
            with timing.measure("(cache)"):
                kernels.after_stage(stage, lowered)

    pipeline.lower_module(
        module, options, instrumentation=pipeline.Instrumentation(timing=timing, verify_each=False), after_stage=look_up
    )
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
