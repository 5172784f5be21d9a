"""Compiling again from what is on disk gives the same bytes and compiles nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from atalla_mlir import zoo
from atalla_mlir.cache.kernels import KernelCache
from atalla_mlir.cache.store import DIRECTORY_VARIABLE, Store
from atalla_mlir.codegen.machine_ir import Function
from atalla_mlir.compiler import compile_plan, lower_plans
from atalla_mlir.frontend.partition import Plan, plan_model
from atalla_mlir.loadable.writer import write_loadable
from atalla_mlir.passes import emit_packets
from atalla_mlir.pipeline import Options
from atalla_mlir.target.machine import machine


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(DIRECTORY_VARIABLE, str(tmp_path))
    return tmp_path


@pytest.fixture
def scheduled(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the functions that the compiler schedules."""
    names: list[str] = []
    original = emit_packets.schedule

    def noting(function: Function, *args: Any, **kwargs: Any) -> Any:
        names.append(function.name)
        return original(function, *args, **kwargs)

    monkeypatch.setattr(emit_packets, "schedule", noting)
    return names


def compiled(plan: Plan, **options: Any) -> bytes:
    return write_loadable(compile_plan(plan, **options))


@pytest.mark.parametrize("name", ["basic", "mlp"])
def test_the_same_bytes_with_and_without(name: str, directory: Path, scheduled: list[str]) -> None:
    plan = plan_model(*zoo.build(name))
    first = compiled(plan)
    assert scheduled
    scheduled.clear()
    assert compiled(plan) == first
    assert scheduled == []
    assert compiled(plan, cache=False) == first
    assert scheduled


def layers(width: int) -> nn.Module:
    return nn.Sequential(nn.Linear(32, width), nn.ReLU())


class Renamed(nn.Module):
    """The same kernel under other names and from other lines."""

    def __init__(self) -> None:
        super().__init__()
        self.projection = nn.Linear(32, 48)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        projected = self.projection(features)
        return projected.relu()


def plan_of(model: nn.Module) -> Plan:
    return plan_model(model.eval(), (torch.ones(16, 32),))


def test_names_and_lines_do_not_matter(directory: Path, scheduled: list[str]) -> None:
    compiled(plan_of(layers(48)))
    renamed = plan_of(Renamed())
    expected = compiled(renamed, cache=False)
    scheduled.clear()
    assert compiled(renamed) == expected
    assert [name for name in scheduled if name != "main"] == []


@pytest.mark.parametrize(
    "change",
    [
        lambda: (plan_of(layers(64)), {}),
        lambda: (plan_of(layers(48)), {"machine": machine("ax01").with_options(pads=2)}),
    ],
    ids=["shape", "machine"],
)
def test_what_matters(change: Callable[[], tuple[Plan, dict[str, Any]]], directory: Path, scheduled: list[str]) -> None:
    compiled(plan_of(layers(48)))
    plan, options = change()
    scheduled.clear()
    compiled(plan, **options)
    assert [name for name in scheduled if name != "main"]


def test_other_sources_of_the_compiler_are_another_key(
    directory: Path, scheduled: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_of(layers(48))
    compiled(plan)
    scheduled.clear()
    monkeypatch.setattr("atalla_mlir.cache.kernels.compiler_digest", lambda: "other")
    compiled(plan)
    assert scheduled


def test_entries_that_make_no_sense_are_replaced(tmp_path: Path, scheduled: list[str]) -> None:
    """Values whose checksum is right but which are no object code."""
    plan, options = plan_of(layers(48)), Options()

    def run() -> tuple[Store, str]:
        store = Store(tmp_path, 1 << 20)
        module = lower_plans([plan], options, kernels=KernelCache(store, options))
        return store, str(module)

    run()
    store, text = run()
    assert store.misses == 0
    for path in tmp_path.rglob("*.entry"):
        store.put(path.parent.name + path.stem, b"{}\nnonsense")
    scheduled.clear()
    run()
    assert scheduled
    assert run()[1] == text


def test_no_cache_leaves_no_trace(directory: Path) -> None:
    compiled(plan_of(layers(48)), cache=False)
    assert not list(directory.iterdir())


def test_the_same_bytes_again_wherever_objects_lie_in_memory() -> None:
    """Loops of equal length have no order but the one in the source."""
    plan = plan_model(nn.MaxPool2d(3, 2, 1), (torch.ones(1, 8, 8, 8),))
    first = compiled(plan, cache=False)
    kept: list[list[object]] = []
    for turn in range(8):
        kept.append([object() for _ in range(1009 * turn)])
        assert compiled(plan, cache=False) == first
