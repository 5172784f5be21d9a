"""Kernels of windows (`window_plan`) that look at images in the pads (`dealt_images`) or make them (`pad_images`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from atalla_mlir.codegen.dealt_images import NUM_PADS, DealtImage, LineByLine, is_whole
from atalla_mlir.codegen.decision import Decision, Fields, Value
from atalla_mlir.codegen.image_kernel import Cost, KeptImage, Usual, frame_rows
from atalla_mlir.codegen.image_product import IN_PADS, KEPT_BYTES
from atalla_mlir.codegen.iteration import Access, Buffer, Loop, Stage, coalesce_loops
from atalla_mlir.codegen.pad_images import (
    Halves,
    ImageShape,
    ImageWalk,
    PadImage,
    Range,
    can_halve,
    halves_of,
    held_ranges,
    image_walk,
    is_whole_image,
)
from atalla_mlir.codegen.product_plan import LANES
from atalla_mlir.codegen.window_layout import Axis, WindowPlan
from atalla_mlir.codegen.window_plan import MAX_GROUP, choose_windows, look_at, window_shapes

_FILL_CYCLES = 1500
"""Of a frame around a result in DRAM, roughly."""
_PLACE_CYCLES = 2
"""Of an iteration that says where its results lie in both halves, roughly."""


@dataclass(frozen=True)
class ImageWindows(Usual):
    """Windows with the maps that follow them; `result` is what they store.

    What lies around the results in their buffer is `frame`; None where nothing does.
    """

    stages: tuple[Stage, ...]
    result: Access
    frame: float | None
    whole: Access
    """What windows look at, with its frame."""
    shapes: tuple[WindowPlan, ...]
    rows: tuple[Loop, ...]
    """Of the results: lines and pixels, or pictures, lines and pixels."""
    lane: Loop

    def choose(self, images: Mapping[Buffer, KeptImage], pad_rows: int, wanted: Fields) -> _Chosen | None:
        """The plan that is predicted to be fastest, by what lies in the pads; None where there is no room."""
        is_kept, image = self.result.buffer in images, images.get(self.operand)
        possible: Sequence[WindowPlan] = self.shapes if image is None else self._dealt_shapes(image)
        if is_kept:
            possible = [plan for plan in possible if self._stores_lines(plan)]
        if not possible:
            return None
        pad_rows -= frame_rows(self.frame, self.result.buffer, images)
        chosen = choose_windows(possible, self.stages, wanted, lambda plan: self._own_rows(plan) <= pad_rows)
        if chosen is None or not images:
            return chosen
        plan, decision = chosen
        facts: dict[str, Value] = {IN_PADS: ", ".join(["operand"] * (image is not None) + ["result"] * is_kept)}
        cycles = decision.predicted_cycles or 0
        if is_kept:
            facts[KEPT_BYTES] = self.result.buffer.num_elements * 2
            cycles += plan.iterations * _PLACE_CYCLES
        return plan, replace(decision, facts={**decision.facts, **facts}, predicted_cycles=cycles)

    def _dealt_shapes(self, image: KeptImage) -> list[WindowPlan]:
        """Plans over an image that lies in the pads, once for all ways to fetch it."""
        if not isinstance(image, DealtImage):
            return []
        found = [plan for plan in self._line_shapes(image.shape) if plan.columns.low == image.low]
        ways = {(plan.group, plan.lines, plan.columns): plan for plan in found}
        return [replace(plan, pieces=1, dealt=image) for plan in ways.values()]

    def _line_shapes(self, shape: ImageShape) -> list[WindowPlan]:
        """Plans whose lines and columns are those of an image, and which look at no others."""

        def fits(axis: Axis, stride: int, size: int) -> bool:
            return axis.unit == stride and (axis.size == size if axis.size is not None else axis.extent <= size)

        return [
            plan
            for plan in self.shapes
            if plan.pads == NUM_PADS
            and plan.last_group == plan.group
            and self._stores_lines(plan)
            and fits(plan.lines, shape.strides[0], shape.picture_lines)
            and plan.num_planes == shape.pictures
            and all(plan.image.stride(loop) == shape.picture_lines * shape.strides[0] for loop in plan.planes)
            and fits(plan.columns, shape.strides[1], shape.pixels)
        ]

    def _stores_lines(self, plan: WindowPlan) -> bool:
        """Whether iterations go line by line."""
        return (*plan.planes, plan.lines.loop, plan.columns.loop) == self.rows

    def _own_rows(self, plan: WindowPlan) -> int:
        """Rows of a pad, at most: the ring of lines, rows that results share, and one for transfers of nothing."""
        shared = sum(len(stage.reads) for stage in self.stages) * plan.taps * plan.chunks
        return plan.ring_pad_rows + plan.results_rows + shared + 1

    def look(self, plan: WindowPlan) -> None:
        """Let the stages look at the image of a plan."""
        look_at(self.stages, self.whole, plan)

    @property
    def halves(self) -> Halves:
        return halves_of(self.rows)

    def walk(self, image: KeptImage) -> ImageWalk | None:
        return image_walk(self.result, image.shape, self.rows)

    # For `image_plan`

    @property
    def operand(self) -> Buffer:
        """Without its frame."""
        return self.shapes[0].image.buffer

    @property
    def spare_rows(self) -> int:
        """For the half that does not have a line."""
        return MAX_GROUP

    def held_lines(self, buffer: Buffer, shape: ImageShape) -> list[list[Range]] | None:
        """None where a line is not stored as such; it is stored wherever others want it."""
        if buffer is not self.result.buffer or self.lane.extent != shape.channels:
            return None
        walk = image_walk(self.result, shape, self.rows)
        if walk is None or (walk.lines, walk.pixels) != (1, 1):
            return None
        if self.frame is None and not is_whole_image(self.rows, shape):
            return None
        return [held_ranges(self.halves, walk, 1)] if self.halves.pictures > 1 else []

    def stores_dealt(self, buffer: Buffer, shape: ImageShape) -> bool:
        return False

    def reads_dealt(self, buffer: Buffer, shape: ImageShape) -> DealtImage | None:
        if buffer is not self.operand or self.lane.extent != shape.channels:
            return None
        plans = self._line_shapes(shape)
        if not plans or not is_whole(plans[0].image, shape):
            return None
        lines, columns = plans[0].lines, plans[0].columns
        line_rows = -(-max(columns.low + shape.pixels, columns.extent) // NUM_PADS)
        spare = line_rows if lines.framed else 0
        slices = shape.channels // LANES
        return DealtImage(
            shape.lines, shape.pixels, slices, columns.low, line_rows, spare=spare, pictures=shape.pictures
        )

    def distance(self, image: DealtImage, result: PadImage) -> int | None:
        walk, plans = self.walk(result), self._dealt_shapes(image)
        if walk is None or not plans or image.pictures > 1:
            return None
        lines = plans[0].lines
        return LineByLine(self.rows[0].extent, lines.step, lines.low).distance(image, result, walk)

    def cost(self, images: Mapping[Buffer, KeptImage], *, pads: int, pad_rows: int) -> Cost | None:
        chosen = self.choose(images, pad_rows, {})
        if chosen is None:
            return None
        plan, decision = chosen
        fill = _FILL_CYCLES * (self.frame is not None and self.result.buffer not in images)
        fetched = 0 if plan.dealt is not None else plan.image.buffer.num_elements * 2
        rows = self._own_rows(plan) + frame_rows(self.frame, self.result.buffer, images)
        return Cost((decision.predicted_cycles or 0) + fill, rows, fetched)


_Chosen = tuple[WindowPlan, Decision]


def image_windows(
    stages: Sequence[Stage], stored: Sequence[Access], made: Sequence[Stage], frame: float | None
) -> ImageWindows | None:
    """A kernel of windows as one over images; None where it is not. The stages `made` frame what it looks at."""
    if len(stored) != 1 or stages[0].is_scalar:
        return None
    (result,) = stored
    lane = next((loop for loop, stride in result.strides.items() if stride == 1), None)
    lines = sorted((loop for loop in result.strides if loop is not lane), key=result.stride, reverse=True)
    if lane is None or not can_halve(lines) or lane.extent % LANES:
        return None
    if not made:
        coalesce_loops(stages, apart=set(result.strides))
    found = window_shapes(stages, stored, made)
    if found is None:
        return None
    whole, shapes = found
    return ImageWindows(tuple(stages), result, frame, whole, tuple(shapes), tuple(lines), lane)
