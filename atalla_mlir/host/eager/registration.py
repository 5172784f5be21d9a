"""PyTorch's side of the device: its name, and the factory functions that make tensors on it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

from atalla_mlir.host.eager.dispatch import dispatch
from atalla_mlir.host.eager.tensor import LOCK, NAME, AtallaTensor, device, to_device

_ON_CPU = (
    "arange",
    "arange.start",
    "arange.start_step",
    "linspace",
    "logspace",
    "eye",
    "eye.m",
    "randperm",
    "tril_indices",
    "triu_indices",
)
"""Factory functions that would change the shape of a tensor that they are given; made on the CPU and copied."""


class BackendModule:
    """What PyTorch asks `torch.atalla`. Random numbers are drawn on the CPU: its generator is the device's."""

    def is_initialized(self) -> bool:
        return True

    def is_available(self) -> bool:
        return True

    def current_device(self) -> int:
        return 0

    def device_count(self) -> int:
        return 1

    def _is_in_bad_fork(self) -> bool:
        return False

    def manual_seed_all(self, seed: int) -> None:
        """`torch.manual_seed` seeds the CPU, too."""

    def get_rng_state(self, device: Any = None) -> Tensor:
        return torch.get_rng_state()

    def set_rng_state(self, new_state: Tensor, device: Any = None) -> None:
        torch.set_rng_state(new_state)


def register() -> None:
    """Make `atalla` a device of PyTorch; once in a process."""
    _setup_privateuseone_for_python_backend(NAME, BackendModule())
    for name, function in (
        ("empty.memory_format", _empty),
        ("empty_strided", _empty_strided),
        ("_copy_from", _copy_from),
        ("_copy_from_and_resize", _copy_from),
    ):
        torch.library.impl(f"aten::{name}", "PrivateUse1")(function)
    for name in _ON_CPU:
        torch.library.impl(f"aten::{name}", "PrivateUse1")(_made_on_cpu(name))


def _empty(size: Sequence[int], *, dtype: Any = None, memory_format: Any = None, **_: Any) -> Tensor:
    like = torch.empty(size, dtype=dtype, device="meta", memory_format=memory_format or torch.contiguous_format)
    return _allocated(like)


def _empty_strided(size: Sequence[int], stride: Sequence[int], *, dtype: Any = None, **_: Any) -> Tensor:
    return _allocated(torch.empty_strided(size, stride, dtype=dtype, device="meta"))


def _allocated(like: Tensor) -> Tensor:
    with LOCK:
        return AtallaTensor(device().allocate(like.shape, like.stride(), like.dtype))


def _copy_from(source: Tensor, target: Tensor, non_blocking: bool = False) -> Tensor:
    return dispatch(torch.ops.aten.copy_.default, (target, source), {})


def _made_on_cpu(name: str) -> Any:
    operation, _, overload = name.partition(".")
    function = getattr(getattr(torch.ops.aten, operation), overload or "default")

    def make(*args: Any, **kwargs: Any) -> Tensor:
        with LOCK:
            return to_device(function(*args, **{**kwargs, "device": torch.device("cpu"), "pin_memory": None}))

    return make
