"""Operations that PyTorch runs: how they are written in a loadable's JSON and executed from it.

A value is `{"value": name}`; PyTorch's own types and non-finite numbers are one-key objects; the rest is plain JSON.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, fx

from atalla_mlir.errors import BadInputError, ConfigurationError, UnsupportedError

_NAMESPACES = {"dtype": torch, "layout": torch, "memory_format": torch}
_TYPES = {torch.dtype: "dtype", torch.layout: "layout", torch.memory_format: "memory_format"}


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
    for kind, key in _TYPES.items():
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
    if key == "device":
        return torch.device(content)
    if key in _NAMESPACES and isinstance(found := getattr(_NAMESPACES[key], content, None), _kind(key)):
        return found
    raise BadInputError(f"malformed argument of a host operation: {value!r}")


def _kind(key: str) -> type:
    return next(kind for kind, name in _TYPES.items() if name == key)


def operation(target: str) -> torch._ops.OpOverload:
    """The ATen or custom operation called `target` ("aten.sin.default")."""
    parts = target.split(".")
    if len(parts) != 3:
        raise BadInputError(f"malformed name of a host operation: '{target}'")
    namespace, name, overload = parts
    try:
        return getattr(getattr(getattr(torch.ops, namespace), name), overload)
    except AttributeError:
        raise ConfigurationError(
            f"PyTorch has no operation '{target}'; import the module that defines it before running the program"
        ) from None


def run_operation(step: Mapping[str, Any], values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Execute one host step; gives its results by name."""
    target = operation(step["target"])
    arguments = [decode_argument(argument, values) for argument in step["args"]]
    keywords = {name: decode_argument(argument, values) for name, argument in step["kwargs"].items()}
    with torch.no_grad():
        try:
            result = target(*arguments, **keywords)
        except (RuntimeError, TypeError, IndexError, ValueError) as error:
            first = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise BadInputError(f"host operation {step['target']} failed: {first}") from error
    return _by_name(step["outputs"], result)


def _by_name(names: Sequence[str | None], result: Any) -> dict[str, Tensor]:
    results = result if isinstance(result, (list, tuple)) else [result]
    return {name: value for name, value in zip(names, results, strict=True) if name is not None}
