"""Stages of a kernel that write one number to the same buffer, as one loop nest (`codegen.fill_plan`)."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from atalla_mlir.codegen.fill_plan import plan_fill
from atalla_mlir.codegen.grouping import Group
from atalla_mlir.codegen.iteration import Buffer


def join_fills(groups: Sequence[Group], pads: int) -> list[Group]:
    """The groups in order, those that write one number to the same buffer as one, where the first of them was.

    Not where elements are written more than once, for then the order says what stays.
    """
    joined: list[Group] = []
    homes: dict[Buffer, Group] = {}
    written: Counter[Buffer] = Counter()
    for stage in (stage for group in groups for stage in group.all_stages):
        written[stage.write.buffer] += math.prod(loop.extent for loop in stage.write.strides)
    for group in groups:
        buffer = group.stages[0].write.buffer
        home = homes.get(buffer) if written[buffer] <= buffer.num_elements else None
        stages = [*(home.stages if home is not None else ()), *group.stages]
        plan = plan_fill(stages, pads) if len(group.stages) == 1 else None
        if plan is not None and home is not None:
            home.stages, home.fill = stages, plan
            continue
        if plan is not None:
            group.fill = plan
            homes[buffer] = group
        joined.append(group)
    return joined
