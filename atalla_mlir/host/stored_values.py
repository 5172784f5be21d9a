"""What a loadable keeps for the host: parameters and constants that host operations read."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from atalla_mlir.errors import BadInputError
from atalla_mlir.frontend.arrays import dtype_named
from atalla_mlir.loadable.format import Loadable


def stored_values(loadable: Loadable) -> dict[str, Tensor]:
    """Name -> value of each of them."""
    return {name: _stored_value(loadable, name, row) for name, row in loadable.meta.get("host_values", {}).items()}


def _stored_value(loadable: Loadable, name: str, row: Mapping[str, Any]) -> Tensor:
    dtype, shape = dtype_named(row["dtype"]), list(row["shape"])
    if math.prod(shape) == 0:
        return torch.empty(shape, dtype=dtype)
    size = math.prod(shape) * dtype.itemsize
    for segment in loadable.data_segments:
        start = row["address"] - segment.address
        if start >= 0 and start + size <= len(segment.data):
            data = bytearray(segment.data[start : start + size])
            return torch.frombuffer(data, dtype=dtype).reshape(shape)
    raise BadInputError(f"the loadable lacks the {size} bytes of '{name}' at {row['address']:#x}")
