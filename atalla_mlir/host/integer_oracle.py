"""The oracle for whole numbers, booleans and what is addressed by them: PyTorch itself, on values known exactly."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx

from atalla_mlir.frontend.integers import ARG_EXTREMES, GATHERS, LOGICAL, SHIFTS
from atalla_mlir.host import error_bound as eb
from atalla_mlir.host.error_bound import Bounded

aten = torch.ops.aten

JUDGED = frozenset({*GATHERS, *LOGICAL, *ARG_EXTREMES, *SHIFTS, aten._to_copy.default})
"""Operations that only this module judges; others it judges where their results are whole numbers."""


def integer_result(node: fx.Node, values: Mapping[str, Bounded]) -> Bounded | None:
    """The result of a node that this module judges; None for one that the rules of floating numbers judge."""
    result: Tensor = node.meta["val"]
    operands = [values[n.name] for n in node.all_input_nodes if n.name in values]
    if len(operands) < len(node.all_input_nodes):
        return None
    if node.target in GATHERS:
        return _gathered(node, values)
    if node.target is aten._to_copy.default:
        return _converted(node, values[node.all_input_nodes[0].name])
    if result.dtype.is_floating_point:
        return None
    if all(operand.is_exact for operand in operands):
        return eb.exact(_computed(node, {name: value.value for name, value in values.items()}))
    if node.target in LOGICAL:
        decided = _computed(node, {name: value.value for name, value in values.items()})
        doubts = [np.broadcast_to(operand.error > 0, decided.shape) for operand in operands]
        return Bounded(decided, np.any(doubts, axis=0).astype(np.float64))
    return None


def _computed(node: fx.Node, arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    """What PyTorch makes of the operands, floating ones in float64, as float64.

    Whole numbers of any type have 32 bits, as on the device, so that only results of the model wrap to their own.
    """

    def tensor(operand: fx.Node) -> Tensor:
        dtype = operand.meta["val"].dtype
        array = torch.from_numpy(np.array(arrays[operand.name]))
        return array if dtype.is_floating_point else array.to(torch.bool if dtype is torch.bool else torch.int64)

    arguments, keywords = fx.map_arg(node.args, tensor), fx.map_arg(node.kwargs, tensor)
    result: Any = node.target(*arguments, **keywords)  # pyright: ignore[reportCallIssue]
    return (result.to(torch.int32) if result.dtype is torch.int64 else result).double().numpy()


def _gathered(node: fx.Node, values: Mapping[str, Bounded]) -> Bounded | None:
    """The elements and their errors from where exact numbers say."""
    source = node.all_input_nodes[0]
    if not all(values[n.name].is_exact for n in node.all_input_nodes if n is not source):
        return None
    others = {name: value.value for name, value in values.items()}
    found = values[source.name]
    value = _computed(node, {**others, source.name: found.value})
    # the errors of booleans are numbers too, and as booleans they are the same
    return Bounded(value, _computed(node, {**others, source.name: found.error}))


def _converted(node: fx.Node, operand: Bounded) -> Bounded | None:
    """Between types: whole numbers are rounded to BF16 once, numbers to whole ones toward zero."""
    before, after = node.all_input_nodes[0].meta["val"].dtype, node.meta["val"].dtype
    if before.is_floating_point == after.is_floating_point or before is torch.bool:
        return operand if after is not torch.bool else _truth(operand)
    if after is torch.bool:
        return _truth(operand)
    if after.is_floating_point:
        return eb.exact(eb.to_bf16(operand.value)) if operand.is_exact else eb.rounded(operand.value, operand.error)
    whole = np.trunc(operand.value)
    return Bounded(whole, np.where(operand.error > 0, np.ceil(operand.error), 0.0))


def _truth(operand: Bounded) -> Bounded:
    return eb.compare(np.not_equal, operand, eb.exact(0.0))
