"""Buffers that calls change: they stay on the device, and all entry points see the same ones."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

import atalla_mlir as atalla
from atalla_mlir.errors import BadInputError, UnsupportedError
from atalla_mlir.host.verify import verify

# Each element is rounded to BF16 (8 bits) a handful of times.
TOLERANCE = 5e-2


class Cached(nn.Module):
    """A table of rows that one method fills from the front and the other row by row."""

    rows: Tensor
    count: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(8, 8)
        self.register_buffer("rows", torch.zeros(2, 16, 8))
        self.register_buffer("count", torch.zeros(1, dtype=torch.int64))

    def forward(self, x: Tensor) -> Tensor:
        self.rows[:, : x.shape[1]] = self.linear(x)
        self.count.fill_(x.shape[1])
        return self.rows.sum(1)

    def step(self, x: Tensor) -> Tensor:
        self.rows.index_copy_(1, self.count, self.linear(x))
        self.count.add_(1)
        return self.rows.sum(1)

    def total(self) -> Tensor:
        return self.rows.sum(1)


@pytest.fixture(scope="module")
def built() -> tuple[Cached, atalla.Program, Tensor, Tensor]:
    torch.manual_seed(0)
    model, prompt, row = Cached(), torch.randn(2, 5, 8), torch.randn(2, 1, 8)
    entries = {
        "prefill": (prompt,),
        "step": atalla.EntryPoint((row,), method="step"),
        "total": atalla.EntryPoint((), method="total"),
    }
    return model, atalla.compile(model, entries=entries, strict=True, engine="reference"), prompt, row


def test_entry_points_share_what_calls_change(built: tuple[Cached, atalla.Program, Tensor, Tensor]) -> None:
    model, program, prompt, row = built
    reference = copy.deepcopy(model)
    program.reset_state()
    with torch.no_grad():
        torch.testing.assert_close(program.entry("prefill")(prompt), reference(prompt), rtol=TOLERANCE, atol=TOLERANCE)
        for place in (6, 7):
            found = program.entry("step")(row * place)
            torch.testing.assert_close(found, reference.step(row * place), rtol=TOLERANCE, atol=TOLERANCE)
            assert program.state["b_count"].tolist() == [place]
        torch.testing.assert_close(program.entry("total")(), reference.total(), rtol=TOLERANCE, atol=TOLERANCE)
        torch.testing.assert_close(program.state["b_rows"], reference.rows, rtol=TOLERANCE, atol=TOLERANCE)


def test_state_starts_again(built: tuple[Cached, atalla.Program, Tensor, Tensor]) -> None:
    _, program, prompt, row = built
    program.reset_state()
    first = program.entry("prefill")(prompt)
    program.entry("step")(row)
    program.reset_state()
    assert program.state["b_count"].tolist() == [0]
    assert not program.state["b_rows"].any()
    assert torch.equal(program.entry("prefill")(prompt), first)


def test_an_element_that_replaces_another_is_stored_in_its_place(
    built: tuple[Cached, atalla.Program, Tensor, Tensor],
) -> None:
    rows = [row for row in built[1].loadable.meta["kernels"] if row["entry"] == "step"]
    (place,) = [row["address"] for row in built[1].loadable.meta["state"] if row["name"] == "b_rows"]
    writers = [row for row in rows if any(output["address"] == place for output in row["outputs"])]
    assert len(writers) == 1
    assert any(read["address"] == place for read in writers[0]["inputs"])


def test_state_of_other_contents(built: tuple[Cached, atalla.Program, Tensor, Tensor]) -> None:
    program = built[1]
    program.device.set_state({"b_rows": torch.ones(2, 16, 8).numpy()})
    assert torch.equal(program.entry("total")(), torch.full((2, 8), 16.0))
    with pytest.raises(BadInputError, match=r"^the program has no state 'rows'; there are b_rows, b_count$"):
        program.device.set_state({"rows": 0})


class Counter(nn.Module):
    """The state is an operand of its own new content, and an input becomes state as it is."""

    total: Tensor
    last: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("total", torch.ones(3, 40))
        self.register_buffer("last", torch.zeros(3, 40))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        before = self.total.clone()
        self.total.add_(x).mul_(0.5)
        self.last.copy_(x)
        return before, self.total + 1


def test_kernels_that_change_state_are_verified() -> None:
    x = torch.randn(3, 40, generator=torch.Generator().manual_seed(3))
    report = verify(Counter(), (x,))
    assert report.ok, str(report)
    assert verify(Cached(), (torch.ones(2, 5, 8),)).ok


def test_the_old_content_is_returned_and_the_new_one_kept() -> None:
    x = torch.full((3, 40), 2.0)
    program = atalla.compile(Counter(), (x,), engine="reference")
    before, after = program(x)
    assert torch.equal(before, torch.ones(3, 40))
    assert torch.equal(after, torch.full((3, 40), 2.5))
    assert torch.equal(program.state["b_total"], torch.full((3, 40), 1.5))
    assert torch.equal(program.state["b_last"], x)


class OnTheHost(nn.Module):
    total: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("total", torch.ones(3))

    def forward(self, x: Tensor) -> Tensor:
        self.total.add_(torch.lgamma(self.total))
        return x + self.total


def test_the_host_cannot_read_state() -> None:
    with pytest.raises(UnsupportedError, match=r"aten.lgamma.default runs on the host .* reads the buffer 'total'"):
        atalla.compile(OnTheHost(), (torch.ones(3),))
