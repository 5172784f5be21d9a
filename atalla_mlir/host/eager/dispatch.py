"""What an operation on a device tensor does: a view, a copy, kernels, or a run on the CPU."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.utils import _pytree as pytree

from atalla_mlir.errors import UnsupportedError
from atalla_mlir.host.eager.compiled_call import Call, NotOnDeviceError, Operand, Slot
from atalla_mlir.host.eager.device import Layout
from atalla_mlir.host.eager.memory import ALIGNMENT_BYTES
from atalla_mlir.host.eager.tensor import NAME, AtallaTensor, Deferred, device, to_cpu, to_device

aten = torch.ops.aten

# no alias in their schemas, but the result may share memory: the operand is not used any more, or must not be changed
_UNMARKED_VIEWS = frozenset({aten._unsafe_view.default, aten.lift_fresh.default, aten._reshape_alias.default})
_EMPTY = frozenset({aten.empty_like.default, aten.new_empty.default, aten.new_empty_strided.default})
_MIXED = frozenset({aten.index.Tensor, aten.index_put.default, aten.index_put_.default, aten._index_put_impl_.default})
"""Operations that take indices on the CPU with a tensor on the device."""


def dispatch(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Run `func`, of whose tensors at least one is on the device."""
    rule = _RULES.get(func)
    if rule is not None:
        return rule(*args, **kwargs)
    if func in _EMPTY and _is_here(kwargs):
        return _empty(func, args, kwargs)
    if func in _UNMARKED_VIEWS or _is_view(func):
        viewed = _view(func, args, kwargs)
        if viewed is not None:
            return viewed
    functional = _functional(func)
    if functional is not None:
        return _in_place(func, args[0], dispatch(functional, args, kwargs))
    try:
        return _kernels(func, args, kwargs)
    except NotOnDeviceError as error:
        return _on_cpu(func, args, kwargs, str(error))


# Views


def _is_view(func: OpOverload) -> bool:
    schema = func._schema
    aliases = [result.alias_info for result in schema.returns if result.alias_info is not None]
    return bool(aliases) and not schema.is_mutable


