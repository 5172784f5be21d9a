"""Attention over batches whose operands and results stay in the pads: halves of each matrix, in two pads."""

from __future__ import annotations

import random

import pytest
import torch
from torch import nn
from torch.nn.functional import gelu, scaled_dot_product_attention

from atalla_mlir.host.report import Report
from atalla_mlir.host.verify import verify
from atalla_mlir.testing.kept_values import engines_agree, in_pads, kept_and_apart, moved_bytes


class Layer(nn.Module):
    """A layer of a transformer; queries of `inputs`, keys and values of these or of `others`, fewer heads of them."""

    def __init__(
        self, width: int, heads: int, lanes: int, *, key_heads: int = 0, others: int = 0, causal: bool = False
    ) -> None:
        super().__init__()
        self.heads, self.key_heads, self.causal = heads, key_heads or heads, causal
        self.queries = nn.Linear(width, heads * lanes)
        self.keys, self.values = (nn.Linear(others or width, self.key_heads * lanes) for _ in range(2))
        self.out, self.up, self.down = nn.Linear(heads * lanes, width), nn.Linear(width, 64), nn.Linear(64, width)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))

    def forward(self, x: torch.Tensor, others: torch.Tensor | None = None) -> torch.Tensor:
        first, second = self.norms
        found = x if others is None else others
        queries = self.queries(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        keys, values = (
            part(found).unflatten(-1, (self.key_heads, -1)).transpose(1, 2).repeat_interleave(self._sharing, 1)
            for part in (self.keys, self.values)
        )
        mixed = scaled_dot_product_attention(queries, keys, values, is_causal=self.causal)
        x = first(x + self.out(mixed.transpose(1, 2).flatten(2)))
        return second(x + self.down(gelu(self.up(x))))

    @property
    def _sharing(self) -> int:
        return self.heads // self.key_heads


def _of_attentions(report: Report) -> list[str]:
    facts = [decision for row in report.ops for decision in row.decisions if decision["form"] == "attention"]
    return [str(decision["facts"].get("in_pads")) for decision in facts]


ALL = "queries, keys, values, result"


@pytest.mark.parametrize(
    ("batch", "heads", "tokens", "lanes", "found"),
    [
        (2, 2, 32, 64, ALL),
        (3, 2, 64, 32, ALL),
        (4, 1, 96, 32, ALL),
        (5, 2, 32, 32, ALL),
        (2, 2, 128, 64, ALL),
        (3, 2, 24, 32, "queries, result"),
    ],
)
def test_what_an_attention_reads_and_makes_stays(batch: int, heads: int, tokens: int, lanes: int, found: str) -> None:
    """One tile of keys or several, which are turned one by one or two at a time, and batches of an odd number."""
    torch.manual_seed(21)
    width = heads * lanes
    model = nn.Sequential(*(Layer(width, heads, lanes) for _ in range(2))).eval()
    kept, apart = kept_and_apart(model, (torch.randn(batch, tokens, width),))
    assert kept.ok, str(kept)
    assert _of_attentions(kept) == [found] * 2
    assert in_pads(kept).count("operand, result, residual") >= 2
    assert moved_bytes(kept) < moved_bytes(apart)


def test_results_of_queries_that_see_some_of_the_keys_stay() -> None:
    torch.manual_seed(22)
    model = nn.Sequential(nn.LayerNorm(128), Layer(128, 2, 64, causal=True)).eval()
    kept = verify(model, (torch.randn(3, 64, 128),), images="always", cache=False)
    assert kept.ok, str(kept)
    assert _of_attentions(kept) == ["result"]


@pytest.mark.parametrize("others", [32, 96])
def test_keys_and_values_of_other_matrices_stay(others: int) -> None:
    torch.manual_seed(23)
    inputs = torch.randn(3, 64, 64), torch.randn(3, others, 128)
    kept = verify(Layer(64, 2, 32, others=128).eval(), inputs, images="always", cache=False)
    assert kept.ok, str(kept)
    assert _of_attentions(kept) == [ALL]


def test_keys_that_heads_share_come_from_dram() -> None:
    torch.manual_seed(24)
    kept = verify(Layer(128, 4, 32, key_heads=1).eval(), (torch.randn(2, 64, 128),), images="always", cache=False)
    assert kept.ok, str(kept)
    assert _of_attentions(kept) == ["queries, result"]


@pytest.mark.parametrize("batch", [1, 2])
def test_groups_of_heads_find_theirs(batch: int) -> None:
    """Scores of all heads do not fit: a group is some heads of a matrix."""
    torch.manual_seed(25)
    kept = verify(Layer(128, 4, 32).eval(), (torch.randn(batch, 512, 128),), images="always", cache=False)
    assert kept.ok, str(kept)
    facts = [decision["facts"] for row in kept.ops for decision in row.decisions if decision["form"] == "attention"]
    assert [(fact["heads"], fact["in_pads"]) for fact in facts] == [(2, "keys, values")]


@pytest.mark.parametrize(("batch", "tokens", "causal"), [(2, 32, False), (3, 64, False), (2, 64, True)])
def test_both_engines_agree_and_nothing_stays_taken(batch: int, tokens: int, causal: bool) -> None:
    torch.manual_seed(26)
    model = Layer(64, 2, 32, causal=causal).eval()
    assert engines_agree(model, torch.randn(batch, tokens, 64))


@pytest.mark.parametrize("seed", range(4))
def test_random_layers_are_within_their_bounds(seed: int) -> None:
    draw = random.Random(seed)
    torch.manual_seed(seed)
    heads, lanes, width = draw.choice((1, 2, 4)), draw.choice((32, 64, 96)), draw.choice((64, 96, 256))
    layers = [
        Layer(width, heads, lanes, key_heads=draw.choice((0, 1)), causal=draw.random() < 0.3)
        for _ in range(draw.choice((1, 2)))
    ]
    x = torch.randn(draw.randint(2, 5), draw.choice((8, 16, 32, 40, 64)), width)
    kept = verify(nn.Sequential(*layers).eval(), (x,), images="always", cache=False)
    assert kept.ok, str(kept)
    assert in_pads(kept)
