"""Which tiles of keys the queries of an attention see where a mask hides the later ones, as causal masks do.

What nobody sees need not be computed: no scores, no exponentials, no products. There are as few loops as without a
mask, so that filling a pipeline is paid for once: a step of the softmax takes some rows of each *stratum*, whose rows
see as many tiles, and so all steps are the same code.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from atalla_mlir.codegen.placement import LANES


@dataclass(frozen=True)
class StepLimits:
    """Of a step of the softmax: rows and chunks of rows, and the pads that rows are dealt out to."""

    rows: int
    chunks: int
    pads: int


@dataclass(frozen=True)
class Stratum:
    """Rows of a block of queries, from row `first` of each pad on, that see `tiles` tiles of keys.

    Rows of the pads count through all blocks of a head. Chunks up to `cleared` are zeros.
    """

    first: int
    tiles: int
    cleared: int


@dataclass(frozen=True)
class Span:
    """Tiles of keys, `tiles` from `first` on, that a loop over results takes for all rows of a head that see them.

    Results of the rows of each pad from `done_from` to `done_to` are complete after it.
    """

    first: int
    tiles: int
    done_from: int
    done_to: int

    @property
    def end(self) -> int:
        return self.first + self.tiles


@dataclass(frozen=True)
class SpanLimits:
    """Of a loop over results: instructions, and rows that the array takes; of a head: rows of each pad."""

    code: int
    rows: int
    head_rows: int


@dataclass(frozen=True)
class VisibleTiles:
    """What the queries of a head see."""

    blocks: tuple[int, ...]
    """Tiles that any query of each block sees."""
    strata: tuple[Stratum, ...]
    rows: int
    """Rows of each pad of a stratum."""
    step_rows: int
    """How many of these a step takes."""
    spans: tuple[Span, ...] = ()
    """The loops over results, where these take a head at a time; else blocks take all tiles."""

    @property
    def points(self) -> list[tuple[int, int]]:
        """Block and tile of the scores that count, as a loop takes them."""
        return [(block, tile) for block, tiles in enumerate(self.blocks) for tile in range(tiles)]

    @property
    def row_tiles(self) -> list[int]:
        """Tiles that each row of a pad sees."""
        return [stratum.tiles for stratum in self.strata for _ in range(self.rows)]


def visible_tiles(firsts: Sequence[int], size: int, tiles: int, reach: int, limits: StepLimits) -> VisibleTiles | None:
    """For blocks of `size` queries that begin at `firsts`, where query r sees keys up to r + `reach` of `tiles` tiles;
    None where hardly anything is hidden, or a step would be too much code.

    Of several ways to cut blocks into strata the one that computes least; a query that sees no key has one tile.
    """
    piece = -(-size // limits.pads)

    def seen(query: int) -> int:
        return min(max(-(-(query + reach + 1) // LANES), 1), tiles)

    best: tuple[int, VisibleTiles] | None = None
    for parts, step_rows in _ways(piece, len(firsts), limits):
        rows = piece // parts
        strata = tuple(
            Stratum(
                block * piece + part * rows,
                seen(first + min((part + 1) * rows * limits.pads, size) - 1),
                tiles,
            )
            for block, first in enumerate(firsts)
            for part in range(parts)
        )
        chunks = sum(stratum.tiles for stratum in strata)
        if limits.pads * step_rows * chunks > limits.chunks or chunks == len(strata) * tiles:
            continue
        computed = chunks * rows
        if best is None or computed < best[0]:
            blocks = tuple(seen(first + size - 1) for first in firsts)
            best = computed, VisibleTiles(blocks, strata, rows, step_rows)
    return None if best is None else best[1]


def _ways(piece: int, blocks: int, limits: StepLimits) -> Iterator[tuple[int, int]]:
    """Numbers of strata of a block, and of rows of each pad of a stratum that a step may take, many first."""
    for parts in (count for count in range(1, piece + 1) if piece % count == 0):
        most = limits.rows // (limits.pads * blocks * parts)
        for step_rows in range(most, 0, -1):
            if piece // parts % step_rows == 0:
                yield parts, step_rows


def with_spans(visible: VisibleTiles, limits: SpanLimits, pads: int) -> VisibleTiles:
    """The same with loops over results that take a head at a time, if their code and their sums are not too much.

    Then nothing hidden is read, and no chunk need be zero.
    """
    seen = visible.row_tiles
    if len(seen) > limits.head_rows or seen != sorted(seen):
        return visible
    spans: list[Span] = []
    first = 0
    while first < seen[-1]:
        fitting = [end for end in range(first + 1, seen[-1] + 1) if _fits(seen, first, end, limits, pads)]
        if not fitting:
            return visible
        # complete results are sent beside the loop that makes them
        end = max(fitting)
        spans.append(Span(first, end - first, sum(t <= first for t in seen), sum(t <= end for t in seen)))
        first = end
    strata = tuple(replace(stratum, cleared=0) for stratum in visible.strata)
    return replace(visible, strata=strata, spans=tuple(spans))


def _fits(seen: Sequence[int], first: int, end: int, limits: SpanLimits, pads: int) -> bool:
    """Whether a loop may take tiles from `first` to `end`.

    A row of a tile is loaded, met by the array and added; a row of its weights is loaded and pushed; results are
    stored, complete ones multiplied by what is loaded for it, and others loaded if there are any.
    """
    rows = pads * sum(min(tiles, end) - first for tiles in seen if tiles > first)
    taken = [tiles for tiles in seen if tiles > first]
    moved = sum(1 + (first > 0) + 2 * (tiles <= end) for tiles in taken)
    weights = LANES * (end - first)
    return rows + weights <= limits.rows and 3 * rows + 2 * weights + pads * moved <= limits.code


def steady_step(places: Sequence[int]) -> tuple[int, list[tuple[int, int]]]:
    """The most frequent step from one place to the next, and where others begin: (place, by how much they differ)."""
    steps = [after - before for before, after in pairwise(places)]
    if not steps:
        return 0, []
    usual = Counter(steps).most_common(1)[0][0]
    return usual, [(at, step - usual) for at, step in enumerate(steps, 1) if step != usual]
