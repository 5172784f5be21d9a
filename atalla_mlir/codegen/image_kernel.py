"""What a plan of images that stay in the pads (`image_plan`) must know of a kernel that stores or reads some."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from atalla_mlir.codegen.iteration import Buffer
from atalla_mlir.codegen.pad_images import ImageShape, PadImage

Range = tuple[int, int]
"""The first line, and the one behind the last."""


class ImageKernel(Protocol):
    """A kernel that may find operands in the pads, or leave its result there."""

    @property
    def operand(self) -> Buffer:
        """What its windows look at."""
        ...

    @property
    def spare_rows(self) -> int:
        """Rows behind its result that it stores anything to."""
        ...

    def held_lines(self, buffer: Buffer, shape: ImageShape) -> list[list[Range]] | None:
        """Lines that each half of an image must hold, for each access to it; None where it cannot lie in the pads."""
        ...

    def cost(self, images: Mapping[Buffer, PadImage], *, pads: int, pad_rows: int) -> tuple[float, int] | None:
        """Predicted cycles with some `images` in the pads, and the rows of each pad of its own that it takes.

        None where `pad_rows` free rows of each pad are too few.
        """
        ...
