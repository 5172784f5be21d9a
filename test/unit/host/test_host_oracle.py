"""The oracle against PyTorch in float64 (values) and against an emulated device (bounds), on captured graphs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, fx, nn

from atalla_mlir import zoo
from atalla_mlir.errors import InternalError
from atalla_mlir.frontend.capture import Captured, capture
from atalla_mlir.host import error_bound as eb
from atalla_mlir.host.integer_oracle import JUDGED
from atalla_mlir.host.oracle import RULES, Expansion, Plans, cone, evaluate
from atalla_mlir.host.sum_bound import SumPlan, default_block
from atalla_mlir.testing import emulation

aten = torch.ops.aten


class Call(nn.Module):
    """A function as a module."""

    def __init__(self, function: Callable[..., Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *args: Tensor) -> Tensor:
        return self.function(*args)


def operations(captured: Captured) -> list[fx.Node]:
    return [node for node in captured.graph.nodes if node.op == "call_function"]


def environment(captured: Captured, inputs: tuple[Tensor, ...]) -> dict[str, np.ndarray]:
    """Inputs and parameters as the device holds them."""
    tensors = {**captured.parameters, **dict(zip(captured.inputs, inputs, strict=True))}
    return {
        name: emulation.bf16(value.detach().float().numpy()) if value.is_floating_point() else value.numpy()
        for name, value in tensors.items()
    }


def plans_of(nodes: list[fx.Node]) -> Plans:
    """Sums over one axis in lanes, in blocks as the compiler has them."""
    sums = {}
    for node in nodes:
        if node.target is aten.sum.dim_IntList:
            source = node.args[0].meta["val"]  # pyright: ignore
            length = source.numel() // node.meta["val"].numel()
            sums[node.name] = SumPlan("lanes", default_block(-(-length // 32)))
    return Plans(sums)


def in_float64(nodes: list[fx.Node], env: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    values: dict[str, Any] = {
        name: torch.from_numpy(v.astype(np.float64) if v.dtype == np.float32 else v) for name, v in env.items()
    }
    for node in nodes:
        args, kwargs = (fx.map_arg(part, lambda n: values[n.name]) for part in (node.args, node.kwargs))
        kwargs = {k: torch.float64 if v is torch.float32 else v for k, v in kwargs.items()}  # pyright: ignore
        values[node.name] = node.target(*args, **kwargs)  # pyright: ignore
    return {node.name: values[node.name].numpy() for node in nodes}


def on_device(nodes: list[fx.Node], env: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Each node by itself on the emulated device, results stored as BF16."""
    values: dict[str, Any] = dict(env)
    for node in nodes:
        args, kwargs = (fx.map_arg(part, lambda n: values[n.name]) for part in (node.args, node.kwargs))
        values[node.name] = _device_node(node, args, kwargs)
    return {node.name: values[node.name] for node in nodes}


