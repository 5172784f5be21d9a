"""Operations that PyTorch runs for a loadable: each is found by its name and executed on the tensors it names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from atalla_mlir.errors import BadInputError, ConfigurationError
from atalla_mlir.frontend.arguments import decode_argument

# tensors need not lie in memory as they did when the model was captured: devices and rewrites change strides
_OF_ANY_STRIDES = {
    torch.ops.aten.view.default: torch.ops.aten.reshape.default,
    torch.ops.aten._unsafe_view.default: torch.ops.aten.reshape.default,
}


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
    named = operation(step["target"])
    target = _OF_ANY_STRIDES.get(named, named)
    arguments = [decode_argument(argument, values) for argument in step["args"]]
    keywords = {name: decode_argument(argument, values) for name, argument in step["kwargs"].items()}
    with torch.no_grad():
        try:
            result = target(*arguments, **keywords)
        except (RuntimeError, TypeError, IndexError, ValueError) as error:
            first = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise BadInputError(f"host operation {step['target']} failed: {first}") from error
    return _by_name(step["outputs"], result)


def _by_name(names: Sequence[str], result: Any) -> dict[str, Tensor]:
    results = result if isinstance(result, (list, tuple)) else [result]
    return dict(zip(names, results, strict=True))
