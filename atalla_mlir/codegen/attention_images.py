"""Attention of which the result is a matrix that stays in the pads between kernels (`pad_images`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from atalla_mlir.codegen.attention_pattern import Attention, AttentionStages, unify
from atalla_mlir.codegen.attention_plan import LANES, AttentionPlan, plan_attention
from atalla_mlir.codegen.decision import Decision, Fields, Value
from atalla_mlir.codegen.image_kernel import Cost, HalvesOnly, KeptImage
from atalla_mlir.codegen.image_product import IN_PADS, KEPT_BYTES
from atalla_mlir.codegen.iteration import Access, Buffer, Loop
from atalla_mlir.codegen.pad_images import HALVES, Halves, ImageShape, PadImage, Range, held_ranges
from atalla_mlir.codegen.row_deal import RowDeal

FORM_NAME = "attention"
CHUNK_CYCLES = 4.7
"""Of 32 scores in the softmax, with the values that are turned beside it."""
GROUP_CYCLES = 14000
"""Of transfers and code that runs once, for a group of heads."""
WEIGHT_CYCLES = 63
"""For which the array takes no rows."""


@dataclass(frozen=True)
class HeadImage:
    """The rows of all heads in an image of two halves: a head is `slices` slices of it, from slice `first_slice` on.

    `is_dealt`: blocks have rows of both halves in turn; else rows of a head are numbered through both.
    """

    image: PadImage
    first_slice: int
    slices: int
    is_dealt: bool

    @property
    def first_rows(self) -> int:
        """From the begin of a half to the first head."""
        return self.first_slice * self.image.slice_rows

    def place(self, row: int) -> tuple[int, int]:
        """The half of a row, and its row there, from the begin of a slice of a block or a head on."""
        half, at = (row % HALVES, row // HALVES) if self.is_dealt else divmod(row, self.image.pixels)
        return half, self.image.row(half, half, at)


@dataclass(frozen=True)
class AttentionImages(HalvesOnly):
    """An attention, and how it is laid over the machine where all is in DRAM."""

    attention: Attention
    plan: AttentionPlan

    @property
    def result(self) -> Access:
        return self.attention.output

    @property
    def operand(self) -> None:
        return None

    def held_lines(self, buffer: Buffer, shape: ImageShape) -> list[list[Range]] | None:
        """Each half of the result as it is, where all of its heads are made at once."""
        if buffer is not self.result.buffer or self._result(shape) is None:
            return None
        return [held_ranges(Halves(HALVES), 0, 1, 1)]

    def cost(self, images: Mapping[Buffer, KeptImage], *, pads: int, pad_rows: int) -> Cost | None:
        """None where its plan does not fit: with fewer heads at once it would take longer than is gained."""
        plan = self.plan_with(images)
        return None if plan is None or plan.pad_rows > pad_rows else Cost(_cycles(plan), plan.pad_rows, 0)

    def plan_with(self, images: Mapping[Buffer, KeptImage]) -> AttentionPlan | None:
        """The plan with some `images` in the pads; None where it cannot work on them."""
        if any(buffer is not self.result.buffer for buffer in images):
            return None
        image = images.get(self.result.buffer)
        if image is None:
            return self.plan
        if not isinstance(image, PadImage) or image.held > 1 or self._result(image.shape) is None:
            return None
        return self.plan if self.plan.visible is not None else replace(self.plan, deal=RowDeal(image.pixels))

    def head_image(self, image: PadImage) -> HeadImage:
        """The result in an image."""
        return HeadImage(image, 0, self.plan.width_tiles, self.plan.visible is None)

    def _result(self, shape: ImageShape) -> int | None:
        """The slice where the results of the first head begin; None where they cannot be stored to an image."""
        plan, rows = self.plan, self.attention.queries
        if plan.parts is not None or plan.panels is not None or not self._is_orderly():
            return None
        first = self._first_slice(self.result, rows, self.attention.width, shape)
        return first if plan.heads * plan.width == shape.channels else None

    def _is_orderly(self) -> bool:
        """Whether queries may be taken from both halves in turn, or heads are taken whole."""
        if self.plan.visible is not None:
            return bool(self.plan.visible.spans)
        varies = any(access.stride(self.attention.queries) for access in self.plan.outside)
        return not varies and self.plan.reach is None and not self.plan.queries.excess

    def _first_slice(self, access: Access, rows: Loop, lanes: Loop, shape: ImageShape) -> int | None:
        """The slice where the first head begins; None where heads are not slices of an image one after the other."""
        if shape.lines != HALVES or rows.extent != HALVES * shape.pixels or access.indirect:
            return None
        if any(loop.extent > 1 for loop in self.plan.outer) or any(n < loop.extent for loop, n in self.plan.group):
            return None
        if access.stride(rows) != shape.channels or access.stride(lanes) != 1 or lanes.extent % LANES:
            return None
        width = lanes.extent
        for loop, count in reversed(self.plan.group):
            if count > 1 and access.stride(loop) != width:
                return None
            width *= count
        is_inside = access.offset % LANES == 0 and access.offset + width <= shape.channels
        return access.offset // LANES if is_inside else None


def attention_images(found: AttentionStages, stored: Sequence[Access]) -> AttentionImages | None:
    """An attention that stores `stored`; None where it has no plan. Unifies the loops of its stages."""
    attention = unify(found)
    plan = attention if isinstance(attention, str) else plan_attention(attention)
    if (
        isinstance(attention, str)
        or isinstance(plan, str)
        or [access.buffer for access in stored] != [attention.output.buffer]
    ):
        return None
    return AttentionImages(attention, plan)


def attention_decision(plan: AttentionPlan, facts: Fields | None = None) -> Decision:
    """What a plan is, with more `facts`."""
    own: dict[str, Value] = {
        "heads": plan.heads,
        "query_rows": plan.queries.size,
        "key_tiles": plan.key_tiles,
        "softmax_rows": plan.step_rows,
        "values": "turned in DRAM" if plan.is_turned else "turned by the array",
        "pad_rows": plan.pad_rows,
    }
    return Decision(FORM_NAME, {}, {**own, **(facts or {})})


def image_facts(kernel: AttentionImages, images: Mapping[Buffer, KeptImage]) -> dict[str, Value]:
    """What lies in the pads."""
    if kernel.result.buffer not in images:
        return {IN_PADS: ""}
    return {IN_PADS: "result", KEPT_BYTES: kernel.result.buffer.num_elements * 2}


def _cycles(plan: AttentionPlan) -> float:
    """Roughly: the array for both products, the softmax, and what is done once for each group."""
    groups = 1
    for loop in plan.outer:
        groups *= loop.extent
    for loop, count in plan.group:
        groups *= loop.extent // count
    panels = plan.panels.count if plan.panels is not None else 1
    tiles = plan.blocks * plan.key_tiles
    array = tiles * (plan.depth_slices + plan.width_tiles) * (plan.queries.size + WEIGHT_CYCLES)
    softmax = tiles * plan.queries.size * CHUNK_CYCLES
    return groups * panels * plan.num_parts * (array + softmax + GROUP_CYCLES)
