"""Kernels of which some operands or the result are images that stay in the pads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from atalla_mlir._mlir import ir
from atalla_mlir.codegen.attention_images import FORM_NAME as ATTENTION
from atalla_mlir.codegen.attention_images import AttentionImages, attention_decision, attention_images, image_facts
from atalla_mlir.codegen.decision import FORM, Decision, DecisionError, Fields, check_names
from atalla_mlir.codegen.fill_plan import is_fill
from atalla_mlir.codegen.grouping import Group
from atalla_mlir.codegen.image_chain import ImageChain, image_chain
from atalla_mlir.codegen.image_folds import FORM_NAME as FOLDS
from atalla_mlir.codegen.image_folds import ImageFolds, image_folds
from atalla_mlir.codegen.image_kernel import KeptImage
from atalla_mlir.codegen.image_maps import FORM_NAME as MAPS
from atalla_mlir.codegen.image_maps import ImageMaps, image_maps
from atalla_mlir.codegen.image_product import ImageProduct, choose_image_schedule, image_product
from atalla_mlir.codegen.image_windows import ImageWindows, image_windows
from atalla_mlir.codegen.iteration import Buffer, Stage
from atalla_mlir.codegen.product_chain import FORM_NAME as CHAIN
from atalla_mlir.codegen.tile_cost import FORM_NAME
from atalla_mlir.codegen.window_plan import FORM_NAME as WINDOWS
from atalla_mlir.errors import InternalError
from atalla_mlir.kernels.attention import AttentionKernel
from atalla_mlir.kernels.attention_images import head_rows
from atalla_mlir.kernels.builder import Builder
from atalla_mlir.kernels.chained_products import ChainedProducts
from atalla_mlir.kernels.forms import Nest, Numerics, emit_nest
from atalla_mlir.kernels.image_folds import ImageFoldNest
from atalla_mlir.kernels.image_maps import ImageMapNest
from atalla_mlir.kernels.image_rows import product_images
from atalla_mlir.kernels.tiled_product import TiledProduct
from atalla_mlir.kernels.window_images import WindowImage
from atalla_mlir.kernels.windows import WindowKernel
from atalla_mlir.target.machine import Machine

_NO_ROOM = "images were to stay in the pads, but there is no room for the kernel between them"


@dataclass
class ImageNest:
    """The groups of a kernel: a product, two or windows, and fills of the frame around the result. See `forms.Nest`."""

    groups: Sequence[Group]
    values: Mapping[Buffer, ir.BlockArgument]
    block: ir.Block
    numerics: Numerics
    target: Machine
    images: Mapping[Buffer, KeptImage]
    free_rows: int
    """Of each pad, from the first one on."""
    each_of: int = 1
    """Pictures of which each has halves, where there are several."""


GroupedKernel = ImageProduct | ImageChain | ImageWindows | ImageMaps | AttentionImages | ImageFolds


def grouped_image_kernel(
    groups: Sequence[Group], outside: Mapping[Buffer, object], each_of: int = 1
) -> GroupedKernel | None:
    """The product, the chain of two or the windows that groups of stages are; a frame around the result may follow.

    `outside` are buffers that outlive the kernel. Halves of images are those `each_of` so many pictures, if of several.
    """
    first, *others = groups
    if first.turned or first.fill:
        return None
    fills = [stage for group in others for stage in group.stages]
    stored = [stage.write for stage in first.stages if stage.write.buffer in outside]
    if len(stored) != 1 or any(not _is_frame(stage, stored[0].buffer) for stage in fills):
        return None
    values = {stage.body.value for stage in fills}
    if len(values) > 1:
        return None
    frame = next(iter(values), None)
    if first.attention is not None:
        return None if others else attention_images(first.attention, stored)
    if first.chain is not None:
        return None if others else image_chain(first.chain, stored, each_of)
    if first.product is not None:
        return None if first.frame else image_product(first.stages, stored, frame, each_of=each_of)
    if each_of > 1:
        return None if first.frame else image_maps(first.stages, stored, frame, each_of)
    windows = image_windows(first.stages, stored, first.frame, frame)
    if windows is not None or first.frame:
        return windows
    folds = None if others else image_folds(first.stages, stored)
    return folds or image_maps(first.stages, stored, frame)


def _is_frame(stage: Stage, buffer: Buffer) -> bool:
    return is_fill(stage) and stage.write.buffer is buffer


def emit_image_nest(nest: ImageNest, fixed: Fields) -> list[Decision]:
    """Emit a kernel at the insertion point, with the choices for it that are `fixed`; what was chosen.

    DecisionError when it has no such way to be laid out.
    """
    kernel = grouped_image_kernel(nest.groups, nest.values, nest.each_of)
    if kernel is None:
        raise InternalError("a kernel with images in the pads is neither a product nor windows")
    wanted = {name: value for name, value in fixed.items() if name != FORM}
    match kernel:
        case ImageProduct():
            form, emit = FORM_NAME, partial(_emit_product, nest, kernel)
        case ImageChain():
            form, emit = CHAIN, partial(_emit_chain, nest, kernel)
        case ImageWindows():
            form, emit = WINDOWS, partial(_emit_windows, nest, kernel)
        case ImageMaps():
            form, emit = MAPS, partial(_emit_maps, nest, kernel)
        case AttentionImages():
            form, emit = ATTENTION, partial(_emit_attention, nest, kernel)
        case ImageFolds():
            form, emit = FOLDS, partial(_emit_folds, nest, kernel)
    if fixed.get(FORM) not in (None, form):
        raise DecisionError(f"it cannot have the form '{fixed[FORM]}': some of its values stay in the pads")
    decision = emit(wanted)
    return [decision, *(() if kernel.result.buffer in nest.images else _emit_frames(nest))]


def _emit_product(nest: ImageNest, product: ImageProduct, wanted: Fields) -> Decision:
    chosen = choose_image_schedule(product, nest.images, pads=nest.target.pads, pad_rows=nest.free_rows, wanted=wanted)
    if chosen is None:
        raise InternalError(_NO_ROOM)
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
    return decision


def _emit_chain(nest: ImageNest, chain: ImageChain, wanted: Fields) -> Decision:
    chosen = chain.choose(nest.images, pads=nest.target.pads, pad_rows=nest.free_rows, wanted=wanted)
    if chosen is None:
        raise InternalError(_NO_ROOM)
    plan, decision = chosen
    builder = Builder()
    with ir.InsertionPoint.at_block_begin(nest.block):
        first, second = (
            product_images(builder, product, walk, nest.images, nest.values)
            for product, walk in zip(chain.products, plan.walks, strict=True)
        )
    stages = [product.stages for product in chain.products]
    kernel = ChainedProducts(builder, plan, stages, nest.values, nest.block, (first, second))
    nest.numerics.sums.update(kernel.sum_orders())
    kernel.emit()
    nest.numerics.expansions.update(kernel.expansions)
    return decision


def _emit_windows(nest: ImageNest, windows: ImageWindows, wanted: Fields) -> Decision:
    chosen = windows.choose(nest.images, nest.free_rows, wanted)
    if chosen is None:
        raise InternalError(_NO_ROOM)
    plan, decision = chosen
    windows.look(plan)
    builder, image = Builder(), None
    if windows.result.buffer in nest.images:
        with ir.InsertionPoint.at_block_begin(nest.block):
            image = WindowImage(builder, windows, plan, nest.images, nest.values)
    kernel = WindowKernel(builder, windows.stages, plan, dict(nest.values), nest.block, image=image)
    kernel.emit()
    nest.numerics.sums.update(kernel.sum_orders())
    nest.numerics.expansions.update(kernel.expansions)
    return decision


def _emit_maps(nest: ImageNest, maps: ImageMaps, wanted: Fields) -> Decision:
    chosen = maps.choose(nest.images, wanted)
    if chosen is None:
        raise InternalError(_NO_ROOM)
    plan, decision = chosen
    with ir.InsertionPoint.at_block_begin(nest.block):
        emitted = ImageMapNest(Builder(), maps, plan, nest.images, nest.values, nest.block, nest.free_rows)
    emitted.emit()
    nest.numerics.sums.update(emitted.sums)
    nest.numerics.expansions.update(emitted.expansions)
    return decision


def _emit_attention(nest: ImageNest, kernel: AttentionImages, wanted: Fields) -> Decision:
    check_names(ATTENTION, wanted, ())
    plan = kernel.plan_with(nest.images)
    if plan is None or plan.pad_rows > nest.free_rows:
        raise InternalError(_NO_ROOM)
    builder = Builder()
    with ir.InsertionPoint.at_block_begin(nest.block):
        kept = {
            name: head_rows(builder, places, nest.values[buffer])
            for name, (buffer, places) in kernel.head_images(nest.images).items()
        }
    emitted = AttentionKernel(builder, kernel.attention, plan, dict(nest.values), nest.block, kept=kept)
    emitted.emit()
    nest.numerics.sums.update(emitted.sum_orders())
    nest.numerics.expansions.update(emitted.expansions)
    return attention_decision(plan, image_facts(kernel, nest.images))


def _emit_folds(nest: ImageNest, folds: ImageFolds, wanted: Fields) -> Decision:
    chosen = folds.choose(nest.images, wanted)
    if chosen is None:
        raise InternalError(_NO_ROOM)
    plan, decision = chosen
    with ir.InsertionPoint.at_block_begin(nest.block):
        emitted = ImageFoldNest(Builder(), folds, plan, nest.images, nest.values, nest.block)
    emitted.emit()
    nest.numerics.sums.update(emitted.sum_orders())
    nest.numerics.expansions.update(emitted.memory.expansions)
    return decision


def _emit_frames(nest: ImageNest) -> Iterator[Decision]:
    """What lies around a result in DRAM."""
    for group in nest.groups[1:]:
        yield emit_nest(Nest(group, dict(nest.values), nest.block, nest.numerics, nest.target), {})
