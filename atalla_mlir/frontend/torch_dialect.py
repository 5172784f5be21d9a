"""A function of torch-mlir's torch dialect becomes a module of ATen operations.

Operations that depend on an input become nodes, whose fake tensors give the shapes. What depends on none is known:
integers among it (axes, sizes, indices) are computed here, because operations take them as arguments; weights and what
is made of them stay operations, so that they keep their names.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, fx, nn
from torch._ops import OpOverload
from torch._subclasses.fake_tensor import FakeTensorMode

from atalla_mlir._mlir import integer_value, ir, location_names, string_value
from atalla_mlir.errors import InternalError, UnsupportedError
from atalla_mlir.frontend.quiet_failure import quiet_failure

_FLOATING = re.compile(r",(f16|bf16|f32|f64)>$")
# what torch-mlir makes of two ONNX forms, and the ATen operations with the same arguments that are no custom ones
_PRIMS = {"torch.prims.squeeze": torch.ops.aten.squeeze.dims, "torch.prims.collapse": torch.ops.aten.flatten.using_ints}
_SIZES = re.compile(r"^!torch\.vtensor<\[([\d,]*)\]")
_ALIASES = frozenset({"torch.tensor_static_info_cast", "torch.copy.to_vtensor", "torch.copy.to_tensor"})


@dataclass(frozen=True)
class Place:
    """Where an operation comes from: a node of a model in a file."""

    path: Path
    line: int
    node: str
    kind: str

    def trace(self) -> str:
        """The place as a line of a Python traceback, the form in which graphs keep it."""
        return f'  File "{self.path.resolve()}", line {self.line}, in {self.node}\n'

    def __str__(self) -> str:
        return f"{self.kind} (node {self.line}, '{self.node}')"


class Literals(Protocol):
    """What `torch.vtensor.literal` operations stand for."""

    def name(self, location: Sequence[str]) -> str:
        """What the model calls a value whose operation has these names as location, "" for nothing."""
        ...

    def tensor(self, attribute: ir.Attribute) -> Tensor: ...


class _Known:
    """A value that depends on no input; computed, or made a node of the graph, when first asked for."""

    def __init__(self, compute: Callable[[], Any], make_node: Callable[[Any], Any]) -> None:
        self._compute = compute
        self._make_node = make_node

    @cached_property
    def real(self) -> Any:
        return self._compute()

    @cached_property
    def argument(self) -> Any:
        """What an operation of the graph takes for it."""
        return self._make_node(self)


@dataclass(frozen=True)
class _Traced:
    """A value that depends on an input: a node, or a list with nodes in it."""

    argument: Any


def graph_module(
    module: ir.Module, literals: Literals, places: Mapping[str, Place], names: Sequence[str], inputs: Sequence[Tensor]
) -> fx.GraphModule:
    """The public function of `module` for `inputs`, whose `names` become the parameters of `forward`."""
    functions = [op.operation for op in module.body.operations if "sym_visibility" not in op.operation.attributes]
    return _Reader(literals, places).read(functions[0], names, inputs)


class _Reader:
    def __init__(self, literals: Literals, places: Mapping[str, Place]) -> None:
        self._literals = literals
        self._places = places
        self._root = nn.Module()
        self._graph = fx.Graph()
        self._fake = FakeTensorMode()
        self._values: dict[ir.Value, _Known | _Traced] = {}
        self._taken: set[str] = set()

    def read(self, function: ir.Operation, names: Sequence[str], inputs: Sequence[Tensor]) -> fx.GraphModule:
        block = function.regions[0].blocks[0]
        for argument, name, value in zip(block.arguments, names, inputs, strict=True):
            node = self._graph.placeholder(self._unique(name))
            node.meta["val"] = self._fake.from_tensor(value)
            self._values[argument] = _Traced(node)
        with torch.no_grad():
            for view in block.operations:
                self._read(view.operation)
        return fx.GraphModule(self._root, self._graph).eval()

    def _read(self, op: ir.Operation) -> None:
        operands = [self._values[operand] for operand in op.operands]
        if op.name == "func.return":
            results = tuple(operand.argument for operand in operands)
            self._graph.output(results[0] if len(results) == 1 else results)
        elif op.name == "torch.vtensor.literal":
            self._values[op.results[0]] = self._literal(op)
        elif op.name.startswith("torch.constant."):
            self._values[op.results[0]] = _scalar(_constant(op))
        elif op.name == "torch.prim.ListConstruct":
            self._values[op.results[0]] = _list(operands)
        elif op.name == "torch.prim.NumToTensor.Scalar":
            self._values[op.results[0]] = self._computed(lambda: torch.tensor(_real(operands[0])), "")
        elif op.name == "torch.prim.tolist":
            self._values[op.results[0]] = self._computed(lambda: _real(operands[0]).tolist(), "")
        elif op.name == "torch.prim.ListUnpack":
            for index, result in enumerate(op.results):
                self._values[result] = self._element(operands[0], index)
        elif op.name in _ALIASES:
            self._values[op.results[0]] = operands[0]
        else:
            self._call(op, operands)

    def _element(self, values: _Known | _Traced, index: int) -> _Known | _Traced:
        if isinstance(values, _Known):
            return self._computed(lambda: values.real[index], "")
        listed = values.argument
        return _Traced(listed[index] if isinstance(listed, list) else self._item(listed, index))

    def _literal(self, op: ir.Operation) -> _Known:
        attribute = op.attributes["value"]
        return self._computed(
            lambda: self._literals.tensor(attribute), self._literals.name(location_names(op.location))
        )

    def _computed(self, compute: Callable[[], Any], name: str) -> _Known:
        """A known value that operations read as state of the module if it is a tensor."""

        def state(known: _Known) -> Any:
            return self._state(known.real, name) if isinstance(known.real, Tensor) else known.real

        return _Known(compute, state)

    def _state(self, value: Tensor, name: str) -> fx.Node:
        chosen = self._unique(name or "constant")
        if value.is_floating_point():
            self._root.register_parameter(chosen, nn.Parameter(value, requires_grad=False))
        else:
            self._root.register_buffer(chosen, value)
        # its module is complete only at the end, so the graph cannot check yet that the attribute exists
        node = self._graph.create_node("get_attr", chosen)
        node.meta["val"] = self._fake.from_tensor(value)
        return node

    def _call(self, op: ir.Operation, operands: Sequence[_Known | _Traced]) -> None:
        place = next((self._places[name] for name in location_names(op.location) if name in self._places), None)
        overload = _overload(op.name, place)
        if all(isinstance(operand, _Known) for operand in operands):
            self._known_call(op, overload, operands, place)
            return
        if op.name == "torch.aten.__interpolate.size_list_scale_list":
            operands = _without_corners(operands)
        node = self._node(overload, operands, place)
        value = node.meta["val"]
        _check_shapes(op, value, place)
        if overload is torch.ops.aten._shape_as_tensor.default:
            source: Any = node.args[0]
            shape = list(source.meta["val"].shape)
            self._values[op.results[0]] = self._computed(lambda: torch.tensor(shape, dtype=torch.int64), "")
        elif isinstance(value, (bool, int, float)):
            self._values[op.results[0]] = _scalar(value)
        elif len(op.results) == 1:
            self._values[op.results[0]] = _Traced(node)
        else:
            for index, result in enumerate(op.results):
                self._values[result] = _Traced(self._item(node, index))

    def _known_call(
        self, op: ir.Operation, overload: OpOverload, operands: Sequence[_Known | _Traced], place: Place | None
    ) -> None:
        whole = _Known(
            lambda: _apply(overload, [_real(operand) for operand in operands]),
            lambda _: self._node(overload, operands, place),
        )
        for index, result in enumerate(op.results):
            is_single = len(op.results) == 1
            real = (lambda: whole.real) if is_single else (lambda index=index: whole.real[index])
            if _FLOATING.search(str(result.type)):
                item = (lambda _: whole.argument) if is_single else (lambda _, at=index: self._item(whole.argument, at))
                self._values[result] = _Known(real, item)
            else:
                self._values[result] = self._computed(real, "")

    def _node(self, overload: OpOverload, operands: Sequence[_Known | _Traced], place: Place | None) -> fx.Node:
        args, kwargs = _bound(overload, [operand.argument for operand in operands])
        try:
            with quiet_failure(), self._fake:
                value = overload(*fx.map_arg(args, _fake_of), **fx.map_arg(kwargs, _fake_of))
        except Exception as error:
            raise UnsupportedError(f"ONNX {place or 'model'}: {overload} fails: {_first_line(error)}") from error
        node = self._graph.call_function(overload, args, kwargs)
        node.meta["val"] = value
        if place is not None:
            node.meta["stack_trace"] = place.trace()
        return node

    def _item(self, node: fx.Node, index: int) -> fx.Node:
        item = self._graph.call_function(operator.getitem, (node, index))
        item.meta["val"] = node.meta["val"][index]
        return item

    def _unique(self, name: str) -> str:
        """`name` as an identifier that nothing else has."""
        plain = re.sub(r"\W", "_", name)
        plain = plain if plain.isidentifier() else f"value_{plain}"
        number, chosen = 1, plain
        while chosen in self._taken:
            number, chosen = number + 1, f"{plain}_{number}"
        self._taken.add(chosen)
        return chosen


def _scalar(value: Any) -> _Known:
    return _Known(lambda: value, lambda _: value)


def _list(operands: Sequence[_Known | _Traced]) -> _Known | _Traced:
    if all(isinstance(operand, _Known) for operand in operands):
        return _Known(
            lambda: [_real(operand) for operand in operands], lambda _: [operand.argument for operand in operands]
        )
    return _Traced([operand.argument for operand in operands])


def _real(value: _Known | _Traced) -> Any:
    assert isinstance(value, _Known)
    return value.real


def _constant(op: ir.Operation) -> Any:
    match op.name.removeprefix("torch.constant."):
        case "int":
            return integer_value(op.attributes["value"])
        case "float":
            return ir.FloatAttr(op.attributes["value"]).value
        case "bool":
            return bool(integer_value(op.attributes["value"]))
        case "str":
            return string_value(op.attributes["value"])
        case _:
            return None


def _overload(name: str, place: Place | None) -> OpOverload:
    """`torch.aten.add.Tensor` as PyTorch's own operation."""
    if name in _PRIMS:
        return _PRIMS[name]
    parts = name.removeprefix("torch.").split(".")
    found: Any = torch.ops
    for part in (*parts, "default")[:3]:
        found = getattr(found, part, None)
    if parts[0] not in ("aten", "prims") or not isinstance(found, OpOverload):
        raise UnsupportedError(f"ONNX {place or 'model'}: torch-mlir makes '{name}' of it, which is no ATen operation")
    return found


