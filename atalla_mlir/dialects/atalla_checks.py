"""What the operations of the `atalla` dialect verify about their attributes; False after an error was reported."""

from collections.abc import Sequence
from typing import Any, Optional

from atalla_mlir._mlir import ir
from atalla_mlir.target.machine import AX01


def fail(op: Any, message: str) -> bool:
    op.location.emit_error(f"'{op.operation.name}' op {message}")
    return False


def integer_attribute(op: Any, name: str) -> Optional[int]:
    attribute = op.attributes.get(name, None)
    return attribute.value if isinstance(attribute, ir.IntegerAttr) else None


def check_range(op: Any, name: str, low: int, high: int) -> bool:
    value = integer_attribute(op, name)
    if value is not None and not low <= value <= high:
        return fail(op, f"{name} must be in {low}..{high}, got {value}")
    return True


def check_word(op: Any, name: str, words: Sequence[str]) -> bool:
    attribute = op.attributes.get(name, None)
    if isinstance(attribute, ir.StringAttr) and attribute.value not in words:
        return fail(op, f"{name} must be one of {', '.join(words)}, got '{attribute.value}'")
    return True


def map_attribute(op: Any, name: str) -> Any:
    attribute = op.attributes.get(name, None)
    return attribute.value if isinstance(attribute, ir.AffineMapAttr) else None


def check_map(op: Any, name: str, num_ivs: int, num_results: Optional[int]) -> bool:
    affine_map = map_attribute(op, name)
    if affine_map is None:
        return fail(op, f"needs an affine map '{name}'")
    if affine_map.n_dims != num_ivs or affine_map.n_symbols:
        return fail(op, f"map '{name}' takes {affine_map.n_dims} indices, but the op has {num_ivs}")
    if num_results is not None and len(affine_map.results) != num_results:
        return fail(op, f"map '{name}' must have {num_results} results, got {len(affine_map.results)}")
    return True


def check_access(op: Any, num_ivs: int) -> bool:
    strides = op.attributes.get("strides", None)
    if not isinstance(strides, ir.DenseI64ArrayAttr):
        return fail(op, "needs 'strides', an array of one stride per dimension")
    rank = len(list(strides))
    return (
        check_map(op, "map", num_ivs, rank)
        and check_range(op, "cols", 1, AX01.vector_lanes)
        and check_range(op, "lane_dim", -1, rank - 1)
    )
