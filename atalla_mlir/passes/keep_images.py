"""`atalla-keep-images`: values between kernels that fit stay in the pads."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache, cached_property
from typing import ClassVar

from atalla_mlir._mlir import array_attr, i64_attr, ir, operations, string_attr, string_value, symbol_attr
from atalla_mlir.codegen.attention_images import AttentionImages
from atalla_mlir.codegen.grouping import Group, form_groups
from atalla_mlir.codegen.image_folds import ImageFolds
from atalla_mlir.codegen.image_kernel import ImageKernel
from atalla_mlir.codegen.image_maps import ImageMaps
from atalla_mlir.codegen.image_plan import ImageLaunch, ImagePlan, ImagePlanner, ImageValue
from atalla_mlir.codegen.image_windows import ImageWindows
from atalla_mlir.codegen.iteration import Buffer, coalesce_loops
from atalla_mlir.codegen.opaque_kernel import OpaqueKernel
from atalla_mlir.codegen.pad_images import HALVES, ImageShape, matrix_lines
from atalla_mlir.codegen.product_chain import SPILL_ROWS, apart_cycles, chain_cycles
from atalla_mlir.codegen.product_plan import LANES
from atalla_mlir.errors import UnsupportedError
from atalla_mlir.kernels.image_attributes import EACH_OF, FREE_ROWS, IMAGES, image_attribute
from atalla_mlir.kernels.image_nests import grouped_image_kernel
from atalla_mlir.kernels.linalg_stages import read_stages
from atalla_mlir.kernels.stage_list import StageList
from atalla_mlir.passes.base import Pass, PassFailure
from atalla_mlir.passes.placed_rows import placed_rows
from atalla_mlir.passes.shared_results import continued
from atalla_mlir.target.machine import Machine, machine

_NO_VALUE = -1
_IMAGE_DIMS = 2
"""Lines and pixels."""


@dataclass(frozen=True)
class KeepImagesPass(Pass):
    """Let images and matrices that one kernel makes and others read stay in the pads where they fit

    `atalla.images` on a call says where each of them lies, on a kernel in which pads (a call passes the first row as an
    argument), `atalla.free_rows` what they leave to it, `atalla.halves_of_each` of how many pictures each has halves.
    Kernels that find them in other pads become other functions; those that only run beside them stay as they are, and
    `atalla.free_rows` is what they take.
    """

    machine: str = "ax01"
    """Parameter set that gives the number and size of the pads."""

    keep: str = "worth"
    """What to keep of that which fits: "worth", what makes kernels no slower by predicted cycles, or "always"."""

    name: ClassVar[str] = "atalla-keep-images"

    def run(self, op: ir.Operation) -> None:
        target = machine(self.machine)
        if self.keep not in ("worth", "always"):
            raise PassFailure(op, f"keep is 'worth' or 'always', not '{self.keep}'")
        functions = operations(op, "func.func")
        kernels = {
            string_value(function.attributes["sym_name"]): function
            for function in functions
            if "sym_visibility" in function.attributes and function.regions[0].blocks
        }
        read: dict[tuple[str, int], _Kernel] = {}
        variants: dict[str, dict[str, ir.Operation | None]] = {}
        for function in functions:
            if "sym_visibility" not in function.attributes and function.regions[0].blocks:
                _Entry(function, kernels, read, target, self.keep == "always").run(variants)


@dataclass(frozen=True)
class _Kernel:
    kernel: ImageKernel | None
    buffers: tuple[Buffer, ...]
    """Of arguments and results."""
    apart_cycles: Callable[[], float]


def _unknown_cycles() -> float:
    return math.inf


def _read(function: ir.Operation, target: Machine, each_of: int) -> _Kernel:
    """A kernel; where there are several pictures `each_of` which has halves, as one that works on these."""
    try:
        groups, listed = _groups(function)
    except UnsupportedError:  # whoever lowers it says so
        return _Kernel(None, (), _unknown_cycles)
    buffers = tuple(view.buffer for view in (*listed.arguments, *listed.results))
    kernel = grouped_image_kernel(groups, dict.fromkeys(buffers), each_of) if groups else None
    opaque = OpaqueKernel(cache(lambda: placed_rows(function, target.name)))
    if kernel is None:
        return _Kernel(opaque, buffers, _unknown_cycles)
    if isinstance(kernel, ImageFolds):
        return _Kernel(replace(kernel, opaque=opaque), buffers, lambda: kernel.apart_cycles)
    if isinstance(kernel, (ImageWindows, ImageMaps, AttentionImages)):
        cost = kernel.cost({}, pads=target.pads, pad_rows=target.pad_rows - SPILL_ROWS)
        return _Kernel(kernel, buffers, lambda: cost.cycles if cost is not None else math.inf)
    return _Kernel(kernel, buffers, cache(lambda: _apart_cycles(function)))


def _groups(function: ir.Operation) -> tuple[list[Group], StageList]:
    listed = read_stages(function)
    results = {view.buffer for view in listed.results}
    return form_groups(listed.stages, list(range(len(listed.stages))), results), listed


def _apart_cycles(function: ir.Operation) -> float:
    """Of a kernel that is a product, or two: by whichever form is the fastest when all of it is in DRAM."""
    groups, listed = _groups(function)
    results = {view.buffer for view in listed.results}
    if groups[0].chain is not None:
        return chain_cycles(*groups[0].chain, results)
    stages = groups[0].stages
    coalesce_loops(stages)
    return apart_cycles(stages, results)


class _Entry:
    """One entry function and the kernels that it calls."""

    def __init__(
        self,
        function: ir.Operation,
        kernels: dict[str, ir.Operation],
        read: dict[tuple[str, int], _Kernel],
        target: Machine,
        always: bool,
    ) -> None:
        self.kernels, self.read, self.target, self.always = kernels, read, target, always
        block = function.regions[0].blocks[0]
        self.calls = [view.operation for view in block.operations if view.operation.name == "func.call"]
        self.numbers: dict[ir.Value, int] = {}
        for call in self.calls:
            for value in (*call.operands, *call.results):
                earlier = continued(value)
                self.numbers.setdefault(value, len(self.numbers) if earlier is None else self.numbers[earlier])
        self.each_of: dict[ir.Operation, int] = {}
        """Calls that work on halves of each of so many pictures."""

    def run(self, variants: dict[str, dict[str, ir.Operation | None]]) -> None:
        self._find_batches()
        values = self._values()
        if not values:
            return
        plan = ImagePlanner([self._launch(call) for call in self.calls], self.target, always=self.always).plan(values)
        for at, call in enumerate(self.calls):
            self._annotate(call, at, plan, variants)

    def _kernel(self, call: ir.Operation, each_of: int) -> _Kernel:
        name = string_value(call.attributes["callee"])
        if (name, each_of) not in self.read:
            known = self.kernels.get(name)
            kernel = _Kernel(None, (), _unknown_cycles) if known is None else _read(known, self.target, each_of)
            self.read[name, each_of] = kernel
        return self.read[name, each_of]

    def _launch(self, call: ir.Operation) -> ImageLaunch:
        name, each_of = string_value(call.attributes["callee"]), self.each_of.get(call, 1)
        kernel = self._kernel(call, each_of)
        values = tuple(self._touched(call)) if kernel.buffers else ()
        return ImageLaunch(f"{name} {each_of}", kernel.kernel, values, kernel.buffers, kernel.apart_cycles)

    def _find_batches(self) -> None:
        """Which kernels must work on halves of each picture of a batch, and what shares values with them."""
        self.each_of = {call: pictures for call in self.calls if (pictures := self._halved_pictures(call)) > 1}
        found = list(self.each_of)
        while found:
            call = found.pop()
            each_of = self.each_of[call]
            for value in (*call.operands, *call.results):
                for other in self._sharing(value) if self._holds(call, value, each_of) else ():
                    if other not in self.each_of and self._holds(other, value, each_of):
                        self.each_of[other] = each_of
                        found.append(other)

    def _halved_pictures(self, call: ir.Operation) -> int:
        """Of how many pictures each must have halves where a call works on them; 1 where that is not so.

        A head of an attention must find its queries and keys in both pads, and an odd number has no halves of its own.
        """
        kernel = self._kernel(call, 1).kernel
        if isinstance(kernel, AttentionImages):
            return kernel.pictures
        for result in call.results:
            each_of, sharing = _odd_pictures(result.type), self._sharing(result)
            if each_of > 1 and not all(self._holds(other, result, 1) for other in sharing):
                return each_of if all(self._holds(other, result, each_of) for other in sharing) else 1
        return 1

    def _sharing(self, value: ir.Value) -> list[ir.Operation]:
        """Calls that make or read what a call reads or makes."""
        return self._calls_of.get(self.numbers[value], [])

    @cached_property
    def _calls_of(self) -> dict[int, list[ir.Operation]]:
        """Those that make or read each value."""
        found: dict[int, list[ir.Operation]] = {}
        for call in self.calls:
            for number in dict.fromkeys(self._touched(call)):
                found.setdefault(number, []).append(call)
        return found

    def _holds(self, call: ir.Operation, value: ir.Value, each_of: int) -> bool:
        """Whether a call can work on a value of which each picture has halves."""
        kernel, shape = self._kernel(call, each_of), _image_shape(value.type, each_of)
        own = zip(self._touched(call), kernel.buffers, strict=True) if kernel.buffers else ()
        buffers = [buffer for number, buffer in own if number == self.numbers[value]]
        if shape is None or kernel.kernel is None or not buffers:
            return False
        return all(kernel.kernel.held_lines(buffer, shape) is not None for buffer in buffers)

    def _touched(self, call: ir.Operation) -> Iterator[int]:
        """The numbers of operands and results; that of no value for an operand into which a result is stored."""
        stored_into = [value for value in map(continued, call.results) if value is not None]
        for operand in call.operands:
            yield self.numbers[operand] if operand not in stored_into else _NO_VALUE
        yield from (self.numbers[result] for result in call.results)

    def _values(self) -> list[ImageValue]:
        """Results that are images and that only later calls read, or store other parts of."""
        places = {call: at for at, call in enumerate(self.calls)}
        users: dict[int, set[ir.Operation]] = {}
        for result in (result for call in self.calls for result in call.results):
            users.setdefault(self.numbers[result], set()).update(use.owner.operation for use in result.uses)
        found: list[ImageValue] = []
        for at, call in enumerate(self.calls):
            for result in (result for result in call.results if continued(result) is None):
                number, shape = self.numbers[result], _image_shape(result.type, self.each_of.get(call, 1))
                if shape is not None and users[number] and users[number] <= set(places):
                    readers = tuple(sorted(places[user] for user in users[number]))
                    found.append(ImageValue(number, shape, at, readers))
        return found

    def _annotate(
        self, call: ir.Operation, at: int, plan: ImagePlan, variants: dict[str, dict[str, ir.Operation | None]]
    ) -> None:
        """Say where images lie on a call and on its function, of which others may need a copy of their own."""
        name = string_value(call.attributes["callee"])
        if name not in self.kernels:
            return
        known = variants.setdefault(name, {})
        key, attributes = "", dict[str, ir.Attribute]()
        images = [plan.images.get(number) for number in self._touched(call)]
        each_of = self.each_of.get(call, 1)
        kernel = self._kernel(call, each_of).kernel
        # one that works on no images always takes the same rows
        is_settled = at in plan.free_rows and not any(images) and kernel is not None and kernel.operand is None
        if at in plan.free_rows and not is_settled:
            call.attributes[IMAGES] = array_attr([image_attribute(image) for image in images])
            anywhere = [None if image is None else replace(image, base=0) for image in images]
            attributes = {
                IMAGES: array_attr([image_attribute(image) for image in anywhere]),
                FREE_ROWS: i64_attr(plan.free_rows[at]),
            }
            if each_of > 1:
                attributes[EACH_OF] = i64_attr(each_of)
            key = " ".join(map(str, attributes.values()))
        if key not in known:
            known[key] = self._variant(name, len(known), attributes)
        function = known[key]
        if function is not None:
            if is_settled:
                function.attributes[FREE_ROWS] = i64_attr(plan.free_rows[at])
            call.attributes["callee"] = symbol_attr(string_value(function.attributes["sym_name"]))

    def _variant(self, name: str, number: int, attributes: dict[str, ir.Attribute]) -> ir.Operation:
        """The kernel `name` with attributes: itself for the first call of it, else a copy."""
        function = self.kernels[name]
        if number:
            with ir.InsertionPoint(function):
                plain = function.clone().operation
            for key in (IMAGES, FREE_ROWS, EACH_OF):
                if key in plain.attributes:
                    del plain.attributes[key]
            plain.attributes["sym_name"] = string_attr(self._unused_name(name, number))
            function = plain
        for key, value in attributes.items():
            function.attributes[key] = value
        return function

    def _unused_name(self, name: str, number: int) -> str:
        wanted = f"{name}_{number}"
        return wanted if wanted not in self.kernels else self._unused_name(wanted, number)


def _image_shape(kind: ir.Type, each_of: int) -> ImageShape | None:
    """The image that a tensor is: lines, pixels and whole slices of channels, innermost; None for any other.

    A matrix is an image of two lines, its upper and its lower half, or of its rows where their number is odd. The lines
    of several pictures follow each other; there may be several `each_of` which has halves.
    """
    *sizes, channels = ir.ShapedType(kind).shape or (1,)
    sizes = [size for size in sizes if size > 1]
    if each_of > 1 and len(sizes) == _IMAGE_DIMS + 1 and sizes[0] == each_of and channels % LANES == 0:
        return ImageShape(each_of * sizes[1], sizes[2], channels, each_of, of_each=True)
    if each_of > 1:
        rows, rest = divmod(math.prod(sizes), HALVES * each_of)
        return None if rest or channels % LANES else ImageShape(HALVES * each_of, rows, channels, each_of, of_each=True)
    if len(sizes) == 1:
        sizes = matrix_lines(sizes[0])
    if not _IMAGE_DIMS <= len(sizes) <= _IMAGE_DIMS + 1 or channels % LANES:
        return None
    *pictures, lines, pixels = sizes
    count = math.prod(pictures)
    return ImageShape(count * lines, pixels, channels, count)


def _odd_pictures(kind: ir.Type) -> int:
    """How many pictures a tensor has, if that is an odd number; else 1."""
    *sizes, _ = ir.ShapedType(kind).shape or (1,)
    sizes = [size for size in sizes if size > 1]
    return sizes[0] if len(sizes) == _IMAGE_DIMS + 1 and sizes[0] % HALVES else 1
