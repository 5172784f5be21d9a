"""Maps, and folds along the channels, of images in the pads (`pad_images`): pixel by pixel, of both halves in turn."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from atalla_mlir.codegen.dealt_images import DealtImage
from atalla_mlir.codegen.decision import Decision, Fields, Value, allowed
from atalla_mlir.codegen.image_kernel import Cost, HalvesOnly, KeptImage, frame_rows
from atalla_mlir.codegen.image_product import IN_PADS, KEPT_BYTES
from atalla_mlir.codegen.iteration import Access, Buffer, Loop, Stage, StageKind, coalesce_loops
from atalla_mlir.codegen.pad_images import (
    HALVES,
    PICTURE_LOOPS,
    Halves,
    ImageShape,
    ImageWalk,
    PadImage,
    Range,
    coalesce_pictures,
    halves_of,
    held_ranges,
    image_walk,
    is_whole_image,
    split_matrix,
    split_pictures,
)
from atalla_mlir.codegen.phase_plan import PhasePlan, plan_phases, ring_rows
from atalla_mlir.codegen.row_plan import LANES, MAX_REGISTER_CHUNKS, RowPlan, row_instructions

FORM_NAME = "pixels of images"
MAX_INSTRUCTIONS = 192
"""Of the pixels that an iteration computes: as many as hide what each of them waits for."""
MAX_PIXELS = 8
"""Of each half."""
MAX_BOTH = 800
"""Instructions of a pixel of each half, from which on the loop would not fit the instruction cache: one at a time."""
MIN_CHUNKS = 4
"""Of a pixel, from which on folding them is divided into phases."""
SLOTS = 2.0
"""Instructions that a packet has of such a loop, roughly."""
ROW_CYCLES = 4.0
"""Of a row of a pad that is fetched or sent."""


@dataclass(frozen=True)
class PixelSteps:
    """Long pixels as the rows of a plan of phases, a step being a pixel of each half.

    Its stages are those of the kernel, in the same order, with the pixels of a half as one loop; strides along the
    `line` loop stay, and along that over pictures, if there is one: each has so many `pixels` of a half.
    """

    plan: PhasePlan
    stages: tuple[Stage, ...]
    line: Loop
    picture: Loop | None
    pixels: int

    def pad_rows(self, moved: int) -> int:
        """Rows of each pad for its rings, at most: of values, half a pixel's chunks or less, and of `moved` pixels."""
        half, slots = ring_rows(-(-self.plan.chunks // HALVES)), self.plan.slots
        passed = [stage for stage in self.stages if self.plan.passes_on(stage)]
        rows = sum(half if self.plan.lane in stage.loops and not stage.reduced else 1 for stage in passed)
        rows += sum(bool(stage.reduced) for stage in self.stages) + half * moved
        return HALVES * rows * slots


@dataclass(frozen=True)
class ImageMaps(HalvesOnly):
    """Stages that compute each pixel from the same one of other images and from rows that all pixels share.

    `result` is what they store. What lies around it in its buffer is `frame`; None where nothing does.
    """

    stages: tuple[Stage, ...]
    result: Access
    frame: float | None
    rows: tuple[Loop, ...]
    """Lines and pixels; before them pictures, where each of these has halves."""
    lane: Loop

    @property
    def of_each(self) -> bool:
        return len(self.rows) == PICTURE_LOOPS

    @property
    def reads(self) -> list[Access]:
        """What comes from outside."""
        computed = {stage.write.buffer for stage in self.stages}
        return [read for stage in self.stages for read in stage.reads if read.buffer not in computed]

    @property
    def row_reads(self) -> list[Access]:
        """Those that differ from pixel to pixel."""
        return [read for read in self.reads if any(read.stride(loop) for loop in self.rows)]

    @property
    def halves(self) -> Halves:
        return halves_of(self.rows, of_each=self.of_each)

    @property
    def is_folded(self) -> bool:
        """Whether any stage folds the channels."""
        return any(stage.reduced for stage in self.stages)

    @property
    def chunks(self) -> int:
        return -(-self.lane.extent // LANES)

    def walk(self, access: Access, image: KeptImage) -> ImageWalk | None:
        return self._walk(access, image.shape)

    def _walk(self, access: Access, shape: ImageShape) -> ImageWalk | None:
        if access.stride(self.lane) != 1 or self.lane.extent != shape.channels:
            return None
        return image_walk(access, shape, self.rows, of_each=self.of_each)

    @cached_property
    def steps(self) -> PixelSteps | None:
        """The kernel by phases, where pixels are long and folded; None where it is none."""
        if not self.is_folded or self.chunks < MIN_CHUNKS:
            return None
        *pictures, line, pixel = self.rows
        pixels = self.halves.extent * pixel.extent
        run = Loop(math.prod(loop.extent for loop in pictures) * pixels, pixel.name)

        def along_run(access: Access) -> Access:
            strides = {run if loop is pixel else loop: stride for loop, stride in access.strides.items()}
            return replace(access, strides=strides)

        stages = tuple(
            replace(
                stage,
                loops=[run if loop is pixel else loop for loop in stage.loops if loop not in (*pictures, line)],
                reads=[along_run(read) for read in stage.reads],
                write=along_run(stage.write),
            )
            for stage in self.stages
        )
        result = next(stage.write for stage in stages if stage.write.buffer is self.result.buffer)
        plan = plan_phases(stages, [result])
        if plan is None or (plan.rows, plan.groups) != (1, 1):
            return None
        return PixelSteps(plan, stages, line, pictures[0] if pictures else None, pixels)

    def row_plan(self, pixels: int, sides: int) -> RowPlan:
        """For iterations with so many `pixels` of each of `sides` halves."""
        outer = self.rows if self.is_folded else (self.lane, *self.rows)
        return RowPlan(self.lane, outer, self.rows[-1].extent, pixels * sides)

    def choose(self, images: Mapping[Buffer, KeptImage], wanted: Fields) -> tuple[MapPlan, Decision] | None:
        """How many pixels an iteration has; None where an image is dealt out."""
        if any(isinstance(image, DealtImage) for image in images.values()):
            return None
        (plan, *_) = allowed(f"kernel of {FORM_NAME}", self._plans(images), MapPlan.fields, wanted)
        kept = [
            name for name, found in (("operand", self._reads_any(images)), ("result", self._keeps(images))) if found
        ]
        facts: dict[str, Value] = {IN_PADS: ", ".join(kept), "sides": plan.sides}
        if plan.steps is not None:
            facts["num_phases"] = len(plan.steps.plan.phases)
        if self._keeps(images):
            facts[KEPT_BYTES] = self.result.buffer.num_elements * 2
        return plan, Decision(FORM_NAME, plan.fields(), facts, round(self._cycles(images)), MAX_PIXELS)

    def _keeps(self, images: Mapping[Buffer, KeptImage]) -> bool:
        return self.result.buffer in images

    def _reads_any(self, images: Mapping[Buffer, KeptImage]) -> bool:
        return any(read.buffer in images for read in self.reads)

    def _plans(self, images: Mapping[Buffer, KeptImage]) -> list[MapPlan]:
        """The best one first."""
        each = row_instructions(self.stages, self.row_plan(1, 1))
        sides = HALVES if HALVES * each <= MAX_BOTH else 1
        best = max(1, min(MAX_PIXELS, round(MAX_INSTRUCTIONS / (each * sides)), self.rows[-1].extent))
        is_run = self.is_run(images)
        ways = [best, *(pixels for pixels in range(1, MAX_PIXELS + 1) if pixels != best)]
        phased = [MapPlan(1, HALVES, True, self.steps)] if is_run and self.steps is not None else []
        # in DRAM the pixels of a half are those of one picture
        is_one_run = is_run and not (self.of_each and self._moved(images))
        return [*phased, *(MapPlan(pixels, sides, is_one_run) for pixels in ways)]

    def is_run(self, images: Mapping[Buffer, KeptImage]) -> bool:
        """Whether the lines of a half follow each other without a gap wherever they lie: in DRAM those of a picture."""
        line, pixel = self.rows[-HALVES:]
        kept = [self.walk(access, images[access.buffer]) for access in self._accesses() if access.buffer in images]
        found = [images[access.buffer] for access in self._accesses() if access.buffer in images]
        are_whole = all(image.pixels == pixel.extent and self._are_pictures_a_run(image) for image in found)
        if not are_whole or any(walk is None or (walk.lines, walk.pixels) != (1, 1) for walk in kept):
            return False
        strides = [(access.stride(line), access.stride(pixel)) for stage in self.stages for access in stage.accesses()]
        return line.extent == HALVES or all(down == along * pixel.extent for down, along in strides)

    def _are_pictures_a_run(self, image: KeptImage) -> bool:
        return not self.of_each or (isinstance(image, PadImage) and image.held == self.halves.extent)

    def _accesses(self) -> list[Access]:
        return [*self.reads, self.result]

    def _cycles(self, images: Mapping[Buffer, KeptImage]) -> float:
        """Roughly: of all pixels, and of what comes from DRAM or goes there."""
        pixels = math.prod(loop.extent for loop in self.rows)
        computed = row_instructions(self.stages, self.row_plan(1, 1)) / SLOTS
        if not self.is_folded:
            computed *= self.chunks
        return pixels * (computed + ROW_CYCLES * self.chunks * len(self._moved(images)))

    def _moved(self, images: Mapping[Buffer, KeptImage]) -> list[Access]:
        """What differs from pixel to pixel and lies in DRAM."""
        return [access for access in (*self.row_reads, self.result) if access.buffer not in images]

    # For `image_plan`

    @property
    def operand(self) -> Buffer:
        return next((read.buffer for read in self.row_reads), self.result.buffer)

    def held_lines(self, buffer: Buffer, shape: ImageShape) -> list[list[Range]] | None:
        found: list[list[Range]] = []
        for access in self._accesses():
            if access.buffer is buffer:
                walk = self._walk(access, shape)
                if walk is None or (access is self.result and not self._is_all(walk, shape)):
                    return None
                found.append(held_ranges(self.halves, walk, 1))
        return found or None

    def _is_all(self, walk: ImageWalk, shape: ImageShape) -> bool:
        """Whether results are neighbours, and all that there is where no frame is around them."""
        return (walk.lines, walk.pixels) == (1, 1) and (self.frame is not None or is_whole_image(self.rows, shape))

    def cost(self, images: Mapping[Buffer, KeptImage], *, pads: int, pad_rows: int) -> Cost | None:
        """None where not even two blocks of the rows of an iteration fit beside what all pixels share."""
        if any(isinstance(image, DealtImage) for image in images.values()):
            return None
        shared = sum(self.chunks for read in self.reads if read not in self.row_reads and read.buffer not in images)
        if self.steps is not None and self.is_run(images):
            least = shared + self.steps.pad_rows(len(self._moved(images))) + 1
        else:
            chunks = self.chunks if self.is_folded else 1
            least = shared + 2 * chunks * HALVES * MAX_PIXELS * len(self._moved(images)) + LANES
        least += frame_rows(self.frame, self.result.buffer, images)
        if least > pad_rows:
            return None
        fetched = sum(read.buffer.num_elements * 2 for read in self.row_reads if read.buffer not in images)
        return Cost(self._cycles(images), least, fetched)


@dataclass(frozen=True)
class MapPlan:
    """An iteration computes `pixels` of each of `sides` halves; with one side, a half comes after the other.

    `is_run`: the lines of a half are one run of pixels.
    """

    pixels: int
    sides: int
    is_run: bool
    steps: PixelSteps | None = None
    """Of one pixel of each half; None where iterations are straight code."""

    def fields(self) -> Fields:
        """What a user may fix."""
        return {"pixels": self.pixels, "phases": self.steps is not None}


def image_maps(
    stages: Sequence[Stage], stored: Sequence[Access], frame: float | None, each_of: int = 1
) -> ImageMaps | None:
    """Stages as such a kernel; None where they are none. Coalesces loops but those over lines and pixels.

    The rows of a matrix become two loops, over its halves and the rows of a half; or those `each_of` so many pictures,
    where there are several.
    """
    if len(stored) != 1 or any(stage.kind not in (StageKind.MAP, StageKind.REDUCE) for stage in stages):
        return None
    (result,) = stored
    lane = next((loop for loop, stride in result.strides.items() if stride == 1), None)
    rows = _rows(result, lane)
    if lane is None or lane.extent % LANES or any(stage.is_scalar for stage in stages):
        return None
    coalesce_loops(stages, apart=set(result.strides))
    if each_of > 1:
        if not rows or not split_pictures(stages, rows, each_of):
            return None
        rows = _rows(result, lane)
    elif len(rows) == PICTURE_LOOPS:
        coalesce_pictures(stages, rows)
        rows = _rows(result, lane)
    if len(rows) == 1:
        rows = list(split_matrix(stages, rows[0]))
    num_loops = HALVES if each_of == 1 else PICTURE_LOOPS
    if len(rows) != num_loops or not all(_is_pixelwise(stage, rows, lane) for stage in stages):
        return None
    found = ImageMaps(tuple(stages), result, frame, tuple(rows), lane)
    fits = not found.is_folded or found.chunks <= MAX_REGISTER_CHUNKS
    return found if fits and found.row_reads and _are_rows(found) else None


def _rows(result: Access, lane: Loop | None) -> list[Loop]:
    """All loops of a result but that along the lanes, the outermost first."""
    return sorted((loop for loop in result.strides if loop is not lane), key=result.stride, reverse=True)


def _is_pixelwise(stage: Stage, rows: Sequence[Loop], lane: Loop) -> bool:
    return set(rows) <= set(stage.loops) <= {*rows, lane} and set(stage.reduced) <= {lane}


def _are_rows(maps: ImageMaps) -> bool:
    """Whether channels are the lanes of all that is read; whoever folds them has whole rows."""
    return all(read.stride(maps.lane) in (0, 1) for read in maps.reads)
