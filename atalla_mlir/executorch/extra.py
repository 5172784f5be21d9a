"""The package `executorch`, which is an extra."""

from __future__ import annotations

import importlib.util

from atalla_mlir.errors import ConfigurationError


def require_executorch() -> None:
    """ConfigurationError that names the extra when the package is not there."""
    if importlib.util.find_spec("executorch") is None:
        raise ConfigurationError(
            "ExecuTorch programs need the extra 'executorch': pip install 'atalla-mlir[executorch]'"
        )
