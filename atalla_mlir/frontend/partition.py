"""Partition: which operations run on the device, in as few device segments as the order of the graph allows."""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import fx

from atalla_mlir.errors import BadInputError, UnsupportedError
from atalla_mlir.frontend.capture import Captured, Model, capture
from atalla_mlir.frontend.folded_scales import fold_scales
from atalla_mlir.frontend.support import VIEWS, host_reason


@dataclass(frozen=True)
class DeviceStep:
    """Operations that become one entry point of the loadable."""

    entry: str
    nodes: tuple[fx.Node, ...]
    inputs: tuple[str, ...]
    """Values that the caller passes: model inputs and results of earlier steps."""
    parameters: tuple[str, ...]
    """Parameters and constants that the operations read; they stay in the device's memory."""
    outputs: tuple[str, ...]
    state: tuple[str, ...] = ()
    """Buffers that it reads or changes, which stay in the device's memory."""
    updates: tuple[tuple[str, str], ...] = ()
    """(buffer, value that it has afterwards), for those that it changes."""


@dataclass(frozen=True)
class HostStep:
    """One operation that PyTorch runs."""

    node: fx.Node
    outputs: tuple[str, ...]
    """A name for each result; one of several that nothing reads is called `node.index`."""
    reason: str


Step = DeviceStep | HostStep


@dataclass(frozen=True)
class Plan:
    """The captured model as a sequence of steps."""

    captured: Captured
    steps: tuple[Step, ...]

    @property
    def device_steps(self) -> tuple[DeviceStep, ...]:
        return tuple(step for step in self.steps if isinstance(step, DeviceStep))

    @property
    def host_steps(self) -> tuple[HostStep, ...]:
        return tuple(step for step in self.steps if isinstance(step, HostStep))


def plan_model(
    model: Model,
    args: tuple[Any, ...] = (),
    kwargs: Mapping[str, Any] | None = None,
    *,
    strict: bool = False,
    method: str = "forward",
    entry: str = "main",
) -> Plan:
    """Capture and partition; with `strict`, an operation on the host is an error that lists all of them.

    `method` is what is called of a module; `entry` is the name of the plan's first device segment.
    """
    if not isinstance(args, tuple):
        raise BadInputError(f"example inputs must be a tuple, got {type(args).__name__}; write (x,) for one input")
    (captured,) = fold_scales([capture(model, args, kwargs, method=method)])
    plan = partition(captured, entry)
    if strict:
        require_device_only(plan)
    return plan


def partition(captured: Captured, entry: str = "main") -> Plan:
    """Assign every operation to the device or to the host and group the device's into segments without cycles.

    The device segments are called `entry`, `entry_1` and so on.
    """
    nodes = [node for node in captured.graph.nodes if node.op == "call_function"]
    reasons = _host_reasons(nodes)
    phases = _phases(nodes, reasons)
    steps: list[Step] = []
    for phase in sorted(set(phases.values())):
        members = [node for node in nodes if phases[node] == phase]
        if members[0] in reasons:
            steps.extend(_host_step(node, reasons[node]) for node in members if node.target is not operator.getitem)
        else:
            index = sum(isinstance(step, DeviceStep) for step in steps)
            steps.append(_device_step(captured, members, f"{entry}_{index}" if index else entry))
    return Plan(captured, tuple(_with_updates(captured, steps)))


def require_device_only(plan: Plan) -> None:
    """Refuse a plan with host operations, listing them with their reasons."""
    if not plan.host_steps:
        return
    lines = [f"  {step.node.name} ({step.node.target}): {step.reason}" for step in plan.host_steps]
    count = f"{len(lines)} operation{'s' if len(lines) > 1 else ''}"
    raise UnsupportedError("\n".join([f"{count} would run on the host, which strict compilation refuses:", *lines]))


def _host_reasons(nodes: list[fx.Node]) -> dict[fx.Node, str]:
    """The nodes that run on the host, each with its reason."""
    reasons = {node: reason for node in nodes if (reason := host_reason(node))}
    reasons.update(_views_beside_host(nodes, reasons))
    reasons.update({node: reasons[node.args[0]] for node in nodes if node.target is operator.getitem})  # pyright: ignore
    return reasons


def _views_beside_host(nodes: list[fx.Node], reasons: Mapping[fx.Node, str]) -> dict[fx.Node, str]:
    """Views of host results and constants that no device operation reads: free on the host, a kernel on the device."""
    reaches_device: set[fx.Node] = set()
    for node in reversed(nodes):
        is_device = node not in reasons
        if is_device and (not _is_light(node) or any(user in reaches_device for user in node.users)):
            reaches_device.add(node)
    found: dict[fx.Node, str] = {}
    for node in nodes:
        if node in reasons or node in reaches_device:
            continue
        sources = [n for n in node.all_input_nodes if n in reasons or n in found]
        readers = [n for n in node.users if n in reasons]
        if sources:
            found[node] = f"a view of {sources[0].name}, which is computed on the host"
        elif readers and not _computed_inputs(node):
            found[node] = f"a constant that only {readers[0].name} reads, which is computed on the host"
    return found


