"""Profiles: cycles of launches and totals, and how they are shown."""

from __future__ import annotations

import json

import pytest
import torch

from atalla_mlir.compiler import compile_plan
from atalla_mlir.frontend.partition import plan_model
from atalla_mlir.host.profile import Profile, profile_program
from atalla_mlir.host.profile_table import profile_summary, profile_tables
from atalla_mlir.host.program import TorchProgram
from atalla_mlir.host.report import VERDICTS
from atalla_mlir.target.machine import AX01


class Two(torch.nn.Module):
    """A product and a reduction, so that there are two kernels."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(40, 33)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.softmax(self.layer(x).relu(), -1)


@pytest.fixture(scope="module")
def program() -> TorchProgram:
    torch.manual_seed(0)
    return TorchProgram(compile_plan(plan_model(Two().eval(), (torch.randn(3, 40),))), engine="reference")


@pytest.fixture(scope="module")
def profile(program: TorchProgram) -> Profile:
    torch.manual_seed(1)
    return profile_program(program, program.initial_values((torch.randn(3, 40),), {}), name="two")


def test_rows_and_totals_add_up(profile: Profile) -> None:
    totals = profile.report.totals.timing
    assert totals.cycles is not None
    assert totals.cycles == sum(totals.stalls.values())
    for op in profile.report.ops:
        assert op.timing.cycles
        assert op.timing.cycles == sum(op.timing.stalls.values())
        assert all(0 <= share <= 1 for share in op.timing.utilisation.values())
        assert op.packets_executed == op.timing.stalls["issue"]
    inside = sum(op.timing.cycles or 0 for op in profile.report.ops)
    assert 0.5 * totals.cycles < inside < totals.cycles


def test_stops_do_not_change_cycles(program: TorchProgram, profile: Profile) -> None:
    fresh = TorchProgram(program.loadable, engine="reference")  # the firmware sets itself up in the first run
    torch.manual_seed(1)
    fresh.device.timing = True
    values = fresh.run(fresh.initial_values((torch.randn(3, 40),), {}))
    assert fresh.device.counters.cycles == profile.report.totals.timing.cycles
    assert fresh.device.counters.packets == profile.report.totals.packets_executed
    for name in program.outputs:
        assert torch.equal(values[name], profile.values[name])


def test_json_leaves_out_what_was_not_judged(profile: Profile) -> None:
    written = json.loads(json.dumps(profile.report.to_json(), allow_nan=False))
    for row in (*written["ops"], written["totals"]):
        assert not VERDICTS & row.keys()
        assert row["cycles"] == sum(row["stalls"].values())
        assert "dram" in row["utilisation"]


def test_tables_have_a_row_per_kernel_and_cause(profile: Profile) -> None:
    kernels, causes, units = profile_tables(profile.report)
    assert kernels.row_count == len(profile.report.ops)
    assert causes.row_count == len(profile.report.totals.timing.stalls)
    assert units.row_count > 0
    assert profile_summary(profile.report).startswith(f"two: {profile.report.totals.timing.cycles:,} cycles, ")


def test_bounds_reach_the_report(program: TorchProgram, profile: Profile) -> None:
    product, *_ = rows = [op.timing for op in profile.report.ops]
    # 3 x 40 inputs, 33 x 40 weights, 33 biases, 3 x 33 results
    assert program.loadable.meta["kernels"][0]["compulsory_bytes"] == 2 * (3 * 40 + 33 * 40 + 33 + 3 * 33)
    assert (product.bound_cycles, product.bound_by) == (-(-2 * (3 * 40 + 33 * 40 + 33 + 3 * 33) // 32), "dram")
    assert all(row.bound_cycles and row.cycles and row.bound_cycles <= row.cycles for row in rows)
    total = profile.report.totals.timing
    assert total.bound_cycles is not None
    assert (
        max(row.bound_cycles or 0 for row in rows) <= total.bound_cycles <= sum(row.bound_cycles or 0 for row in rows)
    )


def test_bounds_are_for_the_machine_that_they_were_stated_for(program: TorchProgram) -> None:
    faster = TorchProgram(program.loadable, engine="reference", machine=AX01.with_options(physical_lanes=32))
    profile = profile_program(faster, faster.initial_values((torch.randn(3, 40),), {}), name="two")
    assert all(op.timing.bound_cycles is None for op in profile.report.ops)
    assert profile.report.totals.timing.bound_cycles is None
