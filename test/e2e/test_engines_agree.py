"""Models of the zoo give the same bytes, cycles, counters and lints on both engines."""

from __future__ import annotations

import pytest
import torch
from torch.utils._pytree import tree_leaves

from atalla_mlir import zoo
from atalla_mlir.compiler import compile_model
from atalla_mlir.host.program import TorchProgram
from atalla_mlir.sim.native_library import library_path
from atalla_mlir.target.machine import MACHINES

RUNS = (("basic", "ax01"), ("mlp", "ax01-ddr4"), ("attention", "ax01"), ("trace", "ax01"))

pytestmark = pytest.mark.skipif(library_path() is None, reason="the native engine was not built: no C++ compiler")


@pytest.mark.parametrize(("name", "machine"), RUNS)
def test_models(name: str, machine: str):
    module, inputs = zoo.build(name)
    loadable = compile_model(module, inputs)
    results: list[object] = []
    for engine in ("reference", "native"):
        program = TorchProgram(loadable, engine=engine, machine=MACHINES[machine])
        program.device.timing = True
        leaves = tree_leaves(program(*inputs))
        outputs = [leaf.view(torch.uint8).numpy().tobytes() for leaf in leaves]
        results.append((outputs, program.device.counters, program.device.engine.lints))
    assert results[0] == results[1]
