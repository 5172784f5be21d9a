"""Which operations of an edge program are delegated, and what the others are told."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.export import Dim

pytest.importorskip("executorch", reason="needs the extra 'executorch'")

from executorch.exir import to_edge_transform_and_lower

from atalla_mlir.compiler import compile_model
from atalla_mlir.errors import BadInputError, ConfigurationError
from atalla_mlir.executorch import AtallaPartitioner, DelegationSummary, extra, lower
from atalla_mlir.executorch.edge_program import aten_program
from atalla_mlir.frontend.partition import plan_model
from atalla_mlir.loadable.reader import read_loadable


class Applied(nn.Module):
    """Two layers with `function` between them."""

    def __init__(self, function: object) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(8, 8), nn.Linear(8, 8)
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.function(self.first(x)))  # pyright: ignore[reportCallIssue]


def places(summary: DelegationSummary) -> dict[str, str]:
    return {op.operation: op.tag or op.reason or "" for op in summary.operations}


X = torch.linspace(-1, 1, 16).reshape(2, 8)


def test_everything_is_one_delegate_when_the_device_runs_all() -> None:
    summary = lower(Applied(torch.nn.functional.gelu), (X,)).summary
    assert places(summary) == {"aten.linear.default": "atalla_0", "aten.gelu.default": "atalla_0"}
    assert str(summary).endswith("3 of 3 operations in 1 delegate")


def test_an_operation_without_kernels_splits_the_program() -> None:
    summary = lower(Applied(lambda x: torch.fmod(x, 0.5)), (X,)).summary
    assert summary.num_delegates == 2
    (left,) = summary.left
    assert left.operation == "aten.fmod.Scalar"
    assert left.reason == "aten.fmod.Scalar has no lowering"


def test_every_result_of_an_operation_is_where_the_operation_is() -> None:
    exported = torch.export.export(Applied(lambda x: torch.sort(x)[0]), (X,))
    partitioner = AtallaPartitioner()
    partitioner.partition(to_edge_transform_and_lower(exported).exported_program())
    (summary,) = partitioner.summaries
    assert {op.operation for op in summary.left} == {"aten.sort.default", "getitem"}
    assert {op.reason for op in summary.left} == {"aten.sort.default has no lowering"}


def test_comparisons_within_a_delegate_stay() -> None:
    summary = lower(Applied(lambda x: torch.where(x > 0, x, 2 * x)), (X,)).summary
    assert not summary.left


def test_dynamic_shapes_are_left_to_executorch() -> None:
    exported = torch.export.export(nn.Linear(8, 8), (X,), dynamic_shapes=({0: Dim("batch", max=8)},))
    summary = lower(exported).summary
    assert not summary.delegated
    assert all("has no fixed shape" in (op.reason or "") for op in summary.left)


def test_state_that_the_program_changes_is_an_input_of_the_delegate() -> None:
    class Running(nn.Module):
        total: Tensor

        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("total", torch.zeros(8))

        def forward(self, x: Tensor) -> Tensor:
            self.total.add_(x.sum(0))
            return torch.relu(self.total) * 2

    summary = lower(Running(), (X,)).summary
    assert {"aten.relu.default", "aten.mul.Tensor"} <= {op.operation for op in summary.delegated}


def test_the_delegate_embeds_the_loadable_of_the_same_model() -> None:
    model = Applied(torch.nn.functional.gelu).eval()
    partitioner = AtallaPartitioner()
    exported = torch.export.export(model, (X,))
    manager = to_edge_transform_and_lower(exported, partitioner=[partitioner])
    lowered = manager.exported_program().graph_module.lowered_module_0
    embedded = read_loadable(lowered.processed_bytes)  # pyright: ignore[reportAttributeAccessIssue, reportArgumentType]
    own = compile_model(model, (X,))
    assert [row["function"] for row in embedded.meta["kernels"]] == [row["function"] for row in own.meta["kernels"]]
    assert bytes(embedded.segments[0].data) == bytes(own.segments[0].data)


def test_edge_programs_become_aten_programs_with_the_same_names() -> None:
    exported = torch.export.export(Applied(lambda x: x.t().reshape(2, 8)), (X,))
    edge = to_edge_transform_and_lower(exported).exported_program()
    plan = plan_model(aten_program(edge))
    assert not plan.host_steps
    edge_names = {node.name for node in edge.graph.nodes}
    assert set(plan.captured.origins.values()) <= edge_names


def test_an_unknown_machine_is_refused_before_anything_is_compiled() -> None:
    with pytest.raises(BadInputError, match="no machine parameter set 'ax99'"):
        AtallaPartitioner("ax99")


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extra.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        ConfigurationError, match=r"^ExecuTorch programs need the extra 'executorch': pip install 'atalla-mlir"
    ):
        extra.require_executorch()
