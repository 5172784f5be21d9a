"""The compiler as a part of a key: what it was built from decides what it makes of a kernel."""

from __future__ import annotations

import hashlib
import sys
from functools import cache
from importlib import metadata
from pathlib import Path

from atalla_mlir.version import VERSION

_PACKAGE = Path(__file__).parents[1]
_PARTS = (
    "_mlir.py",
    "cache",
    "codegen",
    "dialects",
    "firmware",
    "kernels",
    "mc",
    "passes",
    "pipeline.py",
    "target",
    "translate",
)
_DISTRIBUTIONS = ("numpy", "torch-mlir")


@cache
def compiler_digest() -> str:
    """SHA-256 over the sources of everything that turns a kernel into code, and over the versions below it."""
    digest = hashlib.sha256(f"{VERSION} {sys.version_info[:2]}\n".encode())
    for name in _DISTRIBUTIONS:
        digest.update(f"{name} {metadata.version(name)}\n".encode())
    for path in _sources():
        data = path.read_bytes()
        digest.update(f"{path.relative_to(_PACKAGE).as_posix()} {len(data)}\n".encode())
        digest.update(data)
    return digest.hexdigest()


def _sources() -> list[Path]:
    paths: list[Path] = []
    for part in _PARTS:
        place = _PACKAGE / part
        paths.extend([place] if place.is_file() else place.rglob("*.py"))
    return sorted(paths)
