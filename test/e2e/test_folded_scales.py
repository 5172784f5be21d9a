"""Attention whose scale is part of its parameters: each kernel right, results the same bit for bit."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from atalla_mlir import zoo
from atalla_mlir.compiler import compile_plan
from atalla_mlir.frontend.capture import capture
from atalla_mlir.frontend.partition import Plan, partition, plan_model
from atalla_mlir.host.verify import verify
from atalla_mlir.runtime.program import Program

HEADS, WIDTH, TOKENS = 2, 128, 64


class Joint(nn.Module):
    """One linear for queries, keys and values."""

    def __init__(self, *, causal: bool = False) -> None:
        super().__init__()
        self.joint, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.causal = causal

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (part.unflatten(-1, (HEADS, -1)).transpose(-3, -2) for part in self.joint(x).chunk(3, -1))
        mixed = functional.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        return self.out(mixed.transpose(-3, -2).flatten(-2))


class OfItself(nn.Module):
    """Queries that are an input: the linear that makes the keys takes the scale."""

    def __init__(self) -> None:
        super().__init__()
        self.key, self.value = nn.Linear(WIDTH, WIDTH, bias=False), nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (part.unflatten(-1, (HEADS, -1)).transpose(-3, -2) for part in (x, self.key(x), self.value(x)))
        return functional.scaled_dot_product_attention(q, k, v).transpose(-3, -2).flatten(-2)


def tokens() -> Tensor:
    return torch.randn(1, TOKENS, WIDTH, generator=torch.Generator().manual_seed(0))


def models() -> dict[str, tuple[nn.Module, tuple[Tensor, ...]]]:
    torch.manual_seed(0)
    return {
        "joint": (Joint(), (tokens(),)),
        "causal": (Joint(causal=True), (tokens(),)),
        "keys": (OfItself(), (tokens(),)),
        "rotated": zoo.build("llama", shape="micro"),
    }


def run(plan: Plan, inputs: tuple[Tensor, ...]) -> tuple[list[np.ndarray], list[list[str]]]:
    """Results, and the operations of each kernel."""
    loadable = compile_plan(plan, cache=False)
    program = Program(loadable)
    results = program.run_entry(loadable.entries[0].name, [x.numpy() for x in inputs])
    return list(results), [row["aten"] for row in loadable.meta["kernels"]]


@pytest.mark.parametrize("name", ["joint", "causal", "keys", "rotated"])
def test_results_are_those_of_the_scale_behind_the_product(name: str) -> None:
    model, inputs = models()[name]
    folded, kernels = run(plan_model(model, inputs), inputs)
    plain, plain_kernels = run(partition(capture(model, inputs)), inputs)
    assert all(map(np.array_equal, folded, plain))
    assert len(kernels) == len(plain_kernels)
    attention = [ops for ops in kernels if {"aten.bmm.default", "aten.amax.default"} <= set(ops)]
    assert attention
    assert not any("aten.mul.Tensor" in ops for ops in attention)


@pytest.mark.parametrize("name", ["joint", "causal", "keys"])
def test_kernels_with_scaled_parameters_are_right(name: str) -> None:
    model, inputs = models()[name]
    report = verify(model, inputs)
    assert report.ok, str(report)
    assert report.totals.cosine_f32 >= 0.9998


def test_views_on_the_host_take_what_the_scale_leaves_as_it_lies() -> None:
    """Views of nine dimensions run on the host; those that are behind the scale see gaps that it would close."""

    class Cut(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(WIDTH, WIDTH)

        def forward(self, x: Tensor) -> Tensor:
            return (self.layer(x).unflatten(-1, [2] * 7)[..., :1, :] * 0.5).reshape(-1).relu()

    torch.manual_seed(0)
    model, x = Cut(), tokens()
    assert "p_layer_bias_scaled" in plan_model(model, (x,)).captured.parameters
    report = verify(model, (x,))
    assert report.ok, str(report)
    assert report.totals.cosine_f32 >= 0.9998


def test_scaling_other_columns_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kernels are judged by the parameters that they have; that these are right is what the whole model shows."""
    model, inputs = models()["joint"]

    def scaled(value: Tensor, elements: Tensor, factor: float) -> Tensor:
        return torch.where(elements.roll(-WIDTH // 2, -1), value * factor, value)

    expected = verify(model, inputs).totals.cosine_f32
    monkeypatch.setattr("atalla_mlir.frontend.folded_scales._scaled", scaled)
    found = verify(model, inputs).totals.cosine_f32
    assert found < 0.99 < expected
