"""The rows of pads in which images stay between kernels: an entry function asks the firmware for them.

So it does for what one kernel fetches for the next one (`ahead_launches`), which lies before all images.

They grow from the first row of a pad on when a kernel is about to store an image, and shrink when nobody reads it any
more. Where they lie is known beforehand, since kernels give back what they asked for; else the entry panics.
"""

from __future__ import annotations

from collections.abc import Mapping

from atalla_mlir._mlir import ir
from atalla_mlir.codegen.image_kernel import KeptImage
from atalla_mlir.dialects.ax01_builder import Builder
from atalla_mlir.kernels.ahead_launches import AheadCalls
from atalla_mlir.kernels.arenas import ALLOCATE, FREE, PAGES_EXHAUSTED, PANIC, taken
from atalla_mlir.target.encoding import IMM12, IMM25U
from atalla_mlir.target.machine import Machine
from atalla_mlir.target.registers import ARGUMENT_BASE, RESULT, RegisterFile

_LOST = "images_lost"


class ImageAreas:
    """One area for each pad, empty at first."""

    def __init__(self, function: ir.Operation, builder: Builder, machine: Machine, ahead: AheadCalls) -> None:
        self.b, self.machine, self.ahead = builder, machine, ahead
        self.pages: dict[int, int] = {}
        """Of the area of each pad."""
        self.wanted = self._wanted(function)
        """For each call the same while it runs."""
        self.is_used = any(self.wanted.values())

    def _wanted(self, function: ir.Operation) -> Mapping[ir.Operation, Mapping[int, int]]:
        calls = [
            view.operation for view in function.regions[0].blocks[0].operations if view.operation.name == "func.call"
        ]
        places = {call: at for at, call in enumerate(calls)}
        wanted: list[dict[int, int]] = [{} for _ in calls]
        for made, call in enumerate(calls):
            for at, image in self.ahead.images(call).items():
                if at < len(call.operands):
                    continue
                result = call.results[at - len(call.operands)]
                last = max((places[use.owner.operation] for use in result.uses), default=made)
                for pages in wanted[made : last + 1]:
                    self._include(pages, image)
        for first, last in self.ahead.pairs():
            for pages in wanted[places[first] : places[last] + 1]:
                for pad in range(self.ahead.pads):
                    pages[pad] = max(pages.get(pad, 0), self.ahead.pages)
        return dict(zip(calls, wanted, strict=True))

    def _include(self, pages: dict[int, int], image: KeptImage) -> None:
        count = -(-image.end // self.machine.page_rows)
        for pad in image.pads:
            pages[pad] = max(pages.get(pad, 0), count)

    def prepare(self, call: ir.Operation) -> None:
        """Let each area have the pages that it needs while a kernel runs."""
        self._resize(self.wanted[call])

    def give_back(self) -> None:
        self._resize({})

    def panic(self) -> None:
        """Where to go when an area is not where it should be; `panic` does not return."""
        if self.is_used:
            self.b.label(_LOST)
            self._argument(0, PAGES_EXHAUSTED)
            self.b.call(PANIC)
            self.b.halt_s()

    def _resize(self, wanted: Mapping[int, int]) -> None:
        for pad in sorted({*self.pages, *wanted}):
            present, pages = self.pages.get(pad, 0), wanted.get(pad, 0)
            if pages > present:
                self._call(ALLOCATE, pad, pages - present, 0)
                self._argument(0, self._address(present))
                self.b.bne_s(taken(self.b, RESULT), taken(self.b, ARGUMENT_BASE), _LOST, 0)
            elif pages < present:
                self._call(FREE, pad, self._address(pages), present - pages)
            self.pages[pad] = pages

    def _address(self, pages: int) -> int:
        """Byte address in a pad of the first byte behind so many pages."""
        return pages * self.machine.page_bytes

    def _call(self, service: str, *arguments: int) -> None:
        for position, value in enumerate(arguments):
            self._argument(position, value)
        self.b.call(service)

    def _argument(self, position: int, value: int) -> None:
        zero = self.b.get_register(RegisterFile.SCALAR, 0)
        load_number(self.b, zero, ARGUMENT_BASE + position, value)


def load_number(builder: Builder, zero: ir.Value, register: int, number: int) -> None:
    """Put a number that is not negative into a scalar register."""
    into = builder.pinned(RegisterFile.SCALAR, register)
    if IMM12.fits(number):
        builder.addi_s(zero, number, into=into)
        return
    low = number & 0x7F
    upper = builder.lui_s((number >> 7) & IMM25U.maximum, into=None if low else into)
    if low:
        builder.addi_s(upper, low, into=into)
