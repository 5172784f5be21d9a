"""What moves under the tiles of a walk, as the walk sees it; `block_moves` and `step_moves` are two ways."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from atalla_mlir._mlir import ir
from atalla_mlir.codegen.tile_schedule import Depth
from atalla_mlir.kernels.builder import Builder
from atalla_mlir.kernels.tile_addresses import Position


@dataclass
class Fetching:
    """Where the next step goes and comes from, besides what `Moves` says."""

    target: ir.Value
    """Bytes in a pad."""
    moved: ir.Value
    """Bytes in DRAM from the first step of a depth without tail."""
    counters: list[ir.Value]
    """Iterations of the levels of the depth but the outermost, where fetches do not keep step with computation."""

    def pack(self) -> list[ir.Value]:
        return [self.target, self.moved, *self.counters]


@dataclass
class StepPlace:
    """Where a walk stands between two steps: bits, and iterations of the levels of the depth but the outermost."""

    next_number: ir.Value
    is_last: ir.Value
    will_not_be_last: ir.Value
    """Of the next step."""
    counters: Sequence[ir.Value]
    wraps: Sequence[ir.Value]
    """Bits for each counter: whether it begins again with the next step."""


class Packed(Protocol):
    """Values that a loop carries."""

    def pack(self) -> list[ir.Value]: ...


class TileMoves(Protocol):
    """What is fetched under the tiles of a panel; `moves` are what `of_tile` gave for one of them."""

    num_pieces: int
    """Transfers of a step."""

    def fill(self) -> None: ...

    def of_tile(self, at: Position) -> Packed: ...

    def fetch_first(self, moves: Any) -> list[ir.Value]:
        """Start what comes before the first iteration; tokens."""
        ...

    def first(self, moves: Any) -> Fetching:
        """Of the first iteration."""
        ...

    def fetch(self, fetching: Fetching, moves: Any, at: StepPlace) -> list[ir.Value]: ...

    def next(self, fetching: Fetching, moves: Any, at: StepPlace) -> Fetching: ...

    def moves_from(self, rest: Iterator[ir.Value]) -> Packed: ...

    def fetching_from(self, rest: Iterator[ir.Value]) -> Fetching: ...


def count_levels(builder: Builder, depth: Depth, counters: Sequence[ir.Value]) -> tuple[list[ir.Value], list[ir.Value]]:
    """The counters of the next step, innermost last, and for each of them bits of whether it begins again."""
    counted: list[ir.Value] = []
    wrapped: list[ir.Value] = []
    carry = builder.index_constant(1)
    for level in range(len(depth.levels) - 1, 0, -1):
        counter = builder.plus(counters[level - 1], carry)
        wraps = builder.equal_bits(counter, depth.levels[level].extent)
        counted.insert(0, builder.both(counter, builder.differ(wraps, -1)))
        wrapped.insert(0, wraps)
        carry = builder.both(wraps, 1)
    return counted, wrapped


def take(values: Iterator[ir.Value], count: int) -> list[ir.Value]:
    return [next(values) for _ in range(count)]
