"""Import: the device segments of a plan become functions of linalg on tensors.

Parameters and constants are arguments, so weights never enter the IR. An operation's location is the name of its
node around the line of the model's code, which is how kernels find back to the graph.

torch-mlir's importer needs torch, so this module takes it from the package itself; everything else about MLIR comes
through `atalla_mlir._mlir`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import fx
from torch_mlir.extras.fx_importer import FxImporter, GraphNodeImporter

from atalla_mlir import _mlir
from atalla_mlir._mlir import PassManager, ir
from atalla_mlir.errors import InternalError, UnsupportedError
from atalla_mlir.frontend.custom_operations import find
from atalla_mlir.frontend.finished_kernels import FinishedKernels
from atalla_mlir.frontend.import_forms import importable_copy
from atalla_mlir.frontend.partition import DeviceStep, Plan
from atalla_mlir.frontend.triangles import triangle

_TO_TORCH_BACKEND = (
    "builtin.module(func.func(torch-match-quantized-custom-ops),"
    "torchdynamo-export-to-torch-backend-pipeline{ extra-library=})"
)
_TO_LINALG = "builtin.module(torch-backend-to-linalg-on-tensors-backend-pipeline)"


def import_plan(plan: Plan) -> ir.Module:
    """One public function per device step, named like its entry; attributes name arguments, results and their kinds."""
    return import_plans((plan,))


def import_plans(plans: Sequence[Plan]) -> ir.Module:
    """The device steps of all `plans`, whose names differ, in one module."""
    context = _mlir.context()
    module = ir.Module.create(ir.Location.unknown(context))
    finished = FinishedKernels(module)
    for plan in plans:
        naming = type("_Importer", (_NamedNodeImporter,), {"sources": plan.captured.sources, "finished": finished})
        importer = FxImporter(module=module, graph_node_importer_cls=naming)
        for step in plan.device_steps:
            finished.entry = step.entry
            importer.import_stateless_graph(_segment_graph(plan, step), func_name=step.entry)
    _run(module, _TO_TORCH_BACKEND)
    _run(module, finished.linalg_pipeline(_TO_LINALG))
    finished.finish()
    for plan in plans:
        _name_values(module, plan)
    return module


class _NamedNodeImporter(GraphNodeImporter):
    """Gives every operation the name of its node as location."""

    sources: Mapping[str, str] = {}
    finished: FinishedKernels

    def _import_torch_op_overload(self, loc: ir.Location, node: fx.Node, concrete_target: Any = None) -> Any:
        location = _location(node.name, self.sources, self._c)
        custom = find(node.target)
        if custom is not None:
            operands = [self.resolve_node_value(operand) for operand in custom.operands(node)]
            (result,) = self._unpack_node_result_types(node, custom.overload._schema)
            value = self.finished.call(custom, node, operands, result, location)
            return self.bind_node_value(node, value, 0)
        return super()._import_torch_op_overload(location, node, concrete_target)


def _location(name: str, sources: Mapping[str, str], context: ir.Context) -> ir.Location:
    if name not in sources:
        return ir.Location.name(name, context=context)
    file, line = sources[name].rsplit(":", 1)
    return ir.Location.name(name, childLoc=ir.Location.file(file, int(line), 0, context=context), context=context)


def _segment_graph(plan: Plan, step: DeviceStep) -> fx.Graph:
    """The nodes of one step as a graph of their own: inputs first, then parameters and state."""
    graph = fx.Graph()
    nodes = {node.name: node for node in plan.captured.graph.nodes}
    mapping: dict[fx.Node, fx.Node] = {}
    for name in (*step.inputs, *step.parameters, *step.state):
        mapping[nodes[name]] = graph.placeholder(name)
        mapping[nodes[name]].meta = _without_trace(nodes[name])
    for node in step.nodes:
        mapping[node] = importable_copy(graph, node, mapping)
        mapping[node].name = node.name
        mapping[node].meta = _without_trace(node)
    returned = (*step.outputs, *(value for _, value in step.updates))
    graph.output(tuple(mapping[nodes[name]] for name in returned))
    return graph


def _without_trace(node: fx.Node) -> dict[str, Any]:
    """What is known of a node but its Python stack, whose absolute paths the importer would put into the IR."""
    return {key: value for key, value in node.meta.items() if key != "stack_trace"}


def _run(module: ir.Module, pipeline: str) -> None:
    with module.context:
        try:
            PassManager.parse(pipeline).run(module.operation)
        except ir.MLIRError as error:
            raise UnsupportedError(f"torch-mlir cannot lower the model: {_diagnostic(error)}") from error


def _diagnostic(error: ir.MLIRError) -> str:
    if not error.error_diagnostics:
        return str(error).splitlines()[0]
    first = error.error_diagnostics[0]
    return f"{first.message} (at {first.location})"


def _name_values(module: ir.Module, plan: Plan) -> None:
    functions = {ir.StringAttr(op.attributes["sym_name"]).value: op for op in module.body.operations}
    with module.context:
        for step in plan.device_steps:
            if step.entry not in functions:
                raise InternalError(f"entry '{step.entry}' vanished during import")
            functions[step.entry].attributes["arg_attrs"] = _argument_attributes(plan, step)
            functions[step.entry].attributes["res_attrs"] = _result_attributes(step)


def _argument_attributes(plan: Plan, step: DeviceStep) -> ir.ArrayAttr:
    constants = plan.captured.constants
    inputs = [_named(name, "input") for name in step.inputs]
    fixed = [_constant(plan, name) if name in constants else _named(name, "parameter") for name in step.parameters]
    return ir.ArrayAttr.get([*inputs, *fixed, *(_named(name, "state") for name in step.state)])


def _constant(plan: Plan, name: str) -> ir.DictAttr:
    own, known = _named(name, "constant"), triangle(plan.captured.parameters[name])
    if known is None:
        return own
    attributes = {item.name: item.attr for item in own}
    return ir.DictAttr.get({**attributes, "atalla.triangle": ir.DenseI64ArrayAttr.get([known[0], int(known[1])])})


def _result_attributes(step: DeviceStep) -> ir.ArrayAttr:
    changed = [_named(value, updates=name) for name, value in step.updates]
    return ir.ArrayAttr.get([*(_named(name) for name in step.outputs), *changed])


def _named(name: str, kind: str | None = None, *, updates: str | None = None) -> ir.DictAttr:
    attributes = {"atalla.name": ir.StringAttr.get(name)}
    if kind is not None:
        attributes["atalla.kind"] = ir.StringAttr.get(kind)
    if updates is not None:
        attributes["atalla.updates"] = ir.StringAttr.get(updates)
    return ir.DictAttr.get(attributes)
