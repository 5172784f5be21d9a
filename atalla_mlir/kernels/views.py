"""Tensors as strides over buffers, and what slices, reshapes and padding make of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from atalla_mlir._mlir import ir
from atalla_mlir.codegen.iteration import Buffer
from atalla_mlir.errors import UnsupportedError


@dataclass(frozen=True)
class View:
    """A tensor as strides over a buffer: element [i...] is buffer[offset + sum(i * strides)]."""

    buffer: Buffer
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int = 0

    @property
    def is_whole(self) -> bool:
        """Whether the view is its buffer in row-major order."""
        return (
            self.offset == 0
            and math.prod(self.shape) == self.buffer.num_elements
            and all(
                stride == expected
                for stride, expected, extent in zip(self.strides, row_major(self.shape), self.shape, strict=True)
                if extent > 1
            )
        )


@dataclass(frozen=True)
class Splat:
    """A tensor whose elements are all one known value."""

    value: float
    shape: tuple[int, ...]


def row_major(shape: Sequence[int]) -> tuple[int, ...]:
    strides: list[int] = []
    step = 1
    for extent in reversed(shape):
        strides.append(step)
        step *= extent
    return tuple(reversed(strides))


def tensor_shape(value: ir.Value) -> tuple[int, ...]:
    shaped = ir.ShapedType(value.type)
    if not shaped.has_static_shape:
        raise UnsupportedError(f"dynamic shape {value.type}")
    return tuple(shaped.shape)


def is_integer_tensor(kind: ir.Type) -> bool:
    """Whether a tensor holds whole numbers; booleans are numbers 0 and 1 of the floating type."""
    element = ir.ShapedType(kind).element_type
    return isinstance(element, ir.IndexType) or (isinstance(element, ir.IntegerType) and element.width > 1)


def reassociation(op: ir.Operation) -> list[list[int]]:
    groups = ir.ArrayAttr(op.attributes["reassociation"])
    return [[ir.IntegerAttr(dim).value for dim in ir.ArrayAttr(group)] for group in groups]


def run_stride(view: View, group: Sequence[int]) -> int | None:
    """Stride of the dims of `group` taken as one; None when they do not lie in one run.

    Dims of one element keep theirs, which tells between which others they lie.
    """
    dims = [dim for dim in group if view.shape[dim] > 1] or list(group[-1:])
    for outer, inner in pairwise(dims):
        if view.strides[outer] != view.strides[inner] * view.shape[inner]:
            return None
    return view.strides[dims[-1]]


def kept_dims(sizes: Sequence[int], shape: Sequence[int], strides: Sequence[int]) -> list[int]:
    """Strides of the dims that a rank-reducing slice keeps."""
    kept: list[int] = []
    wanted = list(shape)
    for size, stride in zip(sizes, strides, strict=True):
        if wanted and size == wanted[0] and (size != 1 or len(wanted) > 0):
            kept.append(stride)
            wanted.pop(0)
        elif size != 1:
            raise UnsupportedError(f"a slice of {list(sizes)} that becomes {list(shape)}")
    return kept


def cropped(source: View | Splat, low: Sequence[int], shape: Sequence[int]) -> tuple[View | Splat, list[int]]:
    """The part of `source` that padding keeps, and where it starts: negative amounts cut off instead of adding."""
    starts = [max(0, -amount) for amount in low]
    ends = [min(extent, size - amount) for extent, size, amount in zip(source.shape, shape, low, strict=True)]
    extents = tuple(max(0, end - start) for start, end in zip(starts, ends, strict=True))
    if isinstance(source, Splat):
        return Splat(source.value, extents), [max(0, amount) for amount in low]
    offset = source.offset + sum(start * stride for start, stride in zip(starts, source.strides, strict=True))
    return View(source.buffer, extents, source.strides, offset), [max(0, amount) for amount in low]


def frame(
    shape: Sequence[int], low: Sequence[int], inner: Sequence[int]
) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Boxes (shape, start) that tile `shape` outside the box `inner` at `low`."""
    boxes: list[tuple[tuple[int, ...], tuple[int, ...]]] = []
    start, extent = [0] * len(shape), list(shape)
    for dim, (first, size) in enumerate(zip(low, inner, strict=True)):
        for begin, end in ((0, first), (first + size, shape[dim])):
            if end > begin:
                part, at = list(extent), list(start)
                part[dim], at[dim] = end - begin, begin
                boxes.append((tuple(part), tuple(at)))
        start[dim], extent[dim] = first, size
    return boxes
