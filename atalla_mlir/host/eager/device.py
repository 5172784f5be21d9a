"""The device of eager mode: DRAM with tensors in it, kernels that were compiled so far, and what was counted."""

from __future__ import annotations

import dataclasses
import weakref
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch._ops import OpOverload

from atalla_mlir.errors import BadInputError
from atalla_mlir.frontend.arrays import dtype_name, to_numpy, to_torch
from atalla_mlir.host.eager.code_store import CodeStore
from atalla_mlir.host.eager.compiled_call import Call, CompiledCall, NotOnDeviceError, compile_call
from atalla_mlir.host.eager.memory import Heap
from atalla_mlir.host.eager.storage import dtype_on_device, stored_dtype
from atalla_mlir.loadable import abi
from atalla_mlir.loadable.format import TensorSpec
from atalla_mlir.runtime.buffers import NUMPY_DTYPES, read_tensor, write_tensor
from atalla_mlir.sim import create_engine
from atalla_mlir.sim.engine import Counters
from atalla_mlir.target.machine import AX01, Machine


class Block:
    """Memory of the device that is given back when nothing refers to it any more."""

    def __init__(self, heap: Heap, size: int) -> None:
        self.address = heap.allocate(size)
        self.size = size
        weakref.finalize(self, heap.free, self.address)


@dataclass(frozen=True)
class Layout:
    """A tensor in a block: element `offset` is its first."""

    block: Block
    dtype: torch.dtype
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int

    @property
    def item_bytes(self) -> int:
        return NUMPY_DTYPES[stored_dtype(dtype_name(self.dtype))].itemsize

    @property
    def address(self) -> int:
        return self.block.address + self.offset * self.item_bytes

    def spec(self) -> TensorSpec:
        name = dtype_name(self.dtype)
        return TensorSpec("tensor", stored_dtype(name), self.shape, self.strides, self.address, name)


@dataclass
class Statistics:
    """What happened since the start or the last reset."""

    launches: int = 0
    """Kernels that ran."""
    compiled_calls: int = 0
    """Operations that were compiled, each for its shapes and types."""
    cache_hits: int = 0
    """Operations that ran with kernels compiled before."""
    fallbacks: Counter[str] = field(default_factory=Counter)
    """Operation -> times that it ran on the CPU."""
    reasons: dict[str, str] = field(default_factory=dict)
    """Operation -> why it runs on the CPU, as found the last time."""
    packets: int = 0
    instructions: int = 0
    cycles: int = 0
    """Only counted with `timing`."""

    def fall_back(self, func: OpOverload, reason: str) -> None:
        """Count a run of `func` on the CPU."""
        self.fallbacks[str(func)] += 1
        self.reasons[str(func)] = reason

    def add(self, counters: Counters) -> None:
        self.launches += 1
        self.packets += counters.packets
        self.instructions += counters.instructions
        self.cycles += counters.cycles or 0


