"""Tensors on the device `atalla` and operations on them, beside the same on the CPU and as compiled models."""

from __future__ import annotations

import copy
import gc
import pickle
import random
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import atalla_mlir as atalla
from atalla_mlir import torch_device
from atalla_mlir.errors import ConfigurationError, LimitError, UnsupportedError
from atalla_mlir.target.machine import AX01

X = torch.linspace(-3, 3, 48).reshape(6, 8).bfloat16().float()
W = torch.linspace(-1, 1, 40).reshape(8, 5).bfloat16().float()


@pytest.fixture(autouse=True)
def counted_from_zero() -> None:
    gc.collect()
    torch_device.reset_statistics()


class Applied(nn.Module):
    """A function as a model."""

    def __init__(self, function: Callable[..., Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *operands: Tensor) -> Tensor:
        return self.function(*operands)


@pytest.mark.parametrize(
    ("function", "operands"),
    [
        (torch.mm, (X, W)),
        (torch.add, (X, X[:1])),
        (torch.relu, (X,)),
        (torch.exp, (X,)),
        (lambda x: x.sum(1), (X,)),
        (lambda x, w: torch.addmm(x[:, :5], x, w), (X, W)),
        (lambda x: torch.softmax(x, -1), (X,)),
        (lambda x: nn.functional.layer_norm(x, (8,)), (X,)),
    ],
)
def test_an_operation_gives_the_bits_of_the_compiled_model(
    function: Callable[..., Tensor], operands: tuple[Tensor, ...]
) -> None:
    there = function(*(operand.to("atalla") for operand in operands))
    assert there.device == torch.device("atalla", 0)
    assert torch.equal(there.cpu(), atalla.compile(Applied(function), operands)(*operands))
    assert not torch_device.statistics().fallbacks


def test_views_share_the_memory_of_their_base() -> None:
    x = X.to("atalla")
    row = x[2, 1::2]
    row.fill_(7.0)
    expected = X.clone()
    expected[2, 1::2] = 7.0
    assert torch.equal(x.cpu(), expected)
    assert torch.equal(x.t()[1:3].cpu(), expected.t()[1:3])
    assert torch.equal(x.view(3, 16).cpu(), expected.view(3, 16))
    assert torch_device.memory_stats().num_blocks == 1


@pytest.mark.parametrize("operand", [X.t(), X[1:5], X[:, 2:6], X.reshape(2, 3, 8).permute(2, 0, 1), X[::2, ::3]])
def test_kernels_read_views(operand: Tensor) -> None:
    base = X.to("atalla")
    there = base.as_strided(operand.shape, operand.stride(), operand.storage_offset())
    assert torch.equal((there + there).cpu(), operand + operand)


def test_in_place_operations_change_their_operand() -> None:
    x = X.to("atalla")
    y = x
    x += 1
    x[0].mul_(2)
    x.clamp_(min=0)
    expected = X + 1
    expected[0] *= 2
    assert y is x
    assert torch.equal(y.cpu(), expected.bfloat16().float().clamp(min=0))


def test_kernels_are_compiled_once_for_shape_and_type() -> None:
    x, w = X.to("atalla"), W.to("atalla")
    for _ in range(3):
        torch.mm(x, w)
    torch.mm(x[:3], w)
    torch.mm(x.bfloat16(), w.bfloat16())
    done = torch_device.statistics()
    assert done.compiled_calls + done.cache_hits == 5
    torch_device.reset_statistics()
    torch.mm(x, w)
    assert (torch_device.statistics().compiled_calls, torch_device.statistics().cache_hits) == (0, 1)


def test_arguments_that_are_equal_but_of_other_types_are_other_calls() -> None:
    x = torch.ones(4).to("atalla")
    assert torch.add(x, 1).dtype is torch.add(x, 1.0).dtype is torch.float32
    assert torch.sum(x, 0, keepdim=True).shape == (1,)
    assert torch.sum(x, 0, keepdim=False).shape == ()
    assert torch_device.statistics().launches == 4


def test_the_rest_runs_on_the_cpu_and_is_counted() -> None:
    values, order = torch.sort(X.to("atalla"), dim=1, descending=True)
    expected = torch.sort(X, dim=1, descending=True)
    assert torch.equal(values.cpu(), expected[0]) and torch.equal(order.cpu(), expected[1])
    assert values.device.type == order.device.type == "atalla"
    assert torch_device.statistics().fallbacks == {"aten.sort.default": 1}
    assert "aten.sort" in torch_device.statistics().reasons["aten.sort.default"]


@pytest.mark.parametrize(
    "function",
    [
        lambda d: torch.zeros(2, 3, device=d),
        lambda d: torch.full((2,), 2.5, device=d),
        lambda d: torch.tensor([[1, 2], [3, 4]], device=d),
        lambda d: torch.arange(5, device=d),
        lambda d: torch.linspace(0, 1, 5, device=d),
        lambda d: torch.eye(3, device=d),
        lambda d: torch.ones_like(torch.zeros(2, device=d)),
        lambda d: torch.tensor([True, False], device=d),
        lambda d: torch.arange(6, device=d)[torch.tensor([1, 3])],
        lambda d: torch.where(torch.tensor([True, False], device=d), torch.tensor(1.0, device=d), 0.0),
    ],
)
def test_factories_make_the_same_tensors(function: Callable[[str], Tensor]) -> None:
    there, here = function("atalla"), function("cpu")
    assert there.device.type == "atalla"
    assert there.dtype is here.dtype
    assert torch.equal(there.cpu(), here.bfloat16().to(here.dtype) if here.is_floating_point() else here)


def test_indices_and_conditions_reach_kernels() -> None:
    table, tokens = X.to("atalla"), torch.tensor([[3, 0], [5, 3]])
    assert torch.equal(nn.functional.embedding(tokens.to("atalla"), table).cpu(), X[tokens])
    assert torch.equal(torch.where(table > 0, table, -table).cpu(), X.abs())
    assert torch.equal(torch.argmax(table, 1).cpu(), torch.argmax(X, 1))
    assert not torch_device.statistics().fallbacks


def test_integers_stay_exact() -> None:
    large = torch.tensor([2**40, -(2**33), 5])
    there = large.to("atalla")
    assert torch.equal((there + there).cpu(), large + large)
    assert torch.equal((there > 7).cpu(), large > 7)
    reasons = torch_device.statistics().reasons
    assert "could overflow" in reasons["aten.add.Tensor"]
    assert "does not fit in the device's i32" in reasons["aten.gt.Scalar"]


def test_floats_are_bf16_in_memory_and_keep_their_type() -> None:
    value = torch.tensor([1.0 + 2**-12, 3.0e38])
    there = value.to("atalla")
    assert there.dtype is torch.float32
    assert torch.equal(there.cpu(), value.bfloat16().float())


def test_convolutions_read_images_as_they_lie_in_memory() -> None:
    x, weight = (torch.randn(*shape).bfloat16().float() for shape in ((1, 3, 6, 7), (4, 3, 3, 3)))
    y = nn.functional.conv2d(x.to("atalla"), weight.to("atalla"), padding=1)
    twice = nn.functional.max_pool2d(y, 2)
    expected = nn.functional.max_pool2d(nn.functional.conv2d(x, weight, padding=1), 2)
    # nine taps are rounded and added: no term takes part in more than ten roundings of sums below its magnitude
    magnitude = nn.functional.max_pool2d(nn.functional.conv2d(x.abs(), weight.abs(), padding=1), 2)
    assert ((twice.cpu() - expected).abs() <= ((1 + 2**-9) ** 10 - 1) * magnitude).all()


def test_pooling_finds_positions_only_when_they_are_read() -> None:
    x = torch.randn(1, 2, 6, 6).bfloat16().float()
    values, positions = nn.functional.max_pool2d_with_indices(x.to("atalla"), (2, 2))
    assert not torch_device.statistics().fallbacks
    expected = nn.functional.max_pool2d_with_indices(x, (2, 2))
    assert torch.equal(values.cpu(), expected[0]) and torch.equal(positions.cpu(), expected[1])
    assert torch_device.statistics().fallbacks.total() == 1


def test_modules_move_to_the_device_and_back() -> None:
    layer = nn.Linear(8, 5)
    there = copy.deepcopy(layer).to("atalla")
    assert {p.device.type for p in there.parameters()} == {"atalla"}
    with torch.no_grad():
        assert torch.allclose(there(X.to("atalla")).cpu(), layer(X), atol=0.05)
    back = there.to("cpu")
    assert torch.equal(back.weight, layer.weight.bfloat16().float())


def test_gradients_flow() -> None:
    layer = nn.Sequential(nn.Linear(8, 5), nn.ReLU())
    there = copy.deepcopy(layer).to("atalla")
    there(X.to("atalla")).sum().backward()
    layer(X).sum().backward()
    for near, far in zip(layer.parameters(), there.parameters(), strict=True):
        assert near.grad is not None and far.grad is not None
        assert far.grad.device.type == "atalla"
        assert torch.allclose(far.grad.cpu(), near.grad, atol=0.2)


def test_tensors_print_and_pickle() -> None:
    there = torch.tensor([1.0, 2.0]).to("atalla")
    assert repr(there) == "tensor([1., 2.], device='atalla:0')"
    assert torch.equal(pickle.loads(pickle.dumps(there)).cpu(), torch.tensor([1.0, 2.0]))


def test_mistakes_are_named() -> None:
    x = X.to("atalla")
    with pytest.raises(RuntimeError, match="expected all tensors on atalla:0, but one of them is on cpu"):
        torch.add(x, X)
    with pytest.raises(UnsupportedError, match="tensors of complex64 cannot lie on the device"):
        torch.zeros(2, dtype=torch.complex64).to("atalla")
    with pytest.raises(ConfigurationError, match="tensors are on the device"):
        torch_device.open_device(timing=True)
    with pytest.raises(LimitError, match="no .* bytes of DRAM in one piece"):
        torch.empty(AX01.dram_bytes, device="atalla", dtype=torch.uint8)


def test_tensors_keep_their_values_while_others_come_and_go() -> None:
    choose = random.Random(5)
    live: list[tuple[Tensor, Tensor]] = []
    before = torch_device.memory_stats()
    for step in range(400):
        action = choose.random()
        if action < 0.5 or len(live) < 2:
            value = torch.full([choose.randint(1, 40) for _ in range(choose.randint(1, 3))], float(step % 256))
            live.append((value.to("atalla"), value))
        elif action < 0.8:
            live.pop(choose.randrange(len(live)))
        else:
            there, here = choose.choice(live)
            rows = choose.randint(1, here.shape[0])
            live.append((there[:rows], here[:rows]))
        there, here = choose.choice(live)
        assert torch.equal(there.cpu(), here)
    assert torch_device.max_memory_allocated() > before.allocated_bytes
    live.clear()
    del there, here
    gc.collect()
    after = torch_device.memory_stats()
    assert after.allocated_bytes == before.allocated_bytes
    assert after.num_blocks == before.num_blocks
    assert after.num_frees > before.num_frees


def test_launches_are_counted() -> None:
    x = X.to("atalla")
    torch.relu(x)
    assert torch_device.statistics().launches == 1
    assert torch_device.statistics().packets > 0
    x.t().reshape(2, 4, 6)
    assert torch_device.statistics().launches == 1


def test_random_numbers_are_those_of_the_cpu() -> None:
    torch.manual_seed(3)
    expected = torch.rand(4), torch.rand(4)
    torch.manual_seed(3)
    first = torch.rand(4)
    with torch.random.fork_rng(device_type="atalla"):
        torch.rand(7)
    assert torch.equal(first, expected[0])
    assert torch.equal(torch.rand(4), expected[1])
