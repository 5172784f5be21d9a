"""What a loadable says about the model: its plan, its calling convention, its coverage, and the work of each kernel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import fx
from torch.utils import _pytree as pytree

from atalla_mlir.errors import UnsupportedError
from atalla_mlir.frontend.arguments import encode_argument
from atalla_mlir.frontend.arrays import dtype_name, to_numpy
from atalla_mlir.frontend.capture import Captured, OutputConstant
from atalla_mlir.frontend.coverage import coverage
from atalla_mlir.frontend.entry_points import DEFAULT_NAME, NamedPlan
from atalla_mlir.frontend.flops import flops, macs
from atalla_mlir.frontend.partition import DeviceStep, HostStep, Plan, Step


def metadata(plan: Plan) -> dict[str, Any]:
    """The JSON part of the loadable that the frontend knows."""
    captured = plan.captured
    return {
        "steps": [_step(step) for step in plan.steps],
        "inputs": list(captured.inputs),
        "outputs": [output for output in captured.outputs if isinstance(output, str)],
        "signature": _signature(captured),
        "coverage": coverage(plan).to_json(),
    }


def entries_metadata(plans: Sequence[NamedPlan]) -> dict[str, Any]:
    """`metadata` of the only plan, or a list of them with the names of their entry points."""
    if len(plans) == 1 and plans[0].name == DEFAULT_NAME:
        return metadata(plans[0].plan)
    return {"entry_points": [{"name": named.name, **metadata(named.plan)} for named in plans]}


@dataclass(frozen=True)
class StoredValue:
    """A tensor that the loadable keeps for the host, in the model's dtype."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    data: bytes


def host_values(plan: Plan) -> tuple[StoredValue, ...]:
    """Parameters and constants that host operations read or that the model returns."""
    read = {node.name for step in plan.host_steps for node in step.node.all_input_nodes}
    read.update(output for output in plan.captured.outputs if isinstance(output, str))
    return tuple(
        StoredValue(name, dtype_name(value.dtype), tuple(value.shape), to_numpy(value).tobytes())
        for name, value in plan.captured.parameters.items()
        if name in read
    )


def device_parameters(plan: Plan) -> dict[str, np.ndarray]:
    """Parameters and constants that device segments read, over the model's own memory."""
    read = {name for step in plan.device_steps for name in (*step.parameters, *step.state)}
    initial = {name: state.initial for name, state in plan.captured.state.items()}
    known = {**plan.captured.parameters, **initial}
    return {name: to_numpy(value) for name, value in known.items() if name in read}


def state_metadata(plans: Sequence[NamedPlan], constants: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows of `meta.state`: buffers that stay on the device and change; `constants` say where they are."""
    addresses = {row["name"]: row["address"] for row in constants}
    found = {name: state for named in plans for name, state in named.plan.captured.state.items() if name in addresses}
    return [
        {
            "name": name,
            "target": state.target,
            "address": addresses[name],
            "dtype": stored_dtype(dtype_name(state.initial.dtype)),
            "model_dtype": dtype_name(state.initial.dtype),
            "shape": list(state.initial.shape),
        }
        for name, state in found.items()
    ]


def stored_dtype(dtype: str) -> str:
    """The element type in DRAM of a tensor that the model calls `dtype`."""
    return "i32" if dtype.startswith(("i", "u")) and dtype != "i1" else "bf16"


def model_dtypes(plan: Plan) -> dict[str, str]:
    """Name -> dtype that the model gives a value which enters or leaves a device step."""
    names = {name for step in plan.device_steps for name in (*step.inputs, *step.outputs)}
    return {n.name: dtype_name(n.meta["val"].dtype) for n in plan.captured.graph.nodes if n.name in names}


def operations_by_name(plan: Plan) -> dict[str, fx.Node]:
    """The operations of the captured graph, in its order."""
    return {node.name: node for node in plan.captured.graph.nodes if node.op == "call_function"}


def annotated_kernel(plan: Plan, operations: Mapping[str, fx.Node], kernel: Mapping[str, Any]) -> dict[str, Any]:
    """`kernel` with operations, source lines and work looked up by the names of its nodes among `operations`.

    A kernel that copies an input of the model into another layout computes no operation.
    """
    nodes = [operations[name] for name in dict.fromkeys(kernel["nodes"]) if name in operations]
    return {**kernel, **_work(plan, nodes)}


def _work(plan: Plan, nodes: Sequence[fx.Node]) -> dict[str, Any]:
    lines = [plan.captured.sources[node.name] for node in nodes if node.name in plan.captured.sources]
    return {
        "aten": [str(node.target) for node in nodes],
        "source": lines[-1] if lines else None,
        "flops": sum(flops(node) for node in nodes),
        "macs": sum(macs(node) for node in nodes),
    }


def _step(step: Step) -> dict[str, Any]:
    if isinstance(step, DeviceStep):
        return {"kind": "device", "entry": step.entry, "inputs": list(step.inputs), "outputs": list(step.outputs)}
    return _host_step(step)


def _host_step(step: HostStep) -> dict[str, Any]:
    return {
        "kind": "host",
        "target": str(step.node.target),
        "args": [encode_argument(argument) for argument in step.node.args],
        "kwargs": {name: encode_argument(argument) for name, argument in step.node.kwargs.items()},
        "outputs": list(step.outputs),
        "reason": step.reason,
    }


def _signature(captured: Captured) -> dict[str, Any]:
    """How arguments flatten to inputs, and how results nest."""
    return {
        "in_spec": _nesting(captured.in_spec, "takes"),
        "out_spec": _nesting(_with_plain_tuples(captured.out_spec), "returns"),
        "inputs": [_tensor(captured, name) for name in captured.inputs],
        "fixed": {str(position): encode_argument(value) for position, value in captured.flat_constants.items()},
        "outputs": [
            {"constant": encode_argument(output.value)} if isinstance(output, OutputConstant) else {"value": output}
            for output in captured.outputs
        ],
    }


def _tensor(captured: Captured, name: str) -> dict[str, Any]:
    value = next(node.meta["val"] for node in captured.graph.nodes if node.name == name)
    return {"name": name, "dtype": dtype_name(value.dtype), "shape": list(value.shape)}


def _nesting(spec: pytree.TreeSpec, verb: str) -> str:
    try:
        return pytree.treespec_dumps(spec)
    except (NotImplementedError, TypeError) as error:
        raise UnsupportedError(
            f"the model {verb} an object of a class that a loadable cannot name; "
            "use tensors, tuples, lists and dictionaries"
        ) from error


def _with_plain_tuples(spec: pytree.TreeSpec) -> pytree.TreeSpec:
    """`spec` without classes of named tuples, which need not exist where the loadable is read."""
    return pytree.tree_structure(_plain(pytree.tree_unflatten(range(spec.num_leaves), spec)))


def _plain(tree: Any) -> Any:
    if isinstance(tree, tuple):
        return tuple(_plain(item) for item in tree)
    if type(tree) is list:
        return [_plain(item) for item in tree]
    if type(tree) is dict:
        return {key: _plain(item) for key, item in tree.items()}
    return tree
