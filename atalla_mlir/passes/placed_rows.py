"""Rows of pads that a kernel takes, found by placing a copy of it."""

from __future__ import annotations

from atalla_mlir._mlir import ir, operations
from atalla_mlir.errors import AtallaError
from atalla_mlir.kernels.arenas import ALLOCATION, end_row
from atalla_mlir.passes.convert_linalg_to_atalla import ConvertLinalgToAtallaPass
from atalla_mlir.passes.place_tiles import PlaceTilesPass


def placed_rows(function: ir.Operation, machine: str) -> int | None:
    """Rows of each pad that the kernel `function` takes on the machine of that name; None where it has no code."""
    scratch = ir.Module.create(function.location)
    with ir.InsertionPoint(scratch.body):
        function.clone()
    try:
        ConvertLinalgToAtallaPass(machine).run(scratch.operation)
        PlaceTilesPass(machine).run(scratch.operation)
    except AtallaError:  # whoever lowers the kernel says so
        return None
    return max(map(end_row, operations(scratch.operation, ALLOCATION)), default=0)
