"""`convert-atalla-to-ax01`: kernels on tiles become instructions on virtual registers."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import ClassVar

from atalla_mlir._mlir import (
    array_attr,
    functions,
    i64_array_attr,
    integer_value,
    ir,
    operations,
    string_attr,
    string_value,
)
from atalla_mlir.codegen.bounds import Bounds
from atalla_mlir.codegen.fetch_ahead import FirstColumns
from atalla_mlir.codegen.network_bounds import Launch, network_bounds
from atalla_mlir.dialects.ax01_builder import Builder
from atalla_mlir.dialects.module_attributes import CONSTANTS, ENTRIES, LAUNCHES, MACHINE, OBJECT, STATE_KIND
from atalla_mlir.errors import LimitError
from atalla_mlir.kernels.ahead import AHEAD, first_columns_of
from atalla_mlir.kernels.ahead_launches import ahead_calls
from atalla_mlir.kernels.entries import EntryLowering, KernelRecord, tensor_entry
from atalla_mlir.kernels.instructions import KernelLowering
from atalla_mlir.kernels.state_results import state_results
from atalla_mlir.passes.base import Pass, PassFailure
from atalla_mlir.passes.convert_linalg_to_atalla import BOUNDS, DECISIONS, EXPANSIONS, SUMS, bound_fields
from atalla_mlir.passes.finished_kernels import define
from atalla_mlir.passes.plan_memory import ADDRESS, ADDRESSES, CONSTANT_KINDS, VIEWS, buffer_of, size_bytes
from atalla_mlir.passes.views import PERMUTATION
from atalla_mlir.target.machine import Machine, machine

_LISTS = (SUMS, EXPANSIONS, DECISIONS)


@dataclass(frozen=True)
class ConvertAtallaToAx01Pass(Pass):
    """Lower `atalla.kernel`s and the functions that call them to `ax01.func`s

    Entry functions need the addresses of `atalla-plan-memory`. What a loadable must know about entries, constants and
    launches becomes attributes of the module.
    """

    machine: str = "ax01"
    """Parameter set that gives row and page sizes."""

    name: ClassVar[str] = "convert-atalla-to-ax01"

    def run(self, op: ir.Operation) -> None:
        target = machine(self.machine)
        for kernel in functions(op, "atalla.kernel"):
            try:
                KernelLowering(kernel, Builder(kernel.location, ir.InsertionPoint(kernel)), target).lower()
            except LimitError as error:
                raise PassFailure(kernel, str(error)) from error
            kernel.erase()
        tables = _Tables()
        for function in functions(op, "func.func"):
            name = string_value(function.attributes["sym_name"])
            tables.kernels[name] = _record(function)
            if OBJECT in function.attributes:
                tables.finished.add(name)
            elif AHEAD in function.attributes and not function.regions[0].blocks:
                tables.columns[name] = first_columns_of(ir.DictAttr(function.attributes[AHEAD]))
        for function in functions(op, "func.func"):
            if function.regions[0].blocks:
                _lower_entry(function, tables, target)
        for function in functions(op, "func.func"):
            if OBJECT in function.attributes:
                define(function)
            function.erase()
        op.attributes[MACHINE] = string_attr(self.machine)
        op.attributes[ENTRIES] = array_attr(tables.entries)
        op.attributes[CONSTANTS] = array_attr(list(tables.constants.values()))
        op.attributes[LAUNCHES] = array_attr(tables.launches)


class _Tables:
    def __init__(self) -> None:
        self.entries: list[ir.Attribute] = []
        self.constants: dict[int, ir.Attribute] = {}
        self.launches: list[ir.Attribute] = []
        self.kernels: dict[str, KernelRecord] = {}
        self.columns: dict[str, FirstColumns] = {}
        """Of kernels that fetch for one another."""
        self.finished: set[str] = set()
        """Kernels that came as object code."""


def _record(function: ir.Operation) -> KernelRecord:
    """What the declaration of a kernel says about it."""
    lists = {key: ir.ArrayAttr(function.attributes[key]) for key in _LISTS if key in function.attributes}
    return KernelRecord(
        sums=tuple(lists.get(SUMS, ())),
        expansions=tuple(lists.get(EXPANSIONS, ())),
        decisions=tuple(ir.DictAttr(row) for row in lists.get(DECISIONS, ())),
        bounds=ir.DictAttr(function.attributes[BOUNDS]) if BOUNDS in function.attributes else None,
    )


@dataclass
class _Arguments:
    """Of an entry: addresses, tensors that the host gives, and values that nobody writes while it runs."""

    addresses: dict[ir.Value, int] = field(default_factory=dict[ir.Value, int])
    inputs: list[ir.Attribute] = field(default_factory=list[ir.Attribute])
    unchanged: set[ir.Value] = field(default_factory=set[ir.Value])


def _read_arguments(function: ir.Operation, tables: _Tables) -> _Arguments:
    """Constants among them become rows of the tables."""
    block, found = function.regions[0].blocks[0], _Arguments()
    attributes = (
        [ir.DictAttr(item) for item in ir.ArrayAttr(function.attributes["arg_attrs"])]
        if ("arg_attrs" in function.attributes)
        else []
    )
    if len(attributes) != len(block.arguments) or any(ADDRESS not in item for item in attributes):
        raise PassFailure(function, "its arguments have no addresses; run atalla-plan-memory first")
    for argument, own in zip(block.arguments, attributes, strict=True):
        found.addresses[argument] = address = integer_value(own[ADDRESS])
        name = string_value(own["atalla.name"]) if "atalla.name" in own else f"arg{argument.arg_number}"
        kind = string_value(own["atalla.kind"]) if "atalla.kind" in own else "input"
        permutation = own[PERMUTATION] if PERMUTATION in own else None  # noqa: SIM401
        if kind in CONSTANT_KINDS:
            fields = {item.name: item.attr for item in tensor_entry(name, address, argument.type)}
            packing = i64_array_attr([]) if permutation is None else permutation
            tables.constants[address] = ir.DictAttr.get({**fields, "permutation": packing})
        else:
            found.inputs.append(tensor_entry(name, address, argument.type, permutation))
        if kind in CONSTANT_KINDS and kind != STATE_KIND:
            found.unchanged.add(argument)
    return found


def _lower_entry(function: ir.Operation, tables: _Tables, target: Machine) -> None:
    arguments = _read_arguments(function, tables)
    addresses, unchanged = arguments.addresses, arguments.unchanged
    for op in operations(function, "func.call"):
        if ADDRESSES not in op.attributes:
            raise PassFailure(op, "its results have no addresses; run atalla-plan-memory first")
        addresses.update(zip(op.results, ir.DenseI64ArrayAttr(op.attributes[ADDRESSES]), strict=True))
    for op in operations(function, *VIEWS):
        addresses[op.results[0]] = addresses[buffer_of(op.results[0])]
        if buffer_of(op.results[0]) in unchanged:
            unchanged.add(op.results[0])
    ahead = ahead_calls(function, tables.columns, addresses, unchanged, tables.finished, target)
    builder = Builder(function.location, ir.InsertionPoint(function))
    lowering = EntryLowering(function, builder, addresses, tables.kernels, target, ahead)
    lowering.lower()
    tables.launches.extend(lowering.launches)
    tables.entries.append(
        ir.DictAttr.get(
            {
                "function": function.attributes["sym_name"],
                "inputs": array_attr(arguments.inputs),
                "outputs": array_attr(_outputs(function, addresses)),
                "bounds": ir.DictAttr.get(bound_fields(_entry_bounds(function, tables, target))),
            }
        )
    )


def _entry_bounds(function: ir.Operation, tables: _Tables, target: Machine) -> Bounds:
    """Of all kernels that an entry calls; of kernels that came as object code nothing is known."""
    launches: list[Launch] = []
    for op in operations(function, "func.call"):
        callee = string_value(op.attributes["callee"])
        reads: dict[Hashable, int] = {}
        cycles: dict[str, int] = {}
        bounds = tables.kernels[callee].bounds if callee in tables.kernels else None
        if bounds is not None:
            sizes = ir.DenseI64ArrayAttr(bounds["input_bytes"])
            for operand, size in zip(op.operands, sizes, strict=True):
                value = buffer_of(operand)
                reads[value] = max(reads.get(value, 0), size)
            rows = ir.DictAttr(bounds["bounds"])
            cycles = {item.name: integer_value(item.attr) for item in rows}
        launches.append(Launch(reads, tuple(op.results), cycles))
    block = function.regions[0].blocks[0]
    returned = block.operations[len(block.operations) - 1].operands
    updates = state_results(function)  # a new content may share memory with the old one, so that little moves
    results: dict[Hashable, int] = {
        buffer_of(value): 0 if at in updates else size_bytes(value.type) for at, value in enumerate(returned)
    }
    return network_bounds(launches, results, target)


def _outputs(function: ir.Operation, addresses: dict[ir.Value, int]) -> list[ir.Attribute]:
    block = function.regions[0].blocks[0]
    returned = block.operations[len(block.operations) - 1].operands
    own = (
        [ir.DictAttr(item) for item in ir.ArrayAttr(function.attributes["res_attrs"])]
        if ("res_attrs" in function.attributes)
        else []
    )
    names = [
        string_value(own[at]["atalla.name"]) if at < len(own) and "atalla.name" in own[at] else f"result{at}"
        for at in range(len(returned))
    ]
    orders = [own[at][PERMUTATION] if at < len(own) and PERMUTATION in own[at] else None for at in range(len(returned))]
    kept = state_results(function)
    return [
        tensor_entry(name, addresses[value], value.type, order)
        for at, (name, value, order) in enumerate(zip(names, returned, orders, strict=True))
        if at not in kept
    ]
