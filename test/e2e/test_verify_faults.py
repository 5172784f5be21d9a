"""Faults planted in the compiler must be found by verification, in the kernel that has them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch
from torch import nn

from atalla_mlir import compiler, pipeline
from atalla_mlir._mlir import create_op, i64_attr, ir, operations
from atalla_mlir.compiler import compile_plan
from atalla_mlir.frontend.lower import import_plans
from atalla_mlir.frontend.partition import Plan, plan_model
from atalla_mlir.host.program import TorchProgram
from atalla_mlir.host.report import Report
from atalla_mlir.host.verify import verify, verify_program
from atalla_mlir.passes.manager import run_pipeline

Built = tuple[nn.Module, tuple[torch.Tensor, ...]]
Fault = Callable[[ir.Operation], int]
"""Makes every kernel of a module wrong in one way; the number of changes."""

AFTER = "tile"
"""The stage after which faults are planted: kernels are row operations on DRAM."""


class Layer(nn.Module):
    """Two slices of depth, a tail of 8 columns."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(64, 40)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.linear(x))


def verified(
    monkeypatch: pytest.MonkeyPatch, model: nn.Module, inputs: tuple[torch.Tensor, ...], fault: Fault
) -> Report:
    changes: list[int] = []

    def lower_with_fault(plans: Sequence[Plan], options: pipeline.Options, **_: object) -> ir.Module:
        module = import_plans(plans)
        for stage in pipeline.stages(options):
            run_pipeline(module, stage.pipeline())
            if stage.name == AFTER:
                with module.context, ir.Location.unknown():
                    changes.append(fault(module.operation))
        return module

    monkeypatch.setattr(compiler, "lower_plans", lower_with_fault)
    report = verify(model, inputs, engine="reference")
    assert changes[0] > 0, "the fault found nothing to change"
    return report


def _operand_loads(module: ir.Operation, user: str) -> list[ir.Operation]:
    """Loads of the rows that a kind of operation works on, in order."""
    return [op.operands[0].owner for op in operations(module, user) if op.operands[0].owner.name == "atalla.tile_load"]


def no_fault(module: ir.Operation) -> int:
    return 1


def swap_weight_columns(module: ir.Operation) -> int:
    """Of every tile; the second block of columns begins 32 columns before the end."""
    second, first = _operand_loads(module, "atalla.push")[-2:]
    first.operands[0], second.operands[0] = second.operands[0], first.operands[0]
    first.attributes["map"], second.attributes["map"] = second.attributes["map"], first.attributes["map"]
    return 1


def shift_activation_rows(module: ir.Operation) -> int:
    """Fetch from the second row on."""
    addresses = [op for op in operations(module, "atalla.buffer_address") if op.operands[0].arg_number == 0]
    for op in addresses:
        with ir.InsertionPoint.after(op):
            row = create_op(
                "arith.constant", [ir.IndexType.get()], [], {"value": ir.IntegerAttr.get(ir.IndexType.get(), 64 * 2)}
            ).results[0]
            shifted = create_op("arith.addi", [ir.IndexType.get()], [op.results[0], row])
        op.results[0].replace_all_uses_except(shifted.results[0], shifted)
    return len(addresses)


def _zeroed(ops: Sequence[ir.Operation]) -> int:
    """Rows that become zero."""
    for op in ops:
        with ir.InsertionPoint(op):
            zero = create_op("atalla.zero", [op.results[0].type])
        op.results[0].replace_all_uses_with(zero.results[0])
    return len(ops)


def drop_bias(module: ir.Operation) -> int:
    """Sums start from zero."""
    return _zeroed(list(operations(module, "atalla.copy")))


def omit_slice(module: ir.Operation) -> int:
    """The first slice of the first tile, which is computed before the loop over tiles."""
    return _zeroed([op for op in operations(module, "atalla.gemm") if op.parent.name == "atalla.kernel"])


def keep_tail_lanes(module: ir.Operation) -> int:
    sums = [op for op in operations(module, "atalla.reduce") if "add" in str(op.attributes["kind"])]
    for op in sums:
        op.attributes["lanes"] = i64_attr(32)
    return len(sums)


def _layer() -> Built:
    torch.manual_seed(0)
    return Layer(), (torch.randn(5, 64),)


def _softmax() -> Built:
    torch.manual_seed(0)
    return nn.Softmax(-1), (torch.randn(4, 13),)


@pytest.mark.parametrize("build", [_layer, _softmax])
def test_without_a_fault_everything_is_right(monkeypatch: pytest.MonkeyPatch, build: Callable[[], Built]) -> None:
    report = verified(monkeypatch, *build(), no_fault)
    assert report.ok, str(report)


ANY_COLUMN = range(40)


@pytest.mark.parametrize(
    ("fault", "columns"),
    [
        (swap_weight_columns, (0, 1, 8, 9)),
        (shift_activation_rows, ANY_COLUMN),
        (drop_bias, ANY_COLUMN),
        (omit_slice, ANY_COLUMN),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_faults_of_products_are_found(monkeypatch: pytest.MonkeyPatch, fault: Fault, columns: Sequence[int]) -> None:
    report = verified(monkeypatch, *_layer(), fault)
    assert not report.ok
    assert report.first_wrong is not None
    (check,) = report.first_wrong.stores
    assert check.wrong is not None
    assert check.wrong.value == "relu"
    assert check.wrong.indices[1] in columns
    assert all(read.ok for read in report.first_wrong.reads)


def test_a_tail_lane_that_takes_part_in_a_sum_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    report = verified(monkeypatch, *_softmax(), keep_tail_lanes)
    assert not report.ok
    assert "first wrong: div [" in report.summary()


def test_a_weight_that_lies_wrongly_in_memory_is_found() -> None:
    model, inputs = _layer()
    plan = plan_model(model, inputs)
    program = TorchProgram(compile_plan(plan), engine="reference")
    row = max(program.loadable.meta["constants"], key=lambda row: row["bytes"])
    engine, column_bytes = program.device.engine, 64 * 2
    first = engine.read_dram(row["address"], column_bytes)
    second = engine.read_dram(row["address"] + column_bytes, column_bytes)
    engine.write_dram(row["address"], second + first)
    report = verify_program(program, plan, model, inputs)
    assert not report.ok
    assert report.first_wrong is not None
    assert report.first_wrong.wrong is not None
    assert report.first_wrong.wrong.startswith(f"it reads other values than were stored: {row['name']}[")
    (stored,) = report.first_wrong.stores
    assert stored.wrong is not None
    assert stored.wrong.indices[1] in (0, 1)