class EagerDevice:
    """An engine, its memories, and the kernels on it."""

    def __init__(self, engine: str = "auto", machine: Machine = AX01, *, timing: bool = False) -> None:
        self.machine = machine
        self.engine = create_engine(engine, machine)
        self.heap = Heap(abi.TENSORS_ADDRESS, machine.dram_bytes)
        self.statistics = Statistics()
        self.timing = timing
        self.code = CodeStore(self.engine)
        self._calls: dict[Call, _Loaded | str] = {}
        self._blocks: weakref.WeakSet[Block] = weakref.WeakSet()

    def allocate(self, shape: Sequence[int], strides: Sequence[int], dtype: torch.dtype) -> Layout:
        """Memory for a tensor; its contents are whatever was there."""
        name = dtype_on_device(dtype)
        last = sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
        size = 0 if 0 in shape else (last + 1) * NUMPY_DTYPES[stored_dtype(name)].itemsize
        block = Block(self.heap, size)
        self._blocks.add(block)
        return Layout(block, dtype, tuple(shape), tuple(strides), 0)

    @property
    def num_tensors(self) -> int:
        """Blocks that tensors are in; views share the block of their base."""
        return len(self._blocks)

    def write(self, layout: Layout, value: Tensor) -> None:
        """Store the elements of a CPU tensor of the same shape, rounded to BF16 if they are floating."""
        array = np.broadcast_to(to_numpy(value.to(layout.dtype)), layout.shape)
        write_tensor(self.engine, layout.spec(), array)

    def read(self, layout: Layout) -> Tensor:
        """The elements as a CPU tensor."""
        return to_torch(read_tensor(self.engine, layout.spec()))

    def call(self, call: Call, operands: Sequence[Layout]) -> list[Layout]:
        """Results of `call` on the device; NotOnDeviceError when there are no kernels for it."""
        found = self._calls.get(call)
        if found is None:
            found = self._calls[call] = self._compiled(call)
        elif not isinstance(found, str):
            self.statistics.cache_hits += 1
        if isinstance(found, str):
            raise NotOnDeviceError(found)
        return self._run(found, operands)

    def nesting(self, call: Call) -> Any:
        """How the results of `call`, which has run, are nested."""
        found = self._calls[call]
        assert not isinstance(found, str)
        return found.compiled.nesting

    def _compiled(self, call: Call) -> _Loaded | str:
        try:
            compiled = compile_call(call, self.machine)
        except NotOnDeviceError as error:
            return str(error)
        self.statistics.compiled_calls += 1
        constants = Block(self.heap, compiled.constant_bytes) if compiled.constants else None
        for offset, data in compiled.constants:
            assert constants is not None
            self.engine.write_dram(constants.address + offset, data)
        kernels = tuple(self.code.add(compiled.loadable, launch.function) for launch in compiled.launches)
        return _Loaded(compiled, kernels, constants)

    def _run(self, loaded: _Loaded, operands: Sequence[Layout]) -> list[Layout]:
        compiled = loaded.compiled
        taken = [self._as_read(spec, place) for spec, place in zip(compiled.operands, operands, strict=True)]
        results = [
            self.allocate(spec.shape, spec.strides, dtype)
            for spec, dtype in zip(compiled.results, compiled.dtypes, strict=True)
        ]
        given = [self._as_written(spec, place) for spec, place in zip(compiled.results, results, strict=True)]
        scratch = Block(self.heap, compiled.scratch_bytes) if compiled.scratch_bytes else None
        for launch, kernel in zip(compiled.launches, loaded.kernels, strict=True):
            addresses: list[int] = []
            for buffer in launch.buffers:
                if buffer.kind == "operand":
                    addresses.append(taken[buffer.index].address)
                elif buffer.kind == "result":
                    addresses.append(given[buffer.index].address)
                else:
                    block = loaded.constants if buffer.kind == "constant" else scratch
                    assert block is not None
                    addresses.append(block.address + buffer.index)
            self.statistics.add(self.code.run(kernel, launch.function, addresses, timing=self.timing))
        for spec, place, result in zip(compiled.results, given, results, strict=True):
            if place is not result:
                values = read_tensor(self.engine, dataclasses.replace(spec, address=place.address))
                write_tensor(self.engine, result.spec(), values)
        return results

    def _as_read(self, spec: TensorSpec | None, operand: Layout) -> Layout | Block:
        """`operand` as kernels read it: integers of 32 bits, booleans as BF16."""
        if spec is None or spec.dtype == operand.spec().dtype:
            return operand
        block = Block(self.heap, spec.extent_bytes)
        values = read_tensor(self.engine, operand.spec())
        try:
            write_tensor(self.engine, dataclasses.replace(spec, address=block.address), values)
        except BadInputError as error:
            raise NotOnDeviceError(str(error)) from error
        return block

    def _as_written(self, spec: TensorSpec, result: Layout) -> Layout | Block:
        """Where kernels write `result`: elsewhere when it lies in memory as another type."""
        return result if spec.dtype == result.spec().dtype else Block(self.heap, spec.extent_bytes)

    def copy(self, target: Layout, source: Layout) -> None:
        """Elements from one place of the device to another, converted and broadcast as `copy_` does."""
        same = target.shape == source.shape and target.strides == source.strides
        if same and target.spec().dtype == source.spec().dtype and _is_dense(source):
            size = source.spec().extent_bytes
            if size:
                self.engine.write_dram(target.address, self.engine.read_dram(source.address, size))
            return
        self.write(target, self.read(source))


@dataclass(frozen=True)
class _Loaded:
    """A compiled call whose kernels are on the device."""

    compiled: CompiledCall
    kernels: tuple[int, ...]
    """PC of the kernel of each launch."""
    constants: Block | None


def _is_dense(layout: Layout) -> bool:
    """Whether the elements fill their extent, each place once."""
    expected = 1
    for stride, size in sorted((s, n) for s, n in zip(layout.strides, layout.shape, strict=True) if n != 1):
        if stride != expected:
            return False
        expected *= size
    return True
