"""Two products as one kernel: what lies between stays in the pads, and values are right."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from atalla_mlir._mlir import operations
from atalla_mlir.frontend.lower import import_plans
from atalla_mlir.frontend.partition import plan_model
from atalla_mlir.host.report import Report
from atalla_mlir.host.verify import verify
from atalla_mlir.pipeline import lower_module

CHAIN = "chain of products"


class Layers(nn.Module):
    """Linear layers of the given widths with an activation between them; `extra` chooses what else is looked at."""

    def __init__(self, *widths: int, activation: nn.Module | None = None, bias: bool = True, extra: str = "") -> None:
        super().__init__()
        torch.manual_seed(0)
        self.widths = widths
        self.layers = nn.ModuleList(nn.Linear(a, b, bias=bias) for a, b in itertools.pairwise(widths))
        self.activation = activation or nn.ReLU()
        self.extra = extra

    def forward(self, x: Tensor) -> Any:
        first = x
        for layer in self.layers[:-1]:
            x = between = self.activation(layer(x))
        result = self.layers[-1](x)
        match self.extra:
            case "residual":
                return result + first
            case "returned":
                return result, between
            case "read twice":
                return result + between.sum()
            case "norm":
                return self.layers[-1](nn.functional.layer_norm(between, between.shape[-1:]))
            case _:
                return result


def _verified(model: nn.Module, shape: tuple[int, ...], **options: Any) -> Report:
    torch.manual_seed(1)
    report = verify(model.eval(), (torch.randn(shape),), cache=False, **options)
    assert report.ok, report.summary()
    return report


def _forms(report: Report) -> list[str]:
    return [nest["form"] for op in report.ops for nest in op.decisions]


@pytest.mark.parametrize(
    ("model", "rows"),
    [
        (Layers(100, 64, 70), 64),
        (Layers(64, 96, 64, bias=False, extra="residual"), 50),
        (Layers(512, 128, 64, activation=nn.GELU()), 64),
        (Layers(32, 1088, 40), 33),
        (Layers(64, 96, 31), 5),
    ],
)
def test_two_products_are_one_kernel(model: Layers, rows: int) -> None:
    report = _verified(model, (rows, model.widths[0]))
    assert _forms(report) == [CHAIN]
    kept = rows * model.widths[1] * 2
    assert report.ops[0].decisions[0]["facts"]["kept_bytes"] == kept
    assert report.memory is not None and report.memory.kept_bytes == (kept,)
    assert f"{kept:,} bytes between products stay in them" in str(report)


def test_what_stays_in_the_pads_does_not_move() -> None:
    report, apart = (_verified(Layers(64, 64, 96), (3, 64), chains=chains) for chains in (True, False))
    assert (_forms(report), _forms(apart)) == ([CHAIN], ["tiled product", "tiled product"])
    loaded, stored = (
        [sum(getattr(op, field) for op in one.ops) for one in (report, apart)]
        for field in ("dram_bytes_loaded", "dram_bytes_stored")
    )
    kept = 3 * 64 * 2
    assert loaded[0] <= loaded[1] - kept
    assert stored[0] <= stored[1] - kept


def test_equal_pairs_of_layers_are_one_function() -> None:
    layers = [module for _ in range(4) for module in (nn.Linear(64, 64), nn.ReLU())]
    report = _verified(nn.Sequential(*layers), (40, 64), images="never")
    assert _forms(report) == [CHAIN, CHAIN]
    assert len({op.function for op in report.ops}) == 1


def test_convolutions_of_single_pixels() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(64, 96, 1), nn.ReLU(), nn.Conv2d(96, 64, 1), nn.BatchNorm2d(64), nn.ReLU())
    assert CHAIN in _forms(_verified(model, (1, 64, 9, 7)))


def test_blocks_of_a_chain_can_be_fixed() -> None:
    fixed = {"lines": 1, "width": 17, "first_stays": "columns"}
    report = _verified(Layers(64, 96, 64), (50, 64), decisions=[{"fix": fixed}])
    assert report.ops[0].decisions[0]["fields"] == fixed


@pytest.mark.parametrize(
    ("model", "kernels"),
    [
        (Layers(64, 64, 64), 1),
        (Layers(64, 64, 64, extra="returned"), 2),
        (Layers(64, 64, 64, extra="read twice"), 3),
        (Layers(64, 64, 64, extra="norm"), 3),
        (Layers(64, 70, 64), 2),
    ],
)
def test_values_that_others_look_at_or_that_do_not_fit_go_to_dram(model: Layers, kernels: int) -> None:
    module = import_plans([plan_model(model.eval(), (torch.randn(40, 64),))])
    lower_module(module, stop_after="fuse")
    assert len(operations(module.operation, "func.call")) == kernels