def _view(func: OpOverload, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """The result as tensors on the operand's block; None for a view that PyTorch cannot say in strides of elements."""
    base = args[0]
    result = func(_as_meta(base.place), *args[1:], **kwargs)
    leaves, nesting = pytree.tree_flatten(result)
    if any(leaf.dtype is not base.dtype for leaf in leaves):
        return None
    places = [
        Layout(base.place.block, base.dtype, tuple(leaf.shape), tuple(leaf.stride()), leaf.storage_offset())
        for leaf in leaves
    ]
    return pytree.tree_unflatten([AtallaTensor(place) for place in places], nesting)


def _as_meta(place: Layout) -> Tensor:
    whole = torch.empty(place.block.size // place.item_bytes, dtype=place.dtype, device="meta")
    return whole.as_strided(place.shape, place.strides, place.offset)


# Memory and copies


def _empty(func: OpOverload, args: tuple[Any, ...], kwargs: dict[str, Any]) -> AtallaTensor:
    like = func(_as_meta(args[0].place), *args[1:], **{**kwargs, "device": "meta", "pin_memory": None})
    return AtallaTensor(device().allocate(like.shape, like.stride(), like.dtype))


def _is_here(kwargs: Mapping[str, Any]) -> bool:
    """Whether the result of a factory function belongs on the device."""
    wanted = kwargs.get("device")
    return wanted is None or torch.device(wanted).type == NAME


def _copy(target: Tensor, source: Tensor, non_blocking: bool = False) -> Tensor:
    """`copy_`: either tensor, or both, may be on the device."""
    if not isinstance(target, AtallaTensor):
        assert isinstance(source, AtallaTensor)
        return target.copy_(to_cpu(source))
    if isinstance(source, AtallaTensor):
        device().copy(target.place, source.place)
    else:
        device().write(target.place, source)
    return target


def _to_copy(source: AtallaTensor, **kwargs: Any) -> Tensor:
    dtype = kwargs.get("dtype") or source.dtype
    memory_format = kwargs.get("memory_format") or torch.preserve_format
    if not _is_here(kwargs):
        where = torch.device(kwargs["device"])
        return to_cpu(source).to(device=where, dtype=dtype, memory_format=memory_format)
    like = torch.empty_like(_as_meta(source.place), dtype=dtype, memory_format=memory_format)
    result = AtallaTensor(device().allocate(like.shape, like.stride(), dtype))
    device().copy(result.place, source.place)
    return result


def _clone(source: AtallaTensor, *, memory_format: torch.memory_format | None = None) -> Tensor:
    return _to_copy(source, memory_format=memory_format)


def _fill(target: AtallaTensor, value: Any) -> AtallaTensor:
    number = value.item() if isinstance(value, Tensor) else value
    device().write(target.place, torch.full(target.shape, number, dtype=target.dtype))
    return target


def _zero(target: AtallaTensor) -> AtallaTensor:
    return _fill(target, 0)


def _item(source: AtallaTensor) -> Any:
    return to_cpu(source).item()


# Kernels


def _functional(func: OpOverload) -> OpOverload | None:
    """The operation whose result `func` stores in its first operand."""
    name = func._schema.name.removeprefix("aten::")
    if not name.endswith("_") or name.endswith("__") or not func._schema.is_mutable:
        return None
    return getattr(getattr(aten, name[:-1], None), func._overloadname, None)


def _in_place(func: OpOverload, target: Tensor, result: Tensor) -> Tensor:
    if not torch.can_cast(result.dtype, target.dtype):
        raise RuntimeError(f"{func}: result type {result.dtype} cannot be cast to {target.dtype}")
    if result.shape != target.shape:
        raise RuntimeError(f"{func}: a result of shape {list(result.shape)} for a tensor of {list(target.shape)}")
    return _copy(target, result)


def _kernels(func: OpOverload, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The results of `func` from kernels; NotOnDeviceError says why there are none."""
    if func.namespace != "aten":
        raise NotOnDeviceError("it is not one of PyTorch's own operations")
    if func._schema.is_mutable:
        raise NotOnDeviceError("it changes an operand")
    if torch.Tag.nondeterministic_seeded in func.tags:
        raise NotOnDeviceError("it is random")
    if not _is_here(kwargs):
        raise NotOnDeviceError("its result belongs on another device")
    flat, nesting = pytree.tree_flatten((args, {k: v for k, v in kwargs.items() if k != "device"}))
    places: list[Layout] = []
    operands: list[Operand] = []
    arguments: list[Any] = []
    for item in flat:
        if not isinstance(item, Tensor):
            arguments.append(item)
            continue
        arguments.append(Slot(len(places)))
        place, dims = _dense(_here(func, item).place)
        places.append(place)
        operands.append(Operand(place.dtype, place.shape, dims))
    call = Call(func, tuple(arguments), nesting, tuple(operands))
    results = device().call(call, places)
    return pytree.tree_unflatten([AtallaTensor(place) for place in results], device().nesting(call))


def _max_pool_with_indices(source: AtallaTensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
    """The maxima from kernels; where they were, which only a backward pass asks for, on the CPU if it does."""
    func = aten.max_pool2d_with_indices.default
    try:
        maxima = _kernels(aten.max_pool2d.default, (source, *args), kwargs)
    except NotOnDeviceError as error:
        return _on_cpu(func, (source, *args), kwargs, str(error))
    before = to_cpu(source)  # the operand may have changed by then

    def indices() -> Layout:
        device().statistics.fall_back(func, "the positions of maxima are found on the CPU")
        return to_device(func(before, *args, **kwargs)[1]).place

    return maxima, AtallaTensor(Deferred(torch.int64, tuple(maxima.shape), tuple(maxima.stride()), indices))


def _here(func: OpOverload, tensor: Tensor) -> AtallaTensor:
    """An operand of kernels, on the device; a scalar may come from the CPU."""
    if tensor.numel() == 0:
        raise NotOnDeviceError("it has an operand without elements")
    if isinstance(tensor, AtallaTensor):
        return tensor
    if func in _MIXED:
        raise NotOnDeviceError("its indices are on the CPU")
    if tensor.ndim:
        raise _wrong_device(func, tensor)
    return to_device(tensor)


def _wrong_device(func: OpOverload, tensor: Tensor) -> RuntimeError:
    """The error that PyTorch raises for other devices, as it is caught there."""
    return RuntimeError(f"{func}: expected all tensors on {NAME}:0, but one of them is on {tensor.device}")


def _dense(place: Layout) -> tuple[Layout, tuple[int, ...]]:
    """`place` as rows without gaps whose dimensions are to be seen in the order `dims`; copied when it has gaps."""
    if place.address % ALIGNMENT_BYTES == 0:
        own = tuple(range(len(place.shape)))
        by_stride = sorted(own, key=lambda at: (place.shape[at] != 1, -place.strides[at]))
        for order in (own, by_stride):
            if _is_row_major(place, order):
                shape, strides = ([values[at] for at in order] for values in (place.shape, place.strides))
                dims = tuple(order.index(at) for at in own)
                return Layout(place.block, place.dtype, tuple(shape), tuple(strides), place.offset), dims
    meta = torch.empty(place.shape, device="meta")
    copy = device().allocate(place.shape, meta.stride(), place.dtype)
    device().copy(copy, place)
    return copy, tuple(range(len(place.shape)))


def _is_row_major(place: Layout, order: tuple[int, ...] | list[int]) -> bool:
    expected = 1
    for at in reversed(order):
        if place.shape[at] != 1 and place.strides[at] != expected:
            return False
        expected *= place.shape[at]
    return True


# The CPU


def _on_cpu(func: OpOverload, args: tuple[Any, ...], kwargs: dict[str, Any], reason: str) -> Any:
    """Run `func` on copies, store back what it changed, and put its results on the device."""
    device().statistics.fall_back(func, reason)
    flat, nesting = pytree.tree_flatten((args, kwargs))
    copies = {at: to_cpu(item) for at, item in enumerate(flat) if isinstance(item, AtallaTensor)}
    foreign = [item for at, item in enumerate(flat) if isinstance(item, Tensor) and at not in copies and item.ndim]
    if foreign and func not in _MIXED:
        raise _wrong_device(func, foreign[0])
    cpu_args, cpu_kwargs = pytree.tree_unflatten([copies.get(at, item) for at, item in enumerate(flat)], nesting)
    stays = not _is_here(kwargs)
    if "device" in cpu_kwargs and not stays:
        cpu_kwargs["device"] = torch.device("cpu")
    results = func(*cpu_args, **cpu_kwargs)
    if stays:
        return results
    originals = {id(copy): flat[at] for at, copy in copies.items()}
    if func._schema.is_mutable:
        _store_back(func, {id(copy): copy for copy in copies.values()}, originals)

    def placed(result: Any) -> Any:
        if not isinstance(result, Tensor):
            return result
        return originals[id(result)] if id(result) in originals else to_device(result)

    return pytree.tree_map(placed, results)


def _store_back(func: OpOverload, copies: Mapping[int, Tensor], originals: Mapping[int, AtallaTensor]) -> None:
    """Every operand is stored: which of them `func` changed is not worth finding out."""
    for key, copy in copies.items():
        if copy.shape != originals[key].shape:
            raise UnsupportedError(
                f"{func} changes the shape of a tensor on the device; give it one of the final shape"
            )
        device().write(originals[key].place, copy)


_RULES: dict[Any, Callable[..., Any]] = {
    aten.copy_.default: _copy,
    aten._to_copy.default: _to_copy,
    aten.clone.default: _clone,
    aten.fill_.Scalar: _fill,
    aten.fill_.Tensor: _fill,
    aten.zero_.default: _zero,
    aten._local_scalar_dense.default: _item,
    aten.max_pool2d_with_indices.default: _max_pool_with_indices,
}
