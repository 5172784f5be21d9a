"""One call of an ATen operation as kernels: captured like a model, compiled, and taken apart into launches."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch._ops import OpOverload
from torch.utils import _pytree as pytree

from atalla_mlir.compiler import compile_plan
from atalla_mlir.errors import AtallaError
from atalla_mlir.frontend.partition import plan_model
from atalla_mlir.loadable import abi
from atalla_mlir.loadable.format import Loadable, TensorSpec
from atalla_mlir.target.machine import Machine

Result = TypeVar("Result")


@dataclass(frozen=True)
class Operand:
    """A tensor argument: elements in row-major order of `shape`, seen with its dimensions in the order `dims`."""

    dtype: torch.dtype
    shape: tuple[int, ...]
    dims: tuple[int, ...]


@dataclass(frozen=True)
class Slot:
    """Stands for the tensor at `index` among the arguments of a call."""

    index: int


@dataclass(frozen=True)
class Call:
    """An operation with everything that its kernels depend on; equal calls have equal kernels."""

    function: OpOverload
    arguments: tuple[Any, ...]
    """Flattened arguments, with `Slot`s for tensors."""
    nesting: pytree.TreeSpec
    operands: tuple[Operand, ...]

    def __hash__(self) -> int:
        return hash((self.function, repr(self.arguments), self.operands))

    def __eq__(self, other: object) -> bool:
        # 1, 1.0 and True are equal and not the same argument
        return (
            isinstance(other, Call)
            and self.function is other.function
            and repr(self.arguments) == repr(other.arguments)
            and self.operands == other.operands
            and self.nesting == other.nesting
        )


@dataclass(frozen=True)
class Buffer:
    """What a kernel's argument is the address of: an operand, a result, a constant, or scratch memory."""

    kind: str
    index: int
    """Of the operand or result; for the others the offset in bytes."""


@dataclass(frozen=True)
class Launch:
    """A kernel and its arguments."""

    function: str
    buffers: tuple[Buffer, ...]


@dataclass(frozen=True)
class CompiledCall:
    """The kernels of a call."""

    loadable: Loadable
    launches: tuple[Launch, ...]
    operands: tuple[TensorSpec | None, ...]
    """What the kernels read; None for an operand that they do not read. Addresses mean nothing, here and below."""
    results: tuple[TensorSpec, ...]
    dtypes: tuple[torch.dtype, ...]
    nesting: pytree.TreeSpec
    constants: tuple[tuple[int, memoryview], ...]
    """(offset, bytes) of what the kernels read besides their operands."""
    constant_bytes: int
    scratch_bytes: int


class NotOnDeviceError(Exception):
    """Why a call runs on the CPU."""


def compile_call(call: Call, machine: Machine) -> CompiledCall:
    """The kernels of `call`; NotOnDeviceError with the reason when the device does not run all of it."""
    return _in_thread(lambda: _compile(call, machine))


def _in_thread(work: Callable[[], Result]) -> Result:
    """Run `work` where no dispatch key of the call that is being handled is excluded."""
    done: list[Result] = []
    failed: list[BaseException] = []

    def target() -> None:
        try:
            done.append(work())
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=target, name="atalla-compile")
    thread.start()
    thread.join()
    if failed:
        raise failed[0]
    return done[0]


class _Model(nn.Module):
    """The call as a model of its operands."""

    def __init__(self, call: Call) -> None:
        super().__init__()
        self.call = call

    def forward(self, *operands: Tensor) -> Any:
        views = [t.permute(o.dims) for t, o in zip(operands, self.call.operands, strict=True)]
        flat = [views[item.index] if isinstance(item, Slot) else item for item in self.call.arguments]
        args, kwargs = pytree.tree_unflatten(flat, self.call.nesting)
        return self.call.function(*args, **kwargs)


