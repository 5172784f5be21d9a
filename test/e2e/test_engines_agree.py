"""Models of the zoo give the same bytes, cycles, counters and lints on both engines."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.utils._pytree import tree_leaves

from atalla_mlir import zoo
from atalla_mlir.compiler import compile_model
from atalla_mlir.host.program import TorchProgram
from atalla_mlir.sim.native_library import library_path
from atalla_mlir.target.machine import MACHINES

_TOKENS = {"length": 8, "vocabulary": 50, "dim": 32, "depth": 1, "heads": 2}
RUNS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("basic", "ax01", {}),
    ("mlp", "ax01-ddr4", {}),
    ("attention", "ax01", {}),
    ("trace", "ax01", {}),
    ("alexnet_small", "ax01-slow", {}),
    ("lstm", "ax01", {"inputs": 8, "hidden": 16, "layers": 1, "length": 2}),
    ("llama", "ax01-hbm3", {"length": 4, "dim": 32, "layers": 1, "heads": 2, "hidden": 32, "vocabulary": 64}),
    ("vit_micro", "ax01", {"patches": 8}),
    ("vit_b16", "as-compat", {"size": 16, "patch": 8, "dim": 32, "depth": 1, "heads": 2, "hidden": 32}),
    ("bert_base", "fs-static", {**_TOKENS, "positions": 8, "hidden": 64}),
    ("gpt2_small", "ax01", {**_TOKENS, "positions": 8}),
    ("alexnet", "ax01", {"size": 64, "classes": 10, "wide": 32, "scale": 0.25}),
    ("vgg11", "ax01", {"size": 32, "classes": 10, "wide": 32, "scale": 0.125}),
    ("squeezenet", "ax01-hbm3", {"size": 32, "classes": 10}),
    ("resnet18", "ax01", {"size": 32, "classes": 10, "width": 16, "batch": 2}),
    ("resnet50", "ax01", {"size": 32, "classes": 10, "width": 8}),
    ("mobilenet_v2", "ax01", {"size": 32, "classes": 10, "width": 0.25}),
)

pytestmark = pytest.mark.skipif(library_path() is None, reason="the native engine was not built: no C++ compiler")


def test_every_model_is_listed() -> None:
    assert sorted(name for name, *_ in RUNS) == sorted(zoo.names())


@pytest.mark.parametrize(("name", "machine", "options"), RUNS, ids=[name for name, *_ in RUNS])
def test_models(name: str, machine: str, options: dict[str, Any]) -> None:
    module, inputs = zoo.build(name, **options)
    loadable = compile_model(module, inputs)
    results: list[object] = []
    for engine in ("reference", "native"):
        program = TorchProgram(loadable, engine=engine, machine=MACHINES[machine])
        program.device.timing = True
        leaves = tree_leaves(program(*inputs))
        outputs = [leaf.view(torch.uint8).numpy().tobytes() for leaf in leaves]
        results.append((outputs, program.device.counters, program.device.engine.lints))
    assert results[0] == results[1]
