"""Arguments of an operation as JSON: how host operations are written in a loadable and read back.

A value is `{"value": name}`; PyTorch's own types and non-finite numbers are one-key objects; the rest is plain JSON.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, fx

from atalla_mlir.errors import BadInputError, UnsupportedError

_TYPES = {"dtype": torch.dtype, "layout": torch.layout, "memory_format": torch.memory_format}


def encode_argument(value: Any) -> Any:
    """The JSON form of one argument of a node."""
    if isinstance(value, fx.Node):
        return {"value": value.name}
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else {"float": str(value)}
    if isinstance(value, (list, tuple)):
        return [encode_argument(item) for item in value]
    if isinstance(value, torch.device):
        return {"device": "cpu"}
    for key, kind in _TYPES.items():
        if isinstance(value, kind):
            return {key: str(value).removeprefix("torch.")}
    raise UnsupportedError(f"an argument of type {type(value).__name__} cannot be stored for the host: {value!r}")


def decode_argument(value: Any, values: Mapping[str, Tensor]) -> Any:
    """The argument that `encode_argument` wrote, with names replaced by tensors."""
    if isinstance(value, list):
        return [decode_argument(item, values) for item in value]
    if not isinstance(value, dict):
        return value
    if len(value) != 1:
        raise BadInputError(f"malformed argument of a host operation: {value!r}")
    key, content = next(iter(value.items()))
    if key == "value" and content in values:
        return values[content]
    if key == "float":
        return float(content)
    if key == "device" and content == "cpu":
        return torch.device("cpu")
    if key in _TYPES and isinstance(found := getattr(torch, str(content), None), _TYPES[key]):
        return found
    raise BadInputError(f"malformed argument of a host operation: {value!r}")
