"""The Ax01 as a device of PyTorch: `import atalla_mlir.torch_device`, then `tensor.to("atalla")`.

    import torch
    import atalla_mlir.torch_device

    y = x.to("atalla") @ w.to("atalla")

Tensors lie in the DRAM of a simulated device, floating ones as BF16. An operation that the compiler takes runs as its
kernels, compiled for the shapes and types at hand and kept; everything else runs on the CPU and is counted. The
functions of this module are also those of `torch.atalla`.
"""

from __future__ import annotations

from typing import Any

import torch

from atalla_mlir.host.eager import registration
from atalla_mlir.host.eager.device import EagerDevice, Statistics
from atalla_mlir.host.eager.memory import MemoryStats
from atalla_mlir.host.eager.tensor import AtallaTensor, device, open_device

__all__ = [
    "AtallaTensor",
    "EagerDevice",
    "MemoryStats",
    "Statistics",
    "max_memory_allocated",
    "memory_allocated",
    "memory_stats",
    "open_device",
    "reset_peak_memory_stats",
    "reset_statistics",
    "statistics",
    "synchronize",
]


def memory_stats() -> MemoryStats:
    """What lies in the device's DRAM: tensors, constants of kernels."""
    return device().heap.stats()


def memory_allocated() -> int:
    """Bytes in use."""
    return memory_stats().allocated_bytes


def max_memory_allocated() -> int:
    """The most bytes that were in use at once since the start or `reset_peak_memory_stats`."""
    return memory_stats().peak_allocated_bytes


def reset_peak_memory_stats() -> None:
    device().heap.reset_peak()


def statistics() -> Statistics:
    """Launches, compilations, and operations that ran on the CPU with the reasons."""
    return device().statistics


def reset_statistics() -> None:
    """Count from zero; kernels stay compiled."""
    device().statistics = Statistics()


def synchronize(_: Any = None) -> None:
    """Wait for the device: operations are done when they return, so there is nothing to wait for."""


def _register() -> None:
    registration.register()
    for name in __all__:
        if name[0].islower():
            setattr(torch.atalla, name, globals()[name])  # pyright: ignore[reportAttributeAccessIssue]


_register()
