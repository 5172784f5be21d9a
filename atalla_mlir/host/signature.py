"""The calling convention of a program: arguments are checked and flattened, results are nested again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from atalla_mlir.errors import BadInputError
from atalla_mlir.frontend.arguments import decode_argument
from atalla_mlir.frontend.arrays import dtype_named


@dataclass(frozen=True)
class InputSpec:
    """A tensor that the caller passes."""

    name: str
    dtype: torch.dtype
    shape: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.name}: {_describe(self.dtype, self.shape)}"

    def check(self, value: object) -> Tensor:
        """`value` when it is the tensor that the program was compiled for."""
        if not isinstance(value, Tensor):
            raise BadInputError(f"input '{self.name}': expected a tensor, got {type(value).__name__}")
        if value.dtype is not self.dtype or tuple(value.shape) != self.shape:
            raise BadInputError(
                f"input '{self.name}': expected {_describe(self.dtype, self.shape)}, "
                f"got {_describe(value.dtype, tuple(value.shape))}"
            )
        if value.layout is not torch.strided:
            raise BadInputError(
                f"input '{self.name}': expected a dense tensor, got one of {value.layout}; use to_dense()"
            )
        if value.is_meta:
            raise BadInputError(f"input '{self.name}': a tensor on the device 'meta' has no values")
        return value.detach()


def _describe(dtype: torch.dtype, shape: tuple[int, ...]) -> str:
    return f"{str(dtype).removeprefix('torch.')}[{', '.join(map(str, shape))}]"


def described_arguments(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str:
    """The arguments of a call, for messages: tensors by type and shape, the rest by value."""
    leaves = pytree.tree_leaves((tuple(args), dict(kwargs)))
    texts = [_describe(v.dtype, tuple(v.shape)) if isinstance(v, Tensor) else repr(v) for v in leaves]
    return ", ".join(texts) or "no arguments"


@dataclass(frozen=True)
class Signature:
    """Flattening of arguments and nesting of results, as the model was captured."""

    inputs: tuple[InputSpec, ...]
    fixed: Mapping[int, Any]
    """Position among the flattened arguments -> the Python constant that the program was compiled for."""
    outputs: tuple[Mapping[str, Any], ...]
    in_spec: pytree.TreeSpec
    out_spec: pytree.TreeSpec

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Signature:
        inputs = [InputSpec(i["name"], dtype_named(i["dtype"]), tuple(i["shape"])) for i in row["inputs"]]
        return cls(
            inputs=tuple(inputs),
            fixed={int(position): decode_argument(value, {}) for position, value in row["fixed"].items()},
            outputs=tuple(row["outputs"]),
            in_spec=pytree.treespec_loads(row["in_spec"]),
            out_spec=pytree.treespec_loads(row["out_spec"]),
        )

    def flatten(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Tensor]:
        """Input name -> tensor; BadInputError says what differs from the captured arguments."""
        flat, spec = pytree.tree_flatten((tuple(args), dict(kwargs)))
        if len(flat) != self.in_spec.num_leaves:
            raise BadInputError(f"expected {self._expected()}, got {len(flat)} arguments")
        if spec != self.in_spec:
            raise BadInputError(f"arguments are nested differently than when compiled: expected {self._expected()}")
        for position, value in self.fixed.items():
            if flat[position] != value:
                raise BadInputError(
                    f"argument {position} was compiled as {value!r}, got {flat[position]!r}; compile again for it"
                )
        tensors = [value for position, value in enumerate(flat) if position not in self.fixed]
        return self.checked({spec.name: value for spec, value in zip(self.inputs, tensors, strict=True)})

    def takes(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
        """Whether these are arguments that `flatten` takes."""
        try:
            self.flatten(args, kwargs)
        except BadInputError:
            return False
        return True

    def checked(self, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """`values` when they are exactly the program's inputs."""
        names = [spec.name for spec in self.inputs]
        if set(values) != set(names):
            raise BadInputError(f"expected the inputs {', '.join(names)}, got {', '.join(values) or 'none'}")
        return {spec.name: spec.check(values[spec.name]) for spec in self.inputs}

    def nested_arguments(self, values: Mapping[str, Tensor]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Positional and keyword arguments of a call that passes `values`; the inverse of `flatten`."""
        tensors = iter(self.checked(values).values())
        count = self.in_spec.num_leaves
        flat = [self.fixed[position] if position in self.fixed else next(tensors) for position in range(count)]
        return pytree.tree_unflatten(flat, self.in_spec)

    def unflatten(self, values: Mapping[str, Tensor]) -> Any:
        """The results, nested as the model nests them."""
        flat = [
            decode_argument(row["constant"], {}) if "constant" in row else values[row["value"]] for row in self.outputs
        ]
        return pytree.tree_unflatten(flat, self.out_spec)

    def _expected(self) -> str:
        return f"{self.in_spec.num_leaves} arguments ({', '.join(map(str, self.inputs))})"
