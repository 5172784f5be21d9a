"""A model with 500 MB of parameters: compiled, saved and loaded in little more memory than they need."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

MEASURED = """
import json, resource, sys, time
import torch
from torch import nn
from atalla_mlir.compiler import compile_model
from atalla_mlir.loadable.reader import load_loadable
from atalla_mlir.loadable.writer import save_loadable
from atalla_mlir.runtime.program import Program

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

class Model(nn.Module):
    def __init__(self):
        super().__init__()
        # large numbers of parameters without the time that random ones take
        self.layers = nn.ParameterList([torch.full((4096, 4096), 2.0 ** -12 * (at + 1)) for at in range(8)])

    def forward(self, x):
        for weight in self.layers:
            x = x @ weight
        return x

model = Model()
weights = sum(p.numel() * p.element_size() for p in model.parameters())
loadable = compile_model(model, (torch.ones(1, 4096),), strict=True)
compiled = peak()
save_loadable(loadable, sys.argv[1])
del loadable, model
began = time.perf_counter()
program = Program(load_loadable(sys.argv[1]))
print(json.dumps({"weights": weights, "compiled": compiled, "saved": peak(), "seconds": time.perf_counter() - began,
                  "stored": sum(row["bytes"] for row in program.loadable.meta["constants"])}))
"""


def test_memory_of_large_weights(tmp_path: Path) -> None:
    file = tmp_path / "large.atalla"
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, str(file)], check=True, timeout=600, capture_output=True, text=True
    )
    figures = json.loads(done.stdout.splitlines()[-1])
    assert figures["weights"] >= 500e6
    assert figures["stored"] == figures["weights"] // 2
    assert figures["stored"] <= file.stat().st_size < 1.01 * figures["stored"] + 1e6, "the file is the parameters"
    limit = 3 * figures["weights"] + 1.5e9
    assert figures["compiled"] <= limit
    assert figures["saved"] <= limit
