"""Powers of two behind products become part of parameters, bit for bit; anything else stays where it is."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, fx, nn
from torch.nn import functional

from atalla_mlir.frontend.capture import Captured, capture
from atalla_mlir.frontend.entry_points import EntryPoint, plan_entries
from atalla_mlir.frontend.folded_scales import fold_scales

aten = torch.ops.aten
SCALES = (aten.mul.Tensor, aten.mul.Scalar, aten.div.Tensor, aten.div.Scalar)
WIDTH, HEADS, ROWS = 64, 4, 6
X = torch.randn(2, ROWS, WIDTH, generator=torch.Generator().manual_seed(0))


class Projections(nn.Module):
    """Linears of many kinds, and a function of them and an input."""

    cosines: Tensor

    def __init__(self, function: Callable[..., Any], *, width: int = WIDTH, bias: bool = True) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.query, self.key, self.value = (nn.Linear(width, width, bias=bias) for _ in range(3))
        self.joint = nn.Linear(width, 3 * width, bias=bias)
        self.columns = nn.Parameter(torch.randn(width, 3 * width))
        self.shifts = nn.Parameter(torch.randn(3 * width))
        self.heads = nn.Parameter(torch.randn(HEADS, width, 16))
        self.pixels = nn.Conv2d(width, 3 * width, 1)
        self.rows = nn.Parameter(torch.randn(16, width))
        self.attention = nn.MultiheadAttention(width, HEADS, batch_first=True)
        self.register_buffer("cosines", torch.randn(ROWS, 16))
        self.function = function

    def forward(self, x: Tensor) -> Any:
        return self.function(self, x)


def split(x: Tensor) -> Tensor:
    return x.unflatten(-1, (HEADS, -1)).transpose(1, 2)


def separate(m: Projections, x: Tensor) -> Tensor:
    return functional.scaled_dot_product_attention(split(m.query(x)), split(m.key(x)), split(m.value(x)))


def masked(m: Projections, x: Tensor) -> Tensor:
    q, k, v = split(m.query(x)), split(m.key(x)), split(m.value(x))
    return functional.scaled_dot_product_attention(q, k, v, is_causal=True)


def chunked(m: Projections, x: Tensor) -> Tensor:
    q, k, v = m.joint(x).chunk(3, dim=-1)
    return functional.scaled_dot_product_attention(split(q), split(k), split(v))


def unbound(m: Projections, x: Tensor) -> Tensor:
    q, k, v = m.joint(x).reshape(2, ROWS, 3, HEADS, 16).permute(2, 0, 3, 1, 4).unbind(0)
    return functional.scaled_dot_product_attention(q, k, v)


def of_heads(m: Projections, x: Tensor) -> Tensor:
    """Queries, keys and values of a head side by side: a scaled column for two that are not."""
    q, k, v = m.joint(x).unflatten(-1, (HEADS, 3, 16)).permute(3, 0, 2, 1, 4).unbind(0)
    return functional.scaled_dot_product_attention(q, k, v)


def transposed(m: Projections, x: Tensor) -> Tensor:
    q, k, v = torch.addmm(m.shifts, x.flatten(0, 1), m.columns).view(2, ROWS, -1).split(WIDTH, dim=2)
    return functional.scaled_dot_product_attention(split(q), split(k), split(v))


def packed(m: Projections, x: Tensor) -> Tensor:
    return m.attention(x, x, x, need_weights=False)[0]


def with_weights(m: Projections, x: Tensor) -> Tensor:
    return m.attention(x, x, x)[1]


def before(m: Projections, x: Tensor) -> Tensor:
    return (split(m.query(x)) * 0.25) @ split(m.key(x)).transpose(-1, -2)


def behind(m: Projections, x: Tensor) -> Tensor:
    return torch.softmax(split(m.query(x)) @ split(m.key(x)).transpose(-1, -2) / math.sqrt(16), -1)


def on_both(m: Projections, x: Tensor) -> Tensor:
    scale = torch.tensor(64**-0.25)
    return (m.query(x) * scale) @ (m.key(x) * scale).transpose(-1, -2)


def rotated(m: Projections, x: Tensor) -> Tensor:
    def turn(x: Tensor) -> Tensor:
        low, high = x.chunk(2, -1)
        return x * m.cosines + torch.cat([-high, low], -1) * m.cosines.flip(0)

    q, k, v = split(m.query(x)), split(m.key(x)), split(m.value(x))
    return functional.scaled_dot_product_attention(turn(q), turn(k), v)


def of_images(m: Projections, x: Tensor) -> Tensor:
    q, k, v = m.pixels(x.transpose(1, 2).unflatten(2, (2, 3))).flatten(2).chunk(3, dim=1)
    return (q.transpose(1, 2) @ k * 0.125).softmax(-1) @ v.transpose(1, 2)


def by_head(m: Projections, x: Tensor) -> Tensor:
    q = torch.bmm(x[:1].expand(HEADS, -1, -1), m.heads)
    return q @ x[0, :, :16].t() * 0.25


def from_the_left(m: Projections, x: Tensor) -> Tensor:
    return (m.rows @ x[0].t()).t() @ m.key(x)[0, :, :16].t() * 0.25


def shared_keys(m: Projections, x: Tensor) -> Tensor:
    q, k, v = split(m.query(x)), split(m.key(x))[:, :2], split(m.value(x))[:, :2]
    return functional.scaled_dot_product_attention(q, k, v, enable_gqa=True)


def keys_only(m: Projections, x: Tensor) -> Tensor:
    """The queries are an input, so the linear of the keys takes the scale."""
    return functional.scaled_dot_product_attention(split(x), split(m.key(x)), split(m.value(x)))


def twice(m: Projections, x: Tensor) -> Tensor:
    """Layers that share their parameters."""
    return separate(m, separate(m, x).transpose(1, 2).flatten(2))


def plain(m: Projections, x: Tensor) -> Tensor:
    return torch.relu(m.query(x) * 0.5)


def returned(m: Projections, x: Tensor) -> Tensor:
    return m.query(x) * 0.5


def averaged(m: Projections, x: Tensor) -> Tensor:
    return torch.relu((m.query(x) + m.key(x)) / 2)


FOLDED = (
    separate, masked, chunked, unbound, of_heads, transposed, packed, with_weights, before, behind, rotated, of_images,
    by_head, from_the_left, shared_keys, keys_only, twice, plain, returned, averaged,
)  # fmt: skip


def results(captured: Captured, x: Tensor) -> Sequence[Tensor]:
    module = fx.GraphModule(nn.Module(), captured.graph)
    values = {**captured.parameters, captured.inputs[0]: x}
    with torch.no_grad():
        names = [node.name for node in captured.graph.nodes if node.op == "placeholder"]
        return fx.Interpreter(module).run(*(values[name] for name in names))


def scales(captured: Captured) -> list[Any]:
    """Numbers that something is multiplied or divided by."""
    calls = [node for node in captured.graph.nodes if node.target in SCALES]
    full = [arg.args[1] for node in calls for arg in node.args if getattr(arg, "target", "") is aten.full.default]
    return [arg for node in calls for arg in node.args if isinstance(arg, (int, float))] + full


@pytest.mark.parametrize(
    ("function", "bias"),
    [*((function, True) for function in FOLDED), (separate, False), (chunked, False)],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_parameters_take_the_scale_and_results_are_the_same(function: Callable[..., Any], bias: bool) -> None:
    captured = capture(Projections(function, bias=bias), (X,))
    expected, size = results(captured, X), sum(value.numel() for value in captured.parameters.values())
    assert scales(captured)
    (folded,) = fold_scales([captured])
    folded.graph.lint()
    assert set(scales(folded)) <= {HEADS}, "the mean over heads has its own"
    assert all(map(torch.equal, results(folded, X), expected))
    assert len(folded.outputs) == len(expected)
    assert {node.name for node in folded.graph.nodes} >= {*folded.outputs, *folded.parameters}
    assert sum(value.numel() for value in folded.parameters.values()) <= size
    assert folded.constants <= set(folded.parameters)
    assert set(folded.targets) <= set(folded.parameters)


def test_a_scale_may_be_rounded_as_float32_is() -> None:
    captured = capture(Projections(on_both), (X,))
    (expected,) = results(captured, X)
    assert all(0.1249 < factor < 0.125 for factor in scales(captured))
    (folded,) = fold_scales([captured])
    assert not scales(folded)
    torch.testing.assert_close(results(folded, X)[0], expected, rtol=2.0**-22, atol=0)


def test_only_the_columns_of_the_queries_are_scaled() -> None:
    model = Projections(chunked)
    (folded,) = fold_scales([capture(model, (X,))])
    found = {tuple(value.shape): value for name, value in folded.parameters.items() if name.endswith("_scaled")}
    weight, bias = model.joint.weight.detach().t(), model.joint.bias.detach()
    factors = torch.ones(3 * WIDTH)
    factors[:WIDTH] = 0.25
    assert torch.equal(found[WIDTH, 3 * WIDTH], weight * factors)
    assert torch.equal(found[(3 * WIDTH,)], bias * factors)


def read_by_others(m: Projections, x: Tensor) -> tuple[Tensor, Tensor]:
    q = m.query(x)
    return q @ m.key(x).transpose(-1, -2) * 0.125 @ q.relu(), m.key(x)


def returned_too(m: Projections, x: Tensor) -> tuple[Tensor, ...]:
    q, k = m.query(x), m.key(x)
    return q @ k.transpose(-1, -2) * 0.125, q, k


def returned_as_they_are(m: Projections, x: Tensor) -> tuple[Tensor, ...]:
    qk = m.joint(x)
    return qk[..., :WIDTH] @ qk[..., WIDTH : 2 * WIDTH].transpose(-1, -2) * 0.125, qk


def overlapping(m: Projections, x: Tensor) -> Tensor:
    qk = m.joint(x)
    return qk[..., :WIDTH] @ qk[..., 1 : WIDTH + 1].transpose(-1, -2) * 0.125


def unequal_terms(m: Projections, x: Tensor) -> Tensor:
    return (m.query(x) + x) @ x.transpose(-1, -2) * 0.125


def shared_by_rows(m: Projections, x: Tensor) -> Tensor:
    """Each element of a bias meets the first and the second half of the columns, of which one is scaled."""
    both = (m.joint(x)[..., : 2 * WIDTH].unflatten(-1, (2, WIDTH)) + m.query.bias).unbind(2)
    return both[0] @ x.transpose(-1, -2) * 0.125 + both[1].sum()


def squared(m: Projections, x: Tensor) -> Tensor:
    q = m.query(x)
    return q * q * 0.25


def of_itself(m: Projections, x: Tensor) -> Tensor:
    q = m.query(x)
    return q @ q.transpose(-1, -2) * 0.125


def not_linear(m: Projections, x: Tensor) -> Tensor:
    return torch.relu(m.query(x)) @ torch.tanh(m.key(x)).transpose(-1, -2) * 0.125


def other_number(m: Projections, x: Tensor) -> Tensor:
    return m.query(x) @ m.key(x).transpose(-1, -2) * 0.1


def larger(m: Projections, x: Tensor) -> Tensor:
    return m.query(x) @ m.key(x).transpose(-1, -2) * 4


def with_a_number(m: Projections, x: Tensor) -> Tensor:
    return (m.query(x) + 1) @ x.transpose(-1, -2) * 0.125


def tied(m: Projections, x: Tensor) -> Tensor:
    """The same parameter makes something that is not scaled."""
    return m.query(x) @ x.transpose(-1, -2) * 0.125 + m.query(x.relu()).sum()


def differently_scaled(m: Projections, x: Tensor) -> Tensor:
    return (m.query(x) * 0.5).relu() + (m.query(x.relu()) * 0.25).relu()


def many_steps(m: Projections, x: Tensor) -> Tensor:
    for _ in range(40):
        x = x + m.query(x)
    return x * 0.5


@pytest.mark.parametrize(
    "function",
    [
        read_by_others, returned_too, returned_as_they_are, overlapping, unequal_terms, shared_by_rows, squared,
        of_itself, not_linear, other_number, larger, with_a_number, tied, differently_scaled, many_steps,
    ],
    ids=lambda function: function.__name__,
)  # fmt: skip
def test_what_others_see_or_what_is_inexact_stays(function: Callable[..., Any]) -> None:
    captured = capture(Projections(function), (X,))
    nodes, parameters = [str(node) for node in captured.graph.nodes], dict(captured.parameters)
    (folded,) = fold_scales([captured])
    assert [str(node) for node in folded.graph.nodes] == nodes
    assert dict(folded.parameters) == parameters


@pytest.mark.parametrize(
    ("dtype", "element", "is_folded"),
    [
        (torch.float32, 2.0**-124, True),
        (torch.float32, 2.0**-125, False),
        (torch.float32, 0.0, True),
        (torch.float32, math.inf, True),
        (torch.float32, math.nan, True),
        (torch.bfloat16, -(2.0**-124), True),
        (torch.bfloat16, -(2.0**-125), False),
        (torch.float16, 2.0**-12, True),
        (torch.float16, 2.0**-13, False),
    ],
)
def test_no_element_leaves_the_normal_numbers(dtype: torch.dtype, element: float, is_folded: bool) -> None:
    model = Projections(separate)
    with torch.no_grad():
        for parameter in model.query.parameters():
            parameter.fill_(1)
        model.query.bias[3] = element
    (folded,) = fold_scales([capture(model.to(dtype), (X.to(dtype),))])
    assert ("p_query_bias_scaled" in folded.parameters) == is_folded
    if is_folded:
        expected = torch.ones(WIDTH, dtype=dtype).index_fill(0, torch.tensor([3]), element) * 0.25
        assert torch.equal(folded.parameters["p_query_bias_scaled"].nan_to_num(7), expected.nan_to_num(7))


def test_elements_that_stay_may_be_as_small_as_they_like() -> None:
    model = Projections(chunked)
    with torch.no_grad():
        model.joint.bias[WIDTH + 1] = 2.0**-126
    (folded,) = fold_scales([capture(model, (X,))])
    assert folded.parameters["p_joint_bias_scaled"][WIDTH + 1] == 2.0**-126


class TwoCalls(nn.Module):
    def __init__(self, factor: float) -> None:
        super().__init__()
        self.layer = nn.Linear(WIDTH, WIDTH)
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x) @ x.transpose(-1, -2) * 0.125

    def other(self, x: Tensor) -> Tensor:
        return torch.relu(self.layer(x) * self.factor)


@pytest.mark.parametrize(("factor", "is_folded"), [(0.125, True), (0.25, False), (1.5, False)])
def test_entry_points_scale_a_parameter_alike_or_not_at_all(factor: float, is_folded: bool) -> None:
    plans = plan_entries(TwoCalls(factor), {"a": (X,), "b": EntryPoint((X[:1],), method="other")})
    first, second = (named.plan.captured.parameters for named in plans)
    assert set(first) == set(second)
    assert all(first[name] is second[name] for name in first if name.endswith("_scaled"))
    assert any(name.endswith("_scaled") for name in first) == is_folded
    assert all(name.endswith("_scaled") for name in first) == is_folded


def test_a_new_name_is_not_one_that_there_is() -> None:
    class Named(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w = nn.Parameter(torch.randn(WIDTH, WIDTH))
            self.w_scaled = nn.Parameter(torch.randn(WIDTH, WIDTH))

        def forward(self, x: Tensor) -> Tensor:
            return torch.relu(x @ self.w * 0.5) @ self.w_scaled

    model = Named()
    (folded,) = fold_scales([capture(model, (X[0],))])
    assert set(folded.parameters) == {"p_w_scaled", "p_w_scaled_1"}
    assert torch.equal(folded.parameters["p_w_scaled"], model.w_scaled)
    assert torch.equal(folded.parameters["p_w_scaled_1"], model.w / 2)
