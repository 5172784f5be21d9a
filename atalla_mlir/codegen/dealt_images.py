"""Images whose pixels are dealt out over all pads, as kernels of windows on the lanes read them (`window_plan`).

No pixel lies there twice, and neighbours of a line come from different pads. What is read line by line may be written
over line by line: the result of the kernel that reads such an image may begin just before it.
"""

from __future__ import annotations

from dataclasses import dataclass

from atalla_mlir.codegen.iteration import Access, Loop
from atalla_mlir.codegen.pad_images import HALVES, ImageShape, ImageWalk, PadImage
from atalla_mlir.codegen.phase_plan import MAX_STAGES
from atalla_mlir.codegen.product_plan import LANES
from atalla_mlir.codegen.row_blocks import Blocks

NUM_PADS = 4


@dataclass(frozen=True)
class DealtImage:
    """An image of `lines` x `pixels` pixels of `slices` * 32 channels: pixel x lies in pad (x + `low`) mod 4.

    The lines are those of all `pictures`.

    Slices follow each other, each line after line of `line_rows` rows of a pad, from row `base` on. Before and behind
    the pixels of a line there is room for a frame; behind the last slice are `spare` rows.
    """

    lines: int
    pixels: int
    slices: int
    low: int
    line_rows: int
    base: int = 0
    spare: int = 0
    pictures: int = 1

    @property
    def picture_rows(self) -> int:
        """Rows of a pad from a picture to the next one."""
        return self.lines // self.pictures * self.line_rows

    @property
    def slice_rows(self) -> int:
        """Rows of a pad from a slice to the next one."""
        return self.lines * self.line_rows

    @property
    def own_rows(self) -> int:
        """Of each pad, for all slices."""
        return self.slices * self.slice_rows

    @property
    def begin(self) -> int:
        """The first row of each pad that it takes."""
        return self.base

    @property
    def end(self) -> int:
        """The row of each pad behind those that it takes."""
        return self.base + self.own_rows + self.spare

    @property
    def rows(self) -> int:
        """Rows that it takes of each pad."""
        return self.end - self.begin

    @property
    def pads(self) -> tuple[int, ...]:
        return tuple(range(NUM_PADS))

    @property
    def shape(self) -> ImageShape:
        return ImageShape(self.lines, self.pixels, self.slices * LANES, self.pictures)

    @property
    def layout(self) -> tuple[int, ...]:
        """What kernels depend on besides the shape."""
        return self.low, self.line_rows

    def place(self, pixel: int) -> tuple[int, int]:
        """Pad of a pixel, and the row of its line there."""
        row, pad = divmod(pixel + self.low, NUM_PADS)
        return pad, row


def can_deal(blocks: Blocks, pixels: Loop) -> bool:
    """Whether the rows of all blocks, of which a loop runs over pixels, lie in the same pads."""
    sizes = (blocks.width, blocks.extent) if blocks.loop is pixels else (blocks.lines, blocks.num_lines)
    return sizes[0] == sizes[1] or all(size % NUM_PADS == 0 for size in sizes)


@dataclass(frozen=True)
class LineByLine:
    """Windows that read a dealt image and store results: for each slice, `outs` lines, `step` lines of the image apart.

    The first window begins `low` lines before the image.
    """

    outs: int
    step: int
    low: int

    def distance(self, image: DealtImage, result: PadImage, walk: ImageWalk) -> int:
        """Rows from the begin of the result's area to the image, at least, so that nothing is lost.

        Iterations overlap, so what was read a few lines ago may still be wanted.
        """
        found = result.spare + result.own_rows - image.own_rows
        for at in range(result.slices * self.outs):
            part, line = divmod(at, self.outs)
            lines = max(self._stored(result, walk, half, line) for half in range(HALVES))
            stored = result.spare + part * result.slice_rows + lines * result.pixels
            found = max(found, stored - self._read(image, max(0, at - MAX_STAGES - 1)))
        return max(0, found)

    def _stored(self, result: PadImage, walk: ImageWalk, half: int, line: int) -> int:
        """Lines of a half up to the last one that is stored when a line of results is."""
        return min(result.held, max(0, line + walk.line - result.starts[half] + 1))

    def _read(self, image: DealtImage, at: int) -> int:
        """Rows from the begin of an image to the first one that is still read with a line of all slices."""
        part, line = divmod(at, self.outs)
        return part * image.slice_rows + max(0, line * self.step - self.low) * image.line_rows


def is_whole(access: Access, shape: ImageShape) -> bool:
    """Whether an access begins with the first channel of an image."""
    return access.offset == 0 and not access.indirect and access.buffer.num_elements == shape.lines * shape.strides[0]
