"""`atalla-assign-layouts`: tensors around windows are stored with their channels innermost."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from atalla_mlir._mlir import (
    AffineForm,
    create_op,
    i64_array_attr,
    indexing_forms,
    ir,
    name_location,
    operations,
    string_value,
)
from atalla_mlir.codegen.iteration import Buffer
from atalla_mlir.errors import UnsupportedError
from atalla_mlir.kernels.linalg_stages import StageReader
from atalla_mlir.kernels.state_results import state_results
from atalla_mlir.kernels.views import View, reassociation
from atalla_mlir.passes.base import Pass, PassFailure
from atalla_mlir.passes.interiors import read_interiors, user_of
from atalla_mlir.passes.plan_memory import CONSTANT_KINDS
from atalla_mlir.passes.views import (
    ORDER,
    PERMUTATION,
    argument_attributes,
    inverted,
    permuted_type,
    return_permuted,
    row_major_copy,
    store_argument_permuted,
    transposed_view,
    transposition,
)

RESHAPES = ("tensor.expand_shape", "tensor.collapse_shape")


@dataclass(frozen=True)
class AssignLayoutsPass(Pass):
    """Store what convolutions and pools read and give with the channels innermost

    The result of an operation gets its dimensions in another order, and a transposition behind it, which later passes
    fold into strides, keeps its meaning. Operations without windows follow the order of what they read. Inputs are
    expected, and results returned, in the order in which the function works on them (`atalla.permutation`).
    """

    permute_inputs: bool = True
    """Expect inputs in the order in which the function works on them; else each is copied into it."""

    name: ClassVar[str] = "atalla-assign-layouts"

    def run(self, op: ir.Operation) -> None:
        for function in operations(op, "func.func"):
            if "sym_visibility" in function.attributes or not function.regions[0].blocks:
                continue
            if any(window_dims(generic) for generic in operations(function, "linalg.generic")):
                try:
                    if self.permute_inputs:
                        _permute_inputs(function)
                    _FunctionLayout(function).run()
                    _permute_results(function)
                except UnsupportedError as error:
                    raise PassFailure(function, str(error)) from error


def _permute_inputs(function: ir.Operation) -> None:
    """Expect inputs that windows slide over with their channels innermost."""
    for argument in list(function.regions[0].blocks[0].arguments):
        own = argument_attributes(function, argument)
        kind = string_value(own["atalla.kind"]) if "atalla.kind" in own else ""
        windows = _windows_over(argument)
        if not windows or kind in CONSTANT_KINDS or PERMUTATION in own:
            continue
        order = channel_last(ir.RankedTensorType(argument.type).rank, windows)
        if order != sorted(order):
            store_argument_permuted(function, argument, order)


def _permute_results(function: ir.Operation) -> None:
    """Return results that got another order as they are stored."""
    block = function.regions[0].blocks[0]
    returned = list(block.operations[len(block.operations) - 1].operands)
    kept = state_results(function)
    for at, value in enumerate(returned):
        stored = _transposed_back(value)
        if stored is not None and returned.count(value) == 1 and at not in kept:
            return_permuted(function, at, stored, _order_of(stored))


def _transposed_back(value: ir.Value) -> ir.OpResult | None:
    """The result of an operation with another order that `value` shows in its own order."""
    view = value.owner.operation if isinstance(value, ir.OpResult) else None
    if view is None or view.name != "linalg.generic":
        return None
    source, permutation = view.operands[0], transposition(view)
    if permutation is None or not isinstance(source, ir.OpResult) or ORDER not in source.owner.operation.attributes:
        return None
    return source if permutation == inverted(_order_of(source)) else None


def _order_of(value: ir.OpResult) -> list[int]:
    return list(ir.DenseI64ArrayAttr(value.owner.operation.attributes[ORDER]))


def window_dims(generic: ir.Operation) -> list[tuple[int, ...]]:
    """For each operand that a window slides over, its dimensions along which it does; empty without windows."""
    return [dims for forms in indexing_forms(generic) if (dims := _window_dims(forms or ()))]


def _window_dims(forms: Sequence[AffineForm]) -> tuple[int, ...]:
    return tuple(at for at, form in enumerate(forms) if len(form.dims) > 1)


def channel_last(rank: int, windows: Sequence[int]) -> list[int]:
    """The first dimension, then those along which windows slide, then the others."""
    return [0, *windows, *(at for at in range(1, rank) if at not in windows)] if 0 not in windows else list(range(rank))


class _FunctionLayout:
    def __init__(self, function: ir.Operation) -> None:
        self.function = function
        self.block = function.regions[0].blocks[0]
        self.reader = StageReader(function)
        self.assigned: set[Buffer] = set()

    def run(self) -> None:
        read_interiors(self.block)
        for view in list(self.block.operations):
            op = view.operation
            with op.location, ir.InsertionPoint(op):
                self._visit(op)

    def _visit(self, op: ir.Operation) -> None:
        if op.name == "linalg.generic" and window_dims(op):
            self._order_windowed_operand(op)
        self.reader.read(op)
        order = self._wanted_order(op)
        if order is not None and order != sorted(order):
            self._reorder(op, order)

    # Which order

    def _wanted_order(self, op: ir.Operation) -> list[int] | None:
        if op.name in ("tensor.pad", "tensor.concat"):
            return self._order_of_copies(op)
        if op.name != "linalg.generic" or len(op.results) != 1 or not self._is_computed(op):
            return None
        forms = [form or () for form in indexing_forms(op)]
        loops = [form.single_dim for form in forms[len(op.operands) - len(op.results)]]
        windows = window_dims(op)
        if windows:
            sliding = {dim for forms in forms[:-1] for at in _window_dims(forms) for dim in forms[at].dims}
            return channel_last(len(loops), [at for at, loop in enumerate(loops) if loop in sliding])
        return self._order_of_operands(op, forms, loops)

    def _is_computed(self, op: ir.Operation) -> bool:
        """Whether the operation has a buffer of its own, and is not a view of another one."""
        view = self._any_view(op.results[0])
        owner = None if view is None else self.reader.out.owners.get(view.buffer)
        return owner is not None and owner == op.results[0]

    def _assigned_view(self, value: ir.Value) -> View | None:
        view = self.reader.out.values.get(value)
        return view if isinstance(view, View) and view.buffer in self.assigned else None

    def _order_of_operands(
        self, op: ir.Operation, forms: Sequence[Sequence[AffineForm]], loops: Sequence[int | None]
    ) -> list[int] | None:
        """The order in which the loops walk an operand that was given an order and that all of them index."""
        for value, form in zip(list(op.operands)[: -len(op.results)], forms, strict=False):
            view = self._assigned_view(value)
            if view is None:
                continue
            strides = {item.single_dim: stride for item, stride in zip(form, view.strides, strict=True)}
            if all(loop in strides for loop in loops):
                return _by_stride([strides[loop] for loop in loops])
        return None

    def _order_of_copies(self, op: ir.Operation) -> list[int] | None:
        """A padded or concatenated tensor is stored like its parts, or as the window wants it that slides over it."""
        for value in op.operands:
            view = self._assigned_view(value)
            if view is not None:
                return _by_stride(view.strides)
        return self._order_for_windows(op.results[0])

    @staticmethod
    def _order_for_windows(value: ir.Value) -> list[int] | None:
        windows = _windows_over(value)
        return channel_last(ir.RankedTensorType(value.type).rank, windows) if windows else None

    def _order_windowed_operand(self, op: ir.Operation) -> None:
        """Copy what a window slides over into the order that it wants, if nothing before has put it so."""
        for at, forms in enumerate(indexing_forms(op)):
            windows = _window_dims(forms or ())
            if not windows:
                continue
            value = op.operands[at]
            view = self.reader.out.values.get(value)
            extents = list(ir.RankedTensorType(value.type).shape)
            order = channel_last(len(extents), windows)
            if not isinstance(view, View) or _is_descending([view.strides[dim] for dim in order if extents[dim] > 1]):
                continue
            op.operands[at] = self._copied(value, order)

    def _copied(self, value: ir.Value, order: list[int]) -> ir.Value:
        with self._location(value):
            pad = row_major_copy(transposed_view(value, order))
            pad.attributes[ORDER] = i64_array_attr(order)
            back = transposed_view(pad.results[0], inverted(order))
        self._read(back)
        return back

    def _location(self, value: ir.Value) -> ir.Location:
        """Where a copy of `value` is said to come from: it holds the same elements and has the same name.

        A reshape may have the name of what it was made for.
        """
        while isinstance(value, ir.OpResult) and value.owner.operation.name in RESHAPES:
            value = value.owner.operation.operands[0]
        if isinstance(value, ir.OpResult):
            return value.owner.operation.location
        own = argument_attributes(self.function, value)
        return name_location(string_value(own["atalla.name"])) if "atalla.name" in own else ir.Location.current

    def _read(self, value: ir.Value) -> None:
        """Let the reader see the new operations that `value` is made by; the last one gives an assigned order."""
        self._read_new(value)
        view = self._any_view(value)
        if view is not None:
            self.assigned.add(view.buffer)

    def _read_new(self, value: ir.Value) -> None:
        if isinstance(value, ir.BlockArgument) or value in self.reader.out.values:
            return
        op = value.owner.operation
        for operand in op.operands:
            self._read_new(operand)
        self.reader.read(op)

    def _any_view(self, value: ir.Value) -> View | None:
        view = self.reader.out.values.get(value)
        return view if isinstance(view, View) else None

    # Giving an order

    def _reorder(self, op: ir.Operation, order: list[int]) -> None:
        new = op.clone().operation
        build = {"tensor.pad": _reorder_pad, "tensor.concat": _reorder_concat}.get(op.name, _reorder_generic)
        with ir.InsertionPoint(new):
            build(new, order)
        new.results[0].set_type(permuted_type(ir.RankedTensorType(op.results[0].type), order))
        new.attributes[ORDER] = i64_array_attr(order)
        back = transposed_view(new.results[0], inverted(order))
        self._read(back)
        op.results[0].replace_all_uses_with(back)
        del self.reader.out.values[op.results[0]]
        op.erase()


def _windows_over(value: ir.Value) -> tuple[int, ...]:
    """The dimensions of `value` along which a window slides that reads it, also padded or with dimensions split."""
    for use in value.uses:
        user = user_of(use)
        windows: tuple[int, ...] = ()
        if user.name == "linalg.generic":
            windows = _window_dims(indexing_forms(user)[use.operand_number] or ())
        elif user.name == "tensor.pad":
            windows = _windows_over(user.results[0])
        elif user.name == "tensor.expand_shape":
            split = _windows_over(user.results[0])
            windows = tuple(at for at, group in enumerate(reassociation(user)) if group[0] in split)
        if windows:
            return windows
    return ()


def _is_descending(strides: Sequence[int]) -> bool:
    return all(outer >= inner for outer, inner in itertools.pairwise(strides))


def _by_stride(strides: Sequence[int]) -> list[int]:
    """Positions from the largest stride to the smallest."""
    return sorted(range(len(strides)), key=lambda at: -strides[at])


def _reorder_generic(op: ir.Operation, order: Sequence[int]) -> None:
    maps = list(ir.ArrayAttr(op.attributes["indexing_maps"]))
    last = ir.AffineMapAttr(maps[-1]).value
    results = list(last.results)
    maps[-1] = ir.AffineMapAttr.get(ir.AffineMap.get(last.n_dims, 0, [results[at] for at in order]))
    op.attributes["indexing_maps"] = ir.ArrayAttr.get(maps)
    initial = op.operands[len(op.operands) - 1]
    if isinstance(initial, ir.OpResult) and initial.owner.operation.name == "tensor.empty":
        kind = permuted_type(ir.RankedTensorType(initial.type), order)
        op.operands[len(op.operands) - 1] = create_op("tensor.empty", [kind], [], {}).results[0]
    else:
        op.operands[len(op.operands) - 1] = transposed_view(initial, order)


def _reorder_pad(op: ir.Operation, order: Sequence[int]) -> None:
    op.operands[0] = transposed_view(op.operands[0], order)
    for name in ("static_low", "static_high"):
        amounts = list(ir.DenseI64ArrayAttr(op.attributes[name]))
        op.attributes[name] = i64_array_attr([amounts[at] for at in order])


def _reorder_concat(op: ir.Operation, order: Sequence[int]) -> None:
    for at, operand in enumerate(list(op.operands)):
        op.operands[at] = transposed_view(operand, order)
    dim = ir.IntegerAttr(op.attributes["dim"])
    op.attributes["dim"] = ir.IntegerAttr.get(dim.type, list(order).index(dim.value))
