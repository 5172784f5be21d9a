"""Families of operations, each one program: on the device alone, every kernel within its bound, as PyTorch has it."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from atalla_mlir.host.verify import verify
from atalla_mlir.testing.random_models import Function

attention = functional.scaled_dot_product_attention


def resized(mode: str, align_corners: bool | None = None, **how: object) -> Callable[[Tensor], Tensor]:
    return lambda x: functional.interpolate(x, mode=mode, align_corners=align_corners, **how)  # pyright: ignore


def extended(mode: str, *amounts: int) -> Callable[[Tensor], Tensor]:
    return lambda x: functional.pad(x, amounts, mode)


Family = tuple[tuple[tuple[int, ...], ...], list[Callable[..., Tensor]]]

FAMILIES: dict[str, Family] = {
    "nearest": (
        ((1, 3, 7, 5),),
        [
            resized("nearest", scale_factor=2),
            resized("nearest", size=(4, 13)),
            resized("nearest", scale_factor=(1.5, 0.5)),
            resized("nearest-exact", size=(3, 8)),
        ],
    ),
    "linear": (
        ((1, 3, 7, 5),),
        [
            resized("bilinear", False, scale_factor=2),
            resized("bilinear", True, size=(4, 9)),
            resized("bilinear", False, scale_factor=0.7, recompute_scale_factor=True),
            resized("bicubic", False, size=(5, 6)),
            resized("area", size=(3, 4)),
        ],
    ),
    "padding": (
        ((2, 3, 7, 33),),
        [
            extended("reflect", 2, 1, 3, 0),
            extended("replicate", 2, 1, 3, 0),
            extended("circular", 2, 1, 3, 0),
            extended("constant", -1, 2, 1, -2),
        ],
    ),
    "adaptive pools": (
        ((1, 33, 7, 5),),
        [
            lambda x: functional.adaptive_max_pool2d(x, (3, 4)),
            lambda x: functional.adaptive_max_pool2d(x, (1, 7)),
            lambda x: functional.adaptive_avg_pool2d(x, (9, 2)),
        ],
    ),
    "pools of one image": (
        ((5, 9, 8),),
        [
            lambda x: functional.max_pool2d(x, 2),
            lambda x: functional.max_pool2d(x, 3, 2, padding=1, ceil_mode=True),
            lambda x: functional.avg_pool2d(x, 2),
        ],
    ),
    "pools of volumes": (
        ((1, 2, 5, 6, 4),),
        [
            lambda x: functional.max_pool3d(x, 2, padding=1),
            lambda x: functional.avg_pool3d(x, (3, 2, 2), ceil_mode=True),
            lambda x: functional.adaptive_avg_pool3d(x, (2, 3, 1)),
        ],
    ),
    "order": (
        ((5, 33),),
        [
            lambda x: x.flip(1),
            lambda x: x.flip((0, 1)),
            lambda x: x.roll((-2, 1), (0, 1)),
            lambda x: x.rot90(),
            lambda x: x.tril(1),
            lambda x: x.unfold(1, 3, 2),
            lambda x: x.unfold(1, 20, 6),
            lambda x: x.diagonal(2),
        ],
    ),
    "products": (
        ((5, 33), (7, 33)),
        [
            lambda x, y: torch.cdist(x, y),
            lambda x, y: torch.einsum("ij,kj->ik", x, y),
            lambda x, y: functional.pairwise_distance(x, y[:5]),
            lambda x, y: functional.cosine_similarity(x, y[:5]),
            lambda x, y: torch.vdot(x[0], y[0]) + torch.linalg.vector_norm(x, 3),
            lambda x, y: x.prod(1),
            lambda x, y: y.cumprod(0),
            lambda x, y: x.cumsum(1),
        ],
    ),
    "functions": (
        ((3, 31),),
        [
            torch.sinh,
            torch.asinh,
            lambda x: torch.acosh(x.abs() + 1.1),
            lambda x: torch.atanh(x.tanh() * 0.9),
            lambda x: functional.rrelu(x),
            lambda x: torch.nan_to_num(x / x.relu()),
            lambda x: torch.fmax(x, x.log()),
            lambda x: x.where(x.isfinite(), 0),
        ],
    ),
    "sampling": (
        ((1, 3, 5, 5), (1, 4, 4, 2)),
        [lambda x, grid: functional.grid_sample(x, grid.tanh(), align_corners=False)],
    ),
    "moments": (
        ((3, 31, 5),),
        [
            lambda x: x.var((0, 2), correction=2),
            lambda x: x.std(1),
            lambda x: x.mean((0, 1)),
            lambda x: functional.rms_norm(x, (31, 5)),
            lambda x: functional.instance_norm(x),
            lambda x: functional.group_norm(x.transpose(0, 1), 3),
            lambda x: functional.normalize(x),
        ],
    ),
    "attention": (
        ((1, 4, 9, 8), (1, 2, 13, 8), (1, 2, 13, 5), (9, 13)),
        [
            lambda q, k, v, m: attention(q, k, v, enable_gqa=True),
            lambda q, k, v, m: attention(q, k, v, enable_gqa=True, is_causal=True),
            lambda q, k, v, m: attention(q, k, v, enable_gqa=True, attn_mask=m, scale=0.3),
            lambda q, k, v, m: attention(q, k, v, enable_gqa=True, attn_mask=m > m.amin(1, keepdim=True)),
        ],
    ),
}


@pytest.mark.parametrize("name", FAMILIES)
def test_family_runs_on_the_device(name: str) -> None:
    shapes, functions = FAMILIES[name]
    generator = torch.Generator().manual_seed(len(name))
    operands = tuple(torch.randn(shape, generator=generator) for shape in shapes)
    model = Function(lambda *x: tuple(function(*x) for function in functions))
    report = verify(model, operands, strict=True)
    assert report.ok, report.summary()
    assert not any(stored.num_unbounded for row in report.ops for stored in row.stores)
    assert report.totals.cosine_f32 > 0.999


@pytest.mark.parametrize(
    ("kind", "options"),
    [(torch.nn.GRU, {"bidirectional": True}), (torch.nn.LSTM, {"proj_size": 5}), (torch.nn.RNN, {"num_layers": 2})],
)
def test_recurrent_layers(kind: type[torch.nn.Module], options: dict[str, int]) -> None:
    torch.manual_seed(0)
    report = verify(kind(7, 12, **options), (torch.randn(4, 2, 7),), strict=True)
    assert report.ok, report.summary()


def test_bilinear_form() -> None:
    torch.manual_seed(0)
    report = verify(torch.nn.Bilinear(5, 7, 3), (torch.randn(4, 5), torch.randn(4, 7)), strict=True)
    assert report.ok, report.summary()
    assert not math.isnan(report.totals.cosine_f32)


def test_equal_operations_before_the_host() -> None:
    """They are computed once and read under both names."""
    x = torch.randn(5, 7, generator=torch.Generator().manual_seed(1))
    report = verify(Function(lambda x: (x.tanh().asin(), x.tanh().acos())), (x,))
    assert report.ok, report.summary()
    assert [op["aten"] for op in report.totals.host_ops] == ["aten.asin.default", "aten.acos.default"]
