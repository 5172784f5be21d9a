"""Runs the lit tests once, so that `pytest` alone covers everything."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def test_lit() -> None:
    command = [sys.executable, "-m", "atalla_mlir.testing.run_lit", "-j", "2", "-v", str(Path(__file__).parent)]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, f"{finished.stdout}\n{finished.stderr}"
    assert "Passed" in finished.stdout, f"no test ran\n{finished.stdout}\n{finished.stderr}"
