"""Bodies of linalg operations as expression nodes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from atalla_mlir._mlir import ir, scalar_constant
from atalla_mlir.codegen.iteration import Combine, Node
from atalla_mlir.errors import UnsupportedError
from atalla_mlir.kernels.idioms import extreme, recognised
from atalla_mlir.kernels.integer_nodes import (
    FLAG_PREDICATES,
    FLOAT_PREDICATES,
    INTEGER_COMBINES,
    Addressing,
    integer_node,
    is_integer_operation,
)

_UNARY = {
    "arith.negf": "neg",
    "math.exp": "exp",
    "math.absf": "abs",
    "math.sqrt": "sqrt",
    "math.rsqrt": "rsqrt",
    "math.tanh": "tanh",
    "math.erf": "erf",
    "math.expm1": "expm1",
    "math.log": "log",
    "math.log1p": "log1p",
    "math.sin": "sin",
    "math.cos": "cos",
    "math.floor": "floor",
    "math.ceil": "ceil",
    "math.roundeven": "round",
    "arith.extf": "",
    "arith.truncf": "",
}
_BINARY = {
    "arith.addf": "add",
    "arith.subf": "sub",
    "arith.mulf": "mul",
    "arith.divf": "div",
    "arith.maximumf": "max",
    "arith.maxnumf": "max",
    "arith.minimumf": "min",
    "arith.minnumf": "min",
}
_COMBINES = {"add": Combine.ADD, "max": Combine.MAX, "min": Combine.MIN}


def read_body(
    block: ir.Block, leaves: Sequence[Node], accumulator: ir.Value, is_reduction: bool, addressing: Addressing
) -> tuple[Node, Combine | None]:
    """The expression that a generic's body yields; of a reduction, what is folded into the accumulator and how."""
    node = _BodyReader(block, leaves, addressing).node
    yielded = block.operations[len(block.operations) - 1].operands[0]
    if not is_reduction:
        return recognised(_as_number(node(yielded))), None
    if isinstance(yielded, ir.BlockArgument):
        raise UnsupportedError("a reduction that folds nothing")
    owner = yielded.owner.operation
    name = _BINARY.get(owner.name) or INTEGER_COMBINES.get(owner.name)
    if name not in _COMBINES:
        raise UnsupportedError(f"a reduction by {owner.name}")
    left, right = owner.operands
    if left == accumulator:
        return node(right), _COMBINES[name]
    if right == accumulator:
        return node(left), _COMBINES[name]
    raise UnsupportedError("a reduction that does not fold into its accumulator")


class _BodyReader:
    """The nodes of a body's values, each made once. No function refers to itself: that would keep all that is read."""

    def __init__(self, block: ir.Block, leaves: Sequence[Node], addressing: Addressing) -> None:
        self._block, self._leaves, self._addressing = block, leaves, addressing
        self._known: dict[ir.Value, Node] = {}

    def node(self, value: ir.Value) -> Node:
        if isinstance(value, ir.BlockArgument) and value.owner == self._block:
            if value.arg_number < len(self._leaves):
                return self._leaves[value.arg_number]
            raise UnsupportedError("a body that reads its initial value")
        if value not in self._known:
            self._known[value] = self._addressing.node(value, self.node) or _body_node(value, self.node)
        return self._known[value]


def _body_node(value: ir.Value, node: Callable[[ir.Value], Node]) -> Node:
    constant = scalar_constant(value)
    if constant is not None:
        return Node("constant", value=float(constant))
    op = value.owner.operation
    name = op.name
    if name in _UNARY:
        source = node(op.operands[0])
        return Node(_UNARY[name], (source,)) if _UNARY[name] else source
    if name in _BINARY:
        return Node(_BINARY[name], tuple(node(operand) for operand in op.operands))
    if name == "math.fpowi":
        return Node("powi", tuple(node(operand) for operand in op.operands))
    if name == "arith.select":
        condition, on_true, on_false = (node(operand) for operand in op.operands)
        condition = _as_condition(condition)
        return extreme(condition, on_true, on_false) or Node("select", (condition, on_true, on_false))
    if name in _LOGICAL and _is_boolean(value):
        left, right = (_as_number(node(operand)) for operand in op.operands)
        return _LOGICAL[name](left, right)
    if name == "arith.cmpf":
        predicate = FLOAT_PREDICATES[ir.IntegerAttr(op.attributes["predicate"]).value]
        return Node("cmp_" + predicate, tuple(node(operand) for operand in op.operands))
    if name == "arith.cmpi" and _is_boolean(op.operands[0]):
        left, right = (_as_number(node(operand)) for operand in op.operands)
        return Node("cmp_" + FLAG_PREDICATES[ir.IntegerAttr(op.attributes["predicate"]).value], (left, right))
    if is_integer_operation(op):
        return integer_node(op, node)
    raise UnsupportedError(f"operation {name} inside a linalg body")


# Booleans are stored as 0.0 and 1.0; a comparison is a condition until it must be a number.
_ZERO, _ONE = Node("constant", value=0.0), Node("constant", value=1.0)
_LOGICAL: dict[str, Callable[[Node, Node], Node]] = {
    "arith.andi": lambda left, right: Node("mul", (left, right)),
    "arith.ori": lambda left, right: Node("max", (left, right)),
    "arith.xori": lambda left, right: Node("select", (Node("cmp_une", (left, right)), _ONE, _ZERO)),
}


def _is_boolean(value: ir.Value) -> bool:
    return isinstance(value.type, ir.IntegerType) and ir.IntegerType(value.type).width == 1


def _as_number(node: Node) -> Node:
    return Node("select", (node, _ONE, _ZERO)) if node.op.startswith("cmp_") else node


def _as_condition(node: Node) -> Node:
    return node if node.op.startswith("cmp_") else Node("cmp_une", (node, _ZERO))
