"""The versions that matter for a result."""

from __future__ import annotations

import importlib.metadata

from atalla_mlir.version import VERSION


def versions(program: str) -> str:
    """One line for each: this package, PyTorch, torch-mlir, the loadable format, the default parameter set."""
    from atalla_mlir.loadable.format import FORMAT_VERSION
    from atalla_mlir.target.machine import AX01

    lines = [f"{program} {VERSION}"]
    lines += [f"  {name} {importlib.metadata.version(name)}" for name in ("torch", "torch-mlir")]
    lines += [
        f"  loadable format {'.'.join(map(str, FORMAT_VERSION))}",
        f"  parameter set {AX01.name} {AX01.digest()[:12]}",
    ]
    return "\n".join(lines)
