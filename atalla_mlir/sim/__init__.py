"""Simulator engines: the reference (executable specification), the native one, and the emulator's legacy mode."""

from __future__ import annotations

import sys
from functools import cache

from atalla_mlir.errors import BadInputError, ConfigurationError
from atalla_mlir.sim.engine import Counters, Engine, Lint, RunResult, StallCause, Trap, TrapKind
from atalla_mlir.target.machine import AX01, Machine

__all__ = [
    "ENGINES",
    "Counters",
    "Engine",
    "Lint",
    "RunResult",
    "StallCause",
    "Trap",
    "TrapKind",
    "create_engine",
]

ENGINES = ("auto", "reference", "native", "legacy-fs")


def create_engine(name: str = "auto", machine: Machine = AX01) -> Engine:
    """An engine by name; "auto" is the native engine when its library loads, else the reference engine."""
    if name == "legacy-fs":
        from atalla_mlir.sim.legacy_fs import LegacyEngine

        return LegacyEngine(machine)
    if name == "reference":
        from atalla_mlir.sim.reference import ReferenceEngine

        return ReferenceEngine(machine)
    if name in ("auto", "native"):
        return _native_or_reference(machine, required=name == "native")
    raise BadInputError(f"no engine '{name}'; there are {', '.join(ENGINES)}")


def _native_or_reference(machine: Machine, *, required: bool) -> Engine:
    from atalla_mlir.sim.native import NativeEngine

    try:
        return NativeEngine(machine)
    except ConfigurationError as error:
        if required:
            raise
        _notice(str(error))
    return create_engine("reference", machine)


@cache
def _notice(why: str) -> None:
    """Say once why the slower engine runs."""
    sys.stderr.write(f"atalla-mlir: running on the reference engine: {why}\n")
