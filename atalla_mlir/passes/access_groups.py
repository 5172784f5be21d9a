"""The rows of DRAM that a kernel touches, grouped by buffer and strides; which of them get tiles of their own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from atalla_mlir._mlir import ir
from atalla_mlir.codegen.placement import (
    LANES,
    AccessGroup,
    LoopRegion,
    Position,
    TileAccess,
    box_at,
    choose_layout,
)
from atalla_mlir.codegen.row_plan import MAX_PIECE_ROWS

T = TypeVar("T")

STRIPES = 2
# Fewer accesses than this are not worth two tiles.
MIN_STRIPED_ACCESSES = 4


@dataclass
class FoundAccess:
    op: ir.Operation
    access: TileAccess
    forms: list[tuple[int, list[tuple[ir.Value, int]]]]
    """Per dimension the constant and the (loop variable, coefficient) terms."""


@dataclass
class FoundGroup:
    group: AccessGroup
    buffer: ir.Value
    offset: int
    accesses: dict[TileAccess, FoundAccess] = field(default_factory=dict)


def is_transposed(group: AccessGroup) -> bool:
    """Whether the lanes of a group of loads are not contiguous in DRAM."""
    return not group.is_write and group.lane_dim >= 0 and group.lane_stride != 1


# Overlapping loops


def cut_pieces(item: FoundGroup) -> list[FoundGroup]:
    """The group as pieces that one transfer moves, for what moves with overlapping loops, and the rest."""
    if is_transposed(item.group):
        return [item]
    homes: dict[LoopRegion | None, list[TileAccess]] = {}
    for access in item.group.accesses:
        moves = any(loop is access.region for position in access.positions for loop, _ in position.terms)
        homes.setdefault(access.region if access.region.overlaps and moves else None, []).append(access)
    pieces: list[FoundGroup] = []
    for home, accesses in homes.items():
        part = _part(item, accesses, home)
        pieces.extend([part] if home is None else _cut(_merged(part)))
    return pieces


def _part(item: FoundGroup, accesses: Sequence[TileAccess], home: LoopRegion | None) -> FoundGroup:
    group = item.group
    key = (group.key, home, min(group.accesses.index(access) for access in accesses))
    own = AccessGroup(key, group.strides, group.lane_dim, group.lane_stride, group.is_write, list(accesses), home)
    return FoundGroup(own, item.buffer, item.offset, {access: item.accesses[access] for access in accesses})


def _merged(item: FoundGroup) -> FoundGroup:
    """The group with rows that follow each other without a gap as one dimension: a transfer may hold several."""
    group = item.group
    home, lane = group.home, group.lane_dim
    assert home is not None
    if lane < 0 or group.lane_stride != 1:
        return item
    for dim, stride in enumerate(group.strides):
        # rows that an iteration only begins do not follow each other there
        reaches = {_reach(group.accesses, lane, loops) for loops in ([], home.ancestors())}
        if dim == lane or stride % LANES or reaches != {stride}:
            continue
        strides = tuple(1 if at == lane else s for at, s in enumerate(group.strides) if at != dim)
        new_lane = lane - (dim < lane)
        own = AccessGroup((group.key, dim), strides, new_lane, 1, group.is_write, [], home)
        merged = FoundGroup(own, item.buffer, item.offset)
        for access, found in item.accesses.items():
            position = _sum(access.positions[lane], access.positions[dim], stride)
            constant, terms = found.forms[lane]
            outer_constant, outer_terms = found.forms[dim]
            form = (constant + stride * outer_constant, [*terms, *((v, stride * c) for v, c in outer_terms)])
            moved = TileAccess(access.region, _without(access.positions, dim, lane, position), access.cols)
            own.accesses.append(moved)
            merged.accesses[moved] = FoundAccess(found.op, moved, list(_without(found.forms, dim, lane, form)))
        return _merged(merged)
    return item


def _sum(inner: Position, outer: Position, stride: int) -> Position:
    scaled = tuple((loop, stride * c) for loop, c in outer.terms)
    return Position(inner.constant + stride * outer.constant, (*inner.terms, *scaled))


def _without(items: Sequence[T], dim: int, lane: int, merged: T) -> tuple[T, ...]:
    return tuple(merged if at == lane else item for at, item in enumerate(items) if at != dim)


def _reach(accesses: Sequence[TileAccess], lane: int, loops: Sequence[LoopRegion]) -> int:
    """Elements from the first to the last of all accesses along the lanes, wherever `loops` are."""
    spans = [access.positions[lane].span(loops) for access in accesses]
    return max(span[1] + a.cols for span, a in zip(spans, accesses, strict=True)) - min(span[0] for span in spans)


def _cut(item: FoundGroup) -> list[FoundGroup]:
    """One group for each transfer that moves what an iteration touches."""
    group = item.group
    assert group.home is not None
    pieces: list[FoundGroup] = []
    for box, members in box_at(group.home, group.accesses, group.lane_dim):
        dim = choose_layout(group, box).dma_dim
        lines: dict[object, list[TileAccess]] = {}
        for access in members:
            fixed = tuple(position for at, position in enumerate(access.positions) if at != dim)
            lines.setdefault(fixed, []).append(access)
        for line in lines.values():
            pieces.extend(_part(item, run, group.home) for run in _runs(line, dim, group.lane_dim))
    return pieces


def _runs(line: Sequence[TileAccess], dim: int, lane: int) -> list[list[TileAccess]]:
    """The accesses in runs of equal length along `dim`, each short enough for one transfer."""
    if dim < 0:
        return [list(line)]
    unit = LANES if dim == lane else 1
    rows = [access.positions[dim].constant // unit for access in line]
    first, extent = min(rows), max(rows) - min(rows) + 1
    length = -(-extent // -(-extent // MAX_PIECE_ROWS))
    runs: dict[int, list[TileAccess]] = {}
    for access, row in zip(line, rows, strict=True):
        runs.setdefault((row - first) // length, []).append(access)
    return list(runs.values())


# Stripes


def striped(item: FoundGroup) -> list[FoundGroup]:
    """The group as one per residue of the dimension that its accesses walk side by side, or itself alone."""
    group = item.group
    if len(group.accesses) < MIN_STRIPED_ACCESSES or is_transposed(group) or group.home is not None:
        return [item]
    best, most = -1, 1
    for dim in range(len(group.strides)):
        if dim != group.lane_dim:
            spread = _spread(item, dim)
            if spread > most:
                best, most = dim, spread
    if best < 0:
        return [item]
    parts: list[FoundGroup] = []
    for residue in range(STRIPES):
        strides = tuple(s * STRIPES if dim == best else s for dim, s in enumerate(group.strides))
        part = AccessGroup((group.key, residue), strides, group.lane_dim, group.lane_stride, group.is_write)
        new = FoundGroup(part, item.buffer, item.offset + residue * group.strides[best])
        for access, found in item.accesses.items():
            if found.forms[best][0] % STRIPES == residue:
                _add_striped(new, access, found, best, residue)
        parts.append(new)
    return parts


def _spread(item: FoundGroup, dim: int) -> int:
    """Distinct constants along `dim` if they fall evenly into the stripes whatever the loops do, else 0."""
    constants: set[int] = set()
    for found in item.accesses.values():
        constant, terms = found.forms[dim]
        if any(coefficient % STRIPES for _, coefficient in terms):
            return 0
        constants.add(constant)
    counts = [sum(constant % STRIPES == residue for constant in constants) for residue in range(STRIPES)]
    return len(constants) if min(counts) > 0 else 0


def _add_striped(new: FoundGroup, access: TileAccess, found: FoundAccess, dim: int, residue: int) -> None:
    position = access.positions[dim]
    moved = Position(
        (position.constant - residue) // STRIPES, tuple((loop, c // STRIPES) for loop, c in position.terms)
    )
    positions = (*access.positions[:dim], moved, *access.positions[dim + 1 :])
    constant, terms = found.forms[dim]
    forms = list(found.forms)
    forms[dim] = ((constant - residue) // STRIPES, [(variable, c // STRIPES) for variable, c in terms])
    striped = TileAccess(access.region, positions, access.cols)
    new.group.accesses.append(striped)
    new.accesses[striped] = FoundAccess(found.op, striped, forms)
