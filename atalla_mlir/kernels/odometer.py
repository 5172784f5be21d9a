"""Nested counters that one loop carries: where each of its iterations stands in a nest of loops.

Counters run down, and masks (-1 for true, 0 for false) say which of them begin again, so nothing branches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from atalla_mlir._mlir import ir
from atalla_mlir.kernels.builder import Builder


@dataclass(frozen=True)
class Level:
    """A loop of a nest: iterations, and what one adds to each of the offsets."""

    extent: int
    strides: tuple[int, ...]
    is_watched: bool = False
    """Whether it is asked when the loop is in its last iteration."""


@dataclass(frozen=True)
class Reading:
    """Where an odometer stands: the offsets, and the counters of its levels."""

    offsets: tuple[ir.Value, ...]
    counters: tuple[ir.Value, ...]

    def pack(self) -> list[ir.Value]:
        return [*self.offsets, *self.counters]


class Odometer:
    """Loops from the innermost to the outermost, after which all begins again unless the odometer is `endless`.

    Of an offset only the bits of its mask are kept; one that has fewer than all wraps around by that alone.
    """

    def __init__(
        self, builder: Builder, levels: Sequence[Level], masks: Sequence[int], *, endless: bool = False
    ) -> None:
        self.builder = builder
        self.masks = tuple(masks)
        self.levels = _merged([level for level in levels if level.extent > 1 or level.is_watched])
        self.num_counters = len(self.levels) - (endless and bool(self.levels) and not self.levels[-1].is_watched)

    @property
    def size(self) -> int:
        """Values of a reading."""
        return len(self.masks) + self.num_counters

    def first(self) -> Reading:
        """Counters say how many iterations come after this one."""
        constant = self.builder.index_constant
        counted = self.levels[: self.num_counters]
        return Reading(tuple(constant(0) for _ in self.masks), tuple(constant(level.extent - 1) for level in counted))

    def unpack(self, values: Sequence[ir.Value]) -> Reading:
        size = len(self.masks)
        return Reading(tuple(values[:size]), tuple(values[size:]))

    def is_last(self, at: Reading) -> ir.Value:
        """Whether the innermost level, a watched one, is in its last iteration."""
        return self.builder.equal_bits(at.counters[0], 0)

    def after(self, at: Reading, moves: ir.Value) -> Reading:
        """The next reading where `moves` is true, the same where not."""
        builder = self.builder
        offsets, counters = list(at.offsets), []
        before = [0] * len(self.masks)
        for number, level in enumerate(self.levels):
            offsets = self._moved(offsets, [a - b for a, b in zip(level.strides, before, strict=True)], moves)
            before = [level.extent * stride for stride in level.strides]
            if number < self.num_counters:
                counter = builder.plus(at.counters[number], moves)
                moves = builder.is_negative(counter)
                counters.append(builder.plus(counter, builder.both(moves, level.extent)))
        if self.num_counters == len(self.levels):
            ends = [-distance if mask == -1 else 0 for distance, mask in zip(before, self.masks, strict=True)]
            offsets = self._moved(offsets, ends, moves)
        masked = [builder.both(offset, mask) for offset, mask in zip(offsets, self.masks, strict=True)]
        return Reading(tuple(masked), tuple(counters))

    def _moved(self, offsets: Sequence[ir.Value], distances: Sequence[int], moves: ir.Value) -> list[ir.Value]:
        builder = self.builder
        return [
            builder.plus(offset, builder.both(moves, distance)) if distance else offset
            for offset, distance in zip(offsets, distances, strict=True)
        ]


def _merged(levels: Sequence[Level]) -> tuple[Level, ...]:
    """Levels that all offsets walk as one run are one."""
    merged: list[Level] = []
    for level in levels:
        inner = merged[-1] if merged else None
        if inner is not None and not inner.is_watched and not level.is_watched:
            run = tuple(stride * inner.extent for stride in inner.strides)
            if run == level.strides:
                merged[-1] = Level(inner.extent * level.extent, inner.strides)
                continue
        merged.append(level)
    return tuple(merged)
