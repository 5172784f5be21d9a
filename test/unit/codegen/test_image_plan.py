"""Which values stay in the pads beside each other and the kernels that run meanwhile, and where."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from atalla_mlir.codegen.image_kernel import Cost, HalvesOnly, KeptImage
from atalla_mlir.codegen.image_plan import ImageLaunch, ImagePlan, ImagePlanner, ImageValue
from atalla_mlir.codegen.iteration import Buffer
from atalla_mlir.codegen.opaque_kernel import OpaqueKernel
from atalla_mlir.codegen.pad_images import ImageShape, Range
from atalla_mlir.codegen.product_chain import SPILL_ROWS
from atalla_mlir.target.machine import AX01

SHAPE = ImageShape(2, 64, 768)
ROWS = 64 * 24
"""Of each of the pads of an image."""
ROOM = AX01.pad_rows - SPILL_ROWS


@dataclass(frozen=True)
class _Kernel(HalvesOnly):
    """Takes `rows`, and some more for each of `operands` in DRAM."""

    operand: Buffer
    rows: int = 0
    more: int = 0
    operands: tuple[Buffer, ...] = ()
    given_up: frozenset[Buffer] = field(default_factory=frozenset[Buffer])

    def held_lines(self, buffer: Buffer, shape: ImageShape) -> list[list[Range]] | None:
        return [[(0, 1), (1, 2)]]

    def writes_over(self, buffer: Buffer) -> bool:
        return buffer in self.given_up

    def cost(self, images: Mapping[Buffer, KeptImage], *, pads: int, pad_rows: int) -> Cost | None:
        rows = self.rows + self.more * sum(buffer not in images for buffer in self.operands)
        return Cost(100.0 - len(images), rows, 0) if rows <= pad_rows else None


def _launch(
    name: str, values: Sequence[int], kernel: Callable[[tuple[Buffer, ...]], _Kernel | OpaqueKernel]
) -> ImageLaunch:
    buffers = tuple(Buffer(f"{name}{at}", 128 * 768) for at in range(len(values)))
    return ImageLaunch(name, kernel(buffers), tuple(values), buffers, lambda: 100.0)


def _simple(name: str, *values: int, rows: int = 0) -> ImageLaunch:
    return _launch(name, values, lambda buffers: _Kernel(buffers[0], rows))


def _plan(launches: Sequence[ImageLaunch], values: Mapping[int, tuple[int, tuple[int, ...]]]) -> ImagePlan:
    """Of values by number: who makes each of them, and who reads it."""
    return ImagePlanner(launches, AX01).plan(
        [ImageValue(number, SHAPE, made, readers) for number, (made, readers) in values.items()]
    )


def _opaque(rows: int | None) -> ImageLaunch:
    return _launch("opaque", (8, 9), lambda _: OpaqueKernel(lambda: rows))


def test_a_value_stays_while_another_kernel_runs_that_leaves_it_room() -> None:
    for rows, stays in ((ROOM - ROWS, True), (ROOM - ROWS + 1, False), (None, False)):
        plan = _plan([_simple("a", 0, 1), _opaque(rows), _simple("b", 1, 2)], {1: (0, (2,))})
        assert (1 in plan.images) == stays
        assert not stays or plan.free_rows[1] == rows


def test_a_kernel_that_cannot_read_it_keeps_a_value_in_dram() -> None:
    reader = _launch("opaque", (1, 2), lambda _: OpaqueKernel(lambda: 0))
    assert not _plan([_simple("a", 0, 1), reader], {1: (0, (1,))}).images


def test_rows_of_another_kernel_are_not_asked_for_where_nothing_is_there() -> None:
    def asked() -> int:
        raise AssertionError("nothing runs beside it")

    opaque = _launch("opaque", (8, 9), lambda _: OpaqueKernel(asked))
    assert _plan([opaque, _simple("a", 0, 1), _simple("b", 1, 2)], {1: (1, (2,))}).images


def test_a_result_comes_to_the_place_of_an_operand_that_is_given_up() -> None:
    launches = [
        _simple("a", 0, 1),
        _launch("b", (1, 2), lambda buffers: _Kernel(buffers[0], given_up=frozenset(buffers[:1]))),
        _simple("c", 2, 3),
    ]
    values = {1: (0, (1,)), 2: (1, (2,))}
    images = _plan(launches, values).images
    assert (images[1].pads, images[1].base) == (images[2].pads, images[2].base)
    read_again = {1: (0, (1, 2)), 2: (1, (2,))}
    launches[2] = _simple("c", 2, 1, 3)
    images = _plan(launches, read_again).images
    assert images[1].pads != images[2].pads


def test_a_value_has_a_second_chance_when_others_are_there() -> None:
    """The last kernel takes too many rows as long as what is made later comes from DRAM."""
    rows, more = 3000, ROOM - ROWS - 3000 + 1
    launches = [
        _simple("a", 0, 1),
        _simple("b", 1, 2),
        _launch("c", (1, 2, 3), lambda buffers: _Kernel(buffers[0], rows, more, buffers[1:2])),
    ]
    images = _plan(launches, {1: (0, (1, 2)), 2: (1, (2,))}).images
    assert set(images) == {1, 2} and len({(image.pads, image.base) for image in images.values()}) == 2
    alone = _plan(launches, {1: (0, (1, 2))}).images
    assert not alone