def _device_node(node: fx.Node, args: Any, kwargs: Any) -> np.ndarray:
    shape = tuple(node.meta["val"].shape)
    if node.target in (aten.mm.default, aten.bmm.default):
        a, b = (np.reshape(x, (-1, *x.shape[-2:])) for x in args)
        block = default_block(-(-a.shape[-1] // 32))
        return np.stack([emulation.gemm(x, y, block=block) for x, y in zip(a, b, strict=True)]).reshape(shape)
    if node.target is aten.sum.dim_IntList:
        source, dims = args[0], sorted(d % args[0].ndim for d in args[1])
        rows = np.moveaxis(source, dims, range(-len(dims), 0))
        rows = rows.reshape(*rows.shape[: source.ndim - len(dims)], -1)
        return emulation.lane_sum(rows, block=default_block(-(-rows.shape[-1] // 32))).reshape(shape)
    if node.target in (aten.div.Tensor, aten.div.Scalar):
        left, right = (np.asarray(x, np.float32) for x in args)
        return np.broadcast_to(emulation.divide(left, emulation.bf16(right)), shape)
    if node.target is aten.exp.default:
        return emulation.exponential(args[0])
    if node.target is aten.rsqrt.default:
        return emulation.reciprocal(emulation.square_root(args[0]))
    numbers = [emulation.bf16(a).item() if isinstance(a, float) else a for a in args]
    result = node.target(*map(_as_tensors, numbers), **kwargs)  # pyright: ignore
    return emulation.bf16(result.numpy()) if result.is_floating_point() else result.numpy()


def _as_tensors(argument: Any) -> Any:
    if isinstance(argument, (list, tuple)):
        return [_as_tensors(item) for item in argument]
    return torch.from_numpy(argument.copy()) if isinstance(argument, np.ndarray) else argument


def check(model: nn.Module, inputs: tuple[Tensor, ...]) -> None:
    """Values equal PyTorch's in float64; every intermediate of the device lies within its bound."""
    captured = capture(model, inputs)
    nodes = operations(captured)
    env = environment(captured, inputs)
    bounded = evaluate(nodes, env, plans_of(nodes))
    reference, device = in_float64(nodes, env), on_device(nodes, env)
    for node in nodes:
        found = bounded[node.name]
        np.testing.assert_allclose(found.value, reference[node.name], rtol=1e-9, atol=1e-9)
        broken = eb.outside(device[node.name].astype(np.float64), found)
        assert not broken.any(), f"{node.name} ({node.target}) in {broken.sum()} elements"


@pytest.mark.parametrize("name", ["basic", "mlp", "attention", "trace"])
def test_models_of_the_zoo(name: str) -> None:
    check(*zoo.build(name))


CASES: dict[str, tuple[Callable[..., Tensor], tuple[tuple[int, ...], ...]]] = {
    "layer_norm": (lambda x: torch.nn.functional.layer_norm(x, [100]), ((5, 100),)),
    "mean of two dims": (lambda x: x.mean((0, 2)), ((4, 5, 33),)),
    "softmax over the middle": (lambda x: torch.softmax(x, 1), ((3, 50, 7),)),
    "amax and amin": (lambda x: torch.amax(x, (0, 2)) - torch.amin(x, (0, 2)), ((4, 5, 7),)),
    "clamp": (lambda x: torch.clamp(x, -0.5, 0.7) + torch.clamp(x, max=0.1) * torch.clamp(x, min=0.2), ((9, 9),)),
    "where": (lambda x, y: torch.where(x + y > 0.3, x * y, x - y), ((40, 33), (40, 33))),
    "scaled add": (lambda x, y: torch.add(x, y, alpha=0.3) - torch.sub(y, x, alpha=2), ((8, 8), (8, 8))),
    "rsub and neg": (lambda x: (1.7 - x).abs() * -x, ((8, 8),)),
    "divide by tensors and numbers": (lambda x, y: x / (y.abs() + 0.1) + x / 3, ((8, 8), (8, 8))),
    "sqrt of a sum": (lambda x: (x * x).sum(-1, keepdim=True).sqrt() + x, ((8, 70),)),
    "views": (lambda x: torch.cat([x.transpose(0, 1)[1:3], x.reshape(7, 6)[:2]], 0), ((6, 7),)),
    "pad": (lambda x: torch.nn.functional.pad(x, (1, 2, 0, 3), value=0.3) * 2, ((6, 7),)),
    "expand": (lambda x, y: x.unsqueeze(1).expand(6, 4, 7) * y, ((6, 7), (4, 7))),
    "batched product": (lambda x, y: torch.matmul(x, y), ((2, 3, 5, 40), (3, 40, 6))),
    "product with a broadcast batch": (lambda x, y: torch.matmul(x, y), ((2, 1, 5, 40), (3, 40, 6))),
    "maximum and minimum": (lambda x, y: torch.maximum(x, y) * torch.minimum(x, 0.5 * y), ((5, 6), (5, 6))),
}


@pytest.mark.parametrize("name", CASES)
def test_operations(name: str) -> None:
    function, shapes = CASES[name]
    torch.manual_seed(0)
    check(Call(function), tuple(torch.randn(shape) for shape in shapes))


def test_masked_attention_gives_exact_zeros() -> None:
    captured = capture(
        Call(lambda q, k, v: torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)),
        tuple(torch.randn(1, 2, 6, 8) for _ in range(3)),
    )
    nodes = operations(captured)
    inputs = tuple(torch.randn(1, 2, 6, 8) for _ in range(3))
    bounded = evaluate(nodes, environment(captured, inputs), plans_of(nodes))
    weights = next(bounded[node.name] for node in nodes if node.target is aten.div.Tensor)
    masked = weights.value == 0
    assert masked.sum() == 2 * 15
    assert not weights.error[masked].any()
    assert np.isfinite(weights.error).all()


def test_a_cone_stops_at_known_values() -> None:
    captured = capture(Call(lambda x: (x + 1).exp() * 2), (torch.randn(3),))
    add, exp, mul = operations(captured)
    assert cone([mul], []) == [add, exp, mul]
    assert cone([mul], [add.name]) == [exp, mul]
    assert cone([exp, mul], [exp.name]) == [mul]
    assert cone([], []) == []


def test_operations_without_an_oracle_are_refused() -> None:
    captured = capture(Call(torch.lgamma), (torch.randn(3),))
    (lgamma,) = operations(captured)
    expected = r"^no oracle for aten.lgamma.default \(lgamma\): its result on the device cannot be verified$"
    with pytest.raises(InternalError, match=expected):
        evaluate([lgamma], {captured.inputs[0]: np.zeros(3)})


def test_a_missing_operand_is_named() -> None:
    captured = capture(Call(torch.exp), (torch.randn(3),))
    (exp,) = operations(captured)
    with pytest.raises(InternalError, match=rf"^the oracle of exp lacks the value of {captured.inputs[0]}$"):
        evaluate([exp], {})


def test_expanded_functions_need_a_stated_bound() -> None:
    graph = fx.Graph()
    x = graph.placeholder("x")
    node = graph.call_function(aten.tanh.default, (x,), name="t")
    node.meta["val"] = torch.zeros(3)
    message = "^the kernel of t states no error bound for aten.tanh.default$"
    with pytest.raises(InternalError, match=message):
        evaluate([node], {"x": np.zeros(3)})
    plans = Plans.from_json({"expansions": {"t": {"relative": 0.01, "absolute": 0.5}}})
    assert plans.expansions["t"] == Expansion(0.01, 0.5)
    found = evaluate([node], {"x": np.ones(3)}, plans)["t"]
    assert found.error == pytest.approx(0.5 + 0.01 * np.tanh(1), rel=1e-4)


def test_every_device_operation_has_an_oracle() -> None:
    from atalla_mlir.frontend import support

    missing = set(support.RULES) - set(RULES) - JUDGED
    assert not missing, sorted(map(str, missing))
