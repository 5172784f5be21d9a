"""Tensors of which several kernels store a part: concatenations whose producers store into them.

The kernels follow one another: each but the first gets what those before made of the tensor as an operand, of which it
reads nothing, and gives the tensor with its own parts stored. All of them are one place in memory (`CONTINUES`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from atalla_mlir._mlir import create_op, i64_array_attr, i64_attr, ir, string_attr
from atalla_mlir.codegen.grouping import Group
from atalla_mlir.codegen.iteration import Buffer, Stage
from atalla_mlir.dialects.module_attributes import CONTINUES
from atalla_mlir.errors import InternalError
from atalla_mlir.kernels.stage_list import StageList
from atalla_mlir.kernels.views import row_major, tensor_shape


@dataclass(frozen=True)
class Part:
    """Operand `number` of the concatenation `op`, and the stage that copies it."""

    op: ir.Operation
    number: int
    stage: Stage

    @property
    def source(self) -> ir.Value:
        return self.op.operands[self.number]


@dataclass(frozen=True)
class StoredParts:
    """What a kernel stores of a shared tensor, and what those before it made of that; None where it is the first."""

    parts: Sequence[Part]
    whole: ir.Value | None


class SharedResults:
    """Which buffers of a function are stored by several of its `groups`."""

    def __init__(self, listed: StageList, groups: Sequence[Group]) -> None:
        self.list = listed
        writers: dict[Buffer, list[Group]] = {}
        for group in groups:
            for buffer in dict.fromkeys(stage.write.buffer for stage in group.all_stages):
                writers.setdefault(buffer, []).append(group)
        self.last = {buffer: found[-1] for buffer, found in writers.items() if len(found) > 1}
        """The group after which all of a shared buffer is stored."""

    def parts(self, buffer: Buffer, stages: Sequence[Stage]) -> list[Part]:
        """The parts of a buffer that `stages` store; none where the buffer is not shared."""
        if buffer not in self.last:
            return []
        copies = [
            (stage, ops[0])
            for stage, ops in zip(self.list.stages, self.list.stage_ops, strict=True)
            if stage.write.buffer is buffer
        ]
        if any(op.name != "tensor.concat" for _, op in copies):
            raise InternalError("two kernels store into a tensor that is no concatenation")
        return [Part(op, number, stage) for number, (stage, op) in enumerate(copies) if stage in stages]

    def computes(self, group: Group, stage: Stage) -> bool:
        """Whether what a stage stands for has been computed when its group has run."""
        return self.last.get(stage.write.buffer, group) is group

    def described(self, part: Part, name: str, order: ir.Attribute) -> ir.DictAttr:
        """Where a part lies: the value that it shows, with its own dimensions, as strides over the whole tensor."""
        owner = self.list.owners[part.stage.reads[0].buffer]
        shape = tensor_shape(owner)
        strides = [
            _stride_there(part.stage, stride) if extent > 1 else 0
            for extent, stride in zip(shape, row_major(shape), strict=True)
        ]
        places = range(len(shape))
        if not isinstance(order.maybe_downcast(), ir.UnitAttr):
            dims = list(ir.DenseI64ArrayAttr(order))
            places = [dims.index(at) for at in places]
        return ir.DictAttr.get(
            {
                "name": string_attr(name),
                "offset": i64_attr(part.stage.write.offset),
                "shape": i64_array_attr([shape[at] for at in places]),
                "strides": i64_array_attr([strides[at] for at in places]),
            }
        )


def _stride_there(stage: Stage, stride: int) -> int:
    """How far apart a copy puts what lies `stride` elements apart in its source."""
    read, write = stage.reads[0], stage.write
    for loop, own in sorted(read.strides.items(), key=lambda item: -item[1]):
        if own <= stride:
            return stride // own * write.stride(loop)
    raise InternalError(f"no loop of a copy has a stride of {stride} or less")


def store_part(part: Part, mapping: Mapping[ir.Value, ir.Value], whole: ir.Value | None) -> ir.Value:
    """`whole`, or a tensor without content, with the part stored, at the insertion point."""
    kind = ir.RankedTensorType(part.op.results[0].type)
    operands = list(part.op.operands)
    dim = ir.IntegerAttr(part.op.attributes["dim"]).value
    offsets = [0] * kind.rank
    offsets[dim] = sum(tensor_shape(operand)[dim] for operand in operands[: part.number])
    target = whole if whole is not None else create_op("tensor.empty", [kind], [], {}).results[0]
    attributes = {
        "static_offsets": i64_array_attr(offsets),
        "static_sizes": i64_array_attr(list(tensor_shape(operands[part.number]))),
        "static_strides": i64_array_attr([1] * kind.rank),
        "operandSegmentSizes": ir.DenseI32ArrayAttr.get([1, 1, 0, 0, 0]),
    }
    return create_op(
        "tensor.insert_slice", [kind], [mapping[part.source], target], attributes, part.op.location
    ).results[0]


def continued(result: ir.Value) -> ir.Value | None:
    """The operand of a call whose place its result takes; None where the result has a place of its own."""
    if not isinstance(result, ir.OpResult) or CONTINUES not in result.owner.operation.attributes:
        return None
    op = result.owner.operation
    number = list(ir.DenseI64ArrayAttr(op.attributes[CONTINUES]))[result.result_number]
    return op.operands[number] if number >= 0 else None
