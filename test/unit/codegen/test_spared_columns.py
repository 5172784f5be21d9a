"""Columns of which the pads that rows are read from hold few: every column once, where its transfer brings it."""

from __future__ import annotations

import itertools

import pytest

from atalla_mlir.codegen.iteration import Access, Buffer, Loop
from atalla_mlir.codegen.row_blocks import Blocks
from atalla_mlir.codegen.spared_columns import FEW, MANY, SparedColumns, spared_columns

PITCH = 64


@pytest.mark.parametrize("first_pad", [0, 2])
def test_transfers_bring_each_column_to_its_place(first_pad: int) -> None:
    columns = Loop(96, "n")
    blocks = spared_columns(Blocks(None, columns, 1, 32, 4), first_pad)
    assert isinstance(blocks, SparedColumns)
    access = Access(Buffer("w", 96 * PITCH), 0, {columns: PITCH})
    brought: dict[tuple[int, int], int] = {}
    for piece in range(blocks.num_pieces):
        for row in range(blocks.rows_of_piece(piece)):
            element = blocks.piece_offset(piece, access) + row * blocks.pitch(access)
            brought[blocks.pad_of_piece(piece), blocks.row_of_piece(piece) + row] = element // PITCH
    assert {blocks.place(column): column for column in range(32)} == brought
    assert blocks.piece_offset(0, access) == 0, "a block begins with its first piece"
    assert sorted(blocks.moved_by_pad) == [FEW, FEW, MANY, MANY]
    assert blocks.moved_by_pad[first_pad] == FEW and max(blocks.moved_by_pad) == blocks.rows_per_pad
    # the array takes the last column first, and a pad gives a row in three cycles
    pads = [blocks.place(column)[0] for column in range(32)]
    assert all(one != other for one, other in itertools.pairwise(pads))


def test_narrow_blocks_stay_as_they_are() -> None:
    narrow = Blocks(None, Loop(24, "n"), 1, 24, 4)
    assert spared_columns(narrow, 0) is narrow
