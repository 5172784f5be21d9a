"""Folds of images in the pads: which stages are one, that every pixel is folded once, and how deep sums are."""

from __future__ import annotations

import pytest

from atalla_mlir.codegen.image_folds import FoldPlan, ImageFolds, image_folds
from atalla_mlir.codegen.iteration import Access, Buffer, Combine, Loop, Node, Stage, StageKind
from atalla_mlir.codegen.opaque_kernel import OpaqueKernel
from atalla_mlir.codegen.pad_images import Halves, ImageShape, PadImage

CHANNELS = 64
ROOM = 1024


def _mean(lines: int, pixels: int, *, frame: int = 0, combine: Combine = Combine.ADD) -> ImageFolds | None:
    """The fold of an image, `frame` pixels within another one, and a map of the row that it gives."""
    y, x, c = Loop(lines, "y"), Loop(pixels, "x"), Loop(CHANNELS, "c")
    line = (pixels + 2 * frame) * CHANNELS
    whole = Buffer("in", (lines + 2 * frame) * line)
    image = Access(whole, frame * (line + CHANNELS), {y: line, x: CHANNELS, c: 1})
    total, result = Access(Buffer("sum", CHANNELS), 0, {c: 1}), Access(Buffer("out", CHANNELS), 0, {c: 1})
    load, share = Node("load", read=0), Node("constant", value=0.5)
    stages = [
        Stage(StageKind.REDUCE, [c, y, x], [image], total, load, [y, x], combine),
        Stage(StageKind.MAP, [c], [total], result, Node("mul", (load, share))),
    ]
    return image_folds(stages, [result])


def _found(lines: int, pixels: int, *, frame: int = 0) -> ImageFolds:
    folds = _mean(lines, pixels, frame=frame)
    assert folds is not None
    return folds


