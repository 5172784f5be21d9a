"""What each kernel launch of a run counts."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, cast

from atalla_mlir.loadable.format import Loadable
from atalla_mlir.sim.engine import Counters, Engine


def counters_between(before: Counters, after: Counters) -> Counters:
    """What was counted from `before` to `after`."""

    def difference(new: Any, old: Any) -> Any:
        if isinstance(new, dict):
            table, base = cast("dict[Any, int]", new), cast("dict[Any, int]", old)
            return {key: count - base.get(key, 0) for key, count in table.items() if count != base.get(key, 0)}
        if isinstance(new, list):
            return [difference(*pair) for pair in zip(cast("list[int]", new), cast("list[int]", old), strict=True)]
        return new - old

    names = [field.name for field in fields(Counters)]
    return Counters(**{name: difference(getattr(after, name), getattr(before, name)) for name in names})


@dataclass(frozen=True)
class LaunchRecord:
    """One execution of a kernel: its row of `meta.kernels` and what it counted."""

    kernel: Mapping[str, Any]
    counters: Counters
    start: int
    """Cycle of the entry's run in which the kernel was called."""


class LaunchProfile:
    """Collects a record per launch: hand `stops` and `stop` to a run of `entry`, then read `records`."""

    def __init__(self, loadable: Loadable, entry: str) -> None:
        rows: Sequence[Mapping[str, Any]] = loadable.meta.get("kernels", ())
        self._kernels = {row["launch_pc"]: row for row in rows if row["entry"] == entry}
        self.stops = frozenset(pc for row in self._kernels.values() for pc in (row["launch_pc"], row["return_pc"]))
        self.records: list[LaunchRecord] = []
        self._running: tuple[Mapping[str, Any], Counters] | None = None

    def stop(self, engine: Engine) -> None:
        """The engine is about to execute the packet at a launch or return PC, which may be both."""
        if self._running is not None and engine.pc == self._running[0]["return_pc"]:
            kernel, before = self._running
            self.records.append(LaunchRecord(kernel, counters_between(before, engine.counters), before.cycles))
            self._running = None
        if self._running is None and (kernel := self._kernels.get(engine.pc)) is not None:
            self._running = kernel, copy.deepcopy(engine.counters)
