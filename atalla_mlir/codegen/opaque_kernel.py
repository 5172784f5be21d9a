"""Kernels that have all of their operands and results in DRAM, while values of others stay in the pads."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from atalla_mlir.codegen.image_kernel import Cost, HalvesOnly, KeptImage
from atalla_mlir.codegen.iteration import Buffer
from atalla_mlir.codegen.pad_images import ImageShape, Range


@dataclass(frozen=True)
class OpaqueKernel(HalvesOnly):
    """A kernel that neither stores nor reads images, and always takes the same rows."""

    own_rows: Callable[[], int | None]
    """Of each pad; None where it has no code."""

    @property
    def operand(self) -> None:
        return None

    def held_lines(self, buffer: Buffer, shape: ImageShape) -> list[list[Range]] | None:
        return None

    def cost(self, images: Mapping[Buffer, KeptImage], *, pads: int, pad_rows: int) -> Cost | None:
        """None where it does not fit. It takes as many cycles wherever others have their values."""
        rows = self.own_rows()
        return None if images or rows is None or rows > pad_rows else Cost(0.0, rows, 0)