def _compile(call: Call, machine: Machine) -> CompiledCall:
    examples = tuple(torch.zeros(operand.shape, dtype=operand.dtype) for operand in call.operands)
    try:
        plan = plan_model(_Model(call), examples)
        if plan.host_steps:
            # constants come first, and are on the host because of what reads them
            raise NotOnDeviceError(plan.host_steps[-1].reason)
        if len(plan.steps) != 1:
            raise NotOnDeviceError("it computes nothing")
        # a value that shared an address with a result would have to fit into the result's block
        loadable = compile_plan(plan, machine=machine, reuse_memory=False, permute_inputs=False)
    except AtallaError as error:
        raise NotOnDeviceError(str(error).splitlines()[0]) from error
    captured = plan.captured
    return _taken_apart(loadable, captured.inputs, captured.outputs, captured.out_spec, captured.graph)


def _taken_apart(
    loadable: Loadable, inputs: Sequence[str], outputs: Sequence[Any], nesting: pytree.TreeSpec, graph: torch.fx.Graph
) -> CompiledCall:
    entry = loadable.entries[0]
    by_name = {spec.name: spec for spec in entry.outputs}
    if set(outputs) != set(by_name) or len(outputs) != len(by_name):
        raise NotOnDeviceError("its results are not each computed once")
    results = tuple(by_name[name] for name in outputs)
    dtypes = {node.name: node.meta["val"].dtype for node in graph.nodes if node.name in by_name}
    read = {spec.name: spec for spec in entry.inputs}
    if any(_is_whole(spec) for spec in read.values()) and any(_is_whole(spec) for spec in results):
        raise NotOnDeviceError("it computes integers, which have 32 bits on the device and could overflow")
    places = _Places(loadable, inputs, outputs)
    launches = tuple(
        Launch(row["function"], tuple(places.buffer(value["address"]) for value in (*row["inputs"], *row["outputs"])))
        for row in loadable.meta["kernels"]
    )
    return CompiledCall(
        loadable,
        launches,
        tuple(read.get(name) for name in inputs),
        results,
        tuple(dtypes[name] for name in outputs),
        nesting,
        places.constants,
        places.constant_bytes,
        places.scratch_bytes,
    )


def _is_whole(spec: TensorSpec) -> bool:
    return spec.model_dtype.startswith(("i", "u")) and spec.model_dtype != "i1"


class _Places:
    """What lies where in the DRAM of a loadable."""

    def __init__(self, loadable: Loadable, inputs: Sequence[str], outputs: Sequence[str]) -> None:
        entry = loadable.entries[0]
        self._known: dict[int, Buffer] = {}
        for kind, specs, names in (("result", entry.outputs, outputs), ("operand", entry.inputs, inputs)):
            for spec in specs:
                self._known[spec.address] = Buffer(kind, list(names).index(spec.name))
        data = [s for s in loadable.data_segments if s.address >= abi.TENSORS_ADDRESS and not s.is_zero_fill]
        self._low = min((segment.address for segment in data), default=abi.TENSORS_ADDRESS)
        self._constants_end = max((segment.end for segment in data), default=self._low)
        self.constants = tuple((segment.address - self._low, segment.data) for segment in data)
        self.constant_bytes = self._constants_end - self._low
        rows = [row for kernel in loadable.meta["kernels"] for row in (*kernel["inputs"], *kernel["outputs"])]
        scratch = [_spec(row) for row in rows if not self._has_place(row["address"])]
        self._scratch = min((spec.address for spec in scratch), default=0)
        self.scratch_bytes = max((spec.end for spec in scratch), default=0) - self._scratch

    def _has_place(self, address: int) -> bool:
        return address in self._known or self._low <= address < self._constants_end

    def buffer(self, address: int) -> Buffer:
        if address in self._known:
            return self._known[address]
        if self._has_place(address):
            return Buffer("constant", address - self._low)
        return Buffer("scratch", address - self._scratch)


def _spec(row: Mapping[str, Any]) -> TensorSpec:
    """A value of a kernel as a tensor, for its extent."""
    return TensorSpec("value", row["dtype"], tuple(row["shape"]), tuple(row["strides"]), row["address"], "f32")
