"""Kernels of windows (`window_plan`) whose result is an image that stays in the pads (`pad_images`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from atalla_mlir.codegen.decision import Decision, Fields
from atalla_mlir.codegen.image_kernel import Range
from atalla_mlir.codegen.image_product import KEPT_BYTES
from atalla_mlir.codegen.iteration import Access, Buffer, Loop, Stage, coalesce_loops
from atalla_mlir.codegen.pad_images import ImageShape, ImageWalk, PadImage, image_walk
from atalla_mlir.codegen.product_plan import LANES
from atalla_mlir.codegen.window_layout import WindowPlan
from atalla_mlir.codegen.window_plan import MAX_GROUP, choose_windows, look_at, window_shapes

_FILL_CYCLES = 1500
"""Of a frame around a result in DRAM, roughly."""


@dataclass(frozen=True)
class ImageWindows:
    """Windows with the maps that follow them; `result` is what they store.

    What lies around the results in their buffer is `frame`; None where nothing does.
    """

    stages: tuple[Stage, ...]
    result: Access
    frame: float | None
    whole: Access
    """What windows look at, with its frame."""
    shapes: tuple[WindowPlan, ...]
    rows: tuple[Loop, Loop]
    """Of the results: lines and pixels."""
    lane: Loop

    def choose(self, images: Mapping[Buffer, PadImage], pad_rows: int, wanted: Fields) -> _Chosen | None:
        """The plan that is predicted to be fastest, by whether the result is an image; None where there is no room."""
        is_kept = self.result.buffer in images
        possible = [plan for plan in self.shapes if not is_kept or self._stores_lines(plan)]
        if not possible:
            return None
        chosen = choose_windows(possible, self.stages, wanted, lambda plan: self._own_rows(plan) <= pad_rows)
        if chosen is None or not is_kept:
            return chosen
        plan, decision = chosen
        facts = {**decision.facts, "in_pads": "result", KEPT_BYTES: self.result.buffer.num_elements * 2}
        return plan, Decision(decision.form, decision.fields, facts, decision.predicted_cycles, decision.ways)

    def _stores_lines(self, plan: WindowPlan) -> bool:
        """Whether iterations store whole groups, line by line: a row too many would be another pixel's."""
        return plan.last_group == plan.group and (plan.lines.loop, plan.columns.loop) == self.rows

    def _own_rows(self, plan: WindowPlan) -> int:
        """Rows of a pad, at most: the ring of lines, rows that results share, and one for transfers of nothing."""
        shared = sum(len(stage.reads) for stage in self.stages) * plan.taps * plan.chunks
        return plan.ring_pad_rows + plan.results_rows + shared + 1

    def look(self, plan: WindowPlan) -> None:
        """Let the stages look at the image of a plan."""
        look_at(self.stages, self.whole, plan)

    def walk(self, image: PadImage) -> ImageWalk | None:
        return image_walk(self.result, image.shape, self.rows)

    # For `image_plan`

    @property
    def operand(self) -> Buffer:
        return self.whole.buffer

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
        if self.frame is None and tuple(loop.extent for loop in self.rows) != (shape.lines, shape.pixels):
            return None
        return []

    def cost(self, images: Mapping[Buffer, PadImage], *, pads: int, pad_rows: int) -> tuple[float, int] | None:
        chosen = self.choose(images, pad_rows, {})
        if chosen is None:
            return None
        plan, decision = chosen
        fill = _FILL_CYCLES * (self.frame is not None and self.result.buffer not in images)
        return (decision.predicted_cycles or 0) + fill, self._own_rows(plan)


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
    if lane is None or len(lines) != 2 or lane.extent % LANES:
        return None
    if not made:
        coalesce_loops(stages, apart=set(result.strides))
    found = window_shapes(stages, stored, made)
    if found is None:
        return None
    whole, shapes = found
    return ImageWindows(tuple(stages), result, frame, whole, tuple(shapes), (lines[0], lines[1]), lane)
