"""Entry points: several ways to call one model, compiled together so that they share parameters and kernels.

An entry point is a set of example arguments, whose shapes it is compiled for, and the method of the module that takes
them. Each is captured and partitioned on its own; the parameters that they have in common get one name, and what has
one name lies once in the loadable.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, fx

from atalla_mlir.errors import BadInputError
from atalla_mlir.frontend.capture import Captured, capture
from atalla_mlir.frontend.exported import ModelSource, for_inputs, open_model
from atalla_mlir.frontend.folded_scales import fold_scales
from atalla_mlir.frontend.garbage import rare_collections
from atalla_mlir.frontend.partition import Plan, partition, require_device_only

DEFAULT_NAME = "main"


@dataclass(frozen=True)
class EntryPoint:
    """Example arguments of a call and the method that is called."""

    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    method: str = "forward"


Entries = Mapping[str, EntryPoint | tuple[Any, ...]]
"""Name of an entry point -> what it is called with; a tuple is the positional arguments of `forward`."""


@dataclass(frozen=True)
class NamedPlan:
    """A plan and the name of the entry point that it is for."""

    name: str
    plan: Plan


def requested_entries(args: tuple[Any, ...], kwargs: Mapping[str, Any] | None, entries: Entries | None) -> Entries:
    """The entry points that a caller asked for: one for `args` and `kwargs`, or `entries`, but not both."""
    if entries is None:
        if not isinstance(args, tuple):
            raise BadInputError(f"example inputs must be a tuple, got {type(args).__name__}; write (x,) for one input")
        return {DEFAULT_NAME: EntryPoint(args, kwargs or {})}
    if args or kwargs:
        raise BadInputError("example inputs come either as args and kwargs or within entries, not as both")
    return entries


def plan_entries(model: ModelSource, entries: Entries, *, strict: bool = False) -> tuple[NamedPlan, ...]:
    """A plan for each of `entries`; parameters of equal contents have equal names in all of them."""
    points = {name: _entry_point(name, value) for name, value in entries.items()}
    if not points:
        raise BadInputError("there are no entry points to compile")
    opened = open_model(model)
    with rare_collections():
        captures = [_captured(opened, point) for point in points.values()]
        resident = frozenset(state.target for captured in captures for state in captured.state.values())
        if resident and len(captures) > 1:
            # what one entry point changes, the others must not take for a constant
            captures = [_captured(opened, point, resident) for point in points.values()]
    shared = share_parameters(captures) if len(captures) > 1 else captures
    plans = [
        NamedPlan(name, partition(captured, name)) for name, captured in zip(points, fold_scales(shared), strict=True)
    ]
    for named in plans if strict else ():
        require_device_only(named.plan)
    _check_segments(plans)
    return tuple(plans)


def _captured(opened: Any, point: EntryPoint, resident: frozenset[str] = frozenset()) -> Captured:
    model = for_inputs(opened, point.args)
    return capture(model, point.args, point.kwargs, method=point.method, resident=resident)


def _entry_point(name: str, value: object) -> EntryPoint:
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) or re.fullmatch(r"k\d+_.*", name):
        raise BadInputError(f"'{name}' cannot be the name of an entry point; use letters, digits and underscores")
    if isinstance(value, EntryPoint):
        return value
    if not isinstance(value, tuple):
        raise BadInputError(
            f"entry point '{name}': example inputs must be a tuple or an EntryPoint, got {type(value).__name__}; "
            "write (x,) for one input"
        )
    return EntryPoint(value)


def _check_segments(plans: Sequence[NamedPlan]) -> None:
    """Device segments are functions of one module, so the second segment of `a` must not be called like entry `a_1`."""
    owners: dict[str, str] = {}
    for named in plans:
        for step in named.plan.device_steps:
            other = owners.setdefault(step.entry, named.name)
            if other != named.name:
                raise BadInputError(f"entry points '{other}' and '{named.name}' both make '{step.entry}'; rename one")


def share_parameters(captures: Sequence[Captured]) -> list[Captured]:
    """`captures` with their parameters renamed so that equal names mean equal contents, in all of them together."""
    taken = {
        node.name for captured in captures for node in captured.graph.nodes if node.name not in captured.parameters
    }
    pool = _Pool(taken)
    return [
        _renamed(captured, {n: pool.name(n, value) for n, value in captured.parameters.items()})
        for captured in captures
    ]


class _Pool:
    """Names of parameter values; a value that was seen before keeps its first name."""

    def __init__(self, taken: set[str]) -> None:
        self._taken = taken
        self._values: dict[tuple[Any, ...], list[tuple[str, Tensor]]] = {}

    def name(self, wanted: str, value: Tensor) -> str:
        alike = self._values.setdefault((value.dtype, tuple(value.shape)), [])
        for name, known in alike:
            if _same_content(known, value):
                return name
        name = next(candidate for candidate in _candidates(wanted) if candidate not in self._taken)
        self._taken.add(name)
        alike.append((name, value))
        return name


def _candidates(name: str) -> Iterator[str]:
    yield name
    number = 1
    while True:
        yield f"{name}_p{number}"
        number += 1


def _same_content(left: Tensor, right: Tensor) -> bool:
    """Bit for bit, so that NaN equals itself and -0 is not 0."""
    if left.data_ptr() == right.data_ptr() and left.stride() == right.stride():
        return True
    return torch.equal(_bytes(left), _bytes(right))


def _bytes(value: Tensor) -> Tensor:
    return value.contiguous().reshape(-1).view(torch.uint8)


def _renamed(captured: Captured, names: Mapping[str, str]) -> Captured:
    graph = fx.Graph()
    mapping: dict[fx.Node, fx.Node] = {}
    merged: dict[str, fx.Node] = {}
    for node in captured.graph.nodes:
        name = names.get(node.name, node.name) if node.op == "placeholder" else node.name
        if node.op == "placeholder" and name in merged:
            mapping[node] = merged[name]
            continue
        copy = graph.node_copy(node, mapping.__getitem__)
        copy.name = name
        mapping[node] = copy
        if node.op == "placeholder":
            merged[name] = copy
    return dataclasses.replace(
        captured,
        graph=graph,
        parameters={names[name]: value for name, value in captured.parameters.items()},
        constants=frozenset(names[name] for name in captured.constants),
        targets={names.get(name, name): target for name, target in captured.targets.items()},
        outputs=tuple(names.get(o, o) if isinstance(o, str) else o for o in captured.outputs),
        sources={names.get(name, name): source for name, source in captured.sources.items()},
    )
