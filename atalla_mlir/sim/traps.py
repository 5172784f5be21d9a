"""How an instruction stops the machine: an exception that the engine turns into a `Trap` with PC, slot and text."""

from __future__ import annotations

from atalla_mlir.sim.engine import TrapKind


class TrapError(Exception):
    """Raised by an action before it changes anything."""

    def __init__(self, kind: TrapKind, message: str) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
