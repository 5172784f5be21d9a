"""Addresses that a flat loop carries for a nest of loops: each iteration moves them to the next point of the nest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from atalla_mlir._mlir import ir
from atalla_mlir.kernels.builder import Builder


class Walk:
    """Byte offsets, by name, at the points of a nest of loops with `extents`, outermost first.

    `strides` gives for each name the bytes from one iteration of each loop to the next. Loops that all offsets walk
    as one run are one; the outermost needs no counter. With `keeps_levels` the loops stay as they are, so that their
    counters can be asked for. The walk begins at iteration `first`; `begins` are offsets at iteration 0 that are not 0,
    and `starts` are added to these where a kernel computes them.
    """

    def __init__(
        self,
        builder: Builder,
        extents: Sequence[int],
        strides: Mapping[str, Sequence[int]],
        *,
        keeps_levels: bool = False,
        first: int = 0,
        begins: Mapping[str, int] | None = None,
        starts: Mapping[str, ir.Value] | None = None,
    ) -> None:
        self.builder = builder
        self.names = list(strides)
        self.first = first
        self.begins = begins or {}
        self.starts = starts or {}
        self._counted_from = 0 if keeps_levels else 1
        self.places = {at: place for place, at in enumerate(at for at, extent in enumerate(extents) if extent > 1)}
        """Of each loop that runs more than once, its place among these."""
        levels = [
            (extent, [strides[name][at] for name in self.names]) for at, extent in enumerate(extents) if extent > 1
        ]
        self.levels: list[tuple[int, list[int]]] = []
        for extent, steps in levels:
            if not keeps_levels and self.levels and self.levels[-1][1] == [extent * step for step in steps]:
                self.levels[-1] = (self.levels[-1][0] * extent, steps)
            else:
                self.levels.append((extent, steps))

    @property
    def iterations(self) -> int:
        count = 1
        for extent, _ in self.levels:
            count *= extent
        return count

    @property
    def num_counters(self) -> int:
        return max(0, len(self.levels) - self._counted_from)

    @property
    def num_values(self) -> int:
        """Values that the loop carries."""
        return self.num_counters + len(self.names)

    def initial(self) -> list[ir.Value]:
        """What the loop carries into its first iteration."""
        at: list[int] = []
        rest = self.first
        for level in range(len(self.levels) - 1, -1, -1):
            extent = self.levels[level][0]
            at.insert(0, rest % extent if level else rest)
            rest //= extent
        offsets = [
            self.begins.get(name, 0)
            + sum(digit * steps[place] for digit, (_, steps) in zip(at, self.levels, strict=True))
            for place, name in enumerate(self.names)
        ]
        builder = self.builder
        known = [builder.index_constant(value) for value in offsets]
        moved = [
            builder.plus(self.starts[name], value) if name in self.starts else value
            for name, value in zip(self.names, known, strict=True)
        ]
        return [*(builder.index_constant(count) for count in at[self._counted_from :]), *moved]

    def counter(self, carried: Sequence[ir.Value], loop: int) -> ir.Value:
        """The present iteration of a loop, of a walk that keeps its levels."""
        return (
            carried[self.places[loop] - self._counted_from] if loop in self.places else self.builder.index_constant(0)
        )

    def offsets(self, carried: Sequence[ir.Value]) -> dict[str, ir.Value]:
        return dict(zip(self.names, carried[self.num_counters :], strict=True))

    def next(self, carried: Sequence[ir.Value]) -> list[ir.Value]:
        """What the loop carries into the iteration after the one that got `carried`."""
        builder, counters, offsets = self.builder, carried[: self.num_counters], list(carried[self.num_counters :])
        if not self.levels:
            return list(carried)
        inner = self.levels[-1][1]
        offsets = [builder.plus(offset, step) for offset, step in zip(offsets, inner, strict=True)]
        counted: list[ir.Value] = []
        carry = builder.index_constant(1)
        for level in range(len(self.levels) - 1, 0, -1):
            extent, steps = self.levels[level]
            counter = builder.plus(counters[level - self._counted_from], carry)
            wraps = builder.equal_bits(counter, extent)
            counted.insert(0, builder.both(counter, builder.differ(wraps, -1)))
            outer = self.levels[level - 1][1]
            jumps = [further - extent * step for further, step in zip(outer, steps, strict=True)]
            offsets = [
                builder.plus(offset, builder.both(wraps, jump)) if jump else offset
                for offset, jump in zip(offsets, jumps, strict=True)
            ]
            carry = builder.both(wraps, 1)
        if not self._counted_from:
            counted.insert(0, builder.plus(counters[0], carry))
        return [*counted, *offsets]
