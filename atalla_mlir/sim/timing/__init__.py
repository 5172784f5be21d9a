"""The cycle model of the Ax01 (machine reference 5.2 to 5.6 and 6); `docs/timing.md` is its description in words."""

from __future__ import annotations

from atalla_mlir.sim.timing.model import TimingModel

__all__ = ["TimingModel"]
