"""Whole numbers, booleans and places that they say: all on the device, each kernel within its error bound."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from atalla_mlir.host.verify import verify

Model = Callable[..., Any]


class Apply(nn.Module):
    def __init__(self, function: Model) -> None:
        super().__init__()
        self.function = function

    def forward(self, *inputs: Tensor) -> Any:
        return self.function(*inputs)


def numbers(low: int, high: int, *shape: int) -> Tensor:
    return torch.randint(low, high, shape, generator=torch.Generator().manual_seed(1))


def floats(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(2))


def flags(*shape: int) -> Tensor:
    return numbers(0, 2, *shape).bool()


def indices_and_values(x: Tensor, places: Tensor) -> tuple[Tensor, ...]:
    return places * 3 + x - 7, x.sum(1), torch.where(x > places, x, places), torch.maximum(x, places)


def conversions(x: Tensor, count: Tensor, flag: Tensor) -> tuple[Tensor, ...]:
    return x.long(), count.float(), flag.float(), x.bool(), count.bool(), flag.long()


CASES: dict[str, tuple[Model, tuple[Tensor, ...]]] = {
    "embedding": (lambda i, w: functional.embedding(i, w), (numbers(0, 50, 1, 7), floats(50, 40))),
    "embedding of wide rows": (lambda i, w: functional.embedding(i, w) * 2, (numbers(0, 20, 2, 3), floats(20, 1100))),
    "index along the second dimension": (lambda i, x: x[:, i] * 2, (torch.tensor([3]), floats(3, 40))),
    "two indices": (
        lambda x, i, j: (x[i, j] * 2, x[:, i, None, j]),
        (floats(5, 6, 7, 8), torch.tensor([1, 2, -3]), torch.tensor([0, -1, 2])),
    ),
    "index_select": (lambda i, x: x.index_select(0, i), (torch.tensor([2, 0, 1, 1, 2]), floats(3, 40))),
    "gather": (lambda x, i: x.gather(1, i), (floats(3, 40), numbers(0, 40, 3, 2))),
    "argmax": (lambda x: (x.argmax(-1), x.argmin(0), x.argmax()), (floats(3, 140),)),
    "argmax of equal elements": (
        lambda x: (x.argmax(-1), x.argmin(-1, keepdim=True)),
        (numbers(0, 4, 5, 70).float(),),
    ),
    "max with indices": (lambda x: (*x.max(1), *x.min(0)), (floats(3, 40),)),
    "top-k": (lambda x: (*x.topk(3), *x.topk(2, dim=0, largest=False)), (floats(3, 40),)),
    "mask of positions": (
        lambda p, x: torch.where(torch.arange(40) <= p, x, -1e9),
        (torch.tensor([3]), floats(3, 40)),
    ),
    "mask of integers": (lambda m, x: x.masked_fill(m == 0, -1e9), (numbers(0, 2, 3, 40), floats(3, 40))),
    "mask of booleans": (lambda m, x: torch.where(m[:, None] & m[None], x @ x.t(), 0), (flags(3), floats(3, 40))),
    "boolean results": (lambda x, b: (x > 0, (x > 0) & b, ~b, x > 0.5), (floats(3, 40), flags(3, 40))),
    "integer results": (indices_and_values, (numbers(-99, 99, 3, 40), torch.tensor([3]))),
    "conversions": (conversions, (floats(3, 40) * 10, numbers(-2, 2, 3, 40), flags(3, 40))),
    "moves of integers": (
        lambda m, p: (torch.cat([m, m + 1], 1), m.t(), m[:, 3:9].reshape(-1), p.expand(4)),
        (numbers(-9, 9, 3, 40), torch.tensor([3])),
    ),
    "cumsum": (lambda x: (x.cumsum(1), x.cumsum(0)), (floats(3, 140),)),
    "cumsum of integers": (lambda x: (x.cumsum(1), (x > 3).cumsum(0)), (numbers(-9, 9, 3, 40),)),
    "triangles": (lambda x: (x.tril(), x.triu(1)), (floats(5, 40),)),
    "one hot": (lambda i: functional.one_hot(i, 10), (torch.tensor([1, 5, 9]),)),
    "index_copy": (
        lambda c, p, v: c.index_copy(1, p, v),
        (floats(2, 16, 8), torch.tensor([3]), floats(2, 1, 8)),
    ),
    "slice_scatter": (lambda x, y: torch.slice_scatter(x, y, 1, 3, 5), (floats(5, 6, 7), floats(5, 2, 7))),
    "roll": (lambda x: (torch.stack(x.chunk(3, 1)), x.repeat(2, 2), torch.roll(x, 1, 1)), (floats(5, 9),)),
    "padding that shifts": (lambda x: functional.pad(x * 2, [1, -1]), (floats(3, 3),)),
}


@pytest.mark.parametrize("name", CASES)
def test_operations(name: str) -> None:
    function, inputs = CASES[name]
    report = verify(Apply(function), inputs)
    assert report.ok, str(report)
    assert report.totals.host_ops == ()


@pytest.mark.parametrize("fuse", [True, False])
def test_a_row_of_logits_chooses_the_next_embedding(fuse: bool) -> None:
    """Indices that the device computes address what it reads next."""
    table = floats(50, 40)
    report = verify(
        Apply(lambda x: functional.embedding((x @ table.t()).argmax(-1), table)), (floats(3, 40),), fuse=fuse
    )
    assert report.ok, str(report)
    assert report.totals.host_ops == ()
