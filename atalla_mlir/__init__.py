"""atalla-mlir: PyTorch models on the Atalla Ax01.

    program = atalla_mlir.compile(model, (x,))
    y = program(x)

Nothing heavy is imported before it is used: neither PyTorch nor MLIR by `import atalla_mlir`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from atalla_mlir import version

if TYPE_CHECKING:
    from atalla_mlir.frontend.entry_points import EntryPoint
    from atalla_mlir.host.assembly_operations import assembly_operation
    from atalla_mlir.host.program import TorchProgram as Program
    from atalla_mlir.host.program import compile, load  # noqa: A004 - the public name
    from atalla_mlir.host.verify import verify

__version__ = version.VERSION

__all__ = ["EntryPoint", "Program", "__version__", "assembly_operation", "compile", "load", "verify"]

_LAZY = {
    "EntryPoint": ("atalla_mlir.frontend.entry_points", "EntryPoint"),
    "Program": ("atalla_mlir.host.program", "TorchProgram"),
    "assembly_operation": ("atalla_mlir.host.assembly_operations", "assembly_operation"),
    "compile": ("atalla_mlir.host.program", "compile"),
    "load": ("atalla_mlir.host.program", "load"),
    "verify": ("atalla_mlir.host.verify", "verify"),
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'atalla_mlir' has no attribute '{name}'")
    module, attribute = _LAZY[name]
    return getattr(importlib.import_module(module), attribute)


def __dir__() -> list[str]:
    return sorted([*globals(), *_LAZY])
