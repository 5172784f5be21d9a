"""How tensors are stored in the device's DRAM: floating values as BF16, everything else as it is."""

from __future__ import annotations

import torch

from atalla_mlir.errors import UnsupportedError
from atalla_mlir.frontend.arrays import DTYPE_NAMES

_FLOATS = frozenset({"f64", "f32", "f16", "bf16"})


def stored_dtype(name: str) -> str:
    """The element type in DRAM of values that the model has as `name`."""
    return "bf16" if name in _FLOATS else name


def dtype_on_device(dtype: torch.dtype) -> str:
    """The short name of `dtype`; UnsupportedError when no tensor of it can lie on the device."""
    if dtype not in DTYPE_NAMES:
        name = str(dtype).removeprefix("torch.")
        raise UnsupportedError(
            f"tensors of {name} cannot lie on the device; there are {', '.join(DTYPE_NAMES.values())}"
        )
    return DTYPE_NAMES[dtype]
