"""Models through everything: compiled, run on the reference engine, every kernel judged."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from atalla_mlir import zoo
from atalla_mlir.host.verify import verify
from atalla_mlir.tools import atalla_run


@pytest.mark.parametrize("fuse", [True, False], ids=["fused", "unfused"])
@pytest.mark.parametrize("name", ["basic", "mlp", "attention", "trace"])
def test_models_of_the_zoo_run_on_the_device(name: str, fuse: bool) -> None:
    report = verify(*zoo.build(name), strict=True, fuse=fuse, engine="reference")
    assert report.ok, str(report)
    totals = report.totals
    assert totals.host_ops == ()
    assert totals.device_flops_fraction == 1
    assert totals.cosine_f32 >= 0.9999
    assert all(op.stores and op.error_bound < 10 for op in report.ops)


def test_the_counters_of_kernels_are_parts_of_those_of_the_run() -> None:
    report = verify(*zoo.build("attention"), engine="reference")
    totals = report.totals
    for counter in ("packets_executed", "instructions_executed", "dram_bytes_loaded", "dram_bytes_stored"):
        parts = sum(getattr(op, counter) for op in report.ops)
        assert 0.9 * getattr(totals, counter) <= parts <= getattr(totals, counter), counter
    assert sum(totals.slot_histogram) == totals.packets_executed
    assert sum(n * count for n, count in enumerate(totals.slot_histogram)) == totals.instructions_executed
    assert totals.macs == 4 * 32 * 64 * 64 + 2 * 32 * 32 * 64
    assert totals.flops > 2 * totals.macs
    assert totals.arithmetic_intensity == totals.flops / (totals.dram_bytes_loaded + totals.dram_bytes_stored)
    assert totals.arithmetic_intensity_loads == totals.flops / totals.dram_bytes_loaded


class Gamma(nn.Module):
    """An operation in the middle that the device does not have."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(torch.lgamma(x.abs() + 0.5) + x)


def test_host_operations_are_rows_with_reasons() -> None:
    report = verify(Gamma(), (torch.randn(5, 40),), engine="reference")
    assert report.ok, str(report)
    assert [op.device for op in report.ops] == ["ax01", "host", "ax01"]
    host = report.ops[1]
    assert host.aten == ("aten.lgamma.default",)
    assert host.reason == "aten.lgamma.default has no lowering"
    assert [dict(op) for op in report.totals.host_ops] == [
        {"name": host.name, "aten": "aten.lgamma.default", "reason": "aten.lgamma.default has no lowering"}
    ]
    assert report.totals.device_flops_fraction < 1


MODEL = """
import torch


class Net(torch.nn.Module):
    def __init__(self, width):
        super().__init__()
        self.a = torch.nn.Linear(33, width)
        self.b = torch.nn.Linear(width, 7)

    def forward(self, x):
        return torch.softmax(self.b(torch.relu(self.a(x))), -1).mean(1)


def build(width=45):
    return Net(width), (torch.randn(2, 3, 33),)
"""


def test_a_model_from_a_file_through_the_tool(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "net.py").write_text(MODEL)
    out = tmp_path / "out.json"
    arguments = [f"{tmp_path / 'net.py'}:build", "--arg", "width=50", "--verify", "--engine=reference"]
    assert atalla_run.main([*arguments, "--json", str(out)]) == 0
    written = json.loads(out.read_text())
    assert written["totals"]["ok"] is True
    assert written["totals"]["host_ops"] == []
    assert written["ops"][0]["source"].startswith("net.py:")
    assert "kernels within their error bounds" in capsys.readouterr().out
