"""Masks that leave to each query the first keys only, as causal ones do, where that is known when compiling."""

from __future__ import annotations

import math
from dataclasses import dataclass

from atalla_mlir.codegen.iteration import Access, Loop, Stage


@dataclass(frozen=True, eq=False)
class VisibleKeys:
    """A map that keeps scores where the index of `keys` is at most that of `queries` + `reach`; others get -inf."""

    stage: Stage
    mask: Access
    queries: Loop
    keys: Loop
    reach: int

    @property
    def counts(self) -> list[int]:
        """Keys of each query."""
        keys = self.keys.extent
        return [min(max(row + self.reach + 1, 0), keys) for row in range(self.queries.extent)]


def visible_keys(stage: Stage) -> VisibleKeys | None:
    """What a map hides, if it is a selection by a known triangle."""
    body = stage.body
    if body.op != "select" or body.args[0].op != "cmp_une":
        return None
    (flag, zero), kept, dropped = body.args[0].args, *body.args[1:]
    if flag.op != "load" or (zero.op, zero.value) != ("constant", 0.0):
        return None
    mask = stage.reads[flag.read]
    triangle = mask.buffer.triangle
    if triangle is None or mask.indirect or len(mask.strides) != 2:
        return None
    if not triangle.is_lower:
        kept, dropped = dropped, kept
    if kept.op != "load" or kept.read == flag.read or (dropped.op, dropped.value) != ("constant", -math.inf):
        return None
    queries = next((loop for loop, stride in mask.strides.items() if stride == triangle.columns), None)
    keys = next((loop for loop, stride in mask.strides.items() if stride == 1), None)
    row, column = divmod(mask.offset, triangle.columns)
    if queries is None or keys is None or queries is keys or column + keys.extent > triangle.columns:
        return None
    return VisibleKeys(stage, mask, queries, keys, triangle.diagonal + row - column)
