"""What atalla-opt tells about itself: passes and versions."""

from __future__ import annotations

import importlib.metadata
import platform

from atalla_mlir.passes import find_pass, pass_names
from atalla_mlir.passes.base import documented_options, summary
from atalla_mlir.version import VERSION


def passes_table() -> str:
    """Our passes in the order of the flow, each with its options below it."""
    lines: list[str] = []
    for name in pass_names():
        pass_class = find_pass(name)
        anchor = "" if pass_class.anchor == "builtin.module" else f" (on {pass_class.anchor})"
        lines.append(f"  {name:32} {summary(pass_class)}{anchor}")
        for option in documented_options(pass_class):
            default = str(option.default).lower() if isinstance(option.default, bool) else repr(option.default)
            lines.append(f"    {option.name:30} {option.help} (default {default})")
    return "\n".join(["passes (upstream's can be used too):", *lines])


def versions(program: str) -> str:
    packages = ("torch-mlir", "torch", "numpy", "ml_dtypes")
    lines = [f"{program} {VERSION}", f"Python {platform.python_version()}"]
    return "\n".join([*lines, *(f"{name} {importlib.metadata.version(name)}" for name in packages)])
