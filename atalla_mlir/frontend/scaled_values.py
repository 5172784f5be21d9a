"""What a factor reaches when it moves from a value into the constants that the value is made of.

`(q @ k) * f` is `((x @ (w * f) + b * f) @ k)`: products, sums, copies and products with anything else pass a factor on.
A power of two does so exactly. Of a product with a constant only some columns may be meant, as where one linear makes
queries, keys and values; so it is followed element by element what is scaled, from the constants to all readers.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, fx

from atalla_mlir.frontend.support import PRODUCTS, VIEWS

aten = torch.ops.aten

MAX_NODES = 64
"""Operations between a factor and the constants; a value that more of them make is left alone."""

_SUMS = frozenset({aten.add.Tensor, aten.sub.Tensor})
_FACTORS = frozenset({aten.mul.Tensor, aten.mul.Scalar})
_QUOTIENTS = frozenset({aten.div.Tensor, aten.div.Scalar})
_SAME_PLACES = frozenset({aten.clone.default, aten.neg.default})
_JOINING = frozenset({*PRODUCTS, aten.cat.default})
_RESHAPES = frozenset({aten.view.default, aten._unsafe_view.default, aten.reshape.default})


@dataclass(frozen=True, eq=False)
class ScaledConstant:
    """A constant that `reader` reads, and which of its elements are to be scaled (of its rank, or broadcast to it)."""

    reader: fx.Node
    constant: fx.Node
    elements: Tensor


def scaled_constants(
    value: fx.Node, reader: fx.Node, is_constant: Callable[[fx.Node], bool]
) -> tuple[ScaledConstant, ...] | None:
    """The constants that have to be scaled so that `reader` finds all of `value` scaled, and nobody else anything.

    None where there are no such constants.
    """
    way = _way(value, is_constant)
    if way is None:
        return None
    marks = {product: _wanted(product, way, is_constant) for product in way if _is_source(product, is_constant)}
    return _Followed(marks, reader, is_constant).constants() if marks else None


def _way(value: fx.Node, is_constant: Callable[[fx.Node], bool]) -> frozenset[fx.Node] | None:
    """The operations from products with constants to `value` that pass a factor on, all of them; None if others do."""
    done: set[fx.Node] = set()

    def reach(node: fx.Node, so_far: frozenset[fx.Node]) -> frozenset[fx.Node] | None:
        if node in so_far:
            return so_far
        if len(so_far) >= MAX_NODES or node in done:
            return None
        if _is_source(node, is_constant):
            return so_far | {node}
        for operands in _carriers(node, is_constant):
            found: frozenset[fx.Node] | None = so_far | {node}
            for operand in operands:
                found = None if found is None else reach(operand, found)
            if found is not None:
                return found
        done.add(node)
        return None

    return reach(value, frozenset())


def _is_source(node: fx.Node, is_constant: Callable[[fx.Node], bool]) -> bool:
    if node.target is aten.convolution.default:
        return is_constant(node.all_input_nodes[1]) and node.args[2] is None and not node.args[6]
    return node.target in PRODUCTS and any(map(is_constant, node.all_input_nodes))


def _carriers(node: fx.Node, is_constant: Callable[[fx.Node], bool]) -> tuple[tuple[fx.Node, ...], ...]:
    """Each way to scale what `node` gives: the operands that have to be scaled, beside constants."""
    operands = tuple(operand for operand in node.all_input_nodes if not is_constant(operand))
    if node.target in VIEWS or node.target in _SAME_PLACES:
        return (operands,) if operands else ()
    if node.target is aten.cat.default:
        return (operands,) if len(operands) == len(node.all_input_nodes) else ()
    if node.target in _SUMS:
        return (operands,) if operands and all(isinstance(arg, fx.Node) for arg in node.args) else ()
    if node.target in _FACTORS or node.target in PRODUCTS:
        return tuple((operand,) for operand in operands)
    if node.target in _QUOTIENTS and not node.kwargs:
        return (operands[:1],) if operands and operands[0] is node.args[0] else ()
    return ()


def _cells(product: fx.Node, is_constant: Callable[[fx.Node], bool]) -> list[int]:
    """The shape of a product's result with one element where all elements are made of the same ones of the constant."""
    shape = list(product.meta["val"].shape)
    if product.target is aten.convolution.default:
        return [extent if dim == 1 else 1 for dim, extent in enumerate(shape)]
    summed = -1 if is_constant(product.all_input_nodes[0]) else -2
    shape[summed] = 1
    return shape


def _wanted(product: fx.Node, way: Collection[fx.Node], is_constant: Callable[[fx.Node], bool]) -> Tensor:
    """Which elements of a product's result are needed on the way, a boolean for each."""
    shape = product.meta["val"].shape
    cells = torch.Size(_cells(product, is_constant))
    numbers = {product: torch.arange(cells.numel()).view(cells).expand(shape)}
    found = torch.zeros(cells.numel(), dtype=torch.bool)
    pending = [product]
    while pending:
        node = pending.pop()
        users = [user for user in node.users if user in way]
        for user in users:
            scaled = [operand for operand in user.all_input_nodes if operand in way]
            if user.target in _JOINING or len(scaled) > 1:
                found[_distinct(numbers[node]).flatten()] = True
            else:
                numbers[user] = _moved(user, node, numbers[node])
                pending.append(user)
        if not users:
            found[_distinct(numbers[node]).flatten()] = True
    return found.view(cells).expand(shape)


