"""What functions cost that the lanes lack: operations of the shortest sequences known (`kernels.functions`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from atalla_mlir.codegen.iteration import Node, Stage


@dataclass(frozen=True)
class FunctionCost:
    """Lane operations for one row: `exponentials` on the EXP unit, `others` on the ALU or the multiplier."""

    others: int
    exponentials: int = 0


FUNCTION_COSTS: Mapping[str, FunctionCost] = MappingProxyType(
    {
        "sigmoid": FunctionCost(13, 1),  # a second exponential may stand for a copy
        "tanh": FunctionCost(23, 1),
        "erf": FunctionCost(30, 1),
        "gelu": FunctionCost(12, 2),
        "gelu_tanh": FunctionCost(14, 2),
        "expm1": FunctionCost(12, 1),
        "log": FunctionCost(47),
        "log1p": FunctionCost(53, 1),
        "sin": FunctionCost(44),
        "cos": FunctionCost(45),
        "floor": FunctionCost(9),
        "ceil": FunctionCost(9),
        "round": FunctionCost(7),
    }
)
"""By the name of the expression node."""

LATE_ADDITIONS: Mapping[str, int] = MappingProxyType({"gelu": 4, "gelu_tanh": 5})
"""Of a node that is computed beside sums: operations of the adder."""

ROOT_COSTS: Mapping[str, FunctionCost] = MappingProxyType(
    {"div": FunctionCost(38), "sqrt": FunctionCost(38), "rsqrt": FunctionCost(38)}
)
"""Of those that the scalar units have too, when their operand varies over the lanes."""

LONG_EPILOGUE = 10
"""Operations from which on the maps behind a product are a chain that iterations hardly overlap."""


def expansion(node: Node) -> FunctionCost | None:
    """What a node costs that the lanes lack; a division by a constant is a product."""
    if node.op == "div" and node.args[1].op == "constant":
        return None
    return FUNCTION_COSTS.get(node.op) or ROOT_COSTS.get(node.op)


def lane_operations(stage: Stage) -> tuple[int, int]:
    """Of the body of a stage, on the ALU and on the multiplier."""
    alu = mul = 0
    for node in stage.body.walk():
        cost = expansion(node)
        if cost is not None:
            alu, mul = alu + cost.others // 2, mul + cost.others // 2
        elif node.op in ("mul", "div"):
            mul += 1
        elif node.op in ("max", "min", "select"):
            alu, mul = alu + 1, mul + 1
        elif node.op not in ("load", "constant"):
            alu += 1
    return alu, mul


def epilogue_operations(epilogue: Sequence[Stage]) -> tuple[int, int]:
    """Of the maps behind a product on a row of its results, on the ALU and on the multiplier."""
    counts = [lane_operations(stage) for stage in epilogue]
    return sum(alu for alu, _ in counts), sum(mul for _, mul in counts)


def is_long(epilogue: Sequence[Stage]) -> bool:
    """Whether the maps behind a product are a chain that iterations hardly overlap."""
    return sum(epilogue_operations(epilogue)) >= LONG_EPILOGUE
