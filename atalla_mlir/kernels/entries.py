"""Entry functions to `ax01`: one call after another, with the addresses of the buffers in argument registers.

What the loadable must know about them is left on the module as attributes (`dialects.module_attributes`). A launch
also has `source`, `not_fused`, `sums` (graph node -> how its sums are formed: {kind, block, depth}) and `expansions`
(graph node -> bound of a function that was expanded into row operations: {relative, absolute}), and what no code for
the kernel can go below: `bound_cycles`, `bound_by`, `bounds` (resource -> cycles), `compulsory_bytes`. `decisions` says
for each of its loop nests what was chosen; their `predicted_cycles` are added where all of them have some.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from atalla_mlir._mlir import array_attr, i64_array_attr, i64_attr, integer_value, ir, string_attr, string_value
from atalla_mlir.codegen.dealt_images import DealtImage
from atalla_mlir.codegen.image_kernel import KeptImage
from atalla_mlir.codegen.product_plan import LANES
from atalla_mlir.dialects.ax01_builder import Builder
from atalla_mlir.dialects.module_attributes import CONTINUES, PARTS
from atalla_mlir.errors import InternalError
from atalla_mlir.kernels.ahead_launches import AheadCalls
from atalla_mlir.kernels.image_areas import ImageAreas, load_number
from atalla_mlir.kernels.image_attributes import image_attribute
from atalla_mlir.kernels.views import is_integer_tensor, row_major
from atalla_mlir.target.machine import Machine
from atalla_mlir.target.registers import ARGUMENT_BASE, RegisterFile

_SCALAR = RegisterFile.SCALAR
_PREDICTED = "predicted_cycles"


def tensor_entry(name: str, address: int, kind: ir.Type, order: ir.Attribute | None = None) -> ir.DictAttr:
    """A tensor in memory; with an `order` its dimensions are stored in that order, outermost first."""
    shape = list(ir.ShapedType(kind).shape)
    fields = {"name": string_attr(name), "address": i64_attr(address), "shape": i64_array_attr(shape)}
    if is_integer_tensor(kind):
        fields["dtype"] = string_attr("i32")
    if order is not None and not isinstance(order.maybe_downcast(), ir.UnitAttr):
        own, dims = row_major(shape), list(ir.DenseI64ArrayAttr(order))
        places = [dims.index(at) for at in range(len(shape))]
        fields["shape"] = i64_array_attr([shape[at] for at in places])
        fields["strides"] = i64_array_attr([own[at] for at in places])
    return ir.DictAttr.get(fields)


def image_entry(tensor: ir.DictAttr, image: KeptImage) -> ir.DictAttr:
    """A tensor that stays in the pads as an image; it has no address."""
    fields = {item.name: item.attr for item in tensor}
    return ir.DictAttr.get({**fields, "image": image_attribute(image)})


def part_entry(part: ir.DictAttr, address: int) -> ir.DictAttr:
    """A tensor that lies in another one at `address`."""
    fields = {item.name: item.attr for item in part if item.name != "offset"}
    return ir.DictAttr.get({**fields, "address": i64_attr(address + 2 * integer_value(part["offset"]))})


def part_of_image(part: ir.DictAttr, whole: KeptImage) -> ir.DictAttr:
    """A tensor that is some slices of an image: an image itself, of their channels alone."""
    first, rest = divmod(integer_value(part["offset"]), LANES)
    sizes, strides = (list(ir.DenseI64ArrayAttr(part[name])) for name in ("shape", "strides"))
    channels, all_channels = sizes[strides.index(1)], whole.slices * LANES
    if rest or channels % LANES or isinstance(whole, DealtImage):
        raise InternalError("a part of an image is no run of its slices")
    own = [stride // all_channels * channels if stride > 1 else stride for stride in strides]
    fields = {item.name: item.attr for item in part if item.name != "offset"}
    image = replace(whole, base=whole.base + first * whole.slice_rows, slices=channels // LANES)
    return image_entry(ir.DictAttr.get({**fields, "address": i64_attr(0), "strides": i64_array_attr(own)}), image)


@dataclass(frozen=True)
class KernelRecord:
    """What was noted about a kernel: for each stage how it adds and how exact its function is; nests; bounds."""

    sums: Sequence[ir.Attribute] = ()
    expansions: Sequence[ir.Attribute] = ()
    decisions: Sequence[ir.DictAttr] = ()
    bounds: ir.DictAttr | None = None
    """What no code for it can go below."""

    def predictions(self) -> dict[str, ir.Attribute]:
        """What was decided, and the cycles that this was predicted to take."""
        fields: dict[str, ir.Attribute] = {"decisions": array_attr(self.decisions)}
        cycles = [integer_value(row[_PREDICTED]) for row in self.decisions if _PREDICTED in row]
        if cycles and len(cycles) == len(self.decisions):
            fields[_PREDICTED] = i64_attr(sum(cycles))
        return fields


class EntryLowering:
    """Lowers one entry function.

    `addresses` gives the DRAM address of each argument and kernel result, `kernels` what is recorded about each kernel.
    """

    def __init__(
        self,
        function: ir.Operation,
        builder: Builder,
        addresses: Mapping[ir.Value, int],
        kernels: Mapping[str, KernelRecord],
        machine: Machine,
        ahead: AheadCalls,
    ) -> None:
        self.function, self.machine, self.ahead = function, machine, ahead
        self.kernels = kernels
        self.b = builder
        self.addresses = addresses
        self.launches: list[ir.Attribute] = []

    def lower(self) -> None:
        name = string_value(self.function.attributes["sym_name"])
        with self.b.function(name):
            zero = self.b.get_register(_SCALAR, 0)
            areas = ImageAreas(self.function, self.b, self.machine, self.ahead)
            for view in self.function.regions[0].blocks[0].operations:
                op = view.operation
                self.b.loc = op.location
                if op.name == "func.call":
                    areas.prepare(op)
                    self._launch(name, op, zero)
            areas.give_back()
            self.b.halt_s()
            areas.panic()

    def _launch(self, entry: str, op: ir.Operation, zero: ir.Value) -> None:
        callee = string_value(op.attributes["callee"])
        values = [*op.operands, *op.results]
        images = self.ahead.images(op)
        for position, value in enumerate(values):
            image = images.get(position)
            address = self.addresses[value] if image is None else image.base * self.machine.row_bytes
            load_number(self.b, zero, ARGUMENT_BASE + position, address)
        for position, number in enumerate(self.ahead.arguments(op), len(values)):
            load_number(self.b, zero, ARGUMENT_BASE + position, number)
        self.b.call(callee)
        record = self.kernels.get(callee, KernelRecord())
        self.launches.append(
            ir.DictAttr.get(
                {
                    "entry": string_attr(entry),
                    "function": string_attr(callee),
                    "nodes": _names(op, "atalla.nodes"),
                    "source": op.attributes["atalla.source"] if "atalla.source" in op.attributes else string_attr(""),
                    "not_fused": _names(op, "atalla.not_fused"),
                    "inputs": self._tensors(op, op.operands, "input"),
                    "outputs": self._tensors(op, op.results, "output"),
                    "sums": self._by_node(record.sums, _names(op, "atalla.stages")),
                    "expansions": self._by_node(record.expansions, _names(op, "atalla.stages")),
                    **record.predictions(),
                    **self.ahead.fields(op, record.bounds, self.machine),
                }
            )
        )

    def _by_node(self, records: Iterable[ir.Attribute], stages: ir.ArrayAttr) -> ir.DictAttr:
        """What is recorded for each stage, by the node that the stage computes."""
        return ir.DictAttr.get(
            {
                string_value(node): record
                for node, record in zip(stages, records, strict=False)
                if isinstance(record.maybe_downcast(), ir.DictAttr) and string_value(node)
            }
        )

    def _tensors(self, op: ir.Operation, values: Sequence[ir.Value], kind: str) -> ir.ArrayAttr:
        names, orders = _names(op, f"atalla.{kind}s"), _names(op, f"atalla.{kind}_orders")
        if len(names) != len(values):
            raise InternalError(f"{len(values)} buffers with {len(names)} names")
        parts = ir.ArrayAttr(op.attributes[PARTS]) if PARTS in op.attributes else array_attr([])
        continued = set(ir.DenseI64ArrayAttr(op.attributes[CONTINUES])) if CONTINUES in op.attributes else set[int]()
        found: list[ir.Attribute] = []
        images = self.ahead.images(op)
        for at, (name, value, order) in enumerate(itertools.zip_longest(names, values, orders)):
            own = parts[at] if kind == "output" and at < len(parts) else None
            if own is not None and isinstance(own.maybe_downcast(), ir.ArrayAttr):
                whole = images.get(at + len(op.operands))
                found += [self._part(ir.DictAttr(part), value, whole) for part in ir.ArrayAttr(own)]
            elif kind == "output" or at not in continued:
                entry = tensor_entry(string_value(name), self.addresses[value], value.type, order)
                image = images.get(at + (len(op.operands) if kind == "output" else 0))
                found.append(entry if image is None else image_entry(entry, image))
        return array_attr(found)

    def _part(self, part: ir.DictAttr, value: ir.Value, whole: KeptImage | None) -> ir.DictAttr:
        return part_entry(part, self.addresses[value]) if whole is None else part_of_image(part, whole)


def _names(op: ir.Operation, key: str) -> ir.ArrayAttr:
    if key in op.attributes:
        return ir.ArrayAttr(op.attributes[key])
    if key == "atalla.inputs":
        return array_attr([string_attr(f"in{at}") for at in range(len(op.operands))])
    if key == "atalla.outputs":
        return array_attr([string_attr(f"out{at}") for at in range(len(op.results))])
    return array_attr([])
