"""Where the operands of attention lie in the pads: `AttentionPlan.regions`, the same rows in each pad."""

from __future__ import annotations

from collections.abc import Mapping

from atalla_mlir._mlir import ir
from atalla_mlir.codegen.attention_plan import PADS, AttentionPlan
from atalla_mlir.kernels.attention_images import HeadRows
from atalla_mlir.kernels.attention_transfers import Tiles
from atalla_mlir.kernels.builder import Builder


def allocate_places(
    builder: Builder, plan: AttentionPlan, block: ir.Block, kept: Mapping[str, HeadRows]
) -> dict[str, Tiles]:
    """Tiles for all regions, and for what comes into the place of something else; `kept` are images."""
    places = {name: kept[name].halves for name in plan.found}
    used = 0
    with ir.InsertionPoint.at_block_begin(block):
        for name, rows in plan.regions.items():
            places[name] = Tiles([builder.placed_tile(rows, pad, used) for pad in range(PADS)], used)
            used += rows
    # values come when the scores are there, and are turned where they lie; by the time of the results queries are done
    for name, shared in (("values", "keys"), ("turned", "values"), ("results", "queries")):
        places.setdefault(name, places[shared])
    return places