def _bound(overload: OpOverload, values: Sequence[Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """`values`, in the order of the schema, as positional and keyword arguments."""
    schema = overload._schema.arguments
    args = [value for argument, value in zip(schema, values, strict=False) if not argument.kwarg_only]
    kwargs = {argument.name: value for argument, value in zip(schema, values, strict=False) if argument.kwarg_only}
    return tuple(args), kwargs


def _without_corners(operands: Sequence[_Known | _Traced]) -> list[_Known | _Traced]:
    """Arguments of an interpolation: PyTorch refuses `align_corners` for the nearest element, which has none."""
    mode = operands[3]
    is_nearest = isinstance(mode, _Known) and mode.real == "nearest"
    return [_scalar(None) if is_nearest and at == 4 else operand for at, operand in enumerate(operands)]


def _check_shapes(op: ir.Operation, value: Any, place: Place | None) -> None:
    """PyTorch must find the shape that the model's own inference gave, or the operation means something else."""
    for result, found in zip(op.results, value if isinstance(value, (tuple, list)) else [value], strict=False):
        stated = _SIZES.search(str(result.type))
        if stated is None or not isinstance(found, Tensor):
            continue
        sizes = [int(size) for size in stated[1].split(",") if size]
        if sizes != list(found.shape):
            raise InternalError(f"ONNX {place or 'model'}: shape {list(found.shape)} where the model has {sizes}")


def _apply(overload: OpOverload, values: Sequence[Any]) -> Any:
    args, kwargs = _bound(overload, values)
    return overload(*args, **kwargs)


def _fake_of(node: fx.Node) -> Any:
    return node.meta["val"]


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0].rstrip(".") if lines else type(error).__name__
