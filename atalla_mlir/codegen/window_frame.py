"""Images with a frame of one number around them, which windows look at and nobody stores (`codegen.window_plan`).

What pads an image are stages: fills of the frame and a copy of the image into the framed one. Where only a kernel of
windows reads that, it walks the image itself: lines and columns of the frame are rows in the pads.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from atalla_mlir.codegen.fill_plan import is_fill
from atalla_mlir.codegen.iteration import Access, Buffer, Loop, Stage, StageKind
from atalla_mlir.codegen.window_layout import Axis


@dataclass(frozen=True)
class FramedDim:
    """A dimension of a framed image: `stride` there, `inner` in the image, which has `size` positions from `low` on."""

    stride: int
    inner: int
    extent: int
    low: int
    size: int

    @property
    def is_framed(self) -> bool:
        return self.size < self.extent


@dataclass(frozen=True)
class Frame:
    """The image that a framed one consists of, its dimensions from the outermost to the innermost, and the number."""

    image: Access
    dims: tuple[FramedDim, ...]
    value: float

    def unframed(self, read: Access) -> Access | None:
        """A read of the framed image as one of the image, as if the frame were there; None where that is not plain."""
        if read.offset or read.indirect:
            return None
        strides: dict[Loop, int] = {}
        for loop, stride in read.strides.items():
            dim = self._dim(stride)
            if dim is None or stride % dim.stride:
                return None
            strides[loop] = stride // dim.stride * dim.inner
        return Access(self.image.buffer, self.image.offset, strides)

    def _dim(self, stride: int) -> FramedDim | None:
        """The dimension of the framed image in which something moves by a stride."""
        return next((dim for dim in self.dims if stride >= dim.stride), None)

    def with_frame(self, read: Access, axes: Sequence[Axis], others: Sequence[Loop]) -> list[Axis] | None:
        """The axes of an image that was unframed, with their frames; None where a frame is not that of one of them.

        `read` looks at the framed image; `others` are its other loops, that in the lanes among them.
        """
        found: list[Axis] = []
        left = [dim for dim in self.dims if dim.is_framed]
        for axis in axes:
            dims = {self._dim(read.stride(loop)) for loop in (axis.loop, axis.taps_loop) if loop is not None}
            if not any(dim is None or dim.is_framed for dim in dims):
                found.append(axis)
                continue
            dim = dims.pop()
            if dims or dim not in left or dim.inner != axis.unit or axis.extent > dim.extent:
                return None
            framed = replace(axis, low=dim.low, size=dim.size)
            if framed.fetched < 1:
                return None
            left.remove(dim)
            found.append(framed)
        moved = {self._dim(read.stride(loop)) for loop in others}
        return None if left or any(dim is None or dim.is_framed for dim in moved) else found


def frame_stages(stages: Sequence[Stage], results: Collection[Buffer]) -> dict[Stage, list[Stage]]:
    """Stages that alone read a framed image, and those that make it."""
    writers: dict[Buffer, list[Stage]] = {}
    readers: dict[Buffer, list[Stage]] = {}
    for stage in stages:
        writers.setdefault(stage.write.buffer, []).append(stage)
        for buffer in {read.buffer for read in stage.reads}:
            readers.setdefault(buffer, []).append(stage)
    found: dict[Stage, list[Stage]] = {}
    for buffer, made in writers.items():
        read = readers.get(buffer, [])
        is_inside = len(made) > 1 and len(read) == 1 and buffer not in results
        if is_inside and read[0].kind is StageKind.REDUCE and read_frame(made) is not None:
            found[read[0]] = made
    return found


def read_frame(stages: Sequence[Stage]) -> Frame | None:
    """The frame that fills and one copy make; None where they are anything else."""
    copies = [stage for stage in stages if not is_fill(stage)]
    values = {repr(stage.body.value) for stage in stages if is_fill(stage)}
    if len(copies) != 1 or len(values) != 1:
        return None
    (copy,) = copies
    is_copy = copy.kind is StageKind.MAP and copy.body.op == "load" and not copy.is_scalar and not copy.changes_state
    if not is_copy or copy.write.indirect:
        return None
    dims = _dims(copy)
    value = next(stage.body.value for stage in stages if is_fill(stage))
    return Frame(copy.reads[0], dims, value) if dims else None


def _dims(copy: Stage) -> tuple[FramedDim, ...]:
    """The dimensions of what a copy writes into, outermost first; none where they cannot be told."""
    read, write = copy.reads[0], copy.write
    dims: list[FramedDim] = []
    offset, outer = write.offset, write.buffer.num_elements
    for loop in sorted(copy.loops, key=write.stride, reverse=True):
        stride = write.stride(loop)
        if not stride or outer % stride or read.stride(loop) <= 0:
            return ()
        low, offset = divmod(offset, stride)
        dims.append(FramedDim(stride, read.stride(loop), outer // stride, low, loop.extent))
        if low + loop.extent > outer // stride:
            return ()
        outer = stride
    return tuple(dims) if outer == 1 and offset == 0 else ()
