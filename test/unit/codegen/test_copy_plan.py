"""Plans of copies: that transfers move each element to its place, and what is no copy of rows."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest

from atalla_mlir.codegen.copy_plan import CopyPlan, plan_copy
from atalla_mlir.codegen.iteration import Access, Buffer, Loop, Node, Stage, StageKind
from atalla_mlir.codegen.placement import LANES, MAX_DMA_ROWS

PADS = 4


def copy(*dims: tuple[int, int, int], offsets: tuple[int, int] = (0, 0)) -> Stage:
    """Loops as (extent, stride in what is read, stride in what is written)."""
    loops = [Loop(extent, f"d{at}") for at, (extent, _, _) in enumerate(dims)]
    buffers = Buffer("from", 1 << 20), Buffer("to", 1 << 20)
    read, write = (
        Access(buffer, offset, {loop: dim[side] for loop, dim in zip(loops, dims, strict=True) if dim[side]})
        for buffer, offset, side in zip(buffers, offsets, (1, 2), strict=True)
    )
    return Stage(StageKind.MAP, loops, [read], write, Node("load", read=0))


def _pairs(stage: Stage) -> set[tuple[int, int]]:
    (read,), write = stage.reads, stage.write
    return {
        tuple(
            access.offset + sum(at * access.stride(loop) for at, loop in zip(index, stage.loops, strict=True))
            for access in (read, write)
        )
        for index in itertools.product(*(range(loop.extent) for loop in stage.loops))
    }  # pyright: ignore[reportReturnType]


def _moved(plan: CopyPlan) -> Iterator[tuple[int, int]]:
    for outer in itertools.product(*(range(loop.extent) for loop in plan.outer)):
        for number in range(plan.turns * plan.pads):
            first = min(number * plan.rows, plan.row.extent - plan.rows)
            for row, element in itertools.product(range(first, first + plan.rows), range(plan.lane.extent)):
                read, write = (
                    access.offset
                    + sum(at * access.stride(loop) for at, loop in zip(outer, plan.outer, strict=True))
                    + row * access.stride(plan.row)
                    + element
                    for access in (plan.read, plan.write)
                )
                yield read, write


@pytest.mark.parametrize(
    "stage",
    [
        copy((224, 672, 690), (672, 1, 1), offsets=(0, 2079)),  # lines of an image within a frame
        copy((12, 8192, 64), (128, 64, 768), (64, 1, 1)),  # two dimensions change places
        copy((50, 133, 96), (96, 1, 1), offsets=(5, 0)),
        copy((33, 40, 33), (33, 1, 1)),
        copy((5, 7, 7), (7, 1, 1)),
        copy((4, 4096, 8192), (4096, 1, 1)),  # few long rows: slices are rows
        copy((49152, 1, 1), offsets=(0, 49152)),
    ],
)
def test_each_element_comes_to_its_place(stage: Stage) -> None:
    plan = plan_copy([stage], PADS)
    assert plan is not None
    assert set(_moved(plan)) == _pairs(stage)
    assert plan.rows <= MAX_DMA_ROWS
    assert plan.pads <= PADS


def test_long_rows_that_are_few_are_cut_into_slices() -> None:
    plan = plan_copy([copy((4, 4096, 8192), (4096, 1, 1))], PADS)
    assert plan is not None
    assert (plan.row.extent, plan.lane.extent, plan.rows, plan.turns) == (128, LANES, 32, 1)


def _others() -> Sequence[Stage]:
    plain = copy((64, 32, 32), (32, 1, 1))
    (read,) = plain.reads
    return (
        copy((64, 1, 32), (32, 64, 1)),  # turned
        copy((64, 0, 32), (32, 0, 1)),  # one number
        copy((64, 16, 32), (32, 1, 1)),  # rows that overlap
        copy((33, 1, 1)),  # one row
        replace(plain, write=Access(read.buffer, 4096, plain.write.strides)),
        replace(plain, changes_state=True),
        replace(plain, body=Node("neg", (Node("load", read=0),))),
    )


@pytest.mark.parametrize("stage", _others())
def test_what_is_no_copy_of_rows(stage: Stage) -> None:
    assert plan_copy([stage], PADS) is None
