"""Failures that users of other compilers for this machine have met, each as a test of its own name."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from atalla_mlir import zoo
from atalla_mlir.compiler import compile_plan
from atalla_mlir.frontend.partition import plan_model
from atalla_mlir.host.program import TorchProgram
from atalla_mlir.host.program import compile as program_of
from atalla_mlir.host.report import Report
from atalla_mlir.host.verify import verify, verify_program
from atalla_mlir.mc.operands import AssemblyError
from atalla_mlir.mc.parse import assemble
from atalla_mlir.sim import create_engine
from atalla_mlir.sim.native_library import library_path
from atalla_mlir.target.machine import AX01
from atalla_mlir.target.registers import RegisterFile
from atalla_mlir.testing.random_models import Function

ENGINES = ("reference", "native") if library_path() is not None else ("reference",)


def check(model: nn.Module, *inputs: Tensor) -> Report:
    report = verify(model.eval(), inputs, strict=True)
    assert report.ok, report.summary()
    return report


@pytest.mark.parametrize("columns", [33, 64, 70])
def test_the_columns_of_the_second_weight_tile_keep_their_order(columns: int) -> None:
    """Each column is a power of two of its own: the product says which column of the weights it came from."""
    linear = nn.Linear(40, columns, bias=False)
    values = 2.0 ** (torch.arange(columns) % 60 - 30)
    linear.weight.data = values[:, None] * torch.eye(columns, 40).roll(1, 0).sum(1, keepdim=True).add(1).expand(-1, 40)
    x = torch.eye(40)[:5]
    with torch.no_grad():
        assert torch.equal(program_of(linear, (x,), strict=True)(x), linear(x))


class BiasFromConstants(nn.Module):
    """Convolutions whose bias is a buffer, a plain attribute, and made while the model runs."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(0.01 * torch.randn(6, 5, 3, 3))
        self.register_buffer("stored", torch.arange(6.0))
        self.plain = -torch.arange(6.0)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        biases = (self.stored, self.plain, torch.full((6,), 3.0))
        return tuple(functional.conv2d(x, self.weight, bias, padding=1) for bias in biases)  # pyright: ignore


def test_the_bias_of_a_convolution_survives_when_it_is_no_parameter() -> None:
    torch.manual_seed(115)
    model, x = BiasFromConstants(), torch.zeros(1, 5, 4, 4)
    # the three convolutions are one for the compiler, and each sum is judged in the order that was recorded for it
    check(model, torch.randn(1, 5, 4, 4))
    biases = (torch.arange(6.0), -torch.arange(6.0), torch.full((6,), 3.0))
    for result, bias in zip(program_of(model, (x,), strict=True)(x), biases, strict=True):
        assert torch.equal(result, bias[:, None, None].expand(1, 6, 4, 4))


@pytest.mark.parametrize(("depth", "columns"), [(1, 200), (3, 130), (5, 33), (31, 65)])
def test_products_of_little_depth_and_many_columns(depth: int, columns: int) -> None:
    check(nn.Linear(depth, columns), torch.randn(7, depth))
    check(Function(torch.matmul), torch.randn(7, depth), torch.randn(depth, columns))


@pytest.mark.parametrize("width", [1, 31, 33])
def test_inactive_lanes_do_not_take_over_what_a_register_held_before(width: int) -> None:
    """Selections and tails: lanes that a mask leaves out keep what the program says, not what was in the register."""

    def select(x: Tensor, y: Tensor) -> tuple[Tensor, ...]:
        kept = torch.where(x > 0, x, y)
        return kept, torch.where(kept > 1, 7.0, kept).sum(-1), torch.where(x < y, kept * y, 0.5).amax(-1)

    check(Function(select), torch.randn(5, width), torch.randn(5, width))


@pytest.mark.parametrize("value", [2048, -2049, 4095, 1 << 20])
def test_an_immediate_that_does_not_fit_is_an_error(value: int) -> None:
    with pytest.raises(AssemblyError, match=rf"addi\.s: imm {value} does not fit in -2048\.\.2047"):
        assemble(f"addi.s x1, x0, {value}\n")


