"""The benchmark measures what it says."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from atalla_mlir.sim.native_library import library_path

sys.path.insert(0, str(Path(__file__).parents[2]))

from bench import speed
from bench.networks import CLOCK_HZ, NETWORKS, Network, measure, measure_all

SCRIPT = Path(__file__).parents[2] / "bench" / "models.py"


def test_a_measurement_adds_up(tmp_path: Path) -> None:
    out = tmp_path / "bench.json"
    command = [sys.executable, str(SCRIPT), "basic:batch=2", "--engine=reference", "--json", str(out)]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    (row,) = json.loads(out.read_text())
    assert row["macs"] == 3 * 2 * 32 * 32
    assert sum(row["stall_cycles"].values()) == row["cycles"]
    assert row["cycles"] >= row["packets"]
    assert "basic:batch=2" in finished.stdout


def test_a_network_has_seconds_of_each_part_and_cycles_above_its_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(NETWORKS, "small", Network("mlp", "images", 2))
    row = measure("small", "auto")
    assert 0 < row.import_seconds < row.compile_seconds
    assert sum(row.pass_seconds.values()) <= row.compile_seconds
    assert {"(capture)", "(import)", "(link)", "atalla-emit-packets"} <= row.pass_seconds.keys()
    assert 0 < row.bound_cycles <= row.cycles
    assert 0 < row.compulsory_bytes <= row.dram_bytes
    assert row.items_per_second == 2 * CLOCK_HZ / row.cycles


def test_a_network_that_fails_says_why_and_the_others_are_measured() -> None:
    rows, failed = measure_all(("no_such_network",), "auto")
    assert rows == []
    (line,) = failed
    assert line.startswith("no_such_network failed: ")
    assert "no_such_network" in line.removeprefix("no_such_network failed: ")


def test_speeds_of_the_engines_are_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (
        ("_NATIVE_CASE", "gemm_64x64x64"),
        ("_NATIVE_SIDE", 64),
        ("_NATIVE_MACS", 64**3),
        ("_REPEATS", 1),
    ):
        monkeypatch.setattr(speed, name, value)
    rows = list(speed.speed_rows("reference" if library_path() is None else "native"))
    assert rows[0].startswith("reference engine with timing")
    assert len(rows) > 1
