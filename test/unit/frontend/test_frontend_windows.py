"""Convolutions and pools become few kinds of operations that compute the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F  # noqa: N812

from atalla_mlir.frontend.capture import Captured, capture
from atalla_mlir.frontend.partition import partition

aten = torch.ops.aten


class Call(nn.Module):
    """A function of a tensor as a module."""

    def __init__(self, function: Any, **arguments: Any) -> None:
        super().__init__()
        self.function = function
        self.arguments = arguments

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x, **self.arguments)


def run(captured: Captured, inputs: Sequence[Tensor]) -> Tensor:
    """What the captured graph computes in the model's own type."""
    values: Mapping[str, Tensor] = {**captured.parameters, **dict(zip(captured.inputs, inputs, strict=True))}
    env: dict[fx.Node, Any] = {}
    for node in captured.graph.nodes:
        if node.op == "placeholder":
            env[node] = values[node.name]
        elif node.op == "call_function":
            env[node] = node.target(*fx.map_arg(node.args, env.get), **fx.map_arg(node.kwargs, env.get))  # pyright: ignore
        else:
            return env[node.args[0][0]]
    raise AssertionError("the graph has no output")


def check(model: nn.Module, x: Tensor) -> Captured:
    """Capture; the graph computes what the model does, all on the device."""
    captured = capture(model.eval().double(), (x.double(),))
    assert not partition(captured).host_steps
    with torch.no_grad():
        torch.testing.assert_close(run(captured, [x.double()]), model(x.double()), rtol=1e-9, atol=1e-9)
    return captured


CONVOLUTIONS = [
    {"kernel_size": 3},
    {"kernel_size": 3, "padding": 1, "stride": 2},
    {"kernel_size": (3, 2), "padding": "same", "bias": False},
    {"kernel_size": 3, "dilation": 2, "padding": (1, 2)},
    {"kernel_size": 3, "groups": 2},
    {"kernel_size": 3, "groups": 6, "padding": 1},
    {"kernel_size": 1, "groups": 3},
]


@pytest.mark.parametrize("arguments", CONVOLUTIONS, ids=str)
def test_convolutions(arguments: dict[str, Any]) -> None:
    captured = check(nn.Conv2d(6, 12, **arguments), torch.randn(2, 6, 9, 8))
    convolution = next(n for n in captured.graph.nodes if n.target is aten.convolution.default)
    assert convolution.args[2] is None
    assert not any(convolution.args[4])


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("kernel", [1, 2, 3, 4])
def test_transposed_convolutions_never_multiply_inserted_zeros(kernel: int, stride: int) -> None:
    for padding, dilation, groups in ((0, 1, 1), (1, 1, 2), (1, 2, 1), (0, 3, 4)):
        extra = min(stride, dilation) - 1
        model = nn.ConvTranspose2d(
            4, 8, kernel, stride, padding, output_padding=extra, groups=groups, dilation=dilation
        )
        captured = check(model, torch.randn(2, 4, 5, 6))
        assert all(n.args[3] == [1, 1] for n in captured.graph.nodes if n.target is aten.convolution.default)


def test_one_dimension_and_no_batch() -> None:
    check(nn.Conv1d(4, 6, 3, padding=1, stride=2), torch.randn(2, 4, 9))
    check(nn.ConvTranspose1d(4, 6, 4, 2, 1), torch.randn(2, 4, 9))
    check(nn.Conv2d(4, 6, 3), torch.randn(4, 9, 9))
    check(nn.MaxPool1d(3, 2, 1), torch.randn(2, 4, 9))
    check(nn.AvgPool1d(3, 2, 1), torch.randn(2, 4, 9))
    check(nn.MaxPool2d(3), torch.randn(4, 9, 9))
    check(nn.AvgPool2d(3), torch.randn(4, 9, 9))


def test_depthwise_groups_stay_and_narrow_groups_share_the_lanes() -> None:
    depthwise = check(nn.Conv2d(8, 8, 3, groups=8), torch.randn(1, 8, 5, 5))
    narrow = check(nn.Conv2d(64, 64, 3, groups=16), torch.randn(1, 64, 5, 5))
    groups = [
        node.args[8]
        for captured in (depthwise, narrow)
        for node in captured.graph.nodes
        if node.target is aten.convolution.default
    ]
    assert groups == [8, 2]


@pytest.mark.parametrize("ceil_mode", [False, True])
@pytest.mark.parametrize("padding", [0, 1])
@pytest.mark.parametrize(("kernel", "stride"), [(2, 2), (3, 2), (3, 1), (2, 3)])
def test_pools(kernel: int, stride: int, padding: int, ceil_mode: bool) -> None:
    x = torch.randn(2, 3, 8, 11)
    check(nn.MaxPool2d(kernel, stride, padding, ceil_mode=ceil_mode), x)
    check(nn.MaxPool2d(kernel, stride, padding, dilation=2, ceil_mode=ceil_mode), x)
    for count_include_pad in (False, True):
        check(nn.AvgPool2d(kernel, stride, padding, ceil_mode, count_include_pad), x)
    check(nn.AvgPool2d(kernel, stride, padding, ceil_mode, divisor_override=5), x)


@pytest.mark.parametrize("size", [1, 2, 4, (3, 5), (7, 11), (8, 4)])
def test_adaptive_pools(size: Any) -> None:
    check(nn.AdaptiveAvgPool2d(size), torch.randn(2, 3, 8, 11))


def test_adaptive_pools_in_one_dimension() -> None:
    check(nn.AdaptiveAvgPool1d(4), torch.randn(2, 3, 10))


def test_batch_normalisation_goes_into_the_weights() -> None:
    norm = nn.BatchNorm2d(6)
    with torch.no_grad():
        for tensor in (norm.running_mean, norm.running_var, norm.weight, norm.bias):
            assert tensor is not None
            tensor.uniform_(0.5, 1.5)
    model = nn.Sequential(nn.Conv2d(4, 6, 3), norm, nn.ReLU())
    captured = check(model, torch.randn(1, 4, 6, 6))
    targets = [node.target for node in captured.graph.nodes if node.op == "call_function"]
    assert targets == [aten.convolution.default, aten.add.Tensor, aten.relu.default]
    assert sorted(captured.parameters) == ["add_2_shift", "convolution_weight"]


def test_a_convolution_with_two_readers_keeps_its_weights() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.convolution = nn.Conv2d(4, 6, 3, bias=False)

        def forward(self, x: Tensor) -> Tensor:
            y = self.convolution(x)
            return y * 2 + y

    captured = check(Twice(), torch.randn(1, 4, 6, 6))
    assert list(captured.parameters) == ["p_convolution_weight"]


def test_indices_of_a_pool_need_the_host() -> None:
    captured = capture(Call(F.max_pool2d, kernel_size=2, return_indices=True), (torch.randn(1, 2, 4, 4),))
    assert [step.node.target for step in partition(captured).host_steps] == [aten.max_pool2d_with_indices.default]
