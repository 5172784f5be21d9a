"""FLOPs and multiply-accumulates of single operations, as docs/metrics.md defines them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from atalla_mlir.frontend.capture import capture
from atalla_mlir.frontend.flops import flops, macs


class Apply(nn.Module):
    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *args: torch.Tensor) -> Any:
        return self.function(*args)


@pytest.mark.parametrize(
    ("function", "shapes", "expected_flops", "expected_macs"),
    [
        (torch.matmul, [(3, 4), (4, 5)], 2 * 3 * 4 * 5, 3 * 4 * 5),
        (torch.matmul, [(2, 3, 4), (2, 4, 5)], 2 * 2 * 3 * 4 * 5, 2 * 3 * 4 * 5),
        (lambda x, w: nn.functional.conv2d(x, w), [(1, 3, 8, 8), (4, 3, 3, 3)], 2 * 4 * 36 * 27, 4 * 36 * 27),
        (torch.add, [(3, 1), (1, 5)], 15, 0),
        (torch.exp, [(3, 5)], 15, 0),
        (lambda x: x.sum(1), [(3, 5)], 12, 0),
        (lambda x: x.amax((0, 1)), [(3, 5)], 14, 0),
        (lambda x: x.t().clone(), [(3, 5)], 0, 0),
        (lambda x: torch.cat([x, x]), [(3, 5)], 0, 0),
        (lambda x: x.bfloat16(), [(3, 5)], 0, 0),
    ],
)
def test_work_of_an_operation(
    function: Callable[..., Any], shapes: list[tuple[int, ...]], expected_flops: int, expected_macs: int
) -> None:
    nodes = capture(Apply(function), tuple(torch.ones(shape) for shape in shapes)).graph.nodes
    operations = [node for node in nodes if node.op == "call_function"]
    assert sum(flops(node) for node in operations) == expected_flops
    assert sum(macs(node) for node in operations) == expected_macs


def test_integer_work_has_no_flops() -> None:
    nodes = capture(Apply(lambda x: x * 2), (torch.arange(4),)).graph.nodes
    assert sum(flops(node) for node in nodes if node.op == "call_function") == 0
