from __future__ import annotations

from collections.abc import Iterator

import ml_dtypes
import numpy as np
import pytest

from atalla_mlir import _mlir
from atalla_mlir._mlir import AffineForm, ir


@pytest.fixture(autouse=True)
def context() -> Iterator[ir.Context]:
    with _mlir.context() as context, ir.Location.unknown():
        yield context


def _affine_map(text: str) -> ir.AffineMap:
    return ir.AffineMapAttr(ir.Attribute.parse(f"affine_map<{text}>")).value


def test_affine_forms() -> None:
    assert _mlir.affine_forms(_affine_map("(d0, d1) -> (d0 * 2 + d1 * 3 - 7, 5, d1, -(d0 + 1) * 2)")) == (
        AffineForm((2, 3), -7),
        AffineForm((0, 0), 5),
        AffineForm((0, 1), 0),
        AffineForm((-2, 0), -2),
    )


def test_dims_of_a_form() -> None:
    assert AffineForm((2, 0, 1), 0).dims == (0, 2)
    assert AffineForm((0, 1), 0).single_dim == 1
    assert AffineForm((0, 1), 3).single_dim is None
    assert AffineForm((0, 2), 0).single_dim is None
    assert AffineForm((1, 1), 0).single_dim is None
    assert AffineForm((0, 0), 0).single_dim is None


@pytest.mark.parametrize("text", ["(d0) -> (d0 floordiv 2)", "(d0) -> (d0 mod 4)", "(d0)[s0] -> (d0 + s0)"])
def test_maps_that_are_not_linear(text: str) -> None:
    assert _mlir.affine_forms(_affine_map(text)) is None


def test_indexing_forms() -> None:
    source = """
    func.func @f(%a: tensor<4x8xf32>, %b: tensor<8x5xf32>, %c: tensor<4x5xf32>) -> tensor<4x5xf32> {
      %0 = linalg.matmul ins(%a, %b : tensor<4x8xf32>, tensor<8x5xf32>) outs(%c : tensor<4x5xf32>) -> tensor<4x5xf32>
      return %0 : tensor<4x5xf32>
    }"""
    (matmul,) = _mlir.operations(ir.Module.parse(source).operation, "linalg.matmul")
    dims = [[form.single_dim for form in forms or ()] for forms in _mlir.indexing_forms(matmul)]
    assert dims == [[0, 2], [2, 1], [0, 1]]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("7 : i32", 7),
        ("-1 : index", -1),
        ("0.5 : f32", 0.5),
        ("1.5 : bf16", 1.5),
        ("dense<2.5> : tensor<4xbf16>", 2.5),
        ("true", True),
        ("dense<[1, 2]> : tensor<2xi32>", None),
    ],
)
def test_scalar_constant(text: str, expected: float | None) -> None:
    module = ir.Module.parse(f"func.func @f() {{ %0 = arith.constant {text}  return }}")
    (constant,) = _mlir.operations(module.operation, "arith.constant")
    assert _mlir.scalar_constant(constant.result) == expected


def test_scalar_constant_of_other_values() -> None:
    module = ir.Module.parse("func.func @f(%a: i32) { %0 = arith.addi %a, %a : i32  return }")
    (sum_op,) = _mlir.operations(module.operation, "arith.addi")
    assert _mlir.scalar_constant(sum_op.result) is None
    assert _mlir.scalar_constant(sum_op.operands[0]) is None


def test_location_names_and_position() -> None:
    inner = ir.Location.name("linear", ir.Location.file("model.py", 12, 5))
    fused = ir.Location.fused([inner, ir.Location.name("relu")])
    location = ir.Location.callsite(fused, [ir.Location.file("main.py", 1, 1), ir.Location.name("caller")])
    assert _mlir.location_names(location) == ("linear", "relu", "caller")
    assert _mlir.file_position(location) == ("model.py", 12, 5)
    assert _mlir.location_names(ir.Location.unknown()) == ()
    assert _mlir.file_position(ir.Location.unknown()) is None


def test_fused_location_counts_each_once() -> None:
    a, b = _mlir.name_location("a"), _mlir.name_location("b")
    assert _mlir.fused_location([a, a]) == a
    assert _mlir.location_names(_mlir.fused_location([a, b, a])) == ("a", "b")


@pytest.mark.parametrize("dtype", [np.float32, np.int32, np.int64, ml_dtypes.bfloat16])
@pytest.mark.parametrize("shape", [(2, 3), (), (0, 4)])
def test_constants_round_trip(dtype: type, shape: tuple[int, ...]) -> None:
    array = np.arange(int(np.prod(shape))).astype(dtype).reshape(shape)
    back = _mlir.dense_to_numpy(_mlir.numpy_to_dense(array))
    assert back.dtype == array.dtype
    np.testing.assert_array_equal(back, array)


def test_splat_is_expanded() -> None:
    back = _mlir.dense_to_numpy(ir.Attribute.parse("dense<2.5> : tensor<2x3xbf16>"))
    np.testing.assert_array_equal(back.astype(np.float32), np.full((2, 3), 2.5))


def test_attribute_values() -> None:
    assert _mlir.integer_value(_mlir.i64_attr(-3)) == -3
    assert _mlir.integer_value(_mlir.bool_attr(True)) == 1
    assert _mlir.string_value(_mlir.string_attr("a")) == "a"
    assert _mlir.string_value(_mlir.symbol_attr("f")) == "f"
    with pytest.raises(TypeError, match=r'^expected an integer attribute, got "a"$'):
        _mlir.integer_value(_mlir.string_attr("a"))
    with pytest.raises(TypeError, match=r"^expected a string attribute, got 1 : i32$"):
        _mlir.string_value(_mlir.i32_attr(1))


def test_walk_visits_by_name() -> None:
    module = ir.Module.parse("func.func @f() { return }")
    seen: list[str] = []
    _mlir.walk(module.operation, lambda op: seen.append(op.name), post_order=False)
    assert seen == ["builtin.module", "func.func", "func.return"]
    seen.clear()
    _mlir.walk(module.operation, lambda op: seen.append(op.name), "func.func")
    assert seen == ["func.func"]
