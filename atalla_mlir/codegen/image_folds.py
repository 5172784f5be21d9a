"""Folds over all pixels of an image in the pads (`pad_images`), channel by channel: global means, sums and extremes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from atalla_mlir.codegen.decision import Decision, Fields, allowed
from atalla_mlir.codegen.image_kernel import Cost, HalvesOnly, KeptImage
from atalla_mlir.codegen.image_product import IN_PADS
from atalla_mlir.codegen.iteration import Access, Buffer, Combine, Loop, Stage, StageKind, coalesce_loops
from atalla_mlir.codegen.opaque_kernel import OpaqueKernel
from atalla_mlir.codegen.pad_images import (
    HALVES,
    Halves,
    ImageShape,
    ImageWalk,
    PadImage,
    Range,
    can_halve,
    halves_of,
    held_ranges,
    image_walk,
    split_matrix,
)
from atalla_mlir.codegen.phase_plan import num_instructions
from atalla_mlir.codegen.row_plan import LANES

FORM_NAME = "folds of images"
MAX_STRAIGHT_TERMS = 128
"""Pixels that straight code folds; of more a loop takes some of each half."""
MAX_STEP_TERMS = 64
"""Of an iteration of such a loop."""
MAX_STEP_INSTRUCTIONS = 256
ROW_CYCLES = 1.1
"""Of an instruction on the row of a pixel, roughly: the lanes take an operation in two cycles beside loads."""
FETCH_CYCLES = 1.2
"""More of a row that comes from DRAM, roughly."""
START_CYCLES, FETCH_START_CYCLES = 250.0, 600.0
"""Of a kernel: its code, rows that it shares, its result; and of the first rows from DRAM, and of more code."""
CHUNK_CYCLES = 40.0
"""Of 32 channels: the latency of the last additions, and what follows them."""


@dataclass(frozen=True)
class Run:
    """`lines` x `pixels` pixels of each of some halves; that of half h begins at `firsts[h]`, as (line, pixel)."""

    lines: int
    pixels: int
    firsts: tuple[tuple[int, int], ...]

    @property
    def terms(self) -> int:
        return self.lines * self.pixels * len(self.firsts)


@dataclass(frozen=True)
class FoldPlan:
    """Every pixel once, in `runs`; loops over them take `step_terms` pixels of a run, of all of its halves together.

    Where `is_straight`, there are no loops.
    """

    runs: tuple[Run, ...]
    step_terms: int

    @property
    def is_straight(self) -> bool:
        return sum(run.terms for run in self.runs) <= self.step_terms

    def step_pixels(self, run: Run) -> int:
        """Pixels of each half that an iteration takes of a line: better none are left over."""
        most = max(1, min(run.pixels, self.step_terms // len(run.firsts)))
        even = next((size for size in range(most, 0, -1) if run.pixels % size == 0), 1)
        return even if 2 * even >= most else most

    @property
    def depth(self) -> int:
        """Additions that a term takes part in, at most."""
        if self.is_straight:
            return sum(run.terms for run in self.runs).bit_length()
        found = 1
        for run in self.runs:
            size = self.step_pixels(run)
            found += run.lines * -(-run.pixels // size) + (size * len(run.firsts)).bit_length()
        return found

    def fields(self) -> Fields:
        """What a user may fix."""
        return {"step_terms": self.step_terms}


@dataclass(frozen=True)
class ImageFolds(HalvesOnly):
    """Stages that fold all pixels of one image, maps before them and maps of the row of channels that they leave.

    Of a batch each picture leaves a row.
    """

    stages: tuple[Stage, ...]
    result: Access
    """A row of channels, or one for each picture."""
    image: Access
    """What is folded."""
    rows: tuple[Loop, ...]
    """Pictures, if there are several, lines and pixels."""
    lane: Loop
    opaque: OpaqueKernel | None = None
    """The kernel with its image in DRAM, where that is known."""

    @property
    def walking(self) -> list[Stage]:
        """Stages that go over the pixels; the others come after them."""
        return [stage for stage in self.stages if self.rows[-1] in stage.loops]

    @property
    def picture_loops(self) -> tuple[Loop, ...]:
        """The loop over pictures, if there is one."""
        return self.rows[:-HALVES]

    @property
    def halves(self) -> Halves:
        return halves_of(self.rows)

    @property
    def terms(self) -> int:
        """Pixels that are folded to a row."""
        return math.prod(loop.extent for loop in self.rows[-HALVES:])

    @property
    def chunks(self) -> int:
        return self.lane.extent // LANES

    def walk(self, shape: ImageShape) -> ImageWalk | None:
        return image_walk(self.image, shape, self.rows) if self.lane.extent == shape.channels else None

    def choose(self, images: Mapping[Buffer, KeptImage], wanted: Fields) -> tuple[FoldPlan, Decision] | None:
        """How many pixels are folded at once; None where the image does not lie in two halves."""
        image = images.get(self.image.buffer)
        walk = self.walk(image.shape) if isinstance(image, PadImage) else None
        if image is None or walk is None:
            return None
        is_run = (walk.lines, walk.pixels) == (1, 1) and image.pixels == self.rows[-1].extent
        plans = self._plans(is_run)
        (plan, *_) = allowed(f"kernel of {FORM_NAME}", plans, FoldPlan.fields, wanted)
        facts = {IN_PADS: "operand", "loops": "none" if plan.is_straight else "over steps"}
        return plan, Decision(FORM_NAME, plan.fields(), facts, round(self._cycles(in_pads=True)), len(plans))

    def _plans(self, is_run: bool) -> list[FoldPlan]:
        """The best one first."""
        runs, terms = self._runs(is_run), self.terms
        most = MAX_STEP_INSTRUCTIONS // sum(num_instructions(stage) for stage in self.walking)
        best = terms if terms <= min(MAX_STRAIGHT_TERMS, most) else min(MAX_STEP_TERMS, most)
        sizes = [max(1, best), *(1 << power for power in range(7) if 1 << power != best)]
        return [FoldPlan(runs, size) for size in sizes]

    def _runs(self, is_run: bool) -> tuple[Run, ...]:
        """Each pixel once, though both halves hold those of a line where lines are odd in number.

        Of the pixels as a run the first half takes those up to the middle; else lines are shared out. A picture of
        several lies in one half.
        """
        lines, pixels = (loop.extent for loop in self.rows[-HALVES:])
        if self.picture_loops:
            runs = [Run(1, lines * pixels, ((0, 0),)) if is_run else Run(lines, pixels, ((0, 0),))]
        elif is_run:
            half, rest = divmod(lines * pixels, HALVES)
            middle = Halves(lines).firsts[1] * pixels
            runs = [Run(1, half, ((0, 0), (0, half + rest - middle))), Run(1, rest, ((0, half),))]
        else:
            half, rest = divmod(lines, HALVES)
            runs = [Run(half, pixels, ((0, 0), (rest, 0))), Run(rest, pixels, ((half, 0),))]
        return tuple(run for run in runs if run.terms)

    def _cycles(self, *, in_pads: bool) -> float:
        """Roughly."""
        row = ROW_CYCLES * sum(num_instructions(stage) for stage in self.walking)
        start = START_CYCLES
        if not in_pads:
            row, start = row + FETCH_CYCLES, start + FETCH_START_CYCLES
        pictures = math.prod(loop.extent for loop in self.picture_loops)
        return start + pictures * self.chunks * (CHUNK_CYCLES + self.terms * row)

    # For `image_plan`

    @property
    def operand(self) -> None:
        """Its result is no image, whose place could depend on that of another one."""
        return None

    @property
    def apart_cycles(self) -> float:
        """With its image in DRAM, in whatever form."""
        return self._cycles(in_pads=False)

    def held_lines(self, buffer: Buffer, shape: ImageShape) -> list[list[Range]] | None:
        walk = self.walk(shape) if buffer is self.image.buffer else None
        return [held_ranges(self.halves, walk, 1)] if walk is not None else None

    def cost(self, images: Mapping[Buffer, KeptImage], *, pads: int, pad_rows: int) -> Cost | None:
        """With its image in DRAM it has another form."""
        if not isinstance(images.get(self.image.buffer), PadImage):
            return self.opaque.cost(images, pads=pads, pad_rows=pad_rows) if self.opaque is not None else None
        shared = sum(read.buffer is not self.image.buffer for stage in self.stages for read in stage.reads)
        own = 2 * (shared + 1) * self.chunks + LANES
        return Cost(self._cycles(in_pads=True), own, 0) if own <= pad_rows else None


def image_folds(stages: Sequence[Stage], stored: Sequence[Access]) -> ImageFolds | None:
    """Stages as such a kernel; None where they are none. Coalesces loops but those over lines and pixels.

    The rows of a matrix become two loops, over its halves and the rows of a half.
    """
    folds = [stage for stage in stages if stage.reduced]
    if len(stored) != 1 or not folds or any(stage.is_scalar for stage in stages):
        return None
    (result,) = stored
    if not result.strides:
        return None
    lane, *pictures = sorted(result.strides, key=result.stride)
    if result.stride(lane) != 1 or len(pictures) > 1 or any(fold.combine not in _COMBINES for fold in folds):
        return None
    pixels = set(folds[0].reduced)
    image = next((read for stage in stages for read in stage.reads if pixels & set(read.strides)), None)
    if image is None or lane.extent % LANES or lane in pixels:
        return None
    # lines of one pixel are as far apart as pixels: then the lines are what there are more of
    rows = sorted(folds[0].reduced, key=lambda loop: (image.stride(loop), loop.extent), reverse=True)
    coalesce_loops(stages, apart={lane, *rows, *pictures})
    if len(rows) == 1 and not pictures:
        rows = list(split_matrix(stages, rows[0]))
    if len(rows) != HALVES or not can_halve([*pictures, *rows]):
        return None
    found = ImageFolds(tuple(stages), result, image, (*pictures, *rows), lane)
    return found if _is_fold(found) else None


_COMBINES = (Combine.ADD, Combine.MAX, Combine.MIN)


def _is_fold(folds: ImageFolds) -> bool:
    """Whether stages walk all pixels, or none, and nothing but the image differs from pixel to pixel."""
    rows, own, image = set(folds.rows[-HALVES:]), {folds.lane, *folds.picture_loops}, folds.image
    computed: set[Buffer] = set()
    for stage in folds.stages:
        walks = bool(rows & set(stage.loops))
        if stage.kind not in (StageKind.MAP, StageKind.REDUCE) or set(stage.reduced) not in (set(), rows):
            return False
        if set(stage.loops) != ({*rows, *own} if walks else own):
            return False
        for read in stage.reads:
            is_image = (read.buffer, read.offset, read.strides) == (image.buffer, image.offset, image.strides)
            is_row = read.stride(folds.lane) in (0, 1) and not any(read.stride(loop) for loop in rows)
            if read.buffer not in computed and not is_image and not is_row:
                return False
        computed.add(stage.write.buffer)
    after = next((at for at, stage in enumerate(folds.stages) if not rows & set(stage.loops)), len(folds.stages))
    is_ordered = not any(rows & set(stage.loops) for stage in folds.stages[after:])
    known = {stage.write.buffer for stage in folds.stages if stage.reduced}
    reads_folds = any(read.buffer in known for stage in folds.stages[:after] for read in stage.reads)
    return is_ordered and not reads_folds and image.stride(folds.lane) == 1 and image.buffer not in computed
