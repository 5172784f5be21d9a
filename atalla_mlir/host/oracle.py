"""The oracle: ATen nodes of a captured graph in float64, each with a bound on what the device may store.

One table maps an ATen overload to its rule. A node without a rule is an error, never a guess: what the compiler puts on
the device and this module cannot judge must not pass.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from torch import fx

from atalla_mlir.errors import InternalError
from atalla_mlir.frontend.custom_operations import find
from atalla_mlir.frontend.support import VIEWS
from atalla_mlir.host import error_bound as eb
from atalla_mlir.host import sum_bound
from atalla_mlir.host.custom_oracle import custom_result
from atalla_mlir.host.error_bound import Array, Bounded
from atalla_mlir.host.integer_oracle import integer_result
from atalla_mlir.host.sum_bound import SumPlan

aten = torch.ops.aten


@dataclass(frozen=True)
class Expansion:
    """The stated bound of a scalar function that the compiler expands into operations of the machine."""

    relative: float
    absolute: float


@dataclass(frozen=True)
class Plans:
    """What a kernel records about its arithmetic, by node name."""

    sums: Mapping[str, SumPlan] = field(default_factory=dict)
    expansions: Mapping[str, Expansion] = field(default_factory=dict)

    @classmethod
    def from_json(cls, kernel: Mapping[str, Any]) -> Plans:
        """The `sums` and `expansions` of a row of `meta.kernels`."""
        sums = {name: SumPlan.from_json(row) for name, row in kernel.get("sums", {}).items()}
        stated = kernel.get("expansions", {})
        return cls(sums, {name: Expansion(row["relative"], row["absolute"]) for name, row in stated.items()})

    def after(self, earlier: Plans) -> Plans:
        """These and what earlier kernels recorded: equal operations of a graph are computed once."""
        return Plans({**earlier.sums, **self.sums}, {**earlier.expansions, **self.expansions})


NO_PLANS = Plans()


def evaluate(
    nodes: Iterable[fx.Node], env: Mapping[str, Array | Bounded], plans: Plans = NO_PLANS
) -> dict[str, Bounded]:
    """Values of `nodes`, which are in the order of their graph, by name; `env` has what they read from outside."""
    values = {name: value if isinstance(value, Bounded) else eb.exact(value) for name, value in env.items()}
    results: dict[str, Bounded] = {}
    for node in nodes:
        results[node.name] = values[node.name] = _evaluate(node, values, plans)
    return results


def cone(outputs: Sequence[fx.Node], known: Iterable[str]) -> list[fx.Node]:
    """The operations between the values called `known` and `outputs`, in the order of the graph."""
    stop = frozenset(known)
    found: set[fx.Node] = set()
    pending = list(outputs)
    while pending:
        node = pending.pop()
        if node in found or node.op != "call_function" or node.name in stop:
            continue
        found.add(node)
        pending.extend(node.all_input_nodes)
    return [node for node in outputs[0].graph.nodes if node in found] if outputs else []


def _evaluate(node: fx.Node, values: Mapping[str, Bounded], plans: Plans) -> Bounded:
    custom = find(node.target)
    rule = RULES.get(node.target)
    result = integer_result(node, values) if custom is None else custom_result(custom, node, values)
    if result is None and rule is not None:
        result = rule(_Call(node, values, plans))
    if result is None:
        raise InternalError(f"no oracle for {node.target} ({node.name}): its result on the device cannot be verified")
    expected = tuple(node.meta["val"].shape)
    if result.shape != expected:
        raise InternalError(f"the oracle of {node.target} ({node.name}) gives shape {result.shape}, not {expected}")
    return result


@dataclass(frozen=True)
class _Call:
    """One node with access to the values of its operands."""

    node: fx.Node
    values: Mapping[str, Bounded]
    plans: Plans

    def argument(self, index: int, name: str = "", default: Any = None) -> Any:
        """An argument by position, or by keyword, as the graph spells it."""
        if index < len(self.node.args):
            return self.node.args[index]
        return self.node.kwargs.get(name, default)

    def bounded(self, argument: Any) -> Bounded:
        """The value of a node or of a number."""
        if isinstance(argument, fx.Node):
            if argument.name not in self.values:
                raise InternalError(f"the oracle of {self.node.name} lacks the value of {argument.name}")
            return self.values[argument.name]
        if isinstance(argument, (bool, int, float)):
            return eb.constant(float(argument))
        raise InternalError(f"the oracle of {self.node.name} cannot read {argument!r}")

    def operand(self, index: int, name: str = "") -> Bounded:
        return self.bounded(self.argument(index, name))

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.node.meta["val"].shape)

    @property
    def expansion(self) -> Expansion:
        stated = self.plans.expansions.get(self.node.name)
        if stated is None:
            raise InternalError(f"the kernel of {self.node.name} states no error bound for {self.node.target}")
        return stated


Rule = Callable[[_Call], Bounded]


# Pointwise


def _unary(function: Callable[[Bounded], Bounded]) -> Rule:
    return lambda call: function(call.operand(0))


def _binary(function: Callable[[Bounded, Bounded], Bounded]) -> Rule:
    return lambda call: function(call.operand(0), call.operand(1))


def _scaled(function: Callable[[Bounded, Bounded], Bounded]) -> Rule:
    """`function(x, alpha * y)`, as add and sub have it."""

    def rule(call: _Call) -> Bounded:
        alpha = call.argument(2, "alpha", 1)
        right = call.operand(1)
        return function(call.operand(0), right if alpha == 1 else eb.multiply(right, eb.constant(float(alpha))))

    return rule


def _add(call: _Call) -> Bounded:
    plan = call.plans.sums.get(call.node.name)
    if plan is not None and plan.kind == "initial":
        return sum_bound.with_initial(call.operand(0), call.operand(1), plan.depth)
    return _scaled(eb.add)(call)


def _reversed_subtract(call: _Call) -> Bounded:
    alpha = call.argument(2, "alpha", 1)
    left = call.operand(0)
    return eb.subtract(call.operand(1), left if alpha == 1 else eb.multiply(left, eb.constant(float(alpha))))


def _divide(call: _Call) -> Bounded:
    divisor = call.argument(1)
    if not isinstance(divisor, fx.Node):
        return eb.multiply(call.operand(0), eb.constant_reciprocal(float(divisor)))
    if divisor.target is aten.full.default:
        return eb.multiply(call.operand(0), eb.constant_reciprocal(float(divisor.args[1])))  # pyright: ignore
    stated = call.plans.expansions.get(call.node.name, Expansion(0.0, 0.0))
    return eb.divide(call.operand(0), call.bounded(divisor), stated.relative, stated.absolute)


def _maybe_expanded(function: Callable[[Bounded], Bounded]) -> Rule:
    """A function that the scalar unit has, unless the kernel says that it was expanded for rows."""
    return lambda call: _as_stated(call, function(call.operand(0)))


def _as_stated(call: _Call, result: Bounded) -> Bounded:
    stated = call.plans.expansions.get(call.node.name)
    return result if stated is None else eb.widened(result, stated.relative, stated.absolute)


def _clamp(call: _Call) -> Bounded:
    result = call.operand(0)
    low, high = call.argument(1, "min"), call.argument(2, "max")
    result = result if low is None else eb.maximum(result, call.bounded(low))
    return result if high is None else eb.minimum(result, call.bounded(high))


def _clamp_max(call: _Call) -> Bounded:
    return eb.minimum(call.operand(0), call.operand(1, "max"))


def _clamp_min(call: _Call) -> Bounded:
    return eb.maximum(call.operand(0), call.operand(1, "min"))


def _relu(call: _Call) -> Bounded:
    return eb.maximum(call.operand(0), eb.exact(0.0))


def _power(call: _Call) -> Bounded:
    exponent = call.argument(1)
    base = call.operand(0)
    if exponent == 0.5:
        return _as_stated(call, eb.square_root(base))
    if exponent == -0.5:
        return _as_stated(call, eb.reciprocal_root(base))
    if not isinstance(exponent, (int, float)) or exponent != int(exponent) or exponent == 0:
        raise InternalError(f"no oracle for the power {exponent} of {call.node.name}")
    positive = eb.power(base, abs(int(exponent)))
    return positive if exponent > 0 else _as_stated(call, eb.reciprocal(positive))


def _compare(relation: Callable[[Any, Any], Any]) -> Rule:
    return lambda call: eb.compare(relation, call.operand(0), call.operand(1))


def _select(call: _Call) -> Bounded:
    condition, yes, no = (call.operand(index) for index in range(3))
    return eb.select(condition, yes, no)


def _expanded(function: Callable[[Array], Array], lipschitz: float | None = None) -> Rule:
    def rule(call: _Call) -> Bounded:
        stated = call.expansion
        return eb.expanded(
            function, call.operand(0), relative=stated.relative, absolute=stated.absolute, lipschitz=lipschitz
        )

    return rule


def _sigmoid(x: Array) -> Array:
    with np.errstate(all="ignore"):
        return np.where(x >= 0, 1 / (1 + np.exp(-x)), np.exp(x) / (1 + np.exp(x)))


def _error_function(x: Array) -> Array:
    return torch.erf(torch.from_numpy(np.asarray(x))).numpy()


_GELU_SLOPE = 1.13
"""The largest slope of both forms of GELU."""


def _gelu(call: _Call) -> Bounded:
    approximate = call.argument(1, "approximate", "none")

    def gelu(x: Array) -> Array:
        return torch.nn.functional.gelu(torch.from_numpy(np.asarray(x)), approximate=approximate).numpy()

    return _expanded(gelu, _GELU_SLOPE)(call)


# Products and reductions


def _product(call: _Call) -> Bounded:
    return sum_bound.contraction(call.operand(0), call.operand(1), call.plans.sums.get(call.node.name))


def _convolution(call: _Call) -> Bounded:
    """Without padding, bias or transposition: a contraction of what the window sees with the weights."""
    stride, dilation, groups = call.argument(3), call.argument(5), call.argument(8)
    weight = call.operand(1)
    windows = windows_of(call.operand(0), weight.shape[2:], stride, dilation)
    return sum_bound.grouped_contraction(windows, weight, groups, call.plans.sums.get(call.node.name))


def _window_maximum(call: _Call) -> Bounded:
    windows = _pooled(call, call.argument(4, "dilation", [1, 1]))
    return _fold(eb.maximum, windows, len(call.shape)).moved(lambda array: array.reshape(call.shape))


def _window_sum(call: _Call) -> Bounded:
    windows = _pooled(call, [1, 1])
    return sum_bound.reduction(windows, call.plans.sums.get(call.node.name), call.argument(1, "kernel_size"))


def _pooled(call: _Call, dilation: Sequence[int]) -> Bounded:
    """For each result the elements of its window, in the last dimension."""
    kernel = call.argument(1, "kernel_size")
    windows = windows_of(call.operand(0), kernel, call.argument(2, "stride", None) or kernel, dilation)
    return windows.moved(lambda array: array.reshape([*call.shape, -1]))


def windows_of(operand: Bounded, kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int]) -> Bounded:
    """[batch, channels, *positions, *kernel]: what a window sees at each of its positions."""

    def move(array: Array) -> Array:
        reach = [d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True)]
        rank = len(kernel)
        seen = np.lib.stride_tricks.sliding_window_view(array, reach, axis=tuple(range(2, 2 + rank)))
        positions = tuple(slice(None, None, s) for s in stride)
        return seen[(slice(None), slice(None), *positions, *(slice(None, None, d) for d in dilation))]

    return operand.moved(move)


def _reduced_dims(call: _Call, rank: int) -> tuple[int, ...]:
    dims = call.argument(1, "dim", None)
    chosen = [dims] if isinstance(dims, int) else dims or range(rank)
    return tuple(dim % rank for dim in chosen) if rank else ()


def _sum(call: _Call) -> Bounded:
    operand = call.operand(0)
    dims = _reduced_dims(call, len(operand.shape))
    if not dims:
        return operand
    kept = [dim for dim in range(len(operand.shape)) if dim not in dims]
    rows = operand.moved(lambda array: array.transpose(*kept, *dims).reshape([*(array.shape[d] for d in kept), -1]))
    extents = [operand.shape[dim] for dim in dims]
    total = sum_bound.reduction(rows, call.plans.sums.get(call.node.name), extents)
    return total.moved(lambda array: array.reshape(call.shape))


def _extreme(choose: Callable[[Bounded, Bounded], Bounded]) -> Rule:
    """amax and amin, folded in halves: the result is an element, so the order does not matter."""

    def rule(call: _Call) -> Bounded:
        operand = call.operand(0)
        for dim in _reduced_dims(call, len(operand.shape)):
            operand = _fold(choose, operand, dim)
        return operand.moved(lambda array: array.reshape(call.shape))

    return rule


def _fold(choose: Callable[[Bounded, Bounded], Bounded], operand: Bounded, dim: int) -> Bounded:
    moved = operand.moved(lambda array: np.moveaxis(array, dim, 0))
    while (length := moved.shape[0]) > 1:
        half = length // 2
        folded = choose(moved.moved(lambda a, h=half: a[:h]), moved.moved(lambda a, h=half: a[h : 2 * h]))
        rest = moved.moved(lambda a, h=half: a[2 * h :])
        moved = eb.concatenate([folded, rest], 0) if length % 2 else folded
    return moved.moved(lambda array: np.moveaxis(array, 0, dim))


# Moves: PyTorch itself moves the elements of values and errors, so no rule of shapes is written twice.


def _move(call: _Call) -> Bounded:
    if any(isinstance(item, fx.Node) for item in call.node.all_input_nodes[1:]):
        raise InternalError(f"the oracle of {call.node.name} cannot move elements by a shape computed at run time")
    arguments = call.node.args[1:]

    def move(array: Array) -> Array:
        tensor = torch.from_numpy(np.ascontiguousarray(array))
        return call.node.target(tensor, *arguments, **call.node.kwargs).numpy()  # pyright: ignore

    return call.operand(0).moved(move)


def _same(call: _Call) -> Bounded:
    return call.operand(0)


def _concatenate(call: _Call) -> Bounded:
    # PyTorch skips empty tensors of rank 1 in a concatenation
    parts = [part for part in map(call.bounded, call.argument(0)) if part.shape != (0,)]
    return eb.concatenate(parts, call.argument(1, "dim", 0))


def _pad(call: _Call) -> Bounded:
    amounts = list(call.argument(1, "pad"))
    fill = eb.constant(float(call.argument(3 if call.node.target is aten.pad.default else 2, "value", 0.0) or 0.0))
    operand = call.operand(0)

    def move(array: Array, value: Array) -> Array:
        tensor = torch.from_numpy(np.ascontiguousarray(array))
        return aten.constant_pad_nd.default(tensor, amounts, float(value)).numpy()

    return Bounded(move(operand.value, fill.value), move(operand.error, fill.error))


def _full(call: _Call) -> Bounded:
    index = 0 if call.node.target is aten.scalar_tensor.default else 1
    fill = eb.constant(float(call.argument(index, "fill_value")))
    return fill.moved(lambda array: np.full(call.shape, array))


def _count(call: _Call) -> Bounded:
    start, step = float(call.argument(0, "start")), float(call.argument(2, "step", 1))
    return eb.exact(start + step * np.arange(call.shape[0]))


RULES: Mapping[Any, Rule] = MappingProxyType(
    {
        **dict.fromkeys((*VIEWS, aten.repeat.default), _move),
        **dict.fromkeys((aten.clone.default, aten.alias.default, aten.detach.default), _same),
        aten.cat.default: _concatenate,
        aten.constant_pad_nd.default: _pad,
        aten.pad.default: _pad,
        aten.full.default: _full,
        aten.arange.start_step: _count,
        aten.scalar_tensor.default: _full,
        aten.mm.default: _product,
        aten.bmm.default: _product,
        aten.convolution.default: _convolution,
        aten.max_pool2d.default: _window_maximum,
        aten.avg_pool2d.default: _window_sum,
        aten.sum.dim_IntList: _sum,
        aten.amax.default: _extreme(eb.maximum),
        aten.amin.default: _extreme(eb.minimum),
        aten.add.Tensor: _add,
        aten.add.Scalar: _scaled(eb.add),
        aten.sub.Tensor: _scaled(eb.subtract),
        aten.sub.Scalar: _scaled(eb.subtract),
        aten.rsub.Scalar: _reversed_subtract,
        aten.mul.Tensor: _binary(eb.multiply),
        aten.mul.Scalar: _binary(eb.multiply),
        aten.div.Tensor: _divide,
        aten.div.Scalar: _divide,
        aten.div.Tensor_mode: _divide,
        aten.neg.default: _unary(eb.negate),
        aten.abs.default: _unary(eb.absolute),
        aten.relu.default: _relu,
        aten.exp.default: _maybe_expanded(eb.exponential),
        aten.sqrt.default: _maybe_expanded(eb.square_root),
        aten.rsqrt.default: _maybe_expanded(eb.reciprocal_root),
        aten.reciprocal.default: _maybe_expanded(eb.reciprocal),
        aten.pow.Tensor_Scalar: _power,
        aten.maximum.default: _binary(eb.maximum),
        aten.minimum.default: _binary(eb.minimum),
        aten.clamp.default: _clamp,
        aten.clamp_min.default: _clamp_min,
        aten.clamp_max.default: _clamp_max,
        aten.where.self: _select,
        **{
            overload: _compare(relation)
            for name, relation in (
                ("eq", operator.eq),
                ("ne", operator.ne),
                ("lt", operator.lt),
                ("le", operator.le),
                ("gt", operator.gt),
                ("ge", operator.ge),
            )
            for overload in (getattr(aten, name).Tensor, getattr(aten, name).Scalar)
        },
        aten.sigmoid.default: _expanded(_sigmoid),
        aten.tanh.default: _expanded(np.tanh),
        aten.erf.default: _expanded(_error_function),
        aten.gelu.default: _gelu,
        aten.expm1.default: _expanded(np.expm1),
        aten.log1p.default: _expanded(np.log1p),
        aten.sin.default: _expanded(np.sin, 1.0),
        aten.cos.default: _expanded(np.cos, 1.0),
        aten.floor.default: _expanded(np.floor),
        aten.ceil.default: _expanded(np.ceil),
        aten.round.default: _expanded(np.rint),
        aten.log.default: _expanded(np.log),
    }
)
