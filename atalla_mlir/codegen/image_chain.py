"""Two products as one kernel (`product_chain`) with operands or a result that are images which stay in the pads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from atalla_mlir.codegen.dealt_images import DealtImage
from atalla_mlir.codegen.decision import Decision, Fields, fastest
from atalla_mlir.codegen.image_kernel import Cost, HalvesOnly, KeptImage
from atalla_mlir.codegen.image_product import (
    IN_PADS,
    ImageProduct,
    epilogue_of,
    fetched_bytes,
    image_product,
    image_schedules,
    walk_of,
)
from atalla_mlir.codegen.iteration import Access, Buffer, Loop, Stage
from atalla_mlir.codegen.pad_images import ImageShape, Range
from atalla_mlir.codegen.product_chain import (
    FORM_NAME,
    ChainPlan,
    chain_facts,
    chained_buffer,
    is_ordered,
    is_same_matrix,
)
from atalla_mlir.codegen.tile_schedule import resident_schedule


@dataclass(frozen=True)
class ImageChain(HalvesOnly):
    """Both products; what is between them is the result of the first one."""

    first: ImageProduct
    second: ImageProduct

    @property
    def products(self) -> tuple[ImageProduct, ImageProduct]:
        return self.first, self.second

    @property
    def result(self) -> Access:
        return self.second.result

    def choose(
        self, images: Mapping[Buffer, KeptImage], *, pads: int, pad_rows: int, wanted: Fields
    ) -> tuple[ChainPlan, Decision] | None:
        """The plan that is predicted to take the fewest cycles, of those that are as `wanted`; None if there is none.

        `pad_rows` are free in each pad.
        """
        ways = list(self._plans(images, pads=pads, pad_rows=pad_rows))
        chosen = fastest(FORM_NAME, ways, ChainPlan.fields, lambda plan: plan.predicted_cycles, wanted)
        if chosen is None:
            return None
        plan, cycles, num_ways = chosen
        kept = [product.in_pads(images) for product in self.products]
        facts = {**chain_facts(plan), IN_PADS: ", ".join(dict.fromkeys(name for names in kept for name in names))}
        return plan, Decision(FORM_NAME, plan.fields(), facts, round(cycles), num_ways)

    def _plans(self, images: Mapping[Buffer, KeptImage], *, pads: int, pad_rows: int) -> Iterator[ChainPlan]:
        first, second = self.products
        if any(isinstance(image, DealtImage) for image in images.values()):
            return
        epilogues = epilogue_of(first, images), epilogue_of(second, images)
        touched = (second.result, *epilogues[1].image_reads)
        if any(walk_of(second, at, images[at.buffer]) is None for at in touched if at.buffer in images):
            return
        loops = dict[Loop | None, Loop](zip(first.plan.rows, second.plan.rows, strict=True))
        for walk in image_schedules(first, images, pads=pads, pad_rows=pad_rows):
            area, spare = epilogues[0].area(walk)
            rows = walk.results.over(loops)
            dram = epilogues[1].stored, epilogues[1].staged_reads
            later = resident_schedule(second.plan, second.product, second.maps, *dram, rows, area + 2 * spare)
            if later is None or not is_ordered(later):
                continue
            plans = first.plan, second.plan
            plan = ChainPlan(first.result, plans, (walk, later), epilogues, area + 2 * spare, spare).within(pad_rows)
            if plan is not None:
                yield plan

    # For `image_plan`

    @property
    def operand(self) -> Buffer:
        return self.first.operand

    def held_lines(self, buffer: Buffer, shape: ImageShape) -> list[list[Range]] | None:
        found: list[list[Range]] = []
        for product in self.products:
            if product.touches(buffer):
                lines = product.held_lines(buffer, shape)
                if lines is None:
                    return None
                found += lines
        return found or None

    def writes_over(self, buffer: Buffer) -> bool:
        """The second product begins when the first one has met all rows."""
        return buffer is self.operand and not self.second.touches(buffer)

    def cost(self, images: Mapping[Buffer, KeptImage], *, pads: int, pad_rows: int) -> Cost | None:
        chosen = self.choose(images, pads=pads, pad_rows=pad_rows, wanted={})
        if chosen is None:
            return None
        plan, decision = chosen
        return Cost(decision.predicted_cycles or 0, plan.pad_rows, sum(map(fetched_bytes, plan.walks)))


def image_chain(
    chain: tuple[Sequence[Stage], Sequence[Stage]], stored: Sequence[Access], each_of: int = 1
) -> ImageChain | None:
    """A chain as one over images, or over halves `each_of` so many; None where it is not.

    Coalesces loops but those over lines and pixels.
    """
    kept = chained_buffer(*chain, ())
    between = next((stage.write for stage in chain[0] if stage.write.buffer is kept), None)
    if between is None:
        return None
    first = image_product(chain[0], [between], None, is_chained=True, each_of=each_of)
    second = image_product(chain[1], stored, None, each_of=each_of)
    if first is None or second is None or second.streamed.buffer is not kept:
        return None
    plans = first.plan, second.plan
    return ImageChain(first, second) if is_same_matrix(between, second.streamed, plans) else None