def _image(lines: int, pixels: int) -> PadImage:
    halves = Halves(lines)
    return PadImage(lines, pixels, CHANNELS // 32, 0, halves.firsts, halves.extent, 0)


def _chosen(folds: ImageFolds, image: PadImage, step_terms: int | None = None) -> FoldPlan:
    wanted = {} if step_terms is None else {"step_terms": step_terms}
    chosen = folds.choose({folds.image.buffer: image}, wanted)
    assert chosen is not None
    return chosen[0]


@pytest.mark.parametrize(("lines", "pixels"), [(7, 7), (2, 9), (5, 4), (6, 5), (3, 1), (28, 28), (15, 19)])
@pytest.mark.parametrize("frame", [0, 1])
def test_every_pixel_comes_once_from_a_half_that_holds_it(lines: int, pixels: int, frame: int) -> None:
    plan = _chosen(_found(lines, pixels, frame=frame), _image(lines + 2 * frame, pixels + 2 * frame))
    halves, seen = Halves(lines), list[tuple[int, int]]()
    for run in plan.runs:
        for half, (first_line, first_pixel) in enumerate(run.firsts):
            for line in range(run.lines):
                for pixel in range(run.pixels):
                    down, along = divmod(first_pixel + pixel, pixels)
                    own = first_line + line + down
                    assert own < halves.extent
                    seen.append((halves.firsts[half] + own, along))
    assert sorted(seen) == [(line, pixel) for line in range(lines) for pixel in range(pixels)]


def test_few_pixels_are_straight_code_and_many_a_loop() -> None:
    assert _chosen(_found(7, 7), _image(7, 7)).is_straight
    plan = _chosen(_found(28, 28), _image(28, 28))
    assert not plan.is_straight
    (run,) = plan.runs
    assert run.pixels % plan.step_pixels(run) == 0


@pytest.mark.parametrize(
    ("size", "step_terms", "depth"),
    # 49 terms two by two; 49 at once with two in sequence, and the one that is left; 28 steps of 28 and their sum
    [((7, 7), None, 6), ((7, 7), 32, 1 + 2 + 5 + 1 + 1), ((28, 28), None, 1 + 14 + 6)],
)
def test_depth_of_a_sum(size: tuple[int, int], step_terms: int | None, depth: int) -> None:
    assert _chosen(_found(*size), _image(*size), step_terms).depth == depth


def test_what_is_no_fold_of_all_pixels_is_none() -> None:
    y, x, c = Loop(4, "y"), Loop(6, "x"), Loop(CHANNELS, "c")
    image = Access(Buffer("in", 24 * CHANNELS), 0, {y: 6 * CHANNELS, x: CHANNELS, c: 1})
    lines = Access(Buffer("out", 4 * CHANNELS), 0, {y: CHANNELS, c: 1})
    stage = Stage(StageKind.REDUCE, [y, c, x], [image], lines, Node("load", read=0), [x], Combine.ADD)
    assert image_folds([stage], [lines]) is None
    assert _mean(4, 6, combine=Combine.ARGMAX) is None
    single = Access(Buffer("out", 1), 0, {})
    every = Stage(StageKind.REDUCE, [y, x, c], [image], single, Node("load", read=0), [y, x, c], Combine.ADD)
    assert image_folds([every], [single]) is None


def test_with_its_image_in_dram_it_takes_what_it_takes_in_another_form() -> None:
    folds = _found(6, 6)
    assert folds.cost({}, pads=4, pad_rows=ROOM) is None
    other = ImageFolds(folds.stages, folds.result, folds.image, folds.rows, folds.lane, OpaqueKernel(lambda: 40))
    assert other.cost({}, pads=4, pad_rows=39) is None
    found = other.cost({}, pads=4, pad_rows=40)
    assert found is not None
    assert found.pad_rows == 40


def test_images_of_other_channels_are_not_held() -> None:
    folds = _found(6, 8)
    assert folds.held_lines(folds.image.buffer, ImageShape(6, 8, CHANNELS)) == [[(0, 3), (3, 6)]]
    assert folds.held_lines(folds.image.buffer, ImageShape(6, 8, 32)) is None
    assert folds.held_lines(folds.result.buffer, ImageShape(6, 8, CHANNELS)) is None


def _mean_of_pictures(pictures: int, lines: int, pixels: int, frame: int) -> ImageFolds | None:
    """A row for each picture, of which the fold leaves out a frame."""
    n, y, x, c = Loop(pictures, "n"), Loop(lines, "y"), Loop(pixels, "x"), Loop(CHANNELS, "c")
    line, own = (pixels + 2 * frame) * CHANNELS, lines + 2 * frame
    whole = Buffer("in", pictures * own * line)
    image = Access(whole, frame * (line + CHANNELS), {n: own * line, y: line, x: CHANNELS, c: 1})
    rows = Access(Buffer("out", pictures * CHANNELS), 0, {n: CHANNELS, c: 1})
    stage = Stage(StageKind.REDUCE, [n, c, y, x], [image], rows, Node("load", read=0), [y, x], Combine.ADD)
    return image_folds([stage], [rows])


@pytest.mark.parametrize("frame", [0, 1])
def test_each_picture_of_several_is_folded_by_itself(frame: int) -> None:
    folds = _mean_of_pictures(4, 6, 5, frame)
    assert folds is not None
    shape = ImageShape(4 * (6 + 2 * frame), 5 + 2 * frame, CHANNELS, 4)
    middle = shape.lines // 2
    assert folds.held_lines(folds.image.buffer, shape) == [[(0, middle), (middle, shape.lines)]]
    image = PadImage(shape.lines, shape.pixels, CHANNELS // 32, 0, (0, middle), middle, 0, pictures=4)
    (run,) = _chosen(folds, image).runs
    assert (run.lines, run.pixels, run.firsts) == ((6, 5, ((0, 0),)) if frame else (1, 30, ((0, 0),)))
    assert _mean_of_pictures(3, 6, 5, frame) is None
