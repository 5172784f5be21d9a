"""What a plan of images that stay in the pads (`image_plan`) must know of a kernel that stores or reads some."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Protocol

from atalla_mlir.codegen.dealt_images import DealtImage
from atalla_mlir.codegen.iteration import Buffer
from atalla_mlir.codegen.pad_images import ImageShape, PadImage, Range
from atalla_mlir.codegen.placement import MAX_DMA_ROWS

KeptImage = PadImage | DealtImage


def frame_rows(frame: float | None, result: Buffer, images: Collection[Buffer]) -> int:
    """Rows of each pad, at most, from which what lies around a result in DRAM is stored."""
    return MAX_DMA_ROWS if frame is not None and result not in images else 0


@dataclass(frozen=True)
class Cost:
    """What a kernel is predicted to take."""

    cycles: float
    pad_rows: int
    """Of its own, in each pad."""
    fetched_bytes: int
    """Operands from DRAM, as often as they come."""


class ImageKernel(Protocol):
    """A kernel that may find operands in the pads, or leave its result there."""

    @property
    def operand(self) -> Buffer | None:
        """What its windows look at; None for a kernel that takes the same rows wherever images lie."""
        ...

    @property
    def spare_rows(self) -> int:
        """Rows before its result that it stores anything to."""
        ...

    def held_lines(self, buffer: Buffer, shape: ImageShape) -> list[list[Range]] | None:
        """Lines that each half of an image must hold, for each access to it; None where it cannot lie in the pads."""
        ...

    def stores_dealt(self, buffer: Buffer, shape: ImageShape) -> bool:
        """Whether its result may be dealt out over the pads."""
        ...

    def reads_dealt(self, buffer: Buffer, shape: ImageShape) -> DealtImage | None:
        """How an operand should be dealt out over the pads; None where it cannot be read so."""
        ...

    def distance(self, image: DealtImage, result: PadImage) -> int | None:
        """Rows from the begin of its result's area to such an operand which the result may be written over.

        None where that is not so.
        """
        ...

    @property
    def depends_on_pads(self) -> bool:
        """Whether it takes longer where images lie in the same pads."""
        ...

    def writes_over(self, buffer: Buffer) -> bool:
        """Whether its result, in two halves, may come to the place of such an operand."""
        ...

    def cost(self, images: Mapping[Buffer, KeptImage], *, pads: int, pad_rows: int) -> Cost | None:
        """What it takes with some `images` in the pads; None where `pad_rows` free rows of each pad are too few."""
        ...


class Usual:
    """What a kernel says that may read its operands until the last result is there, from whatever pads."""

    @property
    def depends_on_pads(self) -> bool:
        return False

    def writes_over(self, buffer: Buffer) -> bool:
        return False


class HalvesOnly(Usual):
    """What a kernel says that works on halves of images alone: nothing is dealt out, and no rows are spare."""

    @property
    def spare_rows(self) -> int:
        return 0

    def stores_dealt(self, buffer: Buffer, shape: ImageShape) -> bool:
        return False

    def reads_dealt(self, buffer: Buffer, shape: ImageShape) -> DealtImage | None:
        return None

    def distance(self, image: DealtImage, result: PadImage) -> int | None:
        return None
