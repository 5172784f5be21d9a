"""Attention of which operands or the result are matrices that stay in the pads between kernels (`pad_images`)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from atalla_mlir.codegen.attention_pattern import Attention, AttentionStages, unify
from atalla_mlir.codegen.attention_plan import LANES, PADS, AttentionPlan
from atalla_mlir.codegen.attention_planning import WEIGHT_CYCLES, plan_attention
from atalla_mlir.codegen.decision import Decision, Fields, Value
from atalla_mlir.codegen.image_kernel import Cost, HalvesOnly, KeptImage
from atalla_mlir.codegen.image_product import IN_PADS, KEPT_BYTES
from atalla_mlir.codegen.iteration import Access, Buffer, Loop
from atalla_mlir.codegen.pad_images import HALVES, Halves, ImageShape, ImageWalk, PadImage, Range, held_ranges
from atalla_mlir.codegen.row_deal import RowDeal

FORM_NAME = "attention"
RESULTS = "results"
NAMES = {"queries": "queries", "keys": "keys", "values": "values", RESULTS: "result"}
"""Of what may lie in the pads, as decisions call it."""
CHUNK_CYCLES = 4.7
"""Of 32 scores in the softmax, with the values that are turned beside it."""
GROUP_CYCLES = 14000
"""Of transfers and code that runs once, for a group of heads."""
PAD_CYCLES = 3
"""Of a row that is loaded from a pad or stored there."""
FETCH_CYCLES = 500
"""Of an operand from DRAM, before the loop that works on it."""


@dataclass(frozen=True)
class HeadImage:
    """The rows of all heads in an image of two halves: a head is `slices` slices of a picture, from slice
    `first_slice` on.

    `is_dealt`: blocks have rows of both halves in turn; else rows of a head are numbered through both.
    """

    image: PadImage
    first_slice: int
    slices: int
    is_dealt: bool
    distances: Mapping[Loop, int] = field(default_factory=dict[Loop, int])
    """Rows of a half from one iteration of each loop over heads, or over pictures, to the next one."""

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

    @property
    def depends_on_pads(self) -> bool:
        return True

    @property
    def operands(self) -> dict[str, Access]:
        """By the names of their places."""
        return {"queries": self.attention.query, "keys": self.attention.key, "values": self.attention.value}

    @property
    def pictures(self) -> int:
        """Matrices of a batch, of each of which all heads are slices."""
        query, rows = self.attention.query, self.attention.queries
        heads = [loop for loop in self.attention.heads if query.stride(loop) >= query.stride(rows) * rows.extent]
        return math.prod(loop.extent for loop in heads)

    def held_lines(self, buffer: Buffer, shape: ImageShape) -> list[list[Range]] | None:
        """Each half as it is, where all heads are there at once."""
        names = self.names_of(buffer)
        others = [access for access in self.plan.outside if access.buffer is buffer]
        if not names or others or any(self.first_slice(name, shape) is None for name in names):
            return None
        halves = Halves(HALVES, shape.pictures, shape.of_each)
        return [held_ranges(halves, ImageWalk(0, 0, 1, 1), 1)]

    def names_of(self, buffer: Buffer) -> list[str]:
        """What a buffer is."""
        accesses = {**self.operands, RESULTS: self.result}
        return [name for name, access in accesses.items() if access.buffer is buffer]

    def writes_over(self, buffer: Buffer) -> bool:
        """Results come when all heads have met their values."""
        return self._is_one_group and any(access.buffer is buffer for access in self.operands.values())

    def cost(self, images: Mapping[Buffer, KeptImage], *, pads: int, pad_rows: int) -> Cost | None:
        """None where its plan does not fit: with fewer heads at once it would take longer than is gained."""
        plan = self.plan_with(images)
        if plan is None or plan.pad_rows > pad_rows:
            return None
        fetched = [access.buffer for name, access in self.operands.items() if name not in plan.found]
        return Cost(self._cycles(plan, images), plan.pad_rows, 2 * sum(buffer.num_elements for buffer in fetched))

    def plan_with(self, images: Mapping[Buffer, KeptImage]) -> AttentionPlan | None:
        """The plan with some `images` in the pads; None where it cannot work on them."""
        plan = self.plan
        for buffer, image in images.items():
            names = self.names_of(buffer)
            if not isinstance(image, PadImage) or image.held > 1 or not names:
                return None
            if any(self.first_slice(name, image.shape) is None for name in names):
                return None
            found = plan.found.union(names) - {RESULTS}
            plan = replace(plan, found=found)
            if plan.visible is None and {"queries", RESULTS} & set(names):
                plan = replace(plan, deal=RowDeal(image.pixels))
            if {"keys", "values"} & set(names):
                plan = replace(plan, key_deal=RowDeal(image.pixels))
            if "values" in names and image.pictures > 1:
                plan = replace(plan, has_run_of_values=False)
        return plan

    def head_images(self, images: Mapping[Buffer, KeptImage]) -> dict[str, tuple[Buffer, HeadImage]]:
        """By what they are."""
        found: dict[str, tuple[Buffer, HeadImage]] = {}
        for buffer, image in images.items():
            for name in self.names_of(buffer) if isinstance(image, PadImage) else ():
                assert isinstance(image, PadImage)
                first = self.first_slice(name, image.shape) or 0
                slices = self.plan.depth_slices if name in ("queries", "keys") else self.plan.width_tiles
                access = self.result if name == RESULTS else self.operands[name]
                distances = {loop: _distance(image, access.stride(loop)) for loop in self.attention.heads}
                found[name] = (buffer, HeadImage(image, first, slices, self.plan.visible is None, distances))
        return found

    @property
    def _is_one_group(self) -> bool:
        plan = self.plan
        return all(loop.extent == 1 for loop in plan.outer) and all(n == loop.extent for loop, n in plan.group)

    def first_slice(self, name: str, shape: ImageShape) -> int | None:
        """The slice where the first head begins; None where they cannot lie in an image."""
        plan, attention = self.plan, self.attention
        if plan.parts is not None or plan.panels is not None:
            return None
        if name == RESULTS:
            first = self._first_slice(self.result, attention.queries, attention.width, shape)
            is_all = shape.num_bytes == 2 * plan.width * attention.queries.extent * math.prod(
                loop.extent for loop in attention.heads
            )
            return first if self._takes_queries() and is_all else None
        if plan.is_tight or plan.visible is not None:
            return None
        if name == "queries":
            is_possible, rows, lanes = self._takes_queries(), attention.queries, attention.depth
        else:
            lanes = attention.depth if name == "keys" else attention.width
            is_possible, rows = self._takes_keys(), attention.keys
        return self._first_slice(self.operands[name], rows, lanes, shape) if is_possible else None

    def _takes_queries(self) -> bool:
        """Whether queries may be taken from both halves in turn, or heads are taken whole."""
        if self.plan.visible is not None:
            return bool(self.plan.visible.spans)
        varies = any(access.stride(self.attention.queries) for access in self.plan.outside)
        return not varies and self.plan.reach is None and not self.plan.queries.excess

    def _takes_keys(self) -> bool:
        """The same for keys, which keep their order where anything else has them along its lanes."""
        plan = self.plan
        varies = any(access.stride(self.attention.keys) for access in plan.outside)
        is_whole = plan.has_whole_rows and not plan.keys.excess
        return not varies and plan.reach is None and not plan.is_turned and is_whole

    def _first_slice(self, access: Access, rows: Loop, lanes: Loop, shape: ImageShape) -> int | None:
        """The same where heads are slices one after the other, of a matrix or of each of several."""
        matrix = shape.picture_lines * shape.strides[0]
        if shape.picture_lines != HALVES or rows.extent != HALVES * shape.pixels or access.indirect:
            return None
        if (shape.pictures > 1) != shape.of_each:
            return None
        if access.stride(rows) != shape.channels or access.stride(lanes) != 1 or lanes.extent % LANES:
            return None
        width, pictures = lanes.extent, 1
        for loop in sorted(self.attention.heads, key=access.stride):
            if access.stride(loop) == width and width < shape.channels:
                width *= loop.extent
            elif access.stride(loop) == pictures * matrix:
                pictures *= loop.extent
            elif loop.extent > 1:
                return None
        is_inside = access.offset % LANES == 0 and access.offset + width <= shape.channels
        return access.offset // LANES if is_inside and pictures == shape.pictures else None

    def _cycles(self, plan: AttentionPlan, images: Mapping[Buffer, KeptImage]) -> float:
        """Roughly: the array for both products, the softmax, and what is done once for each group."""
        groups = math.prod(loop.extent for loop in plan.outer)
        groups *= math.prod(loop.extent // count for loop, count in plan.group)
        panels = plan.panels.count if plan.panels is not None else 1
        tiles, rows = plan.blocks * plan.key_tiles, plan.queries.size + WEIGHT_CYCLES
        scores = tiles * max(plan.depth_slices * rows, PAD_CYCLES * self._read_rows(plan, images))
        softmax = tiles * plan.queries.size * CHUNK_CYCLES
        each = scores + tiles * plan.width_tiles * rows + softmax + GROUP_CYCLES
        return groups * panels * plan.num_parts * each - len(plan.found) * FETCH_CYCLES

    def _read_rows(self, plan: AttentionPlan, images: Mapping[Buffer, KeptImage]) -> float:
        """Of the pad that most rows come from, for a block of queries and a tile of keys; scores go to all pads."""
        rows = [plan.queries.size / PADS] * PADS
        for name, access, count in (
            ("queries", self.attention.query, plan.queries.size),
            ("keys", self.attention.key, plan.keys.size),
        ):
            image = images.get(access.buffer)
            pads = image.pads if image is not None and name in plan.found else range(PADS)
            for pad in pads:
                rows[pad] += plan.depth_slices * count / len(pads)
        return max(rows)


def _distance(image: PadImage, elements: int) -> int:
    """Rows of a half between what lies so many elements apart in DRAM: some pictures, or some slices."""
    pictures, channels = divmod(elements, image.shape.picture_lines * image.shape.strides[0])
    return pictures * image.picture_rows + channels // LANES * image.slice_rows


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
    names = [name for buffer in images for name in kernel.names_of(buffer)]
    kept = {KEPT_BYTES: kernel.result.buffer.num_elements * 2} if RESULTS in names else {}
    return {IN_PADS: ", ".join(NAMES[name] for name in NAMES if name in names), **kept}