def _is_light(node: fx.Node) -> bool:
    """Whether `node` only renames or makes elements, so that it belongs where its readers are."""
    return node.target in VIEWS or not node.all_input_nodes


def _computed_inputs(node: fx.Node) -> list[fx.Node]:
    return [n for n in node.all_input_nodes if n.op == "call_function"]


def _phases(nodes: list[fx.Node], reasons: Mapping[fx.Node, str]) -> dict[fx.Node, int]:
    """Even numbers are device segments, odd ones runs of host operations; a node never reads a later phase."""
    phases: dict[fx.Node, int] = {}
    for node in nodes:
        parity = int(node in reasons)
        earliest = max((phases[n] for n in node.all_input_nodes if n in phases), default=parity)
        phases[node] = earliest + (earliest - parity) % 2
    for node in reversed(nodes):
        _join_readers(node, reasons, phases)
    return phases


def _join_readers(node: fx.Node, reasons: Mapping[fx.Node, str], phases: dict[fx.Node, int]) -> None:
    """Move a device view of a host result or an input, or a constant, to the segment that reads it first."""
    if node in reasons or not _is_light(node):
        return
    if any(phases.get(source) == phases[node] for source in node.all_input_nodes):
        return
    readers = [phases[user] for user in node.users if user in phases]
    if readers and min(readers) > phases[node] and min(readers) % 2 == 0:
        phases[node] = min(readers)


def _host_step(node: fx.Node, reason: str) -> HostStep:
    items = [user for user in node.users if user.target is operator.getitem]
    if not isinstance(node.meta.get("val"), (tuple, list)):
        return HostStep(node, (node.name,), reason)
    names = [f"{node.name}.{index}" for index in range(len(node.meta["val"]))]
    for item in items:
        names[item.args[1]] = item.name  # pyright: ignore[reportArgumentType, reportCallIssue]
    return HostStep(node, tuple(names), reason)


def _device_step(captured: Captured, members: list[fx.Node], entry: str) -> DeviceStep:
    inside = set(members)
    read = _unique(n for node in members for n in node.all_input_nodes if n not in inside)
    return DeviceStep(
        entry=entry,
        nodes=tuple(members),
        inputs=tuple(n.name for n in read if n.name not in captured.parameters and n.name not in captured.state),
        parameters=tuple(n.name for n in read if n.name in captured.parameters),
        outputs=tuple(node.name for node in members if _is_result(captured, node, inside)),
        state=tuple(n.name for n in read if n.name in captured.state),
    )


def _is_result(captured: Captured, node: fx.Node, inside: set[fx.Node]) -> bool:
    """Whether a step returns `node`: something behind it reads it, and not only as the new content of a buffer."""
    outside = [user for user in node.users if user not in inside]
    return any(user.op != "output" for user in outside) or (bool(outside) and node.name in captured.outputs)


def _unique(nodes: Iterable[fx.Node]) -> list[fx.Node]:
    return list(dict.fromkeys(nodes))


def _with_updates(captured: Captured, steps: list[Step]) -> list[Step]:
    """`steps` with the changes of buffers, each in the step that computes the buffer's new content."""
    found = list(steps)
    for name, state in captured.state.items():
        _check_readers(captured, name, found)
        if state.updated is None:
            continue
        at = _updating_step(captured, name, state.updated, found)
        step = found[at]
        assert isinstance(step, DeviceStep)
        late = [later for later in found[at + 1 :] if isinstance(later, DeviceStep) and name in later.state]
        if late:
            raise UnsupportedError(
                f"the old content of buffer '{state.target}' is read after a host step, when it has changed already"
            )
        known = {*step.state, *step.inputs, *step.parameters, *(node.name for node in step.nodes)}
        found[at] = dataclasses.replace(
            step,
            state=step.state if name in step.state else (*step.state, name),
            updates=(*step.updates, (name, state.updated)),
            inputs=step.inputs if state.updated in known else (*step.inputs, state.updated),
        )
    return found


def _check_readers(captured: Captured, name: str, steps: Sequence[Step]) -> None:
    target = captured.state[name].target
    if name in captured.outputs:
        raise UnsupportedError(f"the model returns the buffer '{target}' that calls change; return a clone of it")
    for step in steps:
        if isinstance(step, HostStep) and any(node.name == name for node in step.node.all_input_nodes):
            raise UnsupportedError(
                f"{step.node.target} runs on the host ({step.reason}) and reads the buffer '{target}' that calls change"
            )


def _updating_step(captured: Captured, name: str, updated: str, steps: Sequence[Step]) -> int:
    """Index of the step that computes `updated`, or, of an input, the last one."""
    device = [at for at, step in enumerate(steps) if isinstance(step, DeviceStep)]
    for at in device:
        if any(node.name == updated for node in steps[at].nodes):  # pyright: ignore[reportAttributeAccessIssue]
            return at
    if device and updated in (*captured.inputs, *captured.state):
        return device[-1]
    raise UnsupportedError(
        f"the new content of buffer '{captured.state[name].target}' ({updated}) is not computed on the device"
    )
