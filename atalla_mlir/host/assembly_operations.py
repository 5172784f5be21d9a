"""Kernels written by hand as PyTorch operations: declared with a reference, called from models, run on the device."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from atalla_mlir.errors import BadInputError
from atalla_mlir.firmware.assembly_kernel import AssemblyKernel
from atalla_mlir.firmware.expressions import Number
from atalla_mlir.firmware.kernel_description import read_kernel
from atalla_mlir.firmware.objects import object_to_bytes
from atalla_mlir.frontend import custom_operations
from atalla_mlir.frontend.custom_operations import CustomOperation

Reference = Callable[..., Tensor]


def assembly_operation(
    source: str | Path | AssemblyKernel, *, error_bound: Reference | None = None
) -> Callable[[Reference], AssemblyOperation]:
    """Make a kernel written in assembly an operation of PyTorch; decorates its reference.

        @atalla_mlir.assembly_operation("gated.s")
        def gated(gate, value, scale):
            return torch.relu(gate) * value * scale

    `source` is an assembly file with a description (docs/kernels.md). The reference computes the operation on the CPU,
    and in float64 what `verify` compares the kernel with. `error_bound`, called with the same arguments in float64,
    gives by how much each element may differ beside its rounding, where the description states no error.

    What is returned is called like the reference, also in models that are compiled.
    """
    kernel = source if isinstance(source, AssemblyKernel) else read_kernel(source)
    if (error_bound is None) == (kernel.error is None):
        both = "both '#! error' and error_bound" if error_bound else "neither '#! error' nor error_bound"
        raise BadInputError(
            f"{kernel.filename}: the error of {kernel.qualified_name} has {both}; one of them is needed"
        )
    return lambda reference: AssemblyOperation(kernel, reference, error_bound or _stated_bound(kernel, reference))


class AssemblyOperation:
    """An operation of PyTorch that runs as a kernel written by hand."""

    def __init__(self, kernel: AssemblyKernel, reference: Reference, error_bound: Reference) -> None:
        self.kernel = kernel
        self.reference = reference
        self._definition = torch.library.custom_op(
            kernel.qualified_name, self._on_cpu, mutates_args=(), schema=kernel.schema
        )
        self._definition.register_fake(self._without_values)
        self._definition.register_autograd(self._backward, setup_context=_keep_inputs)
        self.overload = getattr(getattr(torch.ops, kernel.namespace), kernel.name).default
        custom_operations.register(
            CustomOperation(self.overload, self._refusal, self._object_code, self._work, reference, error_bound)
        )

    def __call__(self, *args: Any, **kwargs: Any) -> Tensor:
        return self._definition(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<operation {self.kernel.qualified_name} from {self.kernel.filename}>"

    def _on_cpu(self, *args: Any) -> Tensor:
        expected = self._without_values(*args)
        result = self.reference(*args)
        if not isinstance(result, Tensor) or result.shape != expected.shape:
            got = f"shape {list(result.shape)}" if isinstance(result, Tensor) else type(result).__name__
            name, wanted = self.kernel.qualified_name, list(expected.shape)
            raise BadInputError(f"the reference of {name} gives {got}, its description {wanted}")
        return result.to(expected.dtype).contiguous()

    def _without_values(self, *args: Any) -> Tensor:
        tensors = [argument for argument in args if isinstance(argument, Tensor)]
        sizes = self.kernel.sizes([tensor.shape for tensor in tensors])
        return tensors[0].new_empty(self.kernel.result_shape(sizes))

    def _backward(self, ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients through the reference, which is computed once more."""
        with torch.enable_grad():
            tensors = [tensor.detach().requires_grad_(tensor.requires_grad) for tensor in ctx.saved_tensors]
            arguments = [tensors.pop(0) if scalar is None else scalar for scalar in ctx.scalars]
            result = self.reference(*arguments)
        wanted = [item for item in arguments if isinstance(item, Tensor) and item.requires_grad]
        found = list(torch.autograd.grad(result, wanted, gradient, allow_unused=True))
        return tuple(found.pop(0) if isinstance(a, Tensor) and a.requires_grad else None for a in arguments)

    def _values(self, arguments: Mapping[str, Any]) -> dict[str, Number]:
        """What the names in the description stand for in a call with these arguments."""
        sizes = self.kernel.sizes([tuple(arguments[tensor.name].shape) for tensor in self.kernel.tensors])
        return {**sizes, **{scalar.name: arguments[scalar.name] for scalar in self.kernel.scalars}}

    def _refusal(self, arguments: Mapping[str, Any]) -> str | None:
        return self.kernel.refusal(self._values(arguments))

    def _object_code(self, arguments: Mapping[str, Any]) -> bytes:
        return object_to_bytes(self.kernel.object_code(self.kernel.name, self._values(arguments)))

    def _work(self, arguments: Mapping[str, Any]) -> tuple[int, int]:
        values = self._values(arguments)
        return int(self.kernel.flops.value(values)), int(self.kernel.macs.value(values))


def _keep_inputs(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.scalars = [None if isinstance(item, Tensor) else item for item in inputs]
    ctx.save_for_backward(*(item for item in inputs if isinstance(item, Tensor)))


def _stated_bound(kernel: AssemblyKernel, reference: Reference) -> Reference:
    stated = kernel.error
    assert stated is not None

    def bound(*args: Any) -> Tensor:
        return reference(*args).abs() * stated.relative + stated.absolute

    return bound
