"""Models of which values stay in the pads between kernels: where they stay, and running them on both engines."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch import nn

from atalla_mlir.compiler import compile_plan
from atalla_mlir.frontend.partition import plan_model
from atalla_mlir.host.report import Report
from atalla_mlir.host.verify import verify
from atalla_mlir.loadable.format import Loadable
from atalla_mlir.runtime.program import Program

__all__ = ["compile_keeping", "engines_agree", "in_pads", "kept_and_apart", "moved_bytes", "random_windows"]


def compile_keeping(model: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> Loadable:
    """The loadable of a model, with whatever fits kept in the pads."""
    return compile_plan(plan_model(model, inputs), images="always", cache=False)


def engines_agree(model: torch.nn.Module, x: torch.Tensor) -> bool:
    """Whether both engines give the same bytes and execute as many packets, the first time and the second.

    The second run tells that no row of the pads stays taken.
    """
    loadable = compile_keeping(model, (x,))
    results, packets = list[np.ndarray](), list[int]()
    for engine in ("native", "reference"):
        program = Program(loadable, engine=engine)
        results += [program.run_entry(loadable.entries[0].name, [x.numpy()])[0] for _ in range(2)]
        packets.append(program.engine.counters.packets)
    return packets[0] == packets[1] and all(np.array_equal(results[0], other) for other in results[1:])


def in_pads(report: Report) -> list[str]:
    """What each kernel finds or leaves in the pads, of those that do."""
    facts = [decision["facts"] for row in report.ops for decision in row.decisions]
    return [str(row["in_pads"]) for row in facts if "in_pads" in row]


def kept_and_apart(model: nn.Module, inputs: tuple[torch.Tensor, ...]) -> tuple[Report, Report]:
    """What verification says of a model with whatever fits kept in the pads, and with nothing there."""
    kept, apart = (verify(model, inputs, images=images, cache=False) for images in ("always", "never"))
    return kept, apart


def moved_bytes(report: Report) -> int:
    """From DRAM and there."""
    return sum(row.dram_bytes_loaded + row.dram_bytes_stored for row in report.ops)


def random_windows(draw: random.Random, channels: int, lines: int, pixels: int) -> tuple[list[nn.Module], int]:
    """Four convolutions, of all channels or of each, and pools, with any windows, on images of whole slices.

    And the channels of the last one.
    """
    layers = list[nn.Module]()
    while len(layers) < 4:
        kernel = (draw.choice((1, 2, 3)), draw.choice((1, 2, 3)))
        stride = (draw.choice((1, 1, 2)), draw.choice((1, 1, 2)))
        frame = (draw.randint(0, kernel[0] // 2), draw.randint(0, kernel[1] // 2))
        down, along = (
            (size + 2 * wide - taps) // step + 1
            for size, taps, step, wide in zip((lines, pixels), kernel, stride, frame, strict=True)
        )
        if min(down, along) < 3:
            continue
        out = draw.choice((32, 64))
        kinds: dict[str, Callable[[], nn.Module]] = {
            "all": partial(nn.Conv2d, channels, out, kernel, stride, frame),
            "each": partial(nn.Conv2d, channels, channels, kernel, stride, frame, groups=channels),
            "max": partial(nn.MaxPool2d, kernel, stride, frame),
            "mean": partial(nn.AvgPool2d, kernel, stride, frame),
        }
        kind = draw.choice(("all", "all", "each", "max", "mean"))
        layers.append(kinds[kind]())
        lines, pixels, channels = down, along, out if kind == "all" else channels
    return layers, channels
