"""Kernels of all kinds behind one another: right values whichever comes first, and nothing under way between them."""

from __future__ import annotations

import io
import itertools
import json
import random
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from atalla_mlir.compiler import ImageChoice, compile_model
from atalla_mlir.firmware.link import firmware
from atalla_mlir.host.profile import profile_program
from atalla_mlir.host.program import TorchProgram
from atalla_mlir.host.verify import verify
from atalla_mlir.runtime.perfetto import TraceWriter

CHANNELS = 32
SIDES = (32, 64, 96)
PARTS = 6
IMAGES: tuple[ImageChoice, ...] = ("always", "never")


def _as_image(x: Tensor) -> Tensor:
    return x.view(1, x.shape[0], -1, CHANNELS).permute(0, 3, 1, 2)


def _as_matrix(image: Tensor, like: Tensor) -> Tensor:
    return image.permute(0, 2, 3, 1).reshape(like.shape)


class Chain(nn.Module):
    """A matrix goes through kernels of the given kinds; both of its sides are whole slices."""

    def __init__(self, kinds: list[str], rows: int, width: int, seed: int) -> None:
        super().__init__()
        draw = random.Random(seed)
        self.kinds = kinds
        self.layers = nn.ModuleList()
        for kind in kinds:
            layer: nn.Module = nn.Identity()
            if kind in ("linear", "row"):
                layer = nn.Linear(width, width, bias=draw.random() < 0.5)
            elif kind == "norm":
                layer = nn.LayerNorm(width)
            elif kind == "convolution":
                layer = nn.Conv2d(CHANNELS, CHANNELS, draw.choice((1, 3)), padding="same")
            elif kind == "windows":
                layer = nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1, groups=CHANNELS)
            elif kind == "turn":
                rows, width = width, rows
            self.layers.append(layer)

    def forward(self, x: Tensor) -> Tensor:
        for kind, layer in zip(self.kinds, self.layers, strict=True):
            x = KINDS[kind](x, layer)
        return x


def _attention(x: Tensor, _: nn.Module) -> Tensor:
    heads = x.view(1, x.shape[0], -1, CHANNELS).transpose(1, 2)
    return functional.scaled_dot_product_attention(heads, heads, heads).transpose(1, 2).reshape(x.shape)


KINDS: dict[str, Callable[[Tensor, Any], Tensor]] = {
    "linear": lambda x, layer: layer(x),
    "norm": lambda x, layer: layer(x),
    "softmax": lambda x, _: functional.softmax(x, -1),
    "convolution": lambda x, layer: _as_matrix(layer(_as_image(x)), x),
    "windows": lambda x, layer: _as_matrix(layer(_as_image(x)), x),
    "attention": _attention,
    "turn": lambda x, _: x.t().contiguous(),
    "columns": lambda x, _: x - x.mean(0, keepdim=True),
    "row": lambda x, layer: x + layer(x[:1]),
}


def _pairs(seed: int) -> list[str]:
    """Kinds in an order in which each comes right behind each, itself included, once: an Eulerian circuit."""
    draw = random.Random(seed)
    left = {kind: draw.sample(list(KINDS), len(KINDS)) for kind in KINDS}
    way, circuit = [draw.choice(list(KINDS))], list[str]()
    while way:
        if left[way[-1]]:
            way.append(left[way[-1]].pop())
        else:
            circuit.append(way.pop())
    return circuit[::-1]


def _chain(part: int) -> tuple[nn.Module, tuple[Tensor, ...]]:
    """A part of all pairs."""
    kinds = _pairs(5)
    size = -(-(len(kinds) - 1) // PARTS)
    draw = random.Random(part)
    rows, width = draw.choice(SIDES), draw.choice(SIDES)
    torch.manual_seed(part)
    own = kinds[part * size : (part + 1) * size + 1]
    return Chain(own, rows, width, part).eval(), (torch.randn(rows, width),)


def test_each_kind_comes_behind_each() -> None:
    kinds = _pairs(5)
    found = list(itertools.pairwise(kinds))
    assert sorted(found) == sorted((one, other) for one in KINDS for other in KINDS)


@pytest.mark.parametrize("images", IMAGES)
@pytest.mark.parametrize("part", range(PARTS))
def test_values_do_not_depend_on_what_ran_before(part: int, images: ImageChoice) -> None:
    model, inputs = _chain(part)
    report = verify(model, inputs, images=images)
    assert report.ok, str(report)


@pytest.mark.parametrize("images", IMAGES)
@pytest.mark.parametrize("part", range(PARTS))
def test_kernels_give_their_rows_back_when_all_that_they_began_has_arrived(part: int, images: ImageChoice) -> None:
    """So the next one may read what it stored, and write where it read, without asking."""
    model, inputs = _chain(part)
    program = TorchProgram(compile_model(model, inputs, images=images))
    file = io.StringIO()
    trace = TraceWriter(file, program.device.machine)
    profile_program(program, program.initial_values(inputs, {}), name="pairs", trace=trace)
    events = json.loads(file.getvalue())["traceEvents"]
    gives_back = f"0x{firmware().labels['spad_free']:X}"
    calls = [event["ts"] for event in events if event.get("cat") == "issue" and event["args"]["pc"] == gives_back]
    kernels = [event for event in events if event.get("cat") == "kernel"]
    transfers = [event for event in events if event.get("cat") == "dma"]
    assert len(kernels) >= len(KINDS)
    assert len(transfers) >= len(kernels)
    for kernel in kernels:
        begin, end = kernel["ts"], kernel["ts"] + kernel["dur"]
        first = min((call for call in calls if begin <= call < end), default=end)
        own = [event for event in transfers if begin <= event["ts"] < end]
        late = [event for event in own if event["ts"] + event["dur"] > first]
        assert not late, f"{kernel['name']} gives rows back in cycle {first}, before the end of {late[0]}"
