"""Addresses for loops over some points of a nest, such as the tiles that count, of which each block has its number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from atalla_mlir._mlir import ir
from atalla_mlir.codegen.attention_strata import steady_step
from atalla_mlir.kernels.builder import Builder
from atalla_mlir.kernels.walks import Walk


class PointWalk(Walk):
    """Byte offsets, by name, at `count` points of each of `outer` iterations, and `inner` times at each point.

    `strides` are bytes from one outer iteration to the next, and from one inner iteration to the next; `places` the
    bytes at each point, in their order. What a walk cannot step through is added from the point on where it changes.
    """

    def __init__(
        self,
        builder: Builder,
        outer: int,
        count: int,
        inner: int,
        strides: Mapping[str, tuple[int, int]],
        places: Mapping[str, Sequence[int]],
    ) -> None:
        self.jumps: dict[str, list[tuple[int, int]]] = {}
        steps: dict[str, tuple[int, int, int]] = {}
        begins: dict[str, int] = {}
        for name, (outside, inside) in strides.items():
            usual, self.jumps[name] = steady_step(places[name])
            steps[name] = outside, usual, inside
            begins[name] = places[name][0]
        super().__init__(builder, (outer, count, inner), steps, keeps_levels=True, begins=begins)
        self._counted_from = min(outer - 1, 1)  # the outermost loop needs no counter

    def offsets(self, carried: Sequence[ir.Value]) -> dict[str, ir.Value]:
        builder, found = self.builder, super().offsets(carried)
        point = self.counter(carried, 1)
        points = {at for jumps in self.jumps.values() for at, _ in jumps}
        begun = {at: builder.differ(builder.is_negative(builder.plus(point, -at)), -1) for at in sorted(points)}
        for name, jumps in self.jumps.items():
            for at, distance in jumps:
                found[name] = builder.plus(found[name], builder.both(begun[at], distance))
        return found
