"""Entry points on the command line: compiled from a factory's arguments or its dictionary, run by name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from atalla_mlir.loadable.reader import load_loadable
from atalla_mlir.tools import atalla_compile, atalla_run

FACTORY = """
import torch
from torch import nn

import atalla_mlir as atalla


class Model(nn.Module):
    def forward(self, x):
        return torch.relu(x)

    def twice(self, x):
        return x * 2


def build():
    x = torch.ones(2, 3)
    return Model(), {"relu": atalla.EntryPoint((x,)), "twice": atalla.EntryPoint((x,), method="twice")}
"""


def test_entry_points_from_arguments_of_the_factory(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "trace.atalla"
    entries = ["--entry", "small:rows=2", "--entry", "large:rows=5,columns=3"]
    assert atalla_compile.main(["zoo:trace", "--arg", "inner=8", *entries, "-o", str(path), "--json", "-"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["entries"] == ["small", "large"]
    assert len(summary["coverage"]) == 16
    shapes = [[spec.shape for spec in entry.inputs] for entry in load_loadable(path).entries]
    assert shapes == [[(2, 8), (64, 8)], [(5, 8), (3, 8)]]


def test_stages_name_entry_points(capsys: pytest.CaptureFixture[str]) -> None:
    entries = ["--entry", "small:rows=2", "--entry", "large:rows=5"]
    assert atalla_compile.main(["zoo:trace", *entries, "--stop-after=partition"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("small:\ndevice small(x, y) -> div: ")
    assert "\n\nlarge:\ndevice large(x, y) -> div: " in out
    assert atalla_compile.main(["zoo:trace", *entries, "--stop-after=import"]) == 0
    out = capsys.readouterr().out
    assert "func.func @small(" in out and "func.func @large(" in out


def test_entry_points_that_a_factory_names(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, path = tmp_path / "several_ways.py", tmp_path / "m.atalla"
    source.write_text(FACTORY)
    assert atalla_compile.main([f"{source}:build", "-o", str(path)]) == 0
    capsys.readouterr()
    assert atalla_run.main([f"{source}:build", "--entry", "twice"]) == 0
    assert capsys.readouterr().out.startswith("mul: float32[2, 3] sum 12, ")
    assert atalla_run.main([str(path)]) == 2
    assert capsys.readouterr().err == (
        "atalla-run: error: the program has several entry points; choose one with --entry: relu, twice; "
        "see atalla-run --help\n"
    )
    assert atalla_run.main([f"{source}:build"]) == 1
    assert capsys.readouterr().err == (
        "atalla-run: error: build has several entry points; choose one with --entry: relu, twice\n"
    )
    assert atalla_run.main([f"{source}:build", "--entry", "thrice"]) == 1
    assert capsys.readouterr().err == (
        "atalla-run: error: build has no entry point 'thrice'; choose one with --entry: relu, twice\n"
    )
    assert atalla_compile.main([f"{source}:build", "--entry", "x"]) == 1
    assert capsys.readouterr().err == (
        "atalla-compile: error: --entry x: build names its entry points itself: relu, twice\n"
    )


def test_an_entry_point_of_a_loadable(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import numpy as np

    source, path = tmp_path / "other_ways.py", tmp_path / "m.atalla"
    source.write_text(FACTORY)
    assert atalla_compile.main([f"{source}:build", "-o", str(path)]) == 0
    np.save(tmp_path / "x.npy", np.full((2, 3), -1.5, np.float32))
    for name, expected in (("relu", "relu: float32[2, 3] sum 0, "), ("twice", "mul: float32[2, 3] sum -18, ")):
        capsys.readouterr()
        assert atalla_run.main([str(path), "--entry", name, "--input", str(tmp_path / "x.npy"), "--profile"]) == 0
        assert capsys.readouterr().out.startswith(expected)
