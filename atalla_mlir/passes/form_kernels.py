"""`atalla-form-kernels`: cut functions into kernels."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from atalla_mlir._mlir import (
    array_attr,
    create_op,
    file_position,
    fused_location,
    i64_array_attr,
    ir,
    location_names,
    operations,
    string_attr,
    string_value,
    symbol_attr,
)
from atalla_mlir.codegen.grouping import Group, form_groups
from atalla_mlir.codegen.iteration import Buffer, Stage, StageKind
from atalla_mlir.dialects.module_attributes import CONTINUES, PARTS
from atalla_mlir.errors import UnsupportedError
from atalla_mlir.kernels.known_constants import triangle_attributes
from atalla_mlir.kernels.linalg_generics import IN_PLACE
from atalla_mlir.kernels.linalg_stages import read_stages
from atalla_mlir.kernels.stage_list import StageList
from atalla_mlir.kernels.views import View
from atalla_mlir.passes.base import Pass, PassFailure
from atalla_mlir.passes.cloning import clone_into, upstream
from atalla_mlir.passes.finished_kernels import INPUTS, give_whole_operands
from atalla_mlir.passes.plan_memory import CONSTANT_KINDS
from atalla_mlir.passes.shared_results import Part, SharedResults, StoredParts, store_part
from atalla_mlir.passes.views import ORDER, PERMUTATION

_RESHAPES = ("tensor.expand_shape", "tensor.collapse_shape", "tensor.cast")


@dataclass(frozen=True)
class FormKernelsPass(Pass):
    """Outline fused groups of linalg operations as private functions, called from what remains

    Equal groups become one function. `atalla.nodes`, `atalla.inputs` and `atalla.outputs` on a call name the graph
    nodes that it computes, reads and defines; `atalla.not_fused` says why later stages did not join.
    """

    fuse: bool = True
    """Fuse stages into kernels; without it each operation is a kernel of its own."""
    chains: bool = True
    """Make two products one kernel where what lies between fits into the pads; only with `fuse`."""

    name: ClassVar[str] = "atalla-form-kernels"

    def run(self, op: ir.Operation) -> None:
        outliner = _Outliner(op)
        for function in operations(op, "func.func"):
            if "sym_visibility" not in function.attributes and function.regions[0].blocks:
                try:
                    give_whole_operands(function)
                    stages = read_stages(function)
                    _FunctionCutter(function, stages, outliner, self).run()
                except UnsupportedError as error:
                    raise PassFailure(function, str(error)) from error


class _Outliner:
    """Creates kernel functions; a body that was seen before gives the earlier function's name."""

    def __init__(self, module: ir.Operation) -> None:
        self.module = module
        self.by_body: dict[str, str] = {}

    def add(self, function: ir.Operation, label: str) -> str:
        """The name of the kernel with the body of `function`, which is kept only if it is new."""
        # in its own scope: else each print looks through the whole module
        text = function.get_asm(enable_debug_info=False, use_local_scope=True)
        body = text[text.index("(") :]
        if body in self.by_body:
            function.erase()
            return self.by_body[body]
        name = f"k{len(self.by_body)}_{label}"
        function.attributes["sym_name"] = string_attr(name)
        self.by_body[body] = name
        return name

    def insertion_point(self) -> ir.InsertionPoint:
        return ir.InsertionPoint.at_block_begin(self.module.regions[0].blocks[0])


