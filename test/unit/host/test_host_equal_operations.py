"""Operations that compute the same share what is recorded about one of them."""

from __future__ import annotations

import torch
from torch import Tensor, fx, nn

from atalla_mlir.host.equal_operations import first_of_equal, shared
from atalla_mlir.host.oracle import Expansion, Plans
from atalla_mlir.host.sum_bound import SumPlan


class Twice(nn.Module):
    def forward(self, x: Tensor, y: Tensor) -> tuple[Tensor, ...]:
        a, b, c = torch.mm(x, y), torch.mm(x, y), torch.mm(y, x)
        return torch.add(a, 1), torch.add(b, 1), torch.add(b, 2), c


def names() -> dict[str, str]:
    return first_of_equal(fx.symbolic_trace(Twice()).graph)


def test_equal_operands_make_equal_operations() -> None:
    assert names() == {"mm": "mm", "mm_1": "mm", "mm_2": "mm_2", "add": "add", "add_1": "add", "add_2": "add_2"}


def test_a_record_of_its_own_stays() -> None:
    own, other = SumPlan("slices", 4), SumPlan("any", 1, 3)
    expansion = Expansion(0.5, 0.25)
    plans = shared(Plans({"mm_1": own}, {"add_1": expansion}), names())
    assert plans == Plans({"mm": own, "mm_1": own}, {"add": expansion, "add_1": expansion})
    assert shared(Plans({"mm": other, "mm_1": own}), names()).sums == {"mm": other, "mm_1": own}


def test_a_string_is_no_operand() -> None:
    graph = fx.Graph()
    x = graph.placeholder("x")
    graph.call_function(torch.clone, (x,))
    graph.call_function(torch.clone, ("%x",))
    assert len(set(first_of_equal(graph).values())) == 2


class Spellings(nn.Module):
    """Sums over the last dimension, written in three ways, and over the first one; dimensions added at both ends."""

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        default = torch.ops.aten.sum.dim_IntList(x, [1], keepdim=True, dtype=None)
        sums = (torch.ops.aten.sum.dim_IntList(x, dims, True) for dims in ([1], [-1], [0]))
        return default, *sums, torch.ops.aten.unsqueeze.default(x, -1), torch.ops.aten.unsqueeze.default(x, 1)


def test_ways_to_write_arguments() -> None:
    graph = torch.export.export(Spellings(), (torch.ones(3, 4),)).graph
    named = first_of_equal(graph)
    assert named["sum_2"] == named["sum_3"] == "sum_1"
    assert named["sum_4"] == "sum_4"
    assert named["unsqueeze_1"] == "unsqueeze_1"