def _moved(node: fx.Node, operand: fx.Node, values: Tensor) -> Tensor:
    """`values` of the elements of `operand` where an operation with one such operand brings them."""
    if node.target in _RESHAPES:
        return values.reshape(node.meta["val"].shape)
    if node.target in VIEWS:
        arguments = fx.map_arg(node.args, lambda arg: values if arg is operand else arg)
        return node.target(*arguments, **node.kwargs)  # pyright: ignore[reportCallIssue, reportReturnType]
    return values.broadcast_to(node.meta["val"].shape)


def _distinct(values: Tensor) -> Tensor:
    """`values` without the dimensions along which they are broadcast."""
    return values[tuple(slice(0, 1) if stride == 0 else slice(None) for stride in values.stride())]


class _Followed:
    """Where scaled elements of products come to; `marks` are booleans for the elements of each value that has some."""

    def __init__(
        self, marks: Mapping[fx.Node, Tensor], reader: fx.Node, is_constant: Callable[[fx.Node], bool]
    ) -> None:
        self._marks = dict(marks)
        self._products = tuple(marks)
        self._reader = reader
        self._is_constant = is_constant
        self._found: list[ScaledConstant] = []

    def constants(self) -> tuple[ScaledConstant, ...] | None:
        """The constants to scale, if nothing but the reader sees scaled elements in the end, and it sees no others."""
        for product in self._products:
            self._note_source(product)
        order = {node: number for number, node in enumerate(self._reader.graph.nodes)}
        pending = {user for product in self._products for user in product.users}
        while pending:
            node = min(pending, key=order.__getitem__)
            pending.remove(node)
            if node is self._reader:
                continue
            mark = None if node in self._products else self._mark(node)
            if mark is None:
                return None
            if _distinct(mark).any():
                self._marks[node] = mark
                pending.update(node.users)
        return tuple(self._found) if self._is_seen() else None

    def _is_seen(self) -> bool:
        """Whether the reader finds one operand scaled throughout, and no other in part."""
        marks = [self._marks[operand] for operand in self._reader.all_input_nodes if operand in self._marks]
        return len(marks) == 1 and bool(_distinct(marks[0]).all())

    def _note_source(self, product: fx.Node) -> None:
        operand = next(filter(self._is_constant, reversed(product.all_input_nodes[:2])))
        cells = _cells(product, self._is_constant)
        mark = self._marks[product]
        elements = mark[tuple(slice(0, extent) for extent in cells)]
        if product.target is aten.convolution.default:
            elements = elements.transpose(0, 1)
        self._found.append(ScaledConstant(product, operand, elements))

    def _mark(self, node: fx.Node) -> Tensor | None:
        """Which elements of `node` are scaled; None if some are neither scaled nor as they were."""
        marked = [operand for operand in node.all_input_nodes if operand in self._marks]
        if not isinstance(node.meta.get("val"), Tensor) or not node.meta["val"].is_floating_point():
            return None
        if node.target in _SUMS:
            return self._mark_sum(node)
        if node.target is aten.cat.default:
            return self._mark_cat(node)
        if len(marked) != 1 or sum(arg is marked[0] for arg in node.args) != 1:
            return None
        mark = self._marks[marked[0]]
        if node.target in PRODUCTS:
            return torch.ones((), dtype=torch.bool).expand(node.meta["val"].shape) if _distinct(mark).all() else None
        is_carried = node.target in VIEWS or node.target in _SAME_PLACES or node.target in _FACTORS
        if is_carried or (node.target in _QUOTIENTS and not node.kwargs and node.args[0] is marked[0]):
            return _moved(node, marked[0], mark)
        return None

    def _mark_sum(self, node: fx.Node) -> Tensor | None:
        """Both terms are scaled in the same places; a constant one is, if need be."""
        shape = node.meta["val"].shape
        terms = [arg for arg in node.args if isinstance(arg, fx.Node) and not self._is_constant(arg)]
        marks = [self._marks[term].broadcast_to(shape) if term in self._marks else None for term in terms]
        first = marks[0]
        if first is None or not all(isinstance(arg, fx.Node) for arg in node.args):
            return None
        if any(mark is None or not _are_equal(first, mark) for mark in marks):
            return None
        for constant in filter(self._is_constant, node.all_input_nodes):
            elements = _for_operand(first, constant.meta["val"].shape)
            if elements is None:
                return None
            self._found.append(ScaledConstant(node, constant, elements))
        return first

    def _mark_cat(self, node: fx.Node) -> Tensor:
        parts = node.args[0]
        assert isinstance(parts, (list, tuple))
        dim = node.args[1] if len(node.args) > 1 else 0
        none = torch.zeros((), dtype=torch.bool)
        marks = [self._marks.get(part, none).broadcast_to(part.meta["val"].shape) for part in parts]  # pyright: ignore
        return torch.cat(marks, dim)  # pyright: ignore[reportArgumentType]


def _are_equal(left: Tensor, right: Tensor) -> bool:
    """Whether tensors of the same shape have the same elements."""
    if left is right:
        return True
    both = zip(left.stride(), right.stride(), strict=True)
    place = tuple(slice(0, 1) if strides == (0, 0) else slice(None) for strides in both)
    return torch.equal(left[place], right[place])


def _for_operand(mark: Tensor, shape: torch.Size) -> Tensor | None:
    """`mark` for an operand of `shape` that is broadcast; None if elements of it meet both kinds."""
    own = [1] * (mark.dim() - len(shape)) + list(shape)
    found = mark[tuple(slice(0, 1) if extent == 1 else slice(None) for extent in own)]
    if not _are_equal(found.broadcast_to(mark.shape), mark):
        return None
    return found.reshape(shape)
