"""The reference of custom operations: what their author's function gives in float64, within the author's bound."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx

from atalla_mlir.errors import BadInputError, InternalError
from atalla_mlir.frontend.custom_operations import CustomOperation
from atalla_mlir.host import error_bound as eb
from atalla_mlir.host.error_bound import Array, Bounded


def custom_result(custom: CustomOperation, node: fx.Node, values: Mapping[str, Bounded]) -> Bounded:
    """The result of a call on what its kernel read; numbers are rounded to BF16 as the kernel gets them."""
    arguments = [_argument(argument, node, values) for argument in custom.given(node).values()]
    with torch.no_grad():
        value = _array(custom, custom.reference(*arguments), node)
        error = _array(custom, custom.error_bound(*arguments).expand(value.shape), node)
    if not (error >= 0).all():
        raise BadInputError(f"the error bound of {custom.overload} has negative elements or NaN")
    return eb.rounded(value, error)


def _argument(argument: Any, node: fx.Node, values: Mapping[str, Bounded]) -> Any:
    if isinstance(argument, fx.Node):
        operand = values[argument.name]
        if operand.error.any():
            raise InternalError(f"{argument.name}, which the kernel of {node.name} reads, is not known exactly")
        return torch.from_numpy(np.array(operand.value, np.float64))
    return float(eb.to_bf16(argument)) if isinstance(argument, float) else argument


def _array(custom: CustomOperation, result: Tensor, node: fx.Node) -> Array:
    shape = tuple(node.meta["val"].shape)
    if tuple(result.shape) != shape:
        raise BadInputError(f"the reference of {custom.overload} gives shape {list(result.shape)}, not {list(shape)}")
    return result.double().numpy()