class _FunctionCutter:
    """Replaces the body of one function by calls of kernels."""

    def __init__(
        self, function: ir.Operation, stages: StageList, outliner: _Outliner, options: FormKernelsPass
    ) -> None:
        self.function = function
        self.block = function.regions[0].blocks[0]
        self.terminator = self.block.operations[len(self.block.operations) - 1].operation
        self.list = stages
        self.outliner = outliner
        self.groups = self._groups(options)
        self.shared = SharedResults(stages, self.groups)
        self.new: dict[ir.Value, ir.Value] = {argument: argument for argument in self.block.arguments}
        self.old = [op.operation for op in self.block.operations]
        self.places = {result: at for at, op in enumerate(self.old) for result in op.results}
        """Of values of the old body. The hash of an operation is that of its content, which attributes change."""
        self.ops = dict(zip(stages.stages, stages.stage_ops, strict=True))
        self.returned_buffers = {view.buffer for view in stages.results}
        self.readers: dict[Buffer, list[Group]] = {}
        for group in self.groups:
            for buffer in {read.buffer for stage in group.all_stages for read in stage.reads}:
                self.readers.setdefault(buffer, []).append(group)

    def _groups(self, options: FormKernelsPass) -> list[Group]:
        parts: dict[ir.Operation, int] = {}
        numbers: list[int] = []
        copies = 0
        for ops in self.list.stage_ops:
            if ops[0] == self.terminator:  # each copied result is a part of its own
                copies += 1
                numbers.append(-copies)
            else:
                numbers.append(parts.setdefault(ops[0], len(parts)))
        if options.fuse:
            results = {view.buffer for view in self.list.results}
            return form_groups(self.list.stages, numbers, results, chains=options.chains)
        groups: dict[int, Group] = {}
        for stage, number in zip(self.list.stages, numbers, strict=True):
            groups.setdefault(number, Group([])).stages.append(stage)
        return list(groups.values())

    def run(self) -> None:
        returned = self._returned()
        with ir.InsertionPoint(self.terminator):
            for group in self.groups:
                if group.stages[0].kind is StageKind.CALL:
                    self._call_finished(group)
                else:
                    self._outline(group, returned)
            for at, value in enumerate(list(self.terminator.operands)):
                self.terminator.operands[at] = self._result_value(value, self.list.results[at].buffer)
        for op in reversed(self.old):
            if op != self.terminator and not any(True for result in op.results for _ in result.uses):
                op.erase()

    def _returned(self) -> dict[Buffer, ir.Value]:
        return {view.buffer: value for view, value in zip(self.list.results, self.terminator.operands, strict=True)}

    def _holder(self, buffer: Buffer, returned: dict[Buffer, ir.Value]) -> ir.Value:
        """The tensor value of the old body that holds `buffer`: its owner, or the returned view that was copied."""
        return self.list.owners.get(buffer, returned.get(buffer)) or returned[buffer]

    def _outline(self, group: Group, returned: dict[Buffer, ir.Value]) -> None:
        stages = self._in_order(group)
        written = dict.fromkeys(stage.write.buffer for stage in stages)
        needed = [buffer for buffer in written if self._is_needed(buffer, group)]
        outputs = [self._holder(buffer, returned) for buffer in needed]
        inputs: list[ir.Value] = []
        for stage in stages:
            for read in stage.reads:
                if read.buffer not in written and not read.buffer.is_counter:
                    value = self._holder(read.buffer, returned)
                    if value not in inputs:
                        inputs.append(value)
        for stage in stages:
            if stage.changes_state and stage.write.indirect:
                self.ops[stage][0].attributes[IN_PLACE] = ir.UnitAttr.get()
        location = fused_location([op.location for stage in stages for op in self.ops[stage]])
        parts = [self.shared.parts(buffer, stages) for buffer in needed]
        wholes = [self.new.get(value) if own else None for value, own in zip(outputs, parts, strict=True)]
        stored = [StoredParts(own, whole) if own else None for own, whole in zip(parts, wholes, strict=True)]
        name = self.outliner.add(self._function(inputs, outputs, stored, location), _label(group))
        earlier = [whole for whole in wholes if whole is not None]
        described = {
            "atalla.nodes": _names(
                dict.fromkeys(node for stage in stages if self.shared.computes(group, stage) for node in stage.nodes)
            ),
            "atalla.inputs": _names([*map(self._value_name, inputs), *("" for _ in earlier)]),
            "atalla.outputs": _names(
                self._value_name(value) or self._result_name(buffer)
                for value, buffer in zip(outputs, needed, strict=True)
            ),
            "atalla.input_orders": array_attr([_order(value) for value in inputs]),
            "atalla.output_orders": array_attr([_order(value) for value in outputs]),
            "atalla.stages": _names(stage.nodes[0] if stage.nodes else "" for stage in stages),
            "atalla.not_fused": _names(group.refusals),
            **self._shared_attributes(stored, len(inputs)),
        }
        self._call(name, [*(self.new[value] for value in inputs), *earlier], outputs, described, location)

    def _shared_attributes(self, stored: Sequence[StoredParts | None], num_inputs: int) -> dict[str, ir.Attribute]:
        """Which results are tensors that other kernels store into as well, and what of them lies where."""
        if not any(stored):
            return {}
        numbers = itertools.count(num_inputs)
        return {
            CONTINUES: i64_array_attr(
                [next(numbers) if own is not None and own.whole is not None else -1 for own in stored]
            ),
            PARTS: array_attr([self._described_parts(own) for own in stored]),
        }

    def _described_parts(self, stored: StoredParts | None) -> ir.Attribute:
        if stored is None:
            return ir.UnitAttr.get()
        owners = [self.list.owners[part.stage.reads[0].buffer] for part in stored.parts]
        return array_attr(
            [
                self.shared.described(part, self._value_name(owner), _order(owner))
                for part, owner in zip(stored.parts, owners, strict=True)
            ]
        )

    def _call_finished(self, group: Group) -> None:
        """The call of a kernel that needs no outlining; its operands are whole buffers in row-major order."""
        (stage,) = group.all_stages
        (op,) = self.ops[stage]
        holders = [self.list.owners[read.buffer] for read in stage.reads]
        operands = [
            self._result_value(value, read.buffer) for value, read in zip(op.operands, stage.reads, strict=True)
        ]
        described = {
            "atalla.nodes": _names(stage.nodes),
            INPUTS: op.attributes[INPUTS] if INPUTS in op.attributes else _names(map(self._value_name, holders)),
            "atalla.outputs": _names(map(self._value_name, op.results)),
            "atalla.stages": _names(stage.nodes[:1]),
            "atalla.not_fused": _names(group.refusals),
        }
        self._call(string_value(op.attributes["callee"]), operands, list(op.results), described, op.location)

    def _call(
        self,
        callee: str,
        operands: list[ir.Value],
        outputs: list[ir.Value],
        described: dict[str, ir.Attribute],
        location: ir.Location,
    ) -> None:
        attributes = {"callee": symbol_attr(callee), **described, "atalla.source": string_attr(_source(location))}
        call = create_op("func.call", [value.type for value in outputs], operands, attributes, location)
        for old, new in zip(outputs, call.results, strict=True):
            self.new[old] = new

    def _in_order(self, group: Group) -> list[Stage]:
        """The stages of a group in the order of the program, which is that of its kernel."""
        members = set(group.all_stages)
        return [stage for stage in self.list.stages if stage in members]

    def _is_needed(self, buffer: Buffer, group: Group) -> bool:
        return buffer in self.returned_buffers or any(other is not group for other in self.readers.get(buffer, ()))

    def _value_name(self, value: ir.Value) -> str:
        if isinstance(value, ir.BlockArgument):
            attributes = (
                ir.ArrayAttr(self.function.attributes["arg_attrs"]) if "arg_attrs" in self.function.attributes else []
            )
            if len(attributes):
                own = ir.DictAttr(attributes[value.arg_number])
                if "atalla.name" in own:
                    return string_value(own["atalla.name"])
            return f"arg{value.arg_number}"
        names = location_names(value.owner.operation.location)
        return names[0] if names else ""

    def _result_name(self, buffer: Buffer) -> str:
        """What the function calls a result: the only name of a constant, whose operation is shared by all its uses."""
        if "res_attrs" not in self.function.attributes:
            return ""
        position = next((at for at, view in enumerate(self.list.results) if view.buffer is buffer), None)
        own = ir.DictAttr(ir.ArrayAttr(self.function.attributes["res_attrs"])[position]) if position is not None else {}
        return string_value(own["atalla.name"]) if "atalla.name" in own else ""

    def _function(
        self,
        inputs: list[ir.Value],
        outputs: list[ir.Value],
        stored: Sequence[StoredParts | None],
        location: ir.Location,
    ) -> ir.Operation:
        """A private function that computes `outputs` from `inputs`, with clones of whatever lies between.

        Of those outputs that `stored` names parts of, it stores these alone.
        """
        wholes = [own.whole for own in stored if own is not None and own.whole is not None]
        arguments = [value.type for value in (*inputs, *wholes)]
        signature = ir.FunctionType.get(arguments, [v.type for v in outputs])
        with self.outliner.insertion_point():
            op = create_op(
                "func.func",
                [],
                [],
                {
                    "sym_name": string_attr("kernel"),
                    "sym_visibility": string_attr("private"),
                    "function_type": ir.TypeAttr.get(signature),
                },
                location,
                regions=1,
            )
        known = [
            triangle_attributes(self.function, value) if isinstance(value, ir.BlockArgument) else None
            for value in inputs
        ]
        if any(known):
            own = [attributes or ir.DictAttr.get({}) for attributes in known]
            op.attributes["arg_attrs"] = array_attr([*own, *(ir.DictAttr.get({}) for _ in wholes)])
        block = ir.Block.create_at_start(op.regions[0], arguments, [location] * len(arguments))
        mapping: dict[ir.Value, ir.Value] = dict(zip(inputs, block.arguments, strict=False))
        given = iter(list(block.arguments)[len(inputs) :])
        made = {
            value: next(given) if own.whole is not None else None
            for value, own in zip(outputs, stored, strict=True)
            if own is not None
        }
        parts = [(value, part) for value, own in zip(outputs, stored, strict=True) if own for part in own.parts]
        sources = [*(value for value in outputs if value not in made), *(part.source for _, part in parts)]
        steps: list[tuple[int, ir.Operation | tuple[ir.Value, Part]]] = [
            *((self.places[source.results[0]], source) for source in upstream(sources, mapping)),
            *((self.places[part.op.results[0]], (value, part)) for value, part in parts),
        ]
        with ir.InsertionPoint(block):
            # in program order, so that the kernel's stages come in the order of the group's
            for _, step in sorted(steps, key=lambda item: item[0]):
                if isinstance(step, tuple):
                    made[step[0]] = store_part(step[1], mapping, made[step[0]])
                else:
                    clone_into(step, mapping)
            create_op("func.return", [], [made.get(value) or mapping[value] for value in outputs], {}, location)
        return op

    def _result_value(self, value: ir.Value, buffer: Buffer) -> ir.Value:
        """The new value to return for the old `value`: a kernel's result, reshaped where the old one was."""
        if value in self.new:
            return self.new[value]
        holder = self.list.owners.get(buffer)
        view = self.list.values.get(value)
        if holder is None or not isinstance(view, View):
            raise UnsupportedError(f"result of type {value.type} is not computed")
        mapping = {holder: self.new[holder]}
        for op in upstream([value], mapping):
            clone_into(op, mapping)
        self.new[value] = mapping[value]
        return mapping[value]


