"""The memory map of a program: buffers are alive from their store to their last read, and pictures show that."""

from __future__ import annotations

import itertools
from xml.etree import ElementTree as ET

import pytest
import torch
from torch import Tensor, nn

from atalla_mlir import zoo
from atalla_mlir.compiler import compile_model
from atalla_mlir.runtime.memory_map import CONSTANT, INPUT, OUTPUT, VALUE, MemoryMap, memory_map
from atalla_mlir.runtime.memory_picture import summary, svg, text
from atalla_mlir.target.machine import AX01


class Chain(nn.Module):
    """Each product reads what the last one stored; the first result is added at the end."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(64, 64) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        first = y = self.layers[0](x)
        for layer in self.layers[1:]:
            y = torch.softmax(layer(y), 0)
        return y + first


@pytest.fixture(scope="module")
def memory() -> MemoryMap:
    return memory_map(compile_model(Chain().eval(), (torch.randn(8, 64),)), rows_per_pad=AX01.pad_rows)


def test_buffers_that_live_together_lie_apart(memory: MemoryMap) -> None:
    for one, other in itertools.combinations(memory.buffers, 2):
        together = one.first <= other.last and other.first <= one.last
        assert not together or one.end <= other.address or other.end <= one.address, (one, other)


def test_kinds_and_lives(memory: MemoryMap) -> None:
    kinds = [buffer.kind for buffer in memory.buffers]
    assert kinds.count(INPUT) == kinds.count(OUTPUT) == 1
    assert kinds.count(CONSTANT) == 8
    last = len(memory.kernels) - 1
    (result,) = [buffer for buffer in memory.buffers if buffer.kind == OUTPUT]
    assert (result.first, result.last, result.size_bytes) == (last, last, 8 * 64 * 2)
    values = [buffer for buffer in memory.buffers if buffer.kind == VALUE]
    assert any(buffer.first == 0 and buffer.last == last for buffer in values), (
        "the first sum is read by the last kernel"
    )


def test_bytes(memory: MemoryMap) -> None:
    row = memory.to_json()
    assert row["constant_bytes"] == 4 * (64 * 64 + 64) * 2
    assert row["input_bytes"] == 8 * 64 * 2
    assert row["arena_live_bytes"] == max(memory.live_bytes) <= row["arena_bytes"] < row["arena_unshared_bytes"]
    assert row["dram_bytes"] >= memory.arena[1]
    assert len(row["pad_rows"]) == AX01.pads
    assert all(0 < rows <= AX01.pad_rows for rows in row["pad_rows"])
    assert [launch["kernel"] for launch in row["launches"]] == list(memory.kernels)


def test_text_has_a_line_for_each_launch(memory: MemoryMap) -> None:
    head, *lines = text(memory, columns=40).splitlines()
    assert head.startswith(f"arena of {memory.arena_bytes:,} bytes from {memory.arena[0]:#x}")
    assert len(lines) == len(memory.kernels)
    for line, kernel in zip(lines, memory.kernels, strict=True):
        assert set(line[:40]) <= set(".#+")
        assert "+" in line[:40]
        assert line.endswith(f"  {kernel}")
    assert "arena" in summary(memory)
    assert len(text(memory, rows=2).splitlines()) <= 3


def test_svg_has_a_box_for_each_buffer_of_the_arena(memory: MemoryMap) -> None:
    root = ET.fromstring(svg(memory, "a <chain>"))
    titles = [title.text or "" for title in root.iter("{http://www.w3.org/2000/svg}title")]
    places = [buffer for buffer in memory.buffers if buffer.kind in (OUTPUT, VALUE)]
    assert sorted(title.split(":")[0] for title in titles) == sorted(buffer.name for buffer in places)


def test_a_program_of_several_entry_points() -> None:
    """Host operations split a program; what one part hands to the next is its result and the other's input."""

    class Split(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.relu(torch.lgamma(x.abs() + 1.0)) * 2

    memory = memory_map(compile_model(Split(), (torch.randn(4, 33),)), rows_per_pad=AX01.pad_rows)
    assert [buffer.kind for buffer in memory.buffers].count(OUTPUT) == 2
    assert len(memory.kernels) == 2


def test_a_program_without_kernels() -> None:
    loadable = compile_model(zoo.build("basic")[0], zoo.build("basic")[1])
    bare = memory_map(loadable, rows_per_pad=AX01.pad_rows)
    empty = MemoryMap((), (), (), AX01.pad_rows, bare.dram_bytes)
    assert empty.arena_bytes == 0
    assert text(empty).startswith("arena of 0 bytes")
    ET.fromstring(svg(empty, "nothing"))
