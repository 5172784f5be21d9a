"""Configuration of lit: `lit test` runs the IR tests."""

# lit puts `config` into the globals of this file
# ruff: noqa: F821
# pyright: reportUndefinedVariable=false

import os
import sysconfig
from pathlib import Path

from atalla_mlir.testing.lit_format import InProcessTest

config.name = "atalla-mlir"
config.test_format = InProcessTest()
config.suffixes = [".mlir", ".s"]
config.excludes = ["unit", "e2e", "native", "inputs", "Output"]
config.test_source_root = os.path.dirname(__file__)
config.test_exec_root = str(Path(__file__).parent.parent / "build" / "lit")
# the tools of the environment that lit runs in, whether it is activated or not
config.environment["PATH"] = os.pathsep.join([sysconfig.get_path("scripts"), config.environment.get("PATH", "")])
