"""Launches of an entry function that fetch for one another: what each is told, and the rows that stay between them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from atalla_mlir._mlir import i64_attr, integer_value, ir, string_attr, string_value
from atalla_mlir.codegen.bounds import Bounds
from atalla_mlir.codegen.fetch_ahead import Ahead, AheadLaunch, FirstColumns, moved_bounds, told
from atalla_mlir.codegen.image_kernel import KeptImage
from atalla_mlir.kernels.image_attributes import images_of
from atalla_mlir.target.machine import Machine


@dataclass(frozen=True)
class AheadCalls:
    """The calls of an entry that are told something, in order. Their rows are the first ones of each pad."""

    calls: tuple[ir.Operation, ...] = ()
    launches: tuple[AheadLaunch, ...] = ()
    told: tuple[Ahead, ...] = ()
    page_rows: int = 32

    @property
    def pages(self) -> int:
        """Of each pad."""
        rows = max((launch.columns.area_rows for launch in self.launches), default=0)
        return -(-rows // self.page_rows)

    @property
    def pads(self) -> int:
        return max((launch.columns.pads for launch in self.launches), default=0)

    def images(self, call: ir.Operation) -> Mapping[int, KeptImage]:
        """Images of a call, which lie behind the rows for what is fetched ahead."""
        rows = self.pages * self.page_rows
        return {at: replace(image, base=image.base + rows) for at, image in images_of(call).items()}

    def arguments(self, call: ir.Operation) -> list[int]:
        """What a call passes behind the addresses of its buffers."""
        return self.told[self.calls.index(call)].arguments(0) if call in self.calls else []

    def pairs(self) -> list[tuple[ir.Operation, ir.Operation]]:
        """First and last call of each stretch during which the rows stay: all of a chain, or one that is alone."""
        pairs: list[tuple[ir.Operation, ir.Operation]] = []
        for call, ahead in zip(self.calls, self.told, strict=True):
            begin = pairs.pop()[0] if ahead.is_there else call
            pairs.append((begin, call))
        return pairs

    def fields(self, call: ir.Operation, bounds: ir.DictAttr | None, machine: Machine) -> dict[str, ir.Attribute]:
        """What is said of a launch: its bounds, of which the one before may have taken a part, and what it fetches."""
        fields = {item.name: item.attr for item in bounds or ()}
        if call not in self.calls:
            return fields
        at = self.calls.index(call)
        taken = self.launches[at].columns.num_bytes if self.told[at].is_there else 0
        given = 0
        if at + 1 < len(self.calls) and self.told[at + 1].is_there:
            given = self.launches[at + 1].columns.num_bytes
        if bounds is not None:
            fields |= _bound_fields(bounds, given - taken, machine)
        return {**fields, "ahead": ir.DictAttr.get({"fetched_bytes": i64_attr(given), "found_bytes": i64_attr(taken)})}


def _bound_fields(fields: ir.DictAttr, num_bytes: int, machine: Machine) -> dict[str, ir.Attribute]:
    cycles = {item.name: integer_value(item.attr) for item in ir.DictAttr(fields["bounds"])}
    bounds = moved_bounds(Bounds(cycles, integer_value(fields["compulsory_bytes"])), num_bytes, machine)
    return {
        "bound_cycles": i64_attr(bounds.bound_cycles),
        "bound_by": string_attr(bounds.bound_by),
        "bounds": ir.DictAttr.get({resource: i64_attr(count) for resource, count in bounds.cycles.items()}),
        "compulsory_bytes": i64_attr(bounds.compulsory_bytes),
    }


def ahead_calls(
    function: ir.Operation,
    columns: Mapping[str, FirstColumns],
    addresses: Mapping[ir.Value, int],
    constants: Collection[ir.Value],
    finished: Collection[str],
    machine: Machine,
) -> AheadCalls:
    """Of an entry; `columns` are those of kernels, `constants` the buffers that no kernel writes.

    Nothing stays beside `finished` kernels, which came as object code: they may take all of a pad.
    """
    calls: list[ir.Operation] = []
    launches: list[AheadLaunch] = []
    is_kept = True
    for view in function.regions[0].blocks[0].operations:
        call = view.operation
        if call.name != "func.call":
            continue
        name = string_value(call.attributes["callee"])
        is_kept = is_kept and name not in finished
        if name in columns:
            matrix = call.operands[columns[name].operand]
            calls.append(call)
            launches.append(AheadLaunch(columns[name], addresses[matrix], is_kept and matrix in constants))
            is_kept = True
    return AheadCalls(tuple(calls), tuple(launches), tuple(told(launches)), machine.page_rows)
