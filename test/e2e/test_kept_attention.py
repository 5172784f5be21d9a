"""Matrices that stay in the pads while an attention runs, or another kernel that cannot work on them."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.functional import gelu, scaled_dot_product_attention

from atalla_mlir.host.report import Report
from atalla_mlir.host.verify import verify
from atalla_mlir.testing.kept_values import engines_agree, in_pads


class Layers(nn.Module):
    """Layers of a transformer that norms sums, so what enters one is read by three linears and added after them."""

    def __init__(self, width: int, heads: int, layers: int = 1, *, causal: bool = False) -> None:
        super().__init__()
        self.heads, self.causal = heads, causal
        self.first = nn.LayerNorm(width)
        self.parts = nn.ModuleList(nn.ModuleList(nn.Linear(width, width) for _ in range(5)) for _ in range(layers))
        self.norms = nn.ModuleList(nn.ModuleList(nn.LayerNorm(width) for _ in range(2)) for _ in range(layers))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x)
        for linears, norms in zip(self.parts, self.norms, strict=True):
            q, k, v, out, last = linears  # pyright: ignore[reportGeneralTypeIssues]
            after, end = norms  # pyright: ignore[reportGeneralTypeIssues]
            parts = [part(x).unflatten(-1, (self.heads, -1)).transpose(-3, -2) for part in (q, k, v)]
            found = scaled_dot_product_attention(*parts, is_causal=self.causal)
            x = after(x + out(found.transpose(-3, -2).flatten(-2)))
            x = end(x + last(x))
        return x


class Widened(nn.Module):
    """Two linears between a norm and a sum, twice, as layers that norm what enters them have."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.start = nn.Linear(width, width)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        self.first = nn.ModuleList(nn.Linear(width, 2 * width) for _ in range(2))
        self.second = nn.ModuleList(nn.Linear(2 * width, width) for _ in range(2))
        self.last = nn.Linear(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.start(x)
        for norm, first, second in zip(self.norms, self.first, self.second, strict=True):
            x = x + second(gelu(first(norm(x))))
        return self.last(x)


class Excited(nn.Module):
    """A matrix that is scaled by what two small linears make of another operand."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(64, 64), nn.Linear(64, 32)
        self.squeeze, self.excite = nn.Linear(64, 16), nn.Linear(16, 64)

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return self.last(self.first(x) * self.excite(self.squeeze(y).relu()).sigmoid())


def _of_attentions(report: Report) -> list[str]:
    facts = [decision for row in report.ops for decision in row.decisions if decision["form"] == "attention"]
    return [str(decision["facts"].get("in_pads")) for decision in facts]


@pytest.mark.parametrize(
    ("heads", "tokens", "width", "layers", "causal", "found"),
    [
        (2, 64, 64, 2, False, "queries, keys, values, result"),
        (4, 128, 128, 1, False, "queries, keys, values, result"),
        (3, 160, 96, 1, False, "queries, keys, values, result"),
        (2, 24, 64, 1, False, "queries, result"),
        (3, 10, 96, 1, False, "queries, result"),
        (2, 64, 128, 1, True, "result"),
        (1, 128, 64, 1, True, "result"),
    ],
)
def test_what_an_attention_reads_stays_and_its_result_and_what_is_added_to_it(
    heads: int, tokens: int, width: int, layers: int, causal: bool, found: str
) -> None:
    """Tiles of keys that overlap, and queries that see fewer keys than others, come from DRAM."""
    torch.manual_seed(11)
    model = Layers(width, heads, layers, causal=causal).eval()
    kept = verify(model, (torch.randn(1, tokens, width),), images="always", cache=False)
    assert kept.ok, str(kept)
    assert in_pads(kept).count("operand, result, residual") >= layers
    assert _of_attentions(kept) == [found] * layers


@pytest.mark.parametrize(
    ("heads", "tokens", "width", "causal"),
    [(4, 33, 128, False), (3, 17, 96, False), (2, 256, 64, True), (4, 24, 64, False)],
)
def test_what_is_added_after_an_attention_stays_while_it_runs(
    heads: int, tokens: int, width: int, causal: bool
) -> None:
    """Rows of an odd number, heads that are no slices, and blocks of queries that see fewer keys go to DRAM."""
    torch.manual_seed(11)
    model = Layers(width, heads, causal=causal).eval()
    kept = verify(model, (torch.randn(1, tokens, width),), images="always", cache=False)
    assert kept.ok, str(kept)
    assert any("residual" in found for found in in_pads(kept))
    assert _of_attentions(kept) == ["None"]


@pytest.mark.parametrize("rows", [48, 96, 31])
def test_two_products_may_write_over_what_the_first_one_reads(rows: int) -> None:
    torch.manual_seed(14)
    kept = verify(Widened(64).eval(), (torch.randn(rows, 64),), images="always", cache=False)
    assert kept.ok, str(kept)
    chains = [decision for row in kept.ops for decision in row.decisions if decision["form"] == "chain of products"]
    assert [decision["facts"]["in_pads"] for decision in chains] == ["operand, result, residual"] * 2


def test_a_matrix_stays_while_rows_meet_matrices() -> None:
    torch.manual_seed(12)
    kept = verify(Excited().eval(), (torch.randn(20, 64), torch.randn(1, 64)), images="always", cache=False)
    assert kept.ok, str(kept)
    assert in_pads(kept) == ["result", "operand, result", "operand"]


@pytest.mark.parametrize(("tokens", "causal"), [(12, False), (128, False), (128, True)])
def test_both_engines_agree_and_nothing_stays_taken(tokens: int, causal: bool) -> None:
    torch.manual_seed(13)
    model, x = Layers(64, 2, causal=causal).eval(), torch.randn(1, tokens, 64)
    assert engines_agree(model, x)
