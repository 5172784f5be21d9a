"""Two products as one kernel (`codegen/product_chain`): what lies between them stays in the pads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from atalla_mlir._mlir import ir
from atalla_mlir.codegen.iteration import Buffer, Stage
from atalla_mlir.codegen.product_chain import ChainPlan
from atalla_mlir.codegen.row_plan import SumOrder
from atalla_mlir.kernels.builder import Builder
from atalla_mlir.kernels.early_columns import EarlyColumns
from atalla_mlir.kernels.functions.bound import FunctionBound
from atalla_mlir.kernels.image_rows import ProductImages
from atalla_mlir.kernels.tile_walk import KeptRows
from atalla_mlir.kernels.tiled_product import TiledProduct


class ChainedProducts:
    """Emits both products of a plan, whose stages `chain` are.

    `buffers` are the kernel's DRAM arguments by buffer; `images` are what stays in the pads between kernels, for each
    product, None where nothing does.
    """

    def __init__(
        self,
        builder: Builder,
        plan: ChainPlan,
        chain: Sequence[Sequence[Stage]],
        buffers: Mapping[Buffer, ir.Value],
        block: ir.Block,
        images: tuple[ProductImages, ProductImages] | None = None,
    ) -> None:
        self.builder, self.plan, self.buffers = builder, plan, buffers
        pads = plan.walks[1].rows.pads
        with ir.InsertionPoint.at_block_begin(block):
            rows = plan.kept_rows - 2 * plan.spare
            tiles = [builder.placed_tile(rows, pad, 0, spare=plan.spare) for pad in range(pads)]
        kept = KeptRows(plan.kept, tiles, plan.walks[1].depth.steps, plan.step_rows)
        self.products = [
            TiledProduct(
                builder,
                stages[0],
                stages[1:],
                plan.plans[at],
                plan.walks[at],
                dict(buffers),
                block,
                base=plan.bases[at],
                kept=kept if at == 0 else None,
                resident=() if at == 0 else tiles,
                has_columns=at == 1 and plan.early_steps > 0,
                images=images[at] if images is not None else None,
            )
            for at, stages in enumerate(chain)
        ]

    def emit(self) -> None:
        for product in self.products:
            product.allocate()
        if self.plan.early_steps:
            first, second = self.products
            matrix = self.buffers[second.schedule.pushed.buffer]
            first.early = EarlyColumns(self.builder, second.schedule, second.operands, matrix, self.plan.early_steps)
        for product in self.products:
            product.emit()

    def sum_orders(self) -> dict[Stage, SumOrder]:
        return {stage: order for product in self.products for stage, order in product.sum_orders().items()}

    @property
    def expansions(self) -> dict[Stage, FunctionBound]:
        """Of what has been emitted."""
        return {stage: bound for product in self.products for stage, bound in product.rows.staged.expansions.items()}
