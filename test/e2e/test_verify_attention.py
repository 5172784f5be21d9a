"""Attention as one kernel: masks, shared heads, lengths and widths that are no multiples of 32, special scores."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from atalla_mlir.host.report import Report
from atalla_mlir.host.verify import verify


@dataclass(frozen=True)
class Shape:
    batch: int
    heads: int
    queries: int
    keys: int
    width: int
    shared: int = 1
    """Query heads for each head of keys."""
    value_width: int = 0
    """Width of values where it is another."""


class Attention(nn.Module):
    def __init__(self, shape: Shape, *, is_causal: bool = False) -> None:
        super().__init__()
        self.shape, self.is_causal = shape, is_causal

    def forward(self, query: Tensor, key: Tensor, value: Tensor, *mask: Tensor) -> Tensor:
        of_keys = self.shape.heads // self.shape.shared
        heads = [_split(x, count) for x, count in ((query, self.shape.heads), (key, of_keys), (value, of_keys))]
        mixed = functional.scaled_dot_product_attention(
            *heads, attn_mask=mask[0] if mask else None, is_causal=self.is_causal, enable_gqa=self.shape.shared > 1
        )
        return mixed.transpose(1, 2).flatten(2)


def _split(x: Tensor, heads: int) -> Tensor:
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def _operands(shape: Shape) -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(0)
    heads = shape.heads // shape.shared
    return (
        torch.randn(shape.batch, shape.queries, shape.heads * shape.width),
        torch.randn(shape.batch, shape.keys, heads * shape.width),
        torch.randn(shape.batch, shape.keys, heads * (shape.value_width or shape.width)),
    )


def _assert_one_kernel(report: Report) -> None:
    assert report.totals.ok, str(report)
    assert [op for op in report.ops if {"aten.bmm.default", "aten.amax.default"} <= set(op.aten)]
    assert sum("aten.bmm.default" in op.aten for op in report.ops) == 1


@pytest.mark.parametrize(
    "shape",
    [
        Shape(1, 1, 7, 3, 8),
        Shape(1, 2, 33, 31, 32),
        Shape(2, 2, 40, 65, 48, value_width=16),
        Shape(1, 4, 70, 40, 16, shared=2),
        Shape(1, 24, 128, 128, 64),  # a tight plan: values come into the place of the keys
    ],
    ids=str,
)
def test_shapes(shape: Shape) -> None:
    _assert_one_kernel(verify(Attention(shape), _operands(shape)))


@pytest.mark.parametrize("keys", [40, 70, 1060])
def test_one_query_of_each_head(keys: int) -> None:
    """A word that is decoded: there is no loop over queries."""
    shape = Shape(1, 3, 1, keys, 32)
    _assert_one_kernel(verify(Attention(shape), (*_operands(shape), torch.randn(1, 1, 1, keys))))


def test_causal() -> None:
    shape = Shape(1, 2, 45, 45, 32)
    _assert_one_kernel(verify(Attention(shape, is_causal=True), _operands(shape)))


@pytest.mark.parametrize("leading", [(1, 1, 20), (2, 1, 20), (2, 3, 20), (1, 1, 1)], ids=str)
def test_masks_that_are_added(leading: tuple[int, ...]) -> None:
    shape = Shape(2, 3, 20, 40, 16)
    mask = torch.randn(*leading, shape.keys)
    _assert_one_kernel(verify(Attention(shape), (*_operands(shape), mask)))


def test_masks_of_booleans() -> None:
    shape = Shape(1, 2, 20, 70, 16)
    mask = torch.rand(1, 1, shape.queries, shape.keys) > 0.4
    mask[..., 5, :] = False  # a row without keys gives NaN
    report = verify(Attention(shape), (*_operands(shape), mask))
    _assert_one_kernel(report)


def test_causal_scores_that_are_infinite_where_they_do_not_count() -> None:
    shape = Shape(1, 2, 40, 40, 32)
    query, key, value = _operands(shape)
    key[0, 30, :] = math.inf
    _assert_one_kernel(verify(Attention(shape, is_causal=True), (query, key, value)))


def test_scores_that_a_mask_drops() -> None:
    class Masked(nn.Module):
        def forward(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor) -> Tensor:
            scores = (query @ key.transpose(-2, -1)).masked_fill(mask, -math.inf)
            return torch.softmax(scores, -1) @ value

    mask = torch.rand(33, 40) > 0.6
    _assert_one_kernel(verify(Masked(), (*_operands(Shape(1, 1, 33, 40, 16)), mask)))


def test_scale_that_is_an_input() -> None:
    class Scaled(nn.Module):
        def forward(self, query: Tensor, key: Tensor, value: Tensor, scale: Tensor) -> Tensor:
            return torch.softmax(query @ key.transpose(-2, -1) * scale, -1) @ value

    _assert_one_kernel(verify(Scaled(), (*_operands(Shape(1, 1, 33, 40, 16)), torch.tensor(0.3))))


def test_scores_that_are_infinite() -> None:
    shape = Shape(1, 1, 40, 40, 32)
    query, key, value = _operands(shape)
    query[0, 3, 4] = math.inf
    _assert_one_kernel(verify(Attention(shape), (query, key, value)))


@pytest.mark.parametrize("special", [math.inf, math.nan])
def test_values_that_are_special(special: float) -> None:
    """They spread over the 32 elements of their row that are turned together; the others are judged as always."""
    shape = Shape(1, 1, 40, 40, 64)
    query, key, value = _operands(shape)
    value[0, 3, 36] = special
    report = verify(Attention(shape), (query, key, value))
    _assert_one_kernel(report)
    (stored,) = [comparison for row in report.ops for comparison in row.stores]
    assert stored.num_unbounded == 32 * shape.queries


def test_both_engines_agree() -> None:
    shape = Shape(1, 2, 6, 35, 16)
    model, operands = Attention(shape), _operands(shape)
    _assert_one_kernel(verify(model, operands, engine="reference"))
    _assert_one_kernel(verify(model, operands, engine="native"))


def test_scores_that_others_need_keep_the_products_apart() -> None:
    class Both(nn.Module):
        def forward(self, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
            weights = torch.softmax(query @ key.transpose(-2, -1), -1)
            return weights @ value, weights

    report = verify(Both(), _operands(Shape(1, 1, 33, 40, 16)))
    assert report.totals.ok
    assert sum("aten.bmm.default" in op.aten or "aten.mm.default" in op.aten for op in report.ops) == 2


@pytest.mark.parametrize("dim", [0, 1])
@pytest.mark.parametrize("products", [3, 4, 5])
def test_chains_of_softmax_and_products(products: int, dim: int) -> None:
    """A softmax over the queries is none over keys, and the result of one attention is not the scores of the next."""

    class Chain(nn.Module):
        def forward(self, x: Tensor, *weights: Tensor) -> Tensor:
            first = y = x @ weights[0]
            for weight in weights[1:]:
                y = torch.softmax(y @ weight, dim)
            return y + first

    torch.manual_seed(0)
    operands = [0.3 * torch.randn(40, 40) for _ in range(products)]
    report = verify(Chain(), (torch.randn(8, 40), *operands), strict=True)
    assert report.ok, report.summary()


def test_values_with_keys_innermost_are_not_turned() -> None:
    class Turned(nn.Module):
        def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
            return torch.softmax(query @ key.transpose(-2, -1), -1) @ value.transpose(-2, -1)

    torch.manual_seed(0)
    operands = (torch.randn(2, 20, 16), torch.randn(2, 45, 16), torch.randn(2, 24, 45))
    _assert_one_kernel(verify(Turned(), operands))


def test_wide_operands_stay_three_kernels() -> None:
    class Plain(nn.Module):
        def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
            return torch.softmax(query @ key.transpose(-2, -1), -1) @ value

    report = verify(Plain(), (torch.randn(1, 8, 300), torch.randn(1, 40, 300), torch.randn(1, 40, 16)))
    assert report.ok, report.summary()
    assert len(report.ops) == 3


@pytest.mark.parametrize(
    "shape",
    [
        Shape(1, 1, 9, 1025, 16),  # parts of 352 keys and one of 321, whose last tile begins early
        Shape(1, 4, 6, 1536, 32, shared=2),  # three parts of 512
        Shape(2, 1, 5, 1056, 48, value_width=80),
    ],
    ids=str,
)
def test_keys_in_parts(shape: Shape) -> None:
    _assert_one_kernel(verify(Attention(shape), _operands(shape)))


def test_causal_with_queries_in_panels_and_keys_in_parts() -> None:
    """1031 is a prime: the last panel begins early."""
    shape = Shape(1, 1, 1031, 1031, 16)
    _assert_one_kernel(verify(Attention(shape, is_causal=True), _operands(shape)))


@pytest.mark.parametrize(
    ("queries", "keys", "diagonal"),
    [
        (45, 70, 0),
        (70, 45, 3),
        (40, 40, -5),
        (33, 1060, 900),
        (360, 1060, 0),
        (130, 160, 30),
        (128, 96, 5),
        (128, 130, -7),
    ],
)
def test_masks_that_are_known_triangles(queries: int, keys: int, diagonal: int) -> None:
    """Neither they nor parts that they hide are fetched; rows without keys give NaN."""

    class Masked(nn.Module):
        def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
            hidden = torch.ones(queries, keys, dtype=torch.bool).triu(diagonal + 1)
            scores = (query @ key.transpose(-2, -1)).masked_fill(hidden, -math.inf)
            return torch.softmax(scores, -1) @ value

    report = verify(Masked(), _operands(Shape(1, 1, queries, keys, 32)))
    _assert_one_kernel(report)
    assert sum(row.dram_bytes_loaded for row in report.ops) < 2 * (queries + 4 * keys) * 32 + queries * keys


@pytest.mark.parametrize(
    "shape",
    [
        Shape(1, 2, 64, 64, 32),  # one block of queries
        Shape(1, 4, 128, 128, 64, shared=2),  # results of a head at a time
        Shape(1, 3, 100, 100, 40),  # zeros where a block takes tiles that some of its rows do not see
        Shape(2, 2, 197, 197, 64),
        Shape(1, 1, 256, 256, 32, value_width=64),
    ],
    ids=str,
)
def test_causal_with_keys_that_nobody_computes(shape: Shape) -> None:
    _assert_one_kernel(verify(Attention(shape, is_causal=True), _operands(shape)))


def test_causal_with_keys_that_nobody_computes_on_both_engines() -> None:
    shape = Shape(1, 1, 64, 64, 8)
    for engine in ("reference", "native"):
        _assert_one_kernel(verify(Attention(shape, is_causal=True), _operands(shape), engine=engine))


def test_hidden_keys_and_values_that_are_special() -> None:
    """Keys whose scores are infinite, and values that are NaN, do not reach the queries that do not see them."""
    shape = Shape(1, 2, 128, 128, 64)
    query, key, value = _operands(shape)
    key[0, 100, :] = math.inf
    value[0, 127, 3] = math.nan
    _assert_one_kernel(verify(Attention(shape, is_causal=True), (query, key, value)))


def test_values_that_are_special_in_a_part_that_some_queries_do_not_see() -> None:
    shape = Shape(1, 1, 400, 1060, 32)
    query, key, value = _operands(shape)
    value[0, 390, 5] = math.inf
    _assert_one_kernel(verify(Attention(shape, is_causal=True), (query, key, value)))


@pytest.mark.parametrize("of_rows", [False, True])
def test_masks_that_are_added_to_keys_in_parts(of_rows: bool) -> None:
    shape = Shape(1, 2, 10, 1100, 16)
    mask = torch.randn(1, 1, shape.queries if of_rows else 1, shape.keys)
    _assert_one_kernel(verify(Attention(shape), (*_operands(shape), mask)))


def test_masks_that_drop_whole_parts_of_the_keys() -> None:
    shape = Shape(1, 2, 10, 1100, 16)
    mask = torch.rand(1, 1, shape.queries, shape.keys) > 0.4
    mask[..., 2, :500] = False
    mask[..., 3, 380:] = False
    mask[..., 5, :] = False  # a row without keys gives NaN
    _assert_one_kernel(verify(Attention(shape), (*_operands(shape), mask)))


@pytest.mark.parametrize("special", [math.inf, -math.inf, math.nan])
def test_scores_that_are_special_in_one_part(special: float) -> None:
    shape = Shape(1, 1, 6, 1100, 32)
    query, key, value = _operands(shape)
    key[0, 700, :] = special
    _assert_one_kernel(verify(Attention(shape), (query, key, value)))


def test_scores_that_differ_much_between_parts() -> None:
    """The weights of most parts are subnormal or zero."""
    shape = Shape(1, 1, 16, 2048, 32)
    query, key, value = _operands(shape)
    steps = torch.arange(shape.keys)[:, None] // 300
    _assert_one_kernel(verify(Attention(shape), (query.abs() + 0.5, key * 0.1 + steps, value)))