@pytest.mark.parametrize("value", [2047, -2048, 2048, -2049, 4095, 1 << 20, -(1 << 31)])
def test_constants_beyond_twelve_bits_are_whole(value: int) -> None:
    engine = create_engine("reference", AX01)
    engine.load_code(0, assemble(f"li.s x1, {value}\nhalt.s\n").code)
    assert engine.run(max_packets=10).reason == "halt"
    assert np.int32(np.uint32(engine.read_scalar(1))) == value


def test_addresses_beyond_twelve_bits_are_whole() -> None:
    """Parts of a tensor that begin 2,000 to 300,000 bytes behind its start."""
    x = torch.arange(150_000.0).remainder(251).reshape(600, 250)

    def parts(x: Tensor) -> tuple[Tensor, ...]:
        return tuple(x[row : row + 2, 3:40] + 1 for row in (4, 5, 9, 70, 598))

    check(Function(parts), x)


@pytest.mark.parametrize("dim", [0, 1, 2, -1])
def test_stack_of_tensors(dim: int) -> None:
    check(Function(lambda x, y: torch.stack([x, y * 2, x + y], dim)), torch.randn(3, 33), torch.randn(3, 33))
    check(Function(lambda x, y: torch.stack([x, y], dim).relu()), torch.randn(3, 33), torch.randn(3, 33))


@pytest.mark.parametrize("engine", ENGINES)
def test_branches_compare_signed_numbers(engine: str) -> None:
    """Every pair of numbers around zero and at both ends: `blt` and `bge` as two's complement."""
    edges = (-(1 << 31), -2, -1, 0, 1, 2, (1 << 31) - 1)
    for first, second in itertools.product(edges, edges):
        assert _taken(engine, "blt.s", first, second) == (first < second), (first, second)
        assert _taken(engine, "bge.s", first, second) == (first >= second), (first, second)


def _taken(name: str, branch: str, first: int, second: int) -> bool:
    engine = create_engine(name, AX01)
    engine.load_code(0, assemble(f"{branch} x1, x2, there\naddi.s x3, x0, 1\nthere:\nhalt.s\n").code)
    for register, value in ((1, first), (2, second)):
        engine.write_register(RegisterFile.SCALAR, register, value & 0xFFFFFFFF)
    engine.set_pc(0)
    engine.run(max_packets=10)
    return engine.read_scalar(3) == 0


def test_one_wrong_element_fails_although_the_cosine_is_one() -> None:
    """A single weight of 64 x 64 that is off by little: no cosine shows it, the element's own bound does."""
    torch.manual_seed(0)
    linear, inputs = nn.Linear(64, 64), (torch.randn(64, 64),)
    plan = plan_model(linear, inputs)
    program = TorchProgram(compile_plan(plan))
    row = max(program.loadable.meta["constants"], key=lambda row: row["bytes"])
    stored = np.frombuffer(program.device.engine.read_dram(row["address"], 2), np.uint16).copy()
    program.device.engine.write_dram(row["address"], (stored ^ 0x20).tobytes())
    report = verify_program(program, plan, linear, inputs)
    assert report.totals.cosine_f32 > 0.9999
    assert not report.ok
    assert report.first_wrong is not None


def test_a_network_without_padding_to_tiles_has_no_nan() -> None:
    """AlexNet for small images at a fifth of its channels; none of them is a multiple of 32."""
    model, inputs = zoo.build("alexnet_small", scale=0.2)
    result = program_of(model, inputs, strict=True)(*inputs)
    assert isinstance(result, Tensor)
    assert not result.isnan().any()


def test_uneven_shapes_side_by_side() -> None:
    """Depth below a tile, far above one, one row, batches, nothing a multiple of 32: all in one program."""
    shapes: Sequence[tuple[int, int, int]] = ((1, 3, 1), (1, 300, 5), (2, 31, 33), (33, 1, 2))

    def products(*tensors: Tensor) -> tuple[Tensor, ...]:
        return tuple(x @ y for x, y in zip(tensors[::2], tensors[1::2], strict=True))

    tensors = [torch.randn(size) for rows, depth, cols in shapes for size in ((rows, depth), (depth, cols))]
    check(Function(products), *tensors)
