"""Kernels of which some operands or the result are images that stay in the pads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from atalla_mlir._mlir import ir
from atalla_mlir.codegen.decision import FORM, Decision, DecisionError, Fields
from atalla_mlir.codegen.fill_plan import is_fill
from atalla_mlir.codegen.grouping import Group
from atalla_mlir.codegen.image_product import ImageProduct, choose_image_schedule, image_product
from atalla_mlir.codegen.iteration import Buffer, Stage
from atalla_mlir.codegen.pad_images import PadImage
from atalla_mlir.codegen.tile_cost import FORM_NAME
from atalla_mlir.errors import InternalError
from atalla_mlir.kernels.builder import Builder
from atalla_mlir.kernels.forms import Nest, Numerics, emit_nest
from atalla_mlir.kernels.image_rows import product_images
from atalla_mlir.kernels.tiled_product import TiledProduct
from atalla_mlir.target.machine import Machine


@dataclass
class ImageNest:
    """The groups of a kernel: a product, and fills of the frame around its result. See `forms.Nest`."""

    groups: Sequence[Group]
    values: Mapping[Buffer, ir.BlockArgument]
    block: ir.Block
    numerics: Numerics
    target: Machine
    images: Mapping[Buffer, PadImage]
    free_rows: int
    """Of each pad, from the first one on."""


def grouped_image_product(groups: Sequence[Group], outside: Mapping[Buffer, object]) -> ImageProduct | None:
    """The product that groups of stages are, where nothing else but a frame around its result is among them.

    `outside` are buffers that outlive the kernel.
    """
    first, *others = groups
    if first.product is None or first.attention or first.chain or first.turned or first.frame:
        return None
    fills = [stage for group in others for stage in group.stages]
    stored = [stage.write for stage in first.stages if stage.write.buffer in outside]
    if len(stored) != 1 or any(not _is_frame(stage, stored[0].buffer) for stage in fills):
        return None
    values = {stage.body.value for stage in fills}
    if len(values) > 1:
        return None
    return image_product(first.stages, stored, next(iter(values), None))


def _is_frame(stage: Stage, buffer: Buffer) -> bool:
    return is_fill(stage) and stage.write.buffer is buffer


def emit_image_nest(nest: ImageNest, fixed: Fields) -> list[Decision]:
    """Emit a kernel at the insertion point, with the choices for its product that are `fixed`; what was chosen.

    DecisionError when it has no such way to be laid out.
    """
    product = grouped_image_product(nest.groups, nest.values)
    if product is None:
        raise InternalError("a kernel with images in the pads is no product")
    wanted = {name: value for name, value in fixed.items() if name != FORM}
    if fixed.get(FORM) not in (None, FORM_NAME):
        raise DecisionError(f"it cannot have the form '{fixed[FORM]}': some of its values stay in the pads")
    chosen = choose_image_schedule(product, nest.images, pads=nest.target.pads, pad_rows=nest.free_rows, wanted=wanted)
    if chosen is None:
        raise InternalError("images were to stay in the pads, but there is no room for the kernel between them")
    schedule, decision = chosen
    builder = Builder()
    with ir.InsertionPoint.at_block_begin(nest.block):
        images = product_images(builder, product, schedule, nest.images, nest.values)
    kernel = TiledProduct(
        builder, product.product, product.maps, product.plan, schedule, dict(nest.values), nest.block, images=images
    )
    kernel.allocate()
    nest.numerics.sums.update(kernel.sum_orders())
    kernel.emit()
    nest.numerics.expansions.update(kernel.rows.staged.expansions)
    return [decision, *(() if product.result.buffer in nest.images else _emit_frames(nest))]


def _emit_frames(nest: ImageNest) -> Iterator[Decision]:
    """What lies around a result in DRAM."""
    for group in nest.groups[1:]:
        yield emit_nest(Nest(group, dict(nest.values), nest.block, nest.numerics, nest.target), {})
