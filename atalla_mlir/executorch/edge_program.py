"""Programs of ExecuTorch's edge dialect as programs of plain ATen, which the compiler's capture takes.

In the edge dialect operations have a type of their own, views are copies (`view_copy`), and copies have an order of
dimensions. Names of nodes stay the same, so what is found out about the result holds for the program it was made from.
"""

from __future__ import annotations

from collections.abc import Container
from typing import Any

import torch
from executorch.exir.dialects.edge._ops import EdgeOpOverload
from torch import fx
from torch.export import ExportedProgram, ModuleCallEntry, ModuleCallSignature
from torch.export.graph_signature import ExportGraphSignature, InputKind, InputSpec, OutputKind, OutputSpec
from torch.utils import _pytree as pytree

from atalla_mlir.frontend.exported import copied_graph

aten = torch.ops.aten

_COPIES = {
    "dim_order_ops::_to_dim_order_copy": aten._to_copy.default,
    "dim_order_ops::_clone_dim_order": aten.clone.default,
}
_SUFFIX = "_copy"


def aten_program(edge: ExportedProgram) -> ExportedProgram:
    """`edge` with ATen operations; state that the program changes becomes an input, its new value an output."""
    signature = edge.graph_signature
    changed = set(signature.buffers_to_mutate.values()) | set(signature.user_inputs_to_mutate.values())
    inputs = [_input(spec, changed) for spec in signature.input_specs]
    outputs = [OutputSpec(OutputKind.USER_OUTPUT, spec.arg, None) for spec in signature.output_specs]
    graph = _aten_graph(edge.graph)
    num_inputs = sum(spec.kind is InputKind.USER_INPUT for spec in inputs)
    nesting = ModuleCallSignature(
        inputs=[],
        outputs=[],
        in_spec=pytree.tree_structure(((0,) * num_inputs, {})),
        out_spec=pytree.tree_structure((0,) * len(outputs)),
    )
    return ExportedProgram(
        root=fx.GraphModule(edge.graph_module, graph),
        graph=graph,
        graph_signature=ExportGraphSignature(inputs, outputs),
        state_dict=edge.state_dict,
        range_constraints=edge.range_constraints,
        module_call_graph=[ModuleCallEntry("", nesting)],
        constants=edge.constants,
    )


def aten_operation(target: Any) -> Any:
    """The ATen operation that computes what `target` of the edge dialect does; anything else as it is."""
    if not isinstance(target, EdgeOpOverload):
        return target
    operation = target._op
    name = operation._schema.name
    if name in _COPIES:
        return _COPIES[name]
    return _view(operation)


def _view(operation: torch._ops.OpOverload) -> torch._ops.OpOverload:
    """The view that `operation` copies, if it does."""
    name = operation._schema.name.removeprefix("aten::")
    if operation.namespace != "aten" or not name.endswith(_SUFFIX):
        return operation
    packet = getattr(aten, name.removesuffix(_SUFFIX), None)
    return getattr(packet, operation._overloadname, operation) if packet is not None else operation


def _input(spec: InputSpec, changed: Container[str | None]) -> InputSpec:
    is_state = spec.kind in (InputKind.BUFFER, InputKind.PARAMETER) and spec.target in changed
    return InputSpec(InputKind.USER_INPUT, spec.arg, None) if is_state else spec


def _aten_graph(edge: fx.Graph) -> fx.Graph:
    graph = copied_graph(edge, aten_operation)
    for node, copied in zip(edge.nodes, graph.nodes, strict=True):
        if isinstance(node.target, EdgeOpOverload) and node.target._op._schema.name in _COPIES:
            copied.kwargs = {key: value for key, value in node.kwargs.items() if key != "dim_order"}
    return graph
