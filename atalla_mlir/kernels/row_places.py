"""Places in the iteration space of a kernel that works row by row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from atalla_mlir.codegen.iteration import Access, Dim, Loop
from atalla_mlir.codegen.row_plan import LANES
from atalla_mlir.kernels.affine_index import Index


@dataclass
class Place:
    """Where in the iteration space code is being emitted: a position per loop, and the lanes in use."""

    positions: dict[Loop, Index]
    cols: int

    def at(self, loop: Loop, index: Index, cols: int | None = None) -> Place:
        return Place({**self.positions, loop: index}, self.cols if cols is None else cols)


def access_key(access: Access) -> object:
    """The same for accesses to the same places."""
    return access.buffer, access.offset, frozenset(access.strides.items())


def position_along(dim: Dim, positions: Mapping[Loop, Index]) -> Index:
    """The position along a dimension of an access at the given positions of its loops."""
    position = Index()
    for loop, factor in dim.terms:
        position = position + positions[loop].scaled(factor)
    return position


def divided(index: Index, factor: int) -> Index:
    return Index(index.constant // factor, tuple((variable, c // factor) for variable, c in index.terms))


def lane_segments(extent: int) -> list[tuple[int, int, int]]:
    """(first chunk, number of chunks, columns): the full chunks of a lane loop, then its tail."""
    segments = [(0, extent // LANES, LANES)] if extent >= LANES else []
    if extent % LANES:
        segments.append((extent // LANES, 1, extent % LANES))
    return segments


def at_all(places: Sequence[Place], loop: Loop, index: Index, cols: int | None = None) -> list[Place]:
    return [place.at(loop, index, cols) for place in places]
