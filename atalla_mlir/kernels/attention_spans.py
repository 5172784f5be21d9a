"""Results of attention where a mask hides keys: a loop takes some tiles of keys for all rows of a head that see them.

An iteration makes 32 columns of the results of a head. A tile of values meets only rows that see its keys, so no
exponential of a hidden key is looked at.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from atalla_mlir._mlir import ir
from atalla_mlir.codegen.attention_plan import LANES, PADS, AttentionPlan
from atalla_mlir.codegen.attention_strata import Span, VisibleTiles
from atalla_mlir.kernels.affine_index import Index
from atalla_mlir.kernels.attention_images import KEPT, HeadRows
from atalla_mlir.kernels.attention_moves import ahead
from atalla_mlir.kernels.attention_transfers import Tiles
from atalla_mlir.kernels.builder import Builder
from atalla_mlir.kernels.rings import ROW_BYTES
from atalla_mlir.kernels.walks import Walk

NEAR_ROWS = 32
"""Rows that are reached with one address."""


@dataclass(frozen=True)
class SpanProducts:
    """The loop of one span; `places` are those of `kernels.attention_places`."""

    builder: Builder
    plan: AttentionPlan
    visible: VisibleTiles
    span: Span
    places: Mapping[str, Tiles]
    kept: HeadRows | None = None
    """Where complete results go, unless these are sent."""
    starts: Mapping[str, ir.Value] = field(default_factory=dict[str, ir.Value])
    """Bytes to those of the present group of heads, where there are several."""

    def walks(self) -> list[Walk]:
        plan, first = self.plan, self.span.first
        tile = LANES // PADS * ROW_BYTES
        results = (*plan.head_strides(plan.head_rows * plan.width_tiles * ROW_BYTES), plan.head_rows * ROW_BYTES)
        # what comes late in an iteration has counters of its own
        uses: list[dict[str, Sequence[int]]] = [
            {
                "scores": (*plan.head_strides(plan.head_rows * plan.key_tiles * ROW_BYTES), 0),
                "turned": (*plan.head_strides(plan.key_tiles * plan.width_tiles * tile), plan.key_tiles * tile),
            },
            {"stored": results},
            {"factors": (*plan.head_strides(plan.head_rows * ROW_BYTES), 0)},
            *([{"results": results}] if first else []),
            *([{KEPT: (*self.kept.head_bytes(plan), self.kept.slice_bytes)}] if self.kept is not None else []),
        ]
        begins = {
            "scores": (plan.first_score + first) * ROW_BYTES,
            "turned": first * tile,
            "factors": plan.rows_before * ROW_BYTES,
            KEPT: 0 if self.kept is None else self.kept.first_bytes,
        }
        extents = (*plan.head_extents, plan.width_tiles)
        return [Walk(self.builder, extents, strides, begins=begins, starts=self.starts) for strides in uses]

    def emit(self, offsets: Mapping[str, ir.Value]) -> None:
        """One iteration."""
        builder, span = self.builder, self.span
        seen = [tiles for tiles in self.visible.row_tiles for _ in range(PADS)]
        sums: dict[int, ir.Value] = {}
        if span.first:
            rows = [row for row, tiles in enumerate(seen) if tiles > span.first]
            sums = self._loaded("results", offsets["results"], rows)
        turned = self._parts("turned", offsets["turned"], "turned")
        for part in range(span.tiles):
            push_turned(builder, turned, part)
            self._add_products(sums, part, offsets["scores"], seen)
        done = [row for row in sums if seen[row] <= span.end]
        for row, factor in self._loaded("factors", offsets["factors"], done).items():
            sums[row] = builder.binary("mul", sums[row], factor)
        if self.kept is not None:
            self.kept.store({row: sums.pop(row) for row in done}, offsets[KEPT])
        for row, tiles in self._near("results", offsets["stored"], list(sums)):
            builder.tile_store(sums[row], tiles[row % PADS], Index(row // PADS), LANES)

    def _add_products(self, sums: dict[int, ir.Value], part: int, offset: ir.Value, seen: Sequence[int]) -> None:
        """Add the products of the weights pushed last and the exponentials of all rows that see a tile."""
        builder = self.builder
        scores = self._parts("scores", offset, f"exponentials{part}")
        for row in (row for row, tiles in enumerate(seen) if tiles > self.span.first + part):
            place = Index(row // PADS * self.plan.key_tiles + part)
            term = builder.gemm(builder.tile_load(scores[row % PADS], place, LANES))
            sums[row] = builder.binary("add", sums[row], term) if row in sums else term

    def _loaded(self, name: str, offset: ir.Value, rows: Sequence[int]) -> dict[int, ir.Value]:
        return {
            row: self.builder.tile_load(tiles[row % PADS], Index(row // PADS), LANES)
            for row, tiles in self._near(name, offset, rows)
        }

    def _near(self, name: str, offset: ir.Value, rows: Sequence[int]) -> Iterator[tuple[int, list[ir.Value]]]:
        """Rows, each with parts of the pads to reach it by: one address for many would be in use for too long."""
        parts: dict[int, list[ir.Value]] = {}
        for row in rows:
            number = row // NEAR_ROWS
            if number not in parts:
                parts[number] = self._parts(name, offset, f"{name}{number}")
            yield row, parts[number]

    def _parts(self, name: str, offset: ir.Value, use: str) -> list[ir.Value]:
        return [self.builder.tile_at(tile, offset, ahead(use)) for tile in self.places[name].pads]


def push_turned(builder: Builder, turned: Sequence[ir.Value], part: int) -> None:
    """The rows of a tile of values that are turned, as weights; `part` counts tiles from where `turned` begins."""
    for lane in reversed(range(LANES)):
        row = part * (LANES // PADS) + lane // PADS
        builder.push(builder.tile_load(turned[lane % PADS], Index(row), LANES))
