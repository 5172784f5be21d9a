"""The partitioner: operations that a compilation would run on the device are tagged for the delegate.

The whole program is captured and planned as `atalla-compile` does it. An operation of the edge dialect is delegated
when all primitive operations that it becomes run on the device.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping

import torch
from executorch.exir.backend.compile_spec_schema import CompileSpec
from executorch.exir.backend.partitioner import DelegationSpec, Partitioner, PartitionResult
from executorch.exir.backend.utils import tag_constant_data
from torch import Tensor, fx
from torch._ops import OpOverload
from torch.export import ExportedProgram
from torch.fx.passes.infra.partitioner import CapabilityBasedPartitioner
from torch.fx.passes.operator_support import OperatorSupportBase

from atalla_mlir.errors import AtallaError
from atalla_mlir.executorch.delegate import BACKEND, MACHINE
from atalla_mlir.executorch.edge_program import aten_operation, aten_program
from atalla_mlir.executorch.summary import DelegationSummary, OperationPlace
from atalla_mlir.frontend.exported import is_static
from atalla_mlir.frontend.partition import HostStep, Plan, plan_model
from atalla_mlir.frontend.support import VIEWS
from atalla_mlir.target.machine import machine as find_machine

_TAG = "delegation_tag"


class AtallaPartitioner(Partitioner):
    """Delegates what `machine` can run; `summaries` has an entry for each method that was partitioned."""

    def __init__(self, machine: str = "ax01") -> None:
        super().__init__()
        find_machine(machine)
        self._delegation = DelegationSpec(BACKEND, [CompileSpec(MACHINE, machine.encode())])
        self.summaries: list[DelegationSummary] = []

    def partition(self, exported_program: ExportedProgram) -> PartitionResult:
        nodes = _calls(exported_program.graph)
        reasons = _reasons(exported_program, nodes)
        tags: dict[str, str] = {}
        for index, group in enumerate(_groups(exported_program.graph_module, nodes, reasons)):
            for node in group:
                node.meta[_TAG] = tags[node.name] = f"atalla_{index}"
        tag_constant_data(exported_program)
        self.summaries.append(DelegationSummary(tuple(_place(node, tags, reasons) for node in nodes)))
        return PartitionResult(exported_program, dict.fromkeys(tags.values(), self._delegation))

    def ops_to_not_decompose(self, ep: ExportedProgram) -> tuple[list[OpOverload], Callable[[fx.Node], bool] | None]:
        """Operations that the compiler expands itself: those of which every call would run on the device."""
        nodes = [node for node in _calls(ep.graph) if isinstance(node.target, OpOverload)]
        if not nodes:
            return [], None
        reasons = _reasons(ep, nodes)
        left = {node.target for node in nodes if node.name in reasons}
        kept = dict.fromkeys(node.target for node in nodes if node.target not in left)
        return [target for target in kept if isinstance(target, OpOverload)], None


def _calls(graph: fx.Graph) -> list[fx.Node]:
    return [node for node in graph.nodes if node.op == "call_function"]


def _reasons(program: ExportedProgram, nodes: Iterable[fx.Node]) -> dict[str, str]:
    """Node name -> why it cannot be delegated."""
    dynamic = [node for node in nodes if not all(map(is_static, _tensors(node)))]
    if dynamic:
        return dict.fromkeys((node.name for node in nodes), f"{dynamic[0].name} has no fixed shape")
    try:
        plan = plan_model(aten_program(program))
    except AtallaError as error:
        return dict.fromkeys((node.name for node in nodes), str(error).splitlines()[0])
    reasons = dict(_hosted(plan))
    picks = [node for node in nodes if node.target is operator.getitem]
    return reasons | {node.name: reasons[source] for node in picks if (source := str(node.args[0])) in reasons}


def _hosted(plan: Plan) -> Iterable[tuple[str, str]]:
    """Origins of host operations, with the reasons; constants are where their readers are."""
    for step in plan.steps:
        if isinstance(step, HostStep):
            yield plan.captured.origins.get(step.node.name, step.node.name), step.reason


def _tensors(node: fx.Node) -> list[Tensor]:
    value = node.meta.get("val")
    values = value if isinstance(value, (tuple, list)) else [value]
    return [item for item in values if isinstance(item, Tensor)]


class _Supported(OperatorSupportBase):
    def __init__(self, reasons: Mapping[str, str]) -> None:
        self._reasons = reasons

    def is_node_supported(self, submodules: Mapping[str, torch.nn.Module], node: fx.Node) -> bool:
        return node.op == "call_function" and node.name not in self._reasons


def _groups(module: fx.GraphModule, nodes: list[fx.Node], reasons: dict[str, str]) -> list[list[fx.Node]]:
    """Nodes of each delegate; those of delegates that would only copy get a reason instead."""
    found = CapabilityBasedPartitioner(
        module, _Supported(reasons), allows_single_node_partition=True
    ).propose_partitions()
    groups: list[list[fx.Node]] = []
    for part in found:
        members = [node for node in nodes if node in part.nodes]
        if any(_computes(node) for node in members):
            groups.append(members)
        else:
            reasons.update({node.name: "a view, and nothing beside it is delegated" for node in members})
    return sorted(groups, key=lambda group: nodes.index(group[0]))


def _computes(node: fx.Node) -> bool:
    return aten_operation(node.target) not in {*VIEWS, torch.ops.aten.full.default}


def _place(node: fx.Node, tags: Mapping[str, str], reasons: Mapping[str, str]) -> OperationPlace:
    operation = "getitem" if node.target is operator.getitem else str(aten_operation(node.target))
    tag = tags.get(node.name)
    return OperationPlace(node.name, operation, tag, None if tag else reasons[node.name])
