"""How models of packages put operations together: each kernel within its error bound, nothing on the host."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn

from atalla_mlir.host.verify import verify


def _check(model: nn.Module, *shapes: Sequence[int]) -> None:
    torch.manual_seed(0)
    report = verify(model.eval(), tuple(torch.randn(*shape) for shape in shapes))
    assert report.ok, str(report)
    assert report.totals.cosine_f32 > 0.999
    assert report.totals.host_ops == ()


class GroupedLinears(nn.Module):
    """SqueezeBERT: convolutions of one position in groups, whose operand is reshaped for them."""

    def __init__(self) -> None:
        super().__init__()
        self.wide, self.narrow = nn.Conv1d(64, 96, 1, groups=4), nn.Conv1d(96, 64, 1, groups=4)

    def forward(self, x: Tensor) -> Tensor:
        return self.narrow(nn.functional.gelu(self.wide(x)))


def test_convolutions_in_groups_behind_one_another() -> None:
    _check(GroupedLinears(), (1, 64, 12))


class MixedHeads(nn.Module):
    """ConvBERT: heads of attention beside heads of another product, before and behind them."""

    def forward(self, query: Tensor, key: Tensor, value: Tensor, rows: Tensor, weights: Tensor) -> Tensor:
        attention = torch.softmax(query @ key.transpose(-1, -2) / 4, -1) @ value
        heads = attention.permute(0, 2, 1, 3).contiguous()
        spans = torch.matmul(rows, weights).reshape(-1, 32).reshape(1, -1, 1, 32)
        return torch.cat([heads, spans, heads], 2).view(1, 12, 96)


def test_attention_as_a_part_of_a_concatenation() -> None:
    heads = (1, 1, 12, 32)
    _check(MixedHeads(), heads, heads, heads, (12, 32, 5), (12, 5, 1))


class TurnedBeside(nn.Module):
    """DeBERTa: keys that one product reads as they are, and another one turned and scaled."""

    def __init__(self) -> None:
        super().__init__()
        self.key = nn.Linear(64, 64)

    def forward(self, x: Tensor, query: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        key = self.key(x).view(12, 2, 32).permute(1, 0, 2)
        return torch.bmm(query, key.transpose(-1, -2).contiguous() / 3.5), torch.bmm(key, positions)


def test_a_product_that_is_stored_along_both_of_its_loops() -> None:
    _check(TurnedBeside(), (12, 64), (2, 12, 32), (2, 32, 12))


class SpansOfRows(nn.Module):
    """ConvBERT: rows unfolded into spans, which weights of their own meet."""

    def __init__(self) -> None:
        super().__init__()
        self.weights, self.rows = nn.Linear(64, 5), nn.Linear(64, 32)

    def forward(self, x: Tensor) -> Tensor:
        weights = torch.softmax(self.weights(x).reshape(-1, 5, 1), 1)
        rows = self.rows(x).transpose(1, 2).contiguous().unsqueeze(-1)
        spans = nn.functional.unfold(rows, kernel_size=(5, 1), padding=(2, 0))
        spans = spans.transpose(1, 2).reshape(1, -1, 32, 5).reshape(-1, 32, 5)
        return torch.matmul(spans, weights).reshape(-1, 32)


def test_gathered_rows_as_columns_of_a_product() -> None:
    _check(SpansOfRows(), (1, 12, 64))


class Highest(nn.Module):
    """The highest and the lowest value along a dimension behind a convolution, which stores channels innermost."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.convolution, self.dim = nn.Conv2d(8, 40, 3, padding=1), dim

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.convolution(x)
        return x.amax(self.dim), x.amin(self.dim)


@pytest.mark.parametrize("dim", [1, 2, 3])
def test_extremes_behind_a_convolution(dim: int) -> None:
    _check(Highest(dim), (1, 8, 6, 7))
