"""`python -m atalla_mlir.executorch`: the options for a C++ program that runs programs with delegates."""

from __future__ import annotations

import shlex
import sys

from atalla_mlir.executorch.runtime import program_options

sys.stdout.write(shlex.join(program_options()) + "\n")
