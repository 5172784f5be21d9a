"""Every rule against PyTorch's own operation, and the imported form of each: primitive, no float64, no assertions."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, fx, nn
from torch.nn import functional

from atalla_mlir.frontend.capture import Captured, capture
from atalla_mlir.frontend.decompositions import table
from atalla_mlir.frontend.lower import import_plan
from atalla_mlir.frontend.partition import partition


class Apply(nn.Module):
    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *args: Tensor) -> Any:
        return self.function(*args)


def random(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape) + 1)).to(dtype)


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu6": functional.relu6,
    "hardtanh": lambda x: functional.hardtanh(x, -0.5, 0.7),
    "hardsigmoid": functional.hardsigmoid,
    "leaky relu": lambda x: functional.leaky_relu(x, 0.2),
    "elu": lambda x: functional.elu(x, 0.7),
    "celu": lambda x: functional.celu(x, 1.3),
    "selu": functional.selu,
    "silu": functional.silu,
    "glu": functional.glu,
    "softplus": lambda x: functional.softplus(x, beta=2),
    "softplus with a low threshold": lambda x: functional.softplus(x, threshold=1),
    "logsigmoid": functional.logsigmoid,
    "mish": functional.mish,
    "softsign": functional.softsign,
    "tanhshrink": functional.tanhshrink,
    "hardshrink": functional.hardshrink,
    "softshrink": functional.softshrink,
    "threshold": lambda x: functional.threshold(x, 0.3, -2.0),
    "exp2": torch.exp2,
    "2.5 ** x": lambda x: 2.5**x,
    "log2": lambda x: torch.log2(x.abs()),
    "log10": lambda x: torch.log10(x.abs()),
    "logit": lambda x: torch.logit(x, 0.1),
    "tan": torch.tan,
    "cosh": torch.cosh,
    "square": torch.square,
    "sign": lambda x: torch.sign(functional.relu(x) - 0.5 * functional.relu(-x)),
    "trunc": torch.trunc,
    "frac": torch.frac,
}
POWERS = (0, 1, 2, 3, 5, 6, 13, -1, -3, 0.5, -0.5, 1.5, 0.3, -1.7)


def power(exponent: float) -> Callable[[Tensor], Tensor]:
    return lambda x: x**exponent


def attention(**options: Any) -> nn.Module:
    return Apply(lambda q, k, v: functional.scaled_dot_product_attention(q, k, v, **options))


def batch_norm() -> nn.Module:
    module = nn.BatchNorm2d(4)
    module.running_mean = random(4)
    module.running_var = random(4).abs() + 0.5
    return module


HEADS = (random(2, 6, 4, 5), random(2, 6, 7, 5), random(2, 6, 7, 5))

CASES: dict[str, tuple[nn.Module, tuple[Tensor, ...]]] = {
    "linear of a vector": (nn.Linear(5, 7), (random(5),)),
    "linear of rank 4": (nn.Linear(5, 7, bias=False), (random(2, 3, 4, 5),)),
    "matmul with broadcast batch": (Apply(torch.matmul), (random(2, 1, 4, 5), random(3, 5, 6))),
    "matmul of matrix and batch": (Apply(torch.matmul), (random(4, 5), random(2, 3, 5, 6))),
    "matmul of vector and matrix": (Apply(torch.matmul), (random(5), random(5, 6))),
    "matmul of batch and vector": (Apply(torch.matmul), (random(3, 4, 5), random(5))),
    "dot": (Apply(torch.dot), (random(5), random(5))),
    "einsum": (Apply(lambda a, b: torch.einsum("bhqd,bhkd->bhqk", a, b)), (HEADS[0], HEADS[1])),
    "addmm": (Apply(lambda c, a, b: torch.addmm(c, a, b, beta=0.5, alpha=2)), (random(6), random(4, 5), random(5, 6))),
    "baddbmm": (Apply(torch.baddbmm), (random(2, 3, 5), random(2, 3, 4), random(2, 4, 5))),
    "addbmm": (Apply(torch.addbmm), (random(3, 5), random(2, 3, 4), random(2, 4, 5))),
    "softmax over the first axis": (Apply(lambda x: x.softmax(0)), (random(4, 5, 6),)),
    "softmax of one axis": (Apply(lambda x: x.softmax(-1)), (random(7),)),
    "softmax of bfloat16": (Apply(lambda x: x.softmax(-1)), (random(4, 7, dtype=torch.bfloat16),)),
    "mean": (Apply(lambda x: x.mean()), (random(3, 4),)),
    "mean over some axes": (Apply(lambda x: x.mean((0, 2), keepdim=True)), (random(3, 4, 5),)),
    "sum": (Apply(lambda x: x.sum()), (random(3, 4, 5),)),
    "amax": (Apply(lambda x: x.amax((0, 2))), (random(3, 4, 5),)),
    "min": (Apply(lambda x: x.min()), (random(3, 4, 5),)),
    "var": (Apply(lambda x: x.var(1)), (random(3, 4, 5),)),
    "std": (Apply(lambda x: x.std()), (random(3, 4, 5),)),
    "norm": (Apply(lambda x: x / x.norm(dim=-1, keepdim=True)), (random(3, 4),)),
    "norm 1": (Apply(lambda x: torch.linalg.vector_norm(x, 1)), (random(3, 4),)),
    "layer norm": (nn.LayerNorm(6), (random(4, 6),)),
    "rms norm": (nn.RMSNorm(6), (random(4, 6),)),
    "group norm": (nn.GroupNorm(2, 4), (random(2, 4, 3, 3),)),
    "batch norm": (batch_norm(), (random(2, 4, 3, 3),)),
    "attention": (attention(), HEADS),
    "causal attention": (attention(is_causal=True, scale=0.3), HEADS),
    "attention of grouped heads": (attention(enable_gqa=True), (HEADS[0], random(2, 3, 7, 5), random(2, 3, 7, 5))),
    "squares and roots": (Apply(lambda x: x**2 + x**3 - (x * x + 1) ** -0.5 + x.abs() ** 0.5), (random(3, 4),)),
    "reciprocal": (Apply(lambda x: 1 / x), (random(3, 4),)),
    "clamp": (Apply(lambda x: x.clamp(-1, 1) + x.clamp(min=0.1)), (random(3, 4),)),
    "activations": (
        Apply(lambda x: functional.hardswish(x) + functional.leaky_relu(x) + functional.relu6(4 * x)),
        (random(3, 4),),
    ),
    **{f"activation {name}": (Apply(function), (2 * random(5, 6),)) for name, function in ACTIVATIONS.items()},
    **{f"power {exponent}": (Apply(power(exponent)), (random(3, 4).abs() + 0.1,)) for exponent in POWERS},
    "parametric relu": (nn.PReLU(4), (random(3, 4, 5),)),
    "logaddexp": (Apply(torch.logaddexp), (random(3, 4), random(3, 5)[:, :4])),
    "where": (Apply(lambda x: torch.where(x > 0.1, x, -1.0)), (random(3, 4),)),
    "lerp": (Apply(lambda x, y: torch.lerp(x, y, 0.3)), (random(3, 4), random(3, 5)[:, :4])),
    "split and stack": (Apply(lambda x: torch.stack([*x.split(2, 1), *x.chunk(2, 1)])), (random(3, 4),)),
    "unbind": (Apply(lambda x: x.unbind(0)[1]), (random(3, 4),)),
    "squeeze": (Apply(lambda x: x.squeeze() + x.squeeze(1)), (random(3, 1, 4),)),
    "pad": (Apply(lambda x: functional.pad(x, (1, 2, 3, 0), value=1.5)), (random(3, 4),)),
}


def evaluate(captured: Captured, inputs: tuple[Tensor, ...]) -> list[Tensor]:
    """Outputs of the captured graph, operation by operation with PyTorch."""
    values = {**captured.parameters, **dict(zip(captured.inputs, inputs, strict=True))}
    results: dict[fx.Node, Any] = {}
    for node in captured.graph.nodes:
        if node.op == "placeholder":
            results[node] = values[node.name]
        elif node.op == "call_function":
            arguments = fx.map_arg((node.args, node.kwargs), results.__getitem__)
            results[node] = node.target(*arguments[0], **arguments[1])
    by_name = {node.name: value for node, value in results.items()}
    return [by_name[name] for name in captured.outputs if isinstance(name, str)]


@pytest.mark.parametrize("name", CASES)
def test_decomposed_model_computes_the_same(name: str) -> None:
    module, inputs = CASES[name]
    expected = module.eval()(*inputs)
    (result,) = evaluate(capture(module, inputs), inputs)
    # the same formula in another order: a few units in the last place of the dtype
    tolerance = 1e-2 if result.dtype is torch.bfloat16 else 2e-6
    torch.testing.assert_close(result, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", CASES)
def test_imported_model_is_linalg_in_its_own_type(name: str) -> None:
    module, inputs = CASES[name]
    plan = partition(capture(module, inputs))
    assert plan.host_steps == ()
    text = str(import_plan(plan))
    assert not re.search(r"f64|cf\.assert|torch\.|tm_tensor", text)


def test_weights_of_linear_layers_stay_matrices() -> None:
    plan = partition(capture(nn.Linear(5, 7), (random(2, 3, 5),)))
    text = str(import_plan(plan))
    assert "linalg.matmul ins(%collapsed, %arg1 : tensor<6x5xf32>, tensor<5x7xf32>)" in text
    assert "linalg.batch_matmul" not in text


def test_variance_without_degrees_of_freedom_is_not_a_number() -> None:
    (result,) = evaluate(capture(Apply(lambda x: x.var(1)), (random(3, 1),)), (random(3, 1),))
    assert result.isnan().all()


def test_scalar_functions_stay_whole() -> None:
    model = Apply(lambda x: functional.gelu(x) + x.sigmoid() + x.tanh() + x.erf() + x.log1p() + x.expm1() + x.sin())
    targets = {str(node.target) for node in capture(model, (random(3),)).graph.nodes}
    whole = ("gelu", "sigmoid", "tanh", "erf", "log1p", "expm1", "sin")
    assert {f"aten.{name}.default" for name in whole} <= targets


def test_table_is_made_once() -> None:
    assert table() is table()
