"""Tensors on the device: PyTorch sees shapes and strides, the elements are in DRAM."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from atalla_mlir.errors import ConfigurationError
from atalla_mlir.host.eager.device import EagerDevice, Layout

NAME = "atalla"
LOCK = threading.RLock()
"""Held while an operation runs: the device does one thing at a time."""

_devices: list[EagerDevice] = []


def device() -> EagerDevice:
    """The device, which is opened when it is first asked for."""
    with LOCK:
        if not _devices:
            _devices.append(EagerDevice())
        return _devices[0]


def open_device(**options: Any) -> EagerDevice:
    """Open the device with the options of `EagerDevice`; ConfigurationError while tensors are on the one before."""
    with LOCK:
        count = _devices[0].num_tensors if _devices else 0
        if count:
            raise ConfigurationError(f"{count} tensors are on the device; choose its options before the first is made")
        _devices[:] = [EagerDevice(**options)]
        return _devices[0]


@dataclass(frozen=True)
class Deferred:
    """A tensor that most programs never look at: it is computed when its elements are first needed."""

    dtype: torch.dtype
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    compute: Callable[[], Layout]
    offset: int = 0


class AtallaTensor(torch.Tensor):
    """A tensor whose elements are in the device's DRAM; all operations on it come to `__torch_dispatch__`."""

    _place: Layout | Deferred

    @staticmethod
    def __new__(cls: type[AtallaTensor], place: Layout | Deferred, *, requires_grad: bool = False) -> AtallaTensor:
        tensor = torch.Tensor._make_wrapper_subclass(  # pyright: ignore[reportAttributeAccessIssue]
            cls,
            place.shape,
            strides=place.strides,
            storage_offset=place.offset,
            dtype=place.dtype,
            device=torch.device(NAME, 0),
            requires_grad=requires_grad,
        )
        tensor._place = place
        return tensor

    def __init__(self, place: Layout | Deferred, *, requires_grad: bool = False) -> None:
        super().__init__()

    @property
    def place(self) -> Layout:
        """Where the elements are."""
        if isinstance(self._place, Deferred):
            self._place = self._place.compute()
        return self._place

    @classmethod
    def __torch_dispatch__(
        cls, func: Callable[..., Any], types: Sequence[type], args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        from atalla_mlir.host.eager.dispatch import dispatch

        with LOCK:
            return dispatch(func, args, dict(kwargs or {}))

    def __repr__(self, *, tensor_contents: Any = None) -> str:
        with torch.no_grad():
            text = repr(to_cpu(self))
        return f"{text[:-1]}, device='{NAME}:0')"

    def __reduce_ex__(self, protocol: Any) -> Any:
        return to_device, (to_cpu(self), self.requires_grad)


def to_cpu(tensor: AtallaTensor) -> Tensor:
    """A CPU tensor with the elements of `tensor`."""
    return device().read(tensor.place)


def to_device(value: Tensor, requires_grad: bool = False) -> AtallaTensor:
    """A new tensor on the device with the elements of a CPU tensor, its strides kept where they leave no gaps."""
    current = device()
    strides = torch.empty_like(value, device="meta").stride()
    place = current.allocate(value.shape, strides, value.dtype)
    current.write(place, value)
    return AtallaTensor(place, requires_grad=requires_grad)
