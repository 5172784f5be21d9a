"""Scales of both operands of a product move behind it; anything else stays where it is."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from atalla_mlir.frontend.capture import Captured, capture
from atalla_mlir.host.verify import verify

aten = torch.ops.aten
Q, K = torch.randn(2, 3, 4, 8), torch.randn(2, 3, 4, 8)


class Scores(nn.Module):
    def __init__(self, function: Callable[[Tensor, Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor([0.5]))
        self.function = function

    def forward(self, q: Tensor, k: Tensor) -> Tensor:
        return self.function(q, k, self.scale)


def read_twice(q: Tensor, k: Tensor) -> Tensor:
    return q @ k.transpose(-1, -2) + q.sum()


def multiplications(captured: Captured) -> list[object]:
    return [node.args[1] for node in captured.graph.nodes if node.target is aten.mul.Tensor]


@pytest.mark.parametrize(
    "function",
    [
        lambda q, k, s: (q * s) @ (k * s).transpose(-1, -2),
        lambda q, k, s: (q * 0.5) @ (0.5 * k.transpose(-1, -2)),
        lambda q, k, s: (q.reshape(6, 4, 8) * s) @ (k * 0.5).reshape(6, 4, 8).transpose(1, 2),
    ],
)
def test_two_scales_become_one_behind_the_product(function: Callable[[Tensor, Tensor, Tensor], Tensor]) -> None:
    model = Scores(function)
    captured = capture(model, (Q, K))
    assert multiplications(captured) == [0.25]
    assert not captured.parameters
    assert {node.name for node in captured.graph.nodes} >= set(captured.outputs)
    assert verify(model, (Q, K)).ok


@pytest.mark.parametrize(
    ("function", "count"),
    [
        (lambda q, k, s: (q * s) @ k.transpose(-1, -2), 1),
        (lambda q, k, s: (q * s) @ (k * q).transpose(-1, -2), 2),
        (lambda q, k, s: read_twice(q * s, k * s), 2),
        (lambda q, k, s: (q * 0.0) @ (k * s).transpose(-1, -2), 2),
    ],
)
def test_other_products_stay(function: Callable[[Tensor, Tensor, Tensor], Tensor], count: int) -> None:
    assert len(multiplications(capture(Scores(function), (Q, K)))) >= count
    assert 0.25 not in multiplications(capture(Scores(function), (Q, K)))
