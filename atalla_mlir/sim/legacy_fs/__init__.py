"""`machine = legacy-fs`: the existing functional emulator's behaviour, defects included (machine reference 4.1, 8).

It exists so that `.in` files can be compared with that emulator. Nothing here is the Ax01 contract, and nothing of it
is used by the other engines.
"""

from __future__ import annotations

from atalla_mlir.sim.legacy_fs.engine import LegacyEngine

__all__ = ["LegacyEngine"]
