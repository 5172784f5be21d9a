"""Rows of a buffer at run-time positions: one row is stored where it belongs, without touching the others."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

import atalla_mlir as atalla
from atalla_mlir.frontend.partition import plan_model
from atalla_mlir.host.profile import profile_program
from atalla_mlir.host.program import TorchProgram
from atalla_mlir.host.verify import verify


class Table(nn.Module):
    """Two heads of rows; `kind` is how a row gets to its place."""

    rows: Tensor

    def __init__(self, kind: str, positions: int = 48) -> None:
        super().__init__()
        self.kind = kind
        self.register_buffer("rows", torch.arange(2.0 * positions * 40).reshape(1, 2, positions, 40) % 7)

    def forward(self, new: Tensor, place: Tensor) -> Tensor:
        if self.kind == "index_copy":
            self.rows.index_copy_(2, place, new * 2)
        elif self.kind == "index_put":
            self.rows[:, :, place] = new * 2
        else:
            self.rows.copy_(self.rows.index_copy(2, place, new * 2))
        return self.rows.amax(2)


def run(model: Table, places: list[list[int]], new: Tensor) -> None:
    place = torch.tensor(places[0])
    program = atalla.compile(copy.deepcopy(model), (new, place), strict=True, engine="reference")
    for at in places:
        found = program(new + at[0], torch.tensor(at))
        expected = model(new + at[0], torch.tensor(at))
        assert torch.equal(found, expected)
        assert torch.equal(program.state["b_rows"], model.rows)


@pytest.mark.parametrize("kind", ["index_copy", "index_put", "copy"])
def test_a_row_goes_to_its_place(kind: str) -> None:
    new = (torch.arange(80.0) % 11 - 5).reshape(1, 2, 1, 40)
    run(Table(kind), [[0], [47], [13]], new)


@pytest.mark.parametrize("kind", ["index_copy", "index_put"])
def test_several_rows_go_to_their_places(kind: str) -> None:
    new = (torch.arange(240.0) % 11 - 5).reshape(1, 2, 3, 40)
    run(Table(kind), [[0, 1, 2], [47, 3, 20]], new)


def test_negative_places_count_from_the_end() -> None:
    run(Table("index_put"), [[-1], [-48]], torch.ones(1, 2, 1, 40))


class Counted(nn.Module):
    """A cache that knows itself where the next row belongs."""

    rows: Tensor
    count: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("rows", torch.zeros(1, 4, 512, 64))
        self.register_buffer("count", torch.zeros(1, dtype=torch.int64))

    def forward(self, new: Tensor) -> Tensor:
        self.rows.index_copy_(2, self.count, new)
        self.count.add_(1)
        return self.count * 2


def test_only_the_new_rows_move() -> None:
    new = torch.randn(1, 4, 1, 64)
    program = TorchProgram(atalla.compile(Counted(), (new,), strict=True).loadable)
    totals = profile_program(program, program.initial_values((new,), {}), name="update").report.totals
    assert totals.dram_bytes_loaded + totals.dram_bytes_stored < 8 * new.numel() * 2


def test_a_place_beyond_the_buffer_leaves_other_memory_alone() -> None:
    program = atalla.compile(Counted(), (torch.ones(1, 4, 1, 64),), strict=True, engine="reference")
    program.device.set_state({"b_count": torch.tensor([100_000]).numpy()})
    assert program(torch.ones(1, 4, 1, 64)).tolist() == [200_002]
    assert program.state["b_rows"][:, :, :511].any().item() is False


def test_updates_are_verified() -> None:
    report = verify(Table("index_copy"), (torch.randn(1, 2, 1, 40), torch.tensor([5])))
    assert report.ok, str(report)


def test_a_table_that_is_no_state_is_copied() -> None:
    class Copied(nn.Module):
        def forward(self, x: Tensor, new: Tensor, place: Tensor) -> Tensor:
            return x.index_copy(0, place, new)

    x, new, place = torch.randn(9, 33).bfloat16().float(), torch.ones(1, 33), torch.tensor([4])
    assert not plan_model(Copied(), (x, new, place)).host_steps
    program = atalla.compile(Copied(), (x, new, place), engine="reference")
    assert torch.equal(program(x, new, place), x.index_copy(0, place, new))
