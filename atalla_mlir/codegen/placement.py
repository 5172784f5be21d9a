"""Where tiles live: which data is brought into the pads at which loop, and in what layout.

Accesses of one kernel are grouped by buffer and strides. A group is placed at a *region* (the kernel's body or the
body of a loop): there, everything that the accesses inside touch is transferred at once. Groups start at the kernel's
body, where each byte moves once, and move inwards until all tiles fit.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from atalla_mlir.errors import LimitError

LANES = 32
MAX_DMA_ROWS = 32
# A loop with fewer iterations is not worth a prologue.
MIN_STREAMED_ITERATIONS = 3
# A transfer blocks issue while its pad is busy with another one: more than these would stop the computation.
MAX_STREAMED_TRANSFERS = 2
# Transfers of fewer rows waste the DRAM channel.
MIN_TRANSFER_ROWS = 16


@dataclass(eq=False)
class LoopRegion:
    """A loop of the kernel (or, with extent 1 and no parent, the kernel's body itself)."""

    extent: int
    parent: LoopRegion | None
    carries_values: bool = False
    overlaps: bool = False
    """Whether the scheduler is to overlap the loop's iterations, transfers included."""

    def ancestors(self) -> list[LoopRegion]:
        """This region and all around it, innermost first."""
        region: LoopRegion | None = self
        found: list[LoopRegion] = []
        while region is not None:
            found.append(region)
            region = region.parent
        return found


@dataclass(frozen=True)
class Position:
    """The position along one dimension: constant + sum(coefficient * loop)."""

    constant: int
    terms: tuple[tuple[LoopRegion, int], ...] = ()

    def outside(self, inner: Sequence[LoopRegion]) -> tuple[tuple[LoopRegion, int], ...]:
        return tuple(sorted((t for t in self.terms if t[0] not in inner), key=lambda term: id(term[0])))

    def span(self, inner: Sequence[LoopRegion]) -> tuple[int, int]:
        """Least and greatest value of the constant and the terms of `inner` loops."""
        low = high = self.constant
        for loop, coefficient in self.terms:
            if loop in inner:
                reach = coefficient * (loop.extent - 1)
                low, high = low + min(0, reach), high + max(0, reach)
        return low, high


@dataclass(eq=False)
class TileAccess:
    """One load or store of a row: the region that holds it, a position per dimension, and its lanes."""

    region: LoopRegion
    positions: tuple[Position, ...]
    cols: int


@dataclass(eq=False)
class AccessGroup:
    """Accesses of the same kind to one buffer with the same strides. `lane_dim` is -1 for single elements."""

    key: object
    strides: tuple[int, ...]
    lane_dim: int
    lane_stride: int
    is_write: bool
    accesses: list[TileAccess] = field(default_factory=list)
    home: LoopRegion | None = None
    """The loop in which the group must be placed, if that is settled."""


@dataclass(frozen=True)
class Box:
    """What a set of accesses touches, relative to the loops outside: per dimension lowest position and extent.

    `outer` is the part of each position that depends on loops outside. Along the lane dimension the extent counts
    elements.
    """

    low: tuple[int, ...]
    extent: tuple[int, ...]
    outer: tuple[tuple[tuple[LoopRegion, int], ...], ...]

    def rows(self, lane_dim: int) -> int:
        return math.prod(chunks(extent) if dim == lane_dim else extent for dim, extent in enumerate(self.extent))


def chunks(extent: int) -> int:
    return -(-extent // LANES)


@dataclass(eq=False)
class Placement:
    """Accesses of a group that get one tile, transferred at `region`."""

    group: AccessGroup
    region: LoopRegion
    accesses: list[TileAccess]
    box: Box
    pad: int = -1
    base: int = 0
    can_stream: bool = False
    """Whether the group's kind of tile may be filled while its twin is in use."""

    @property
    def rows(self) -> int:
        """Rows of one tile."""
        return self.box.rows(self.group.lane_dim)

    @property
    def is_streamed(self) -> bool:
        """Whether there are two tiles, so that transfers run under the computation of the loop's other iterations."""
        region = self.region
        return (
            self.can_stream
            and self.group.home is None
            and region.parent is not None
            and not region.carries_values
            and region.extent >= MIN_STREAMED_ITERATIONS
            and num_transfers(self.group, self.box) <= MAX_STREAMED_TRANSFERS
        )

    @property
    def pad_rows(self) -> int:
        return self.rows * (2 if self.is_streamed or self.group.home is not None else 1)


def box_at(region: LoopRegion, accesses: Sequence[TileAccess], lane_dim: int) -> list[tuple[Box, list[TileAccess]]]:
    """Boxes of `accesses` seen from `region`: one for each way in which they depend on the loops outside it."""
    families: dict[object, list[tuple[TileAccess, list[LoopRegion]]]] = {}
    for access in accesses:
        path = access.region.ancestors()
        inner = path[: path.index(region)]
        outer = tuple(position.outside(inner) for position in access.positions)
        families.setdefault(outer, []).append((access, inner))
    result: list[tuple[Box, list[TileAccess]]] = []
    for outer, members in families.items():
        low: list[int] = []
        extent: list[int] = []
        for dim in range(len(members[0][0].positions)):
            spans = [access.positions[dim].span(inner) for access, inner in members]
            tails = [access.cols if dim == lane_dim else 1 for access, _ in members]
            low.append(min(span[0] for span in spans))
            extent.append(max(span[1] + tail for span, tail in zip(spans, tails, strict=True)) - low[-1])
        box = Box(tuple(low), tuple(extent), outer)  # pyright: ignore[reportArgumentType]
        result.append((box, [access for access, _ in members]))
    return result


def choose_placements(
    groups: Iterable[AccessGroup], body: LoopRegion, temporaries: Sequence[int], taken: Sequence[int], *, pad_rows: int
) -> tuple[list[Placement], list[tuple[int, int]]]:
    """A placement for every access and (pad, base row) for each of the `temporaries` (given by their rows).

    The first `taken` rows of each pad are not available.

    Data that each iteration of a loop uses alone moves into that loop, where transfers run under computation, as long
    as transfers stay long and few. LimitError when even single rows do not fit.
    """
    placements = [
        inner
        for group in groups
        for place in _at(group, group.home or body, group.accesses)
        for inner in ([place] if group.home else _settled(place))
    ]
    while True:
        homes = _assign(placements, temporaries, taken, pad_rows)
        if homes is not None:
            return placements, homes
        movable = [place for place in placements if _can_move_inwards(place)]
        if not movable:
            if max(taken) > pad_rows:
                raise LimitError(f"its plan takes {max(taken)} rows of a pad, of which {pad_rows} are free")
            needed = sum(place.pad_rows for place in placements) + sum(temporaries)
            free = sum(pad_rows - rows for rows in taken)
            raise LimitError(f"tiles of {needed} rows do not fit in the {free} free rows of {len(taken)} pads")
        biggest = max(movable, key=lambda place: place.pad_rows)
        placements.remove(biggest)
        placements.extend(inner for place in _inwards(biggest) for inner in _settled(place))


def _at(group: AccessGroup, region: LoopRegion, accesses: Sequence[TileAccess]) -> list[Placement]:
    return [
        Placement(
            group, region, members, box, can_stream=group.is_write or group.lane_dim < 0 or group.lane_stride == 1
        )
        for box, members in box_at(region, accesses, group.lane_dim)
    ]


def _settled(place: Placement) -> list[Placement]:
    """`place`, or placements further in that move each byte as often and can be streamed.

    Accesses of which that cannot be said keep a tile where they are.
    """
    if not place.can_stream:
        return [place]
    found: list[Placement] = []
    kept: list[TileAccess] = []
    for new in _inwards(place):
        deeper = _settled(new) if new.region is not place.region else []
        if deeper and all(inner.is_streamed and _uses_iterations_alone(inner) for inner in deeper):
            found.extend(deeper)
        else:
            kept.extend(new.accesses)
    rest = _at(place.group, place.region, kept) if kept else []
    if not found or any(_has_holes(new) for new in rest):
        return [place]
    return [*found, *rest]


def _has_holes(place: Placement) -> bool:
    """Whether the box of what a kernel writes holds rows that are not written here: storing it would undo others."""
    if not place.group.is_write:
        return False
    written = 0
    for access in place.accesses:
        path = access.region.ancestors()
        written += math.prod(loop.extent for loop in path[: path.index(place.region)])
    return written < place.rows


def _uses_iterations_alone(place: Placement) -> bool:
    """Whether the box moves with its loop, in transfers that are not short."""
    moves = any(loop is place.region for terms in place.box.outer for loop, _ in terms)
    layout = choose_layout(place.group, place.box)
    if layout.dma_dim < 0:
        return False
    rows = place.box.extent[layout.dma_dim]
    rows = chunks(rows) if layout.dma_dim == place.group.lane_dim else rows
    return moves and rows >= MIN_TRANSFER_ROWS


def num_transfers(group: AccessGroup, box: Box) -> int:
    """Transfers that move a box."""
    layout = choose_layout(group, box)
    extents = [chunks(e) if dim == group.lane_dim else e for dim, e in enumerate(box.extent)]
    count = math.prod(e for dim, e in enumerate(extents) if dim != layout.dma_dim)
    if layout.dma_dim >= 0:
        count *= -(-extents[layout.dma_dim] // MAX_DMA_ROWS)
        if layout.dma_dim == group.lane_dim and box.extent[group.lane_dim] % LANES:
            count += 1
    return count


def _child_towards(region: LoopRegion, access: TileAccess) -> LoopRegion | None:
    path = access.region.ancestors()
    at = path.index(region)
    return path[at - 1] if at > 0 else None


def _can_move_inwards(place: Placement) -> bool:
    return any(_child_towards(place.region, access) is not None for access in place.accesses)


def _inwards(place: Placement) -> list[Placement]:
    """Placements one loop further in; accesses outside any inner loop get a tile of their own where they are."""
    regions: dict[LoopRegion, list[TileAccess]] = {}
    for access in place.accesses:
        regions.setdefault(_child_towards(place.region, access) or place.region, []).append(access)
    return [new for region, accesses in regions.items() for new in _at(place.group, region, accesses)]


def _assign(
    placements: Sequence[Placement], temporaries: Sequence[int], taken: Sequence[int], pad_rows: int
) -> list[tuple[int, int]] | None:
    """Give every tile a pad and a base row, big ones first, on the pad with the least traffic; None if it cannot be."""
    pads = len(taken)
    used, traffic = list(taken), [0.0] * pads
    homes: list[tuple[int, int]] = [(0, 0)] * len(temporaries)
    turns = {False: 0, True: pads // 2}
    for place in placements:
        if place.group.home is not None:
            # what comes in and what goes out take the pads in turn, at opposite phases
            place.pad = turns[place.group.is_write] % pads
            turns[place.group.is_write] += 1
            place.base = used[place.pad]
            used[place.pad] += place.pad_rows
            traffic[place.pad] += _traffic(place)
    if max(used) > pad_rows:
        return None
    items: list[tuple[int, float, int | Placement]] = [
        *((place.pad_rows, _traffic(place), place) for place in placements if place.group.home is None),
        *((rows, float(rows), at) for at, rows in enumerate(temporaries)),
    ]
    for rows, weight, item in sorted(items, key=lambda entry: (-entry[0], -entry[1])):
        fitting = [pad for pad in range(pads) if used[pad] + rows <= pad_rows]
        if not fitting:
            return None
        pad = min(fitting, key=lambda candidate: (traffic[candidate], used[candidate]))
        if isinstance(item, Placement):
            item.pad, item.base = pad, used[pad]
        else:
            homes[item] = (pad, used[pad])
        used[pad] += rows
        traffic[pad] += weight
    return homes


def _traffic(place: Placement) -> float:
    """Row accesses per run of the kernel."""
    return float(sum(math.prod(region.extent for region in access.region.ancestors()) for access in place.accesses))


@dataclass(frozen=True)
class TileLayout:
    """Rows of a tile: row = sum(stride[d] * (position[d] - low[d])), lane positions counted in chunks of 32.

    `dma_dim` is the dimension whose rows one transfer takes; -1 when a transfer moves a single row.
    """

    strides: tuple[int, ...]
    dma_dim: int


def choose_layout(group: AccessGroup, box: Box) -> TileLayout:
    """Rows of the dimension that transfers walk lie side by side; the pitch must not be smaller than the columns."""
    extents = [chunks(e) if dim == group.lane_dim else e for dim, e in enumerate(box.extent)]
    cols = min(LANES, box.extent[group.lane_dim]) if group.lane_dim >= 0 else 1
    pitches = [LANES if dim == group.lane_dim else stride for dim, stride in enumerate(group.strides)]
    candidates = [dim for dim, e in enumerate(extents) if e > 1 and cols <= pitches[dim] <= 1 << 20]
    dma_dim = max(candidates, key=lambda dim: extents[dim], default=-1)
    order = [dim for dim in range(len(extents)) if dim != dma_dim]
    if dma_dim >= 0:
        order.append(dma_dim)
    strides = [0] * len(extents)
    step = 1
    for dim in reversed(order):
        strides[dim] = step
        step *= extents[dim]
    return TileLayout(tuple(strides), dma_dim)
