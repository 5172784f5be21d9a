"""Partition: segments, reasons, and what strict compilation says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from atalla_mlir.errors import BadInputError, UnsupportedError
from atalla_mlir.frontend.capture import capture
from atalla_mlir.frontend.coverage import Coverage, coverage
from atalla_mlir.frontend.partition import DeviceStep, Plan, partition, plan_model


class Apply(nn.Module):
    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *args: Tensor) -> Any:
        return self.function(*args)


def plan_of(function: Callable[..., Any], *inputs: Tensor) -> Plan:
    return partition(capture(Apply(function), inputs))


def shape_of(plan: Plan) -> list[str]:
    """One letter for each step."""
    return ["device" if isinstance(step, DeviceStep) else str(step.node.target) for step in plan.steps]


def check_order(plan: Plan) -> None:
    """No step reads a value that is not there yet."""
    known = {*plan.captured.inputs, *plan.captured.parameters}
    for step in plan.steps:
        if isinstance(step, DeviceStep):
            assert set(step.inputs) | set(step.parameters) <= known
            known.update(step.outputs)
        else:
            assert {node.name for node in step.node.all_input_nodes} <= known
            known.update(step.outputs)
    assert {output for output in plan.captured.outputs if isinstance(output, str)} <= known


def test_a_supported_model_is_one_segment() -> None:
    plan = plan_of(lambda x: torch.softmax(x.relu() @ x.t(), -1).reshape(-1)[2:], torch.ones(4, 4))
    assert shape_of(plan) == ["device"]
    assert plan.device_steps[0].entry == "main"
    check_order(plan)


def test_an_unsupported_operation_splits_the_model() -> None:
    plan = plan_of(lambda x: torch.lgamma(x * 2) + x * 2, torch.ones(4))
    assert shape_of(plan) == ["device", "aten.lgamma.default", "device"]
    assert [step.entry for step in plan.device_steps] == ["main", "main_1"]
    assert plan.host_steps[0].reason == "aten.lgamma.default has no lowering"
    check_order(plan)


def test_independent_branches_share_segments() -> None:
    def branches(x: Tensor) -> Tensor:
        return torch.lgamma(x + 1) * 2 + torch.lgamma(x - 1) * 3

    plan = plan_of(branches, torch.ones(4))
    assert shape_of(plan) == ["device", "aten.lgamma.default", "aten.lgamma.default", "device"]
    check_order(plan)


def test_a_long_and_a_short_way_do_not_make_a_cycle() -> None:
    def skip(x: Tensor) -> Tensor:
        a = x * 2
        return torch.lgamma(torch.lgamma(a) + 1) + a * torch.lgamma(a)

    plan = plan_of(skip, torch.ones(4))
    lgamma = "aten.lgamma.default"
    assert shape_of(plan) == ["device", lgamma, lgamma, "device", lgamma, "device"]
    check_order(plan)


def test_operations_with_several_results() -> None:
    plan = plan_of(lambda x: torch.sort(x * 2)[0] + 1, torch.ones(4))
    (step,) = plan.host_steps
    assert step.outputs == ("getitem", "sort.1")
    check_order(plan)


def test_views_of_host_results_stay_where_they_are_free() -> None:
    returned = plan_of(lambda x: torch.lgamma(x).t(), torch.ones(4, 3))
    assert shape_of(returned) == ["aten.lgamma.default", "aten.permute.default"]
    assert returned.host_steps[1].reason == "a view of lgamma, which is computed on the host"
    used = plan_of(lambda x: torch.lgamma(x).t() * 2, torch.ones(4, 3))
    assert shape_of(used) == ["aten.lgamma.default", "device"]


def test_a_view_waits_for_the_segment_that_reads_it() -> None:
    plan = plan_of(lambda x: torch.lgamma(torch.lgamma(x) + 1) * x.t(), torch.ones(2, 2))
    transposed = next(node for node in plan.captured.graph.nodes if "permute" in node.name)
    assert transposed in plan.device_steps[1].nodes
    check_order(plan)


def test_a_model_of_views_only_runs_on_the_device() -> None:
    assert shape_of(plan_of(lambda x: x.t(), torch.ones(4, 3))) == ["device"]


@pytest.mark.parametrize(
    ("function", "inputs", "reason"),
    [
        (lambda x: x @ x, (torch.ones(4, 4, dtype=torch.int64),), "aten.mm.default of int64 has no lowering"),
        (lambda x: x * 2, (torch.ones(2, dtype=torch.complex64),), "it computes complex64, which the device lacks"),
        (lambda x: x * 2, (torch.ones(0, 3),), "the tensor of shape [0, 3] is empty"),
        (lambda x: torch.div(x, 2, rounding_mode="floor"), (torch.ones(2),), None),
    ],
)
def test_reasons(function: Callable[..., Any], inputs: tuple[Tensor, ...], reason: str | None) -> None:
    plan = plan_of(function, *inputs)
    assert plan.device_steps == ()
    assert reason is None or plan.host_steps[-1].reason == reason


def test_whole_numbers_and_booleans_run_on_the_device() -> None:
    def function(x: Tensor, numbers: Tensor, flags: Tensor) -> tuple[Tensor, ...]:
        positive = x > 0
        return torch.where(positive & flags, x, 1.0), positive, numbers * 2 + 1, x.argmax(), x[numbers]

    plan = plan_of(function, torch.ones(2), torch.tensor([1, 0]), torch.tensor([True, False]))
    assert shape_of(plan) == ["device"]


def test_strict_lists_every_host_operation() -> None:
    with pytest.raises(UnsupportedError) as caught:
        plan_model(Apply(lambda x: torch.lgamma(x) + torch.digamma(x)), (torch.ones(2),), strict=True)
    assert str(caught.value) == (
        "2 operations would run on the host, which strict compilation refuses:\n"
        "  lgamma (aten.lgamma.default): aten.lgamma.default has no lowering\n"
        "  digamma (aten.digamma.default): aten.digamma.default has no lowering"
    )


def test_example_inputs_must_be_a_tuple() -> None:
    with pytest.raises(BadInputError) as caught:
        plan_model(nn.Identity(), torch.ones(2))  # pyright: ignore[reportArgumentType]
    assert str(caught.value) == "example inputs must be a tuple, got Tensor; write (x,) for one input"


def test_coverage_lists_operations_with_their_share() -> None:
    table = coverage(plan_of(lambda x: torch.lgamma(x @ x), torch.ones(4, 4)))
    product, lgamma = table.operations
    assert (product.device, product.reason, product.flops) == ("ax01", None, 2 * 4 * 4 * 4)
    assert (lgamma.device, lgamma.reason, lgamma.flops) == ("host", "aten.lgamma.default has no lowering", 16)
    assert table.device_flops_fraction == pytest.approx(128 / 144)
    assert table.summary() == "on ax01: 1 of 2 operations, 88.89 % of the FLOPs"
    assert Coverage.from_json(table.to_json()) == table
