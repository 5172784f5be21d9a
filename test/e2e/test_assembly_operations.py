"""Kernels written by hand inside compiled models: where their operands come from, what verify says of them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from atalla_mlir.compiler import compile_model
from atalla_mlir.errors import AtallaError, BadInputError, UnsupportedError
from atalla_mlir.firmware.kernel_description import parse_kernel
from atalla_mlir.host.assembly_operations import AssemblyOperation, assembly_operation
from atalla_mlir.host.program import TorchProgram
from atalla_mlir.host.program import compile as program_of
from atalla_mlir.host.verify import verify
from atalla_mlir.loadable.writer import write_loadable

# x + y * FACTOR, one transfer of up to 32 rows at a time into fixed pages of an empty pad
SCALED_SUM = """
#! operation test::{name}(x[rows, columns], y[rows, columns], float factor) -> [rows, columns]
#! require columns <= 32 and rows <= 32
#! constant LOAD_X = dma(0, rows, columns, columns)
#! constant LOAD_Y = dma(1, rows, columns, columns)
#! error relative 2**-8 absolute {absolute}
    addi.s x20, x1, 0
    addi.s x21, x12, 0
    addi.s x22, x13, 0
    addi.s x23, x14, 0
    addi.s x12, x0, 0
    addi.s x13, x0, 1
    addi.s x14, x0, 2
    jal x1, spad_alloc
    addi.s x24, x10, 0
    addi.s x12, x0, 1
    jal x1, spad_alloc
    addi.s x25, x10, 0
    addi.s x26, x24, 0
    addi.s x27, x25, 0
    li.s x40, LOAD_X
    li.s x41, LOAD_Y
    scpad.ld x26, x21, x40
    scpad.ld x27, x22, x41
    li.s x42, factor
    li.s x43, rows
    addi.s x44, x0, 0
next:
    vreg.ld v1, x26, x44, 31, 0
    vreg.ld v2, x27, x44, 31, 1
    mul.vs v2, v2, x42, m0
    {operation} v1, v1, v2, m0
    vreg.st v1, x24, x44, 31, 0
    addi.s x44, x44, 1
    blt.s x44, x43, next
    addi.s x26, x24, 0
    scpad.st x26, x23, x40
    addi.s x26, x26, 0
    addi.s x12, x0, 0
    addi.s x13, x24, 0
    addi.s x14, x0, 1
    jal x1, spad_free
    addi.s x12, x0, 1
    addi.s x13, x25, 0
    jal x1, spad_free
    jalr x0, x20, 0
