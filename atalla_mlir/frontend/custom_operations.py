"""Custom operations with a kernel of their own: what the compiler must know of them, by PyTorch's overload."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, fx
from torch._ops import OpOverload


@dataclass(frozen=True)
class CustomOperation:
    """An operation that runs as one finished kernel, which takes its tensors in row-major order and gives one."""

    overload: OpOverload
    refusal: Callable[[Mapping[str, Any]], str | None]
    """Why the kernel does not do a call with these arguments, which are tensors and numbers by name."""
    object_code: Callable[[Mapping[str, Any]], bytes]
    """The kernel for a call with these arguments (`firmware.objects`)."""
    work: Callable[[Mapping[str, Any]], tuple[int, int]]
    """Floating-point operations, and multiply-accumulates among them, of a call with these arguments."""
    reference: Callable[..., Tensor]
    """The result of a call, computed by PyTorch in float64 when its tensors are that."""
    error_bound: Callable[..., Tensor]
    """Of a call in float64, by how much each element of the device's result may differ, beside its rounding."""

    def arguments(self, node: fx.Node) -> dict[str, Any]:
        """The arguments of a call by name, in the order of the schema, with the fake tensors of nodes."""
        return {name: fx.map_arg(value, lambda n: n.meta["val"]) for name, value in self.given(node).items()}

    def operands(self, node: fx.Node) -> tuple[fx.Node, ...]:
        """The tensors of a call in the order of the schema."""
        return tuple(value for value in self.given(node).values() if isinstance(value, fx.Node))

    def given(self, node: fx.Node) -> dict[str, Any]:
        """The arguments of a call by name, in the order of the schema, as the graph has them."""
        names = [argument.name for argument in self.overload._schema.arguments]
        given = {**dict(zip(names, node.args, strict=False)), **node.kwargs}
        return {name: given[name] for name in names}


_OPERATIONS: dict[OpOverload, CustomOperation] = {}


def register(operation: CustomOperation) -> None:
    """Let models that are compiled from now on run `operation` on the device."""
    _OPERATIONS[operation.overload] = operation


def find(target: object) -> CustomOperation | None:
    """The custom operation that a node of a graph calls, if it does."""
    return _OPERATIONS.get(target) if isinstance(target, OpOverload) else None
