"""The benchmark measures what it says."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

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