"""
# the product that is added was rounded: up to 2^-9 of it, and of elements up to 64
KERNEL = SCALED_SUM.format(name="scaled_sum", operation="add.vv", absolute="64 * 2**-8")
WRONG = SCALED_SUM.format(name="wrong_sum", operation="sub.vv", absolute="64 * 2**-8")


def reference(x: Tensor, y: Tensor, factor: float) -> Tensor:
    return x + y * factor


def operation(text: str) -> AssemblyOperation:
    return assembly_operation(parse_kernel(text, "sum.s"))(reference)


SUM = operation(KERNEL)
WRONG_SUM = operation(WRONG)


class Calls(nn.Module):
    """A model that is a function of its input and of a parameter."""

    def __init__(self, function: Callable[[Tensor, Tensor], object], *shape: int) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.weight = nn.Parameter(torch.randn(shape))
        self.conv = nn.Conv2d(3, 8, 3)
        self.function = function

    def forward(self, x: Tensor) -> object:
        return self.function(x, self.weight)


PLACES: dict[str, Callable[[Tensor, Tensor], object]] = {
    "inputs and parameters": lambda x, w: SUM(x, w, 2.0),
    "computed": lambda x, w: SUM(torch.relu(x), torch.exp(w), 0.5) * 3,
    "transposed": lambda x, w: SUM(x.t().contiguous().t(), torch.relu(w).view(24, 16).t(), -1.0),
    "slices": lambda x, w: SUM(x[2:14, 4:20], w[1:13, 8:], 1.5).relu(),
    "one tensor twice": lambda x, w: SUM(w * x, w * x, 1.0),
    "broadcast": lambda x, w: SUM(x[:1].expand(16, 24), torch.full((16, 24), 0.25), 1.0),
    "one after another": lambda x, w: SUM(SUM(x, w, 1.0), SUM(w, x, 2.0), 3.0),
    "between products": lambda x, w: SUM(x @ w.t(), w @ x.t(), 1.0) @ w,
    "several results": lambda x, w: (SUM(x, w, 1.0), SUM(x, w, 1.0).t() + 1, SUM(x[:8], w[8:], 1.0).view(2, 4, 24)),
}


@pytest.mark.parametrize("name", PLACES)
def test_operands_from_everywhere(name: str) -> None:
    x = torch.randn(16, 24)
    report = verify(Calls(PLACES[name], 16, 24), (x,), strict=True)
    assert report.ok, str(report)
    assert any(row.aten == ("test.scaled_sum.default",) for row in report.ops)


def test_around_a_convolution() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Conv2d(3, 8, 3), nn.Conv2d(4, 6, 3)

        def forward(self, x: Tensor) -> Tensor:
            y = self.first(x)[0, :4].reshape(32, 32)
            return self.second(SUM(y, y.t(), 0.5).view(1, 4, 16, 16))

    torch.manual_seed(2)
    report = verify(Net(), (torch.randn(1, 3, 18, 18),), strict=True)
    assert report.ok, str(report)


def test_a_wrong_kernel_is_named() -> None:
    x = torch.randn(16, 24)
    model = Calls(lambda x, w: torch.relu(WRONG_SUM(x, w, 2.0)) + 1, 16, 24)
    report = verify(model, (x,))
    assert not report.ok
    wrong = [row for row in report.ops if not row.ok]
    assert [row.aten for row in wrong] == [("test.wrong_sum.default",)]


def test_what_the_kernel_does_not_do_runs_on_the_host() -> None:
    x = torch.randn(40, 24)
    model = Calls(lambda x, w: SUM(x, w, 2.0) + 1, 40, 24)
    program = program_of(model, (x,))
    (row,) = program.coverage.host_operations
    assert row.reason == "sum.s requires columns <= 32 and rows <= 32; columns is 24, rows is 40"
    assert torch.allclose(program(x), model(x), rtol=0.02, atol=0.02)
    with pytest.raises(UnsupportedError, match=r"test.scaled_sum.default\): sum.s requires columns <= 32 and rows"):
        program_of(model, (x,), strict=True)


def test_calls_of_one_size_share_a_function() -> None:
    x = torch.randn(16, 24)
    model = Calls(lambda x, w: SUM(SUM(x, w, 1.0), w, 1.0) + SUM(x, w, 2.0), 16, 24)
    fresh = compile_model(model, (x,), cache=False)
    kernels = [row["function"] for row in fresh.meta["kernels"] if row["aten"] == ["test.scaled_sum.default"]]
    assert kernels == ["asm0_scaled_sum", "asm0_scaled_sum", "asm1_scaled_sum"]
    assert "sum.s:8" in fresh.meta["source_map"]["sources"]
    compile_model(model, (x,))
    assert write_loadable(compile_model(model, (x,))) == write_loadable(fresh)


def test_several_entry_points() -> None:
    x = torch.randn(16, 24)
    model = Calls(lambda x, w: SUM(x, w[: x.shape[0]], 1.0), 16, 24)
    program = program_of(model, entries={"few": (x[:4],), "many": (x,)})
    for rows in (4, 16):
        assert torch.allclose(program(x[:rows]), model(x[:rows]), rtol=0.02, atol=0.02)


def test_values_and_cycles_are_the_same_on_both_simulators() -> None:
    x = torch.randn(16, 24)
    loadable = compile_model(Calls(PLACES["computed"], 16, 24), (x,))
    results: list[tuple[Tensor, int]] = []
    for engine in ("reference", "auto"):
        program = TorchProgram(loadable, engine=engine)
        program.device.timing = True
        results.append((program(x), program.device.counters.cycles))
    assert torch.equal(results[0][0], results[1][0])
    assert results[0][1] == results[1][1] > 0


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("    lw.s x5, 1(x0)", r"in asm0_failing \(failing.s:4\), .* dram address 0x1 is not a multiple of 4 bytes"),
        (
            "    addi.s x12, x0, 0\n    addi.s x13, x0, 300\n    addi.s x14, x0, 2\n    jal x1, spad_alloc",
            r"panicked .* in asm0_failing \(failing.s:7\): no free scratchpad pages in pad 0",
        ),
    ],
)
def test_failures_are_placed_in_the_kernel(lines: str, message: str) -> None:
    text = f"\n#! operation test::failing(x[n]) -> [n]\n#! error relative 0 absolute 0\n{lines}\n    jalr x0, x1, 0"
    failing = assembly_operation(parse_kernel(text, "failing.s"))(lambda x: x + 1)
    program = program_of(Calls(lambda x, w: failing(x), 1), (torch.zeros(32),))
    with pytest.raises(AtallaError, match=message):
        program(torch.zeros(32))


def test_in_pytorch_it_is_an_operation_like_others() -> None:
    x, y = torch.randn(3, 5), torch.randn(3, 5)
    assert torch.equal(SUM(x, y, 2.0), x + y * 2.0)
    assert SUM(x.to("meta"), y.to("meta"), 1.0).shape == (3, 5)
    with pytest.raises(BadInputError, match=r"takes y\[rows, columns\], where rows is 3, got shape \[2, 5\]"):
        SUM(x, y[:2], 1.0)
    torch.library.opcheck(SUM.overload, (x, y, 2.0))


def test_gradients_go_through_the_reference() -> None:
    x, y = torch.randn(3, 5, requires_grad=True), torch.randn(3, 5)
    SUM(x, torch.relu(x) + y, 2.0).square().sum().backward()
    with torch.no_grad():
        result = x + (torch.relu(x) + y) * 2
    assert x.grad is not None
    torch.testing.assert_close(x.grad, 2 * result * (1 + 2 * (x > 0)))
    torch.library.opcheck(SUM.overload, (x, y, 2.0))


def test_open_shapes_are_exported_once() -> None:
    batch = torch.export.Dim("batch", min=2, max=32)
    model, x = Calls(lambda x, w: SUM(x, x * w[:1], 1.0), 16, 24), torch.randn(16, 24)
    exported = torch.export.export(model.eval(), (x,), dynamic_shapes={"x": {0: batch}})
    for rows in (3, 7):
        given = torch.randn(rows, 24)
        with torch.no_grad():
            assert torch.allclose(program_of(exported, (given,))(given), model(given), rtol=0.02, atol=0.05)


def test_how_exact_a_kernel_is_must_be_said() -> None:
    silent = KERNEL.replace("#! error", "# error").replace("scaled_sum", "silent_sum")
    with pytest.raises(BadInputError, match="the error of test::silent_sum has neither .#! error. nor error_bound"):
        assembly_operation(parse_kernel(silent, "sum.s"))
    with pytest.raises(BadInputError, match="has both .#! error. and error_bound"):
        assembly_operation(parse_kernel(KERNEL, "sum.s"), error_bound=reference)
    bounded = assembly_operation(
        parse_kernel(silent, "sum.s"), error_bound=lambda x, y, factor: (y * factor).abs() * 2**-8
    )(reference)
    report = verify(Calls(lambda x, w: bounded(x, w, 2.0), 16, 24), (torch.randn(16, 24),))
    assert report.ok, str(report)


def test_references_that_do_not_fit() -> None:
    text = KERNEL.replace("scaled_sum", "flat_sum")
    flat = assembly_operation(parse_kernel(text, "sum.s"))(lambda x, y, factor: reference(x, y, factor).flatten())
    with pytest.raises(BadInputError, match=r"test::flat_sum gives shape \[6\], its description \[2, 3\]"):
        flat(torch.zeros(2, 3), torch.zeros(2, 3), 1.0)