def _order(value: ir.Value) -> ir.Attribute:
    """The order in which the value's dimensions are stored, or unit when it is their own."""
    if isinstance(value, ir.OpResult) and ORDER in value.owner.operation.attributes:
        return value.owner.operation.attributes[ORDER]
    if isinstance(value, ir.BlockArgument):
        return _order_of_input(value)
    return ir.UnitAttr.get()


def _order_of_input(argument: ir.BlockArgument) -> ir.Attribute:
    """That of an input; parameters are shown with their own dimensions when a loadable is made."""
    function = argument.owner.owner
    if "arg_attrs" in function.attributes:
        own = ir.DictAttr(ir.ArrayAttr(function.attributes["arg_attrs"])[argument.arg_number])
        kind = string_value(own["atalla.kind"]) if "atalla.kind" in own else ""
        if PERMUTATION in own and kind not in CONSTANT_KINDS:
            return own[PERMUTATION]
    return ir.UnitAttr.get()


def _label(group: Group) -> str:
    """A short name for a kernel from the nodes that it computes: first and last, without their numbers."""
    nodes = [re.sub(r"_\d+$", "", name) for stage in group.all_stages for name in stage.nodes[:1]]
    distinct = list(dict.fromkeys(nodes)) or ["kernel"]
    return "_".join(distinct if len(distinct) <= 3 else [*distinct[:2], distinct[-1]])


def _names(values: object) -> ir.ArrayAttr:
    return array_attr([string_attr(value) for value in values])  # pyright: ignore[reportGeneralTypeIssues]


def _source(location: ir.Location) -> str:
    position = file_position(location)
    return f"{position[0]}:{position[1]}" if position else ""
